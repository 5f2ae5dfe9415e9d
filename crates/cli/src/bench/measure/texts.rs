//! Models that write: texts of equal length, with synthetic prompts.

use super::subject::{Measurable, Run};
use crate::args::{BenchModel, Common};
use crate::bench::protocol::{Ready, TextTimes};
use crate::error::Result;
use crate::model::threads;
use crate::profile::{OpCost, TextRun, Texting, clock, open_writer, sum_ops};
use crate::workers::Workers;
use grice_core::generate::Courses;
use grice_core::{CpuGenerator, GeneratorEngine, Memory, Span, Trace, Writer};

pub(super) struct Texts {
    name: String,
    writer: Writer,
    threads: usize,
    texting: Texting,
    /// An engine for so many texts at the same time.
    engine: Option<(usize, CpuGenerator, Courses)>,
}

impl Texts {
    /// # Errors
    /// Errors of the model.
    pub(super) fn load(args: &BenchModel, common: &Common) -> Result<Texts> {
        let (name, writer) = open_writer(common)?;
        let texting = Texting { prompt_tokens: args.tokens.get(), new_tokens: args.new_tokens.get() };
        Ok(Texts { name, writer, threads: threads(common), texting, engine: None })
    }

    /// The writer, and an engine with memory for so many texts.
    fn engine(&mut self, rows: usize) -> Result<(&Writer, &mut CpuGenerator, &mut Courses)> {
        let fits = self.engine.take().filter(|(most, ..)| *most >= rows);
        let engine = match fits {
            Some(engine) => engine,
            None => {
                let memory = Memory::Tokens(self.texting.memory_tokens(rows));
                let (engine, courses) = self.writer.engine(self.threads, memory)?;
                (rows, engine, courses)
            }
        };
        let (_, engine, courses) = self.engine.insert(engine);
        Ok((&self.writer, engine, courses))
    }
}

impl Measurable for Texts {
    fn ready(&self) -> Ready {
        Ready {
            name: self.name.clone(),
            precision: self.writer.precision().to_string(),
            kernels: self.writer.kernels().to_owned(),
            workers: Workers::new(self.threads, None),
            load_ms: 0.0,
            memory: None,
            kv_token_bytes: Some(self.writer.token_bytes()),
        }
    }

    fn run(&mut self, rows: usize) -> Result<Run> {
        let texting = self.texting;
        let (writer, engine, courses) = self.engine(rows)?;
        let TextRun { first, between, prompts, texts } = texting.run(writer, engine, courses, rows)?;
        let times = TextTimes { first_ms: first, between_ms: between, prompts_s: vec![prompts], rest_s: vec![texts] };
        Ok(Run { latency_ms: (prompts + texts) * 1e3, texts: Some(times) })
    }

    /// Of the passes after all texts have begun: a token of each text.
    fn steps(&mut self, rows: usize) -> Result<Vec<OpCost>> {
        let texting = self.texting;
        let (writer, engine, courses) = self.engine(rows)?;
        texting.begin(writer, courses, rows)?;
        let mut passes: Vec<Vec<Span>> = Vec::new();
        while let Some(work) = courses.next() {
            let is_decoding = work.sources.is_empty() && work.pass.ids.len() == rows;
            if !work.sources.is_empty() {
                engine.read(&work.sources).map_err(grice_core::Error::from)?;
            }
            let mut trace = Trace::start(clock);
            let logits = engine.step_traced(&work.pass, &mut trace).map_err(grice_core::Error::from)?;
            if is_decoding {
                passes.push(trace.spans().to_vec());
            }
            courses.take(logits, |_| {});
        }
        Ok(sum_ops(&passes))
    }
}
