//! Runs pipelines with a detector, a model that writes, and a corpus, for callers that wait.

use crate::corpus::Nearest;
use crate::embedder::Embedder;
use crate::generate::{CourseId, Event};
use crate::pen::Pen;
use crate::recipe::Recipe;
use crate::task::{Draft, Kind, Outcome, Pipeline, PipelineNext, Skills};
use crate::writer::{Memory, Writer};
use crate::{Detector, Error, ErrorKind, Result, Turn, Verdict};
use grice_model::PerMaxim;
use std::collections::HashMap;
use std::time::Duration;

/// How many responses the detector chooses from.
pub const CANDIDATES: usize = 5;
/// The least similarity of a response's vector and the context's.
pub const SIMILARITY: f32 = 0.3;

/// Finds responses for the context of a turn.
pub struct Retriever {
    embedder: Embedder,
    source: Box<dyn Nearest>,
    minimum: f32,
}

impl Retriever {
    /// A corpus or another source of texts, and the model that made its vectors.
    ///
    /// # Errors
    /// As [`Nearest::prepare`].
    pub fn new(source: impl Nearest + 'static, embedder: Embedder) -> Result<Retriever> {
        Retriever::of(Box::new(source), embedder)
    }

    /// As [`Retriever::new`].
    ///
    /// # Errors
    /// As [`Nearest::prepare`].
    pub fn of(source: Box<dyn Nearest>, mut embedder: Embedder) -> Result<Retriever> {
        source.prepare(&mut embedder)?;
        Ok(Retriever { embedder, source, minimum: SIMILARITY })
    }

    /// With another bound of similarity, instead of 0.3.
    #[must_use]
    pub fn with_minimum(self, minimum: f32) -> Retriever {
        Retriever { minimum, ..self }
    }

    /// The five responses that are nearest to the last utterance of the context, the nearest first; none for a context without text.
    ///
    /// # Errors
    /// Those of the embedder and the corpus.
    pub fn find(&mut self, turn: &Turn) -> Result<Vec<String>> {
        let query = turn.context.last_utterance();
        if query.trim().is_empty() {
            return Ok(Vec::new());
        }
        let vector = match self.embedder.embed(query) {
            Ok(vector) => vector.values,
            // Nothing is near a text that the model cannot read.
            Err(error) if error.kind() == ErrorKind::BadInput => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let near = self.source.nearest(&vector, CANDIDATES, Some(self.minimum))?;
        Ok(near.into_iter().map(|near| near.text).collect())
    }
}

/// The models of a pipeline.
pub struct PipelineRunner {
    detector: Detector,
    repairer: Pen,
    /// Another model for answers.
    generator: Option<Pen>,
    retriever: Option<Retriever>,
    seed: u64,
    clock: Box<dyn Fn() -> Duration>,
}

/// A text, or the reason why there is none.
type Text = std::result::Result<String, String>;

impl PipelineRunner {
    /// With a detector, and a model with recipes for repairs. `clock` gives the time since any moment; it is for traces only.
    ///
    /// # Errors
    /// [`Error::Engine`] if there is not so much memory.
    pub fn new(
        detector: Detector,
        repairer: Writer,
        threads: usize,
        memory: Memory,
        clock: impl Fn() -> Duration + 'static,
    ) -> Result<PipelineRunner> {
        let bounds = repairer.bounds(memory);
        let repairer = Pen::new(repairer, threads, bounds)?;
        Ok(PipelineRunner { detector, repairer, generator: None, retriever: None, seed: 0, clock: Box::new(clock) })
    }

    /// With another model for answers.
    ///
    /// # Errors
    /// As [`PipelineRunner::new`].
    pub fn with_generator(self, generator: Writer, threads: usize, memory: Memory) -> Result<PipelineRunner> {
        let bounds = generator.bounds(memory);
        Ok(PipelineRunner { generator: Some(Pen::new(generator, threads, bounds)?), ..self })
    }

    /// With a corpus of responses.
    #[must_use]
    pub fn with_retriever(self, retriever: Retriever) -> PipelineRunner {
        PipelineRunner { retriever: Some(retriever), ..self }
    }

    /// With another seed for what is drawn; the same seed gives the same texts.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> PipelineRunner {
        PipelineRunner { seed, ..self }
    }

    /// The detector.
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// What it can do, for [`Pipeline::repair`] and [`Pipeline::answer`].
    pub fn skills(&self) -> Skills {
        let own = self.repairer.writer.recipes();
        let repair = PerMaxim::from_fn(|maxim| own.repair.get(maxim).as_ref().map(Recipe::skill));
        let answer = self.answering().writer.recipes().answer.as_ref().map(Recipe::skill);
        Skills { repair, answer, nearest: self.retriever.is_some() }
    }

    /// Runs a pipeline to its end.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadInput`] for a turn that cannot be judged, [`Error::NoAnswer`] if nothing could be written; others if a model fails.
    pub fn run(&mut self, pipeline: Pipeline) -> Result<Outcome> {
        self.run_all(vec![pipeline])?.pop().unwrap_or(Err(Error::NoAnswer))
    }

