//! The process that measures one model: `grice bench-model`, which `bench` starts.

mod batches;
mod subject;
mod texts;
mod turns;

use super::named::Kind;
use super::protocol::{Ask, Runs, Sample, TextTimes, Told};
use crate::args::{BenchModel, Common};
use crate::error::{CliError, Result};
use crate::output::{json, write_stdout};
use crate::profile::{books, reset_peak};
use batches::Batches;
use std::io;
use std::time::{Duration, Instant};
use subject::Measurable;
use texts::Texts;
use turns::Turns;

/// Runs in a round, however fast they are.
const RUNS_MAX: usize = 50;

/// Loads the model and answers requests until the input ends. Errors of the model are answers, too.
///
/// # Errors
/// If the answers cannot be written, or the requests cannot be read.
pub(crate) fn run(args: &BenchModel, common: &Common) -> Result<()> {
    let mut model = match load(args, common) {
        Ok((model, ready)) => {
            tell(&Told::Ready(ready))?;
            model
        }
        Err(error) => return tell(&Told::Error(error.to_string())),
    };
    for line in io::stdin().lines() {
        let line = line.map_err(|source| CliError::Read { place: "standard input".to_owned(), source })?;
        let ask = serde_json::from_str(&line).map_err(|error| error.to_string());
        match ask.and_then(|ask| measure(&mut *model, ask).map_err(|error| error.to_string())) {
            Ok(sample) => tell(&Told::Sample(sample))?,
            Err(error) => tell(&Told::Error(error))?,
        }
    }
    Ok(())
}

fn tell(told: &Told) -> Result<()> {
    write_stdout((json(told, serde_json::to_string)? + "\n").as_bytes())
}

fn load(args: &BenchModel, common: &Common) -> Result<(Box<dyn Measurable>, super::protocol::Ready)> {
    let before = books().ok();
    let start = Instant::now();
    let model: Box<dyn Measurable> = match args.kind {
        Kind::Detector | Kind::Embedder => Box::new(Batches::load(args, common)?),
        Kind::Repair | Kind::Generator => Box::new(Texts::load(args, common)?),
        Kind::Pipeline => Box::new(Turns::load(args, common)?),
    };
    let load_ms = (start.elapsed().as_secs_f64() * 1e3).round();
    let memory = before.zip(books().ok()).map(|(before, after)| super::protocol::Loaded {
        baseline_bytes: before.resident,
        load_peak_bytes: after.peak,
        loaded_bytes: after.resident,
    });
    let mut ready = model.ready();
    (ready.load_ms, ready.memory) = (load_ms, memory);
    Ok((model, ready))
}

fn measure(model: &mut dyn Measurable, ask: Ask) -> Result<Sample> {
    reset_peak();
    let mut sample = Sample::default();
    let start = Instant::now();
    let wants_more = |done: usize| match ask.runs {
        Runs::Exactly(runs) => done < runs,
        Runs::Within(ms) => done == 0 || (done < RUNS_MAX && start.elapsed() < Duration::from_millis(ms)),
    };
    while wants_more(sample.latency_ms.len()) {
        let run = model.run(ask.rows)?;
        sample.latency_ms.push(run.latency_ms);
        if let Some(texts) = run.texts {
            let all = sample.texts.get_or_insert_with(TextTimes::default);
            all.first_ms.extend(texts.first_ms);
            all.between_ms.extend(texts.between_ms);
            all.prompts_s.extend(texts.prompts_s);
            all.rest_s.extend(texts.rest_s);
        }
    }
    if let Ok(books) = books() {
        (sample.resident_bytes, sample.peak_bytes) = (Some(books.resident), Some(books.peak));
    }
    if ask.steps {
        sample.steps = model.steps(ask.rows)?;
        sample.gpu_busy = model.gpu_busy(ask.rows, &sample.latency_ms);
    }
    Ok(sample)
}
