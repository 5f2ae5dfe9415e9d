//! Pipelines: answers to contexts, judged and repaired.

use super::subject::{Measurable, Run};
use crate::args::{BenchModel, Common};
use crate::bench::protocol::Ready;
use crate::error::{CliError, Result};
use crate::model::{load_detector, open_bundle, open_embedded_writer, quietly, threads};
use crate::profile::{OpCost, rounded};
use crate::workers::Workers;
use grice_core::task::Pipeline;
use grice_core::{Memory, PipelineRunner, Precision, Turn, Writer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Tries to repair a response, as in `grice pipeline`.
const ROUNDS: u32 = 3;
const MEMORY_BYTES: usize = 512 << 20;
/// Each gets a number, so that no turn is answered from a cache.
const CONTEXTS: [&str; 8] = [
    "What did you think of film number {}?",
    "How do I get to platform {} from here?",
    "I have read {} books this year. Which one should I read next?",
    "My sister is {} years old today. What could I give her?",
    "Did you watch the match? It ended after {} minutes.",
    "Why does the bus number {} always come late?",
    "We have {} apples left. What should we cook?",
    "Is it true that there are {} kinds of whales?",
];

/// How often each kind of step ran, and how long in all.
type StepTimes = BTreeMap<&'static str, (usize, Duration)>;

pub(super) struct Turns {
    runner: PipelineRunner,
    precision: Precision,
    kernels: &'static str,
    adapter: Option<String>,
    threads: usize,
    /// Turns so far.
    number: usize,
}

impl Turns {
    /// # Errors
    /// Errors of the models; [`CliError::NoRecipe`] if none of them answers.
    pub(super) fn load(args: &BenchModel, common: &Common) -> Result<Turns> {
        let of_detector = Common { model: args.detector.clone(), ..common.clone() };
        let detector = load_detector(&open_bundle(&of_detector)?, &of_detector, &[])?;
        let info = detector.engine_info();
        let (kernels, precision, adapter) = (info.kernels, info.precision, detector.adapter().map(str::to_owned));
        let threads = threads(common);
        let start = Instant::now();
        let clock = move || start.elapsed();
        let memory = Memory::Bytes(MEMORY_BYTES);
        let runner = PipelineRunner::new(detector, open(args.repair.as_ref())?, threads, memory, clock)?;
        let runner = match &args.generator {
            Some(path) => runner.with_generator(open(Some(path))?, threads, memory)?,
            None => runner,
        };
        if runner.skills().answer.is_none() {
            let model = args.generator.as_ref().or(args.repair.as_ref());
            let model = model.map_or("the built-in model".to_owned(), |path| path.display().to_string());
            return Err(CliError::NoRecipe { model, recipe: "answer" });
        }
        Ok(Turns { runner, precision, kernels, adapter, threads, number: 0 })
    }

    /// Answers new turns; the time of all, and of each kind of step.
    fn answer(&mut self, rows: usize) -> Result<(f64, StepTimes)> {
        let skills = self.runner.skills();
        let turns = (self.number..self.number + rows).map(|number| {
            let context = CONTEXTS[number % CONTEXTS.len()].replace("{}", &(number + 2).to_string());
            Pipeline::answer(Turn::new(context.as_str(), ""), skills, ROUNDS)
        });
        let turns: Vec<Pipeline> = turns.collect();
        self.number += rows;
        let start = Instant::now();
        let outcomes = quietly(|| self.runner.run_all(turns))??;
        let latency_ms = start.elapsed().as_secs_f64() * 1e3;
        let mut steps = StepTimes::new();
        for outcome in outcomes {
            for step in outcome?.trace {
                let (count, took) = steps.entry(step.step.name()).or_default();
                *count += 1;
                *took += step.took;
            }
        }
        Ok((latency_ms, steps))
    }
}

fn open(path: Option<&PathBuf>) -> Result<Writer> {
    match path {
        Some(path) => Ok(quietly(|| Writer::open(path, None))??),
        None => open_embedded_writer(),
    }
}

impl Measurable for Turns {
    fn ready(&self) -> Ready {
        Ready {
            name: "pipeline".to_owned(),
            precision: self.precision.to_string(),
            kernels: self.kernels.to_owned(),
            workers: Workers::new(self.threads, self.adapter.as_deref()),
            load_ms: 0.0,
            memory: None,
            kv_token_bytes: None,
        }
    }

    fn run(&mut self, rows: usize) -> Result<Run> {
        let (latency_ms, _) = self.answer(rows)?;
        Ok(Run { latency_ms, texts: None })
    }

    /// Means over the turns: what a turn spends in batches of each kind.
    fn steps(&mut self, rows: usize) -> Result<Vec<OpCost>> {
        let (_, steps) = self.answer(rows)?;
        let all: f64 = steps.values().map(|(_, took)| took.as_secs_f64()).sum();
        let cost = |(name, (count, took)): (&&'static str, &(usize, Duration))| OpCost {
            op: (*name).to_owned(),
            calls: count.div_ceil(rows),
            total_ms: rounded(took.as_secs_f64() * 1e3 / rows as f64),
            share: rounded(took.as_secs_f64() / all.max(1e-12)),
            gflop_per_s: None,
        };
        let mut costs: Vec<OpCost> = steps.iter().map(cost).collect();
        costs.sort_by(|a, b| b.total_ms.total_cmp(&a.total_ms));
        Ok(costs)
    }
}