    /// Runs pipelines side by side, step by step. Equal steps run as one batch. A turn at fault gets its own error and does not affect the
    /// others.
    ///
    /// # Errors
    /// Only if a model's device or memory was lost.
    pub fn run_all(&mut self, pipelines: Vec<Pipeline>) -> Result<Vec<Result<Outcome>>> {
        let mut running: Vec<Result<Pipeline>> = pipelines.into_iter().map(Ok).collect();
        while running.iter().flatten().any(|pipeline| *pipeline.next() != PipelineNext::Done) {
            self.search(&mut running);
            self.write(&mut running, true)?;
            self.write(&mut running, false)?;
            self.detect(&mut running)?;
        }
        let outcome = |pipeline: Result<Pipeline>| pipeline.and_then(|done| done.finish().ok_or(Error::NoAnswer));
        Ok(running.into_iter().map(outcome).collect())
    }

    fn answering(&self) -> &Pen {
        self.generator.as_ref().unwrap_or(&self.repairer)
    }

    fn search(&mut self, running: &mut [Result<Pipeline>]) {
        for place in running {
            let Ok(pipeline) = place else { continue };
            let PipelineNext::Nearest(turn) = pipeline.next() else { continue };
            let start = (self.clock)();
            match self.retriever.as_mut().map_or(Ok(Vec::new()), |retriever| retriever.find(turn)) {
                Ok(found) => pipeline.found(found, (self.clock)() - start),
                Err(error) => *place = Err(error),
            }
        }
    }

    /// Writes all texts that are wanted: answers, or repairs.
    fn write(&mut self, running: &mut [Result<Pipeline>], answers: bool) -> Result<()> {
        let wanted = |pipeline: &Result<Pipeline>| match pipeline.as_ref().map(Pipeline::next) {
            Ok(PipelineNext::Write(draft)) if (draft.kind == Kind::Answer) == answers => Some(draft.clone()),
            _ => None,
        };
        let drafts: Vec<(usize, Draft)> =
            running.iter().enumerate().filter_map(|(place, pipeline)| Some((place, wanted(pipeline)?))).collect();
        if drafts.is_empty() {
            return Ok(());
        }
        let start = (self.clock)();
        let seed = self.seed;
        let pen = match (&mut self.generator, answers) {
            (Some(generator), true) => generator,
            _ => &mut self.repairer,
        };
        let texts = write_all(pen, &drafts, seed)?;
        let took = (self.clock)() - start;
        for ((place, _), text) in drafts.iter().zip(texts) {
            if let Ok(pipeline) = &mut running[*place] {
                pipeline.wrote(text, took);
            }
        }
        Ok(())
    }

    fn detect(&mut self, running: &mut [Result<Pipeline>]) -> Result<()> {
        let mut turns = Vec::new();
        let mut shares = Vec::new();
        for (place, pipeline) in running.iter().enumerate() {
            if let Ok(PipelineNext::Detect(own)) = pipeline.as_ref().map(Pipeline::next) {
                shares.push((place, own.len()));
                turns.extend(own.iter().cloned());
            }
        }
        if turns.is_empty() {
            return Ok(());
        }
        let start = (self.clock)();
        let mut verdicts = self.detector.detect_batch(&turns)?.into_iter();
        let took = (self.clock)() - start;
        for (place, count) in shares {
            let own: Result<Vec<Verdict>> = verdicts.by_ref().take(count).collect();
            match (own, &mut running[place]) {
                (Ok(own), Ok(pipeline)) => pipeline.judged(own, took),
                (Err(error), pipeline) => *pipeline = Err(error),
                (Ok(_), Err(_)) => {}
            }
        }
        Ok(())
    }
}

/// A text for each draft, in order.
fn write_all(pen: &mut Pen, drafts: &[(usize, Draft)], seed: u64) -> Result<Vec<Text>> {
    let mut texts: Vec<Option<Text>> = vec![None; drafts.len()];
    let mut places: HashMap<CourseId, (usize, Vec<String>)> = HashMap::new();
    for (place, (_, draft)) in drafts.iter().enumerate() {
        match pen.begin(draft, seed, drafts.len()) {
            Ok((id, stops)) => drop(places.insert(id, (place, stops))),
            Err(problem) => texts[place] = Some(Err(problem)),
        }
    }
    let Pen { writer, engine, courses } = pen;
    writer.run(engine, courses, |event| {
        let (id, outcome) = match event {
            Event::Tokens(..) => return,
            Event::Done(id, sequences) => (id, sequences.into_iter().next().ok_or_else(|| "no text".to_owned())),
            Event::Failed(id, error) => (id, Err(error.to_string())),
        };
        if let Some((place, stops)) = places.get(&id) {
            texts[*place] = Some(outcome.map(|sequence| writer.written(&sequence, stops)));
        }
    })?;
    Ok(texts.into_iter().map(|text| text.unwrap_or_else(|| Err("it ended without a text".to_owned()))).collect())
}
