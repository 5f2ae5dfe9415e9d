//! Repairs, answers and texts side by side, a step at a time, for a driver with one thread that must not block for long: a browser's
//! worker. Owns no clock.
//!
//! ```text
//! push(ask) ─► step, step, … (a batch of the detector, or a pass of the texts) ─► told: pieces, steps, an end
//! ```

mod ask;
mod told;

pub use ask::{AnswerAsk, Ask, RepairAsk, TextAsk, WorkshopOptions};
pub use told::{DetectorBrief, DraftNews, Fault, JobId, News, Repair, Text, Told, WorkshopInfo};

use crate::bundle::Bytes;
use crate::generate::{Bounds, CourseId, Event, Generated};
use crate::pen::Pen;
use crate::recipe::Recipe;
use crate::schedule::Rejection;
use crate::session::Refusal;
use crate::task::{Draft, Pipeline, PipelineNext, Skills};
use crate::text::Stream;
use crate::writer::{Memory, Writer};
use crate::{Bundle, Detector, Error, Options, Result, Verdict};
use grice_model::{PAGE_TOKENS, PerMaxim};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Bytes for keys and values if nothing is said.
const MEMORY: usize = 64 << 20;
/// Tokens of a prompt in a pass: fewer than elsewhere, because a job that is cancelled ends after the pass that runs.
const PASS_TOKENS: usize = 64;
/// More jobs are refused.
const JOBS_MOST: usize = 1024;

/// A model that writes, a detector, and their jobs.
///
/// ```no_run
/// use grice_core::{Workshop, WorkshopOptions};
/// use std::time::{Duration, Instant};
///
/// let mut workshop = Workshop::new(WorkshopOptions::default());
/// workshop.load_detector(std::fs::read("detector.tar").unwrap())?;
/// workshop.load_writer(std::fs::read("repair.tar").unwrap())?;
/// let ask = serde_json::from_str(r#"{"repair": {"turn": {"context": "How was it?", "response": "I liked it. I liked it a lot."}}}"#);
/// let start = Instant::now();
/// workshop.push(ask.unwrap(), start.elapsed()).unwrap();
/// while workshop.step(&|| start.elapsed())? {
///     workshop.told().iter().for_each(|told| println!("{told:?}"));
/// }
/// # Ok::<(), grice_core::Error>(())
/// ```
pub struct Workshop {
    options: WorkshopOptions,
    detector: Option<Detector>,
    pen: Option<Pen>,
    jobs: BTreeMap<JobId, Job>,
    writings: HashMap<CourseId, Writing>,
    /// Jobs whose next step is a verdict, in order.
    to_judge: VecDeque<JobId>,
    told: Vec<Told>,
    last: JobId,
    /// Verdicts and passes take turns.
    has_judged: bool,
}

enum Job {
    /// With the seed of its texts, and how many of its steps were told.
    Pipeline(Box<Pipeline>, u64, usize),
    /// With the tokens of its prompt.
    Text(usize),
}

/// A text that is written for a job.
struct Writing {
    job: JobId,
    stream: Stream,
    stops: Vec<String>,
    /// What was told of it.
    text: String,
    began: Duration,
}

impl Workshop {
    /// Without models.
    pub fn new(options: WorkshopOptions) -> Workshop {
        Workshop {
            options,
            detector: None,
            pen: None,
            jobs: BTreeMap::new(),
            writings: HashMap::new(),
            to_judge: VecDeque::new(),
            told: Vec::new(),
            last: JobId(0),
            has_judged: false,
        }
    }

    /// Loads the detector from the bytes of a bundle's `.tar`: what repairs and answers need.
    ///
    /// # Errors
    /// As [`Bundle::from_bytes`] and [`Detector::load`].
    pub fn load_detector(&mut self, tar: impl Into<Bytes>) -> Result<()> {
        let options = Options { thresholds: self.options.thresholds, ..Options::default() };
        self.detector = Some(Detector::load(&Bundle::from_bytes(tar)?, &options)?);
        Ok(())
    }

    /// Loads the model that writes from the bytes of a `.tar`.
    ///
    /// # Errors
    /// As [`Writer::from_tar`]; [`Error::Engine`] if there is no memory for texts.
    pub fn load_writer(&mut self, tar: impl Into<Bytes>) -> Result<()> {
        let writer = Writer::from_tar(tar)?;
        let memory = Memory::Bytes(self.options.memory_max.unwrap_or(MEMORY));
        let bounds = Bounds { pass_tokens: PASS_TOKENS, ..writer.bounds(memory) };
        self.pen = Some(Pen::new(writer, 1, bounds)?);
        Ok(())
    }

    /// The models; `None` without one that writes.
    pub fn info(&self) -> Option<WorkshopInfo> {
        let Pen { writer, courses, .. } = self.pen.as_ref()?;
        let brief = |detector: &Detector| DetectorBrief {
            name: detector.manifest().name.clone(),
            version: detector.manifest().version.clone(),
            thresholds: *detector.thresholds(),
        };
        let (recipes, counters) = (writer.recipes(), courses.counters());
        Some(WorkshopInfo {
            name: recipes.name.clone(),
            version: recipes.version.clone(),
            family: writer.family().to_owned(),
            recipes: recipes.names(),
            precision: writer.precision().name(),
            kernels: writer.kernels(),
            memory_tokens: counters.pages * PAGE_TOKENS,
            reserved_tokens: counters.pages_reserved * PAGE_TOKENS,
            detector: self.detector.as_ref().map(brief),
        })
    }

    /// Adds a job; [`Workshop::told`] has its news. `now` is the time since any moment.
    ///
    /// # Errors
    /// [`Refusal`]: for something that cannot be judged or written, for a model that is missing, or if too many jobs wait.
    pub fn push(&mut self, ask: Ask, now: Duration) -> Result<JobId, Refusal> {
        if self.jobs.len() >= JOBS_MOST {
            return Err(Refusal::Rejection(Rejection::QueueFull { retry_after: Duration::ZERO }));
        }
        let id = JobId(self.last.0.wrapping_add(1));
        self.last = id;
        match ask {
            Ask::Repair(ask) => {
                let (seed, (turn, named, rounds)) = (ask.seed, ask.read()?);
                let skills = self.skills()?;
                self.begin_pipeline(id, Pipeline::repair(turn, named, skills, rounds), seed, now);
            }
            Ask::Answer(ask) => {
                let (seed, (turn, rounds)) = (ask.seed, ask.read()?);
                let skills = self.skills()?;
                self.begin_pipeline(id, Pipeline::answer(turn, skills, rounds), seed, now);
            }
            Ask::Text(ask) => self.begin_text(id, &ask, now)?,
        }
        Ok(id)
    }

    /// Runs a step: one job's texts through the detector, or one pass of all texts that are written. Returns `false` if there is nothing to
    /// do. `clock` tells the time since the moment that [`Workshop::push`] counts from.
    ///
    /// # Errors
    /// Only if a model's memory or device was lost.
    pub fn step(&mut self, clock: &dyn Fn() -> Duration) -> Result<bool> {
        self.has_judged = !self.to_judge.is_empty() && (self.writings.is_empty() || !self.has_judged);
        if self.has_judged {
            self.judge(clock)?;
        } else if !self.writings.is_empty() {
            self.pass(clock)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The news since the last call, in order.
    pub fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// Ends a job, and frees its memory. Nothing more is told of it.
    pub fn cancel(&mut self, job: JobId) {
        self.jobs.remove(&job);
        self.to_judge.retain(|other| *other != job);
        self.told.retain(|told| told.job != job);
        let own: Vec<CourseId> =
            self.writings.iter().filter(|(_, writing)| writing.job == job).map(|(id, _)| *id).collect();
        for id in own {
            self.writings.remove(&id);
            if let Some(pen) = &mut self.pen {
                pen.courses.cancel(id);
            }
        }
    }

    /// What the models can do.
    fn skills(&self) -> Result<Skills> {
        if self.detector.is_none() {
            return Err(missing("detector"));
        }
        let recipes = self.pen.as_ref().ok_or_else(|| missing("model that writes"))?.writer.recipes();
        let repair = PerMaxim::from_fn(|maxim| recipes.repair.get(maxim).as_ref().map(Recipe::skill));
        Ok(Skills { repair, answer: recipes.answer.as_ref().map(Recipe::skill), nearest: false })
    }

    fn begin_pipeline(&mut self, id: JobId, pipeline: Pipeline, seed: u64, now: Duration) {
        self.jobs.insert(id, Job::Pipeline(Box::new(pipeline), seed, 0));
        self.advance(id, now);
    }

    fn begin_text(&mut self, id: JobId, ask: &TextAsk, now: Duration) -> Result<()> {
        let Pen { writer, courses, .. } = self.pen.as_mut().ok_or_else(|| missing("model that writes"))?;
        let start = writer.start(&ask.prompt)?;
        let tokens = start.source.as_ref().unwrap_or(&start.prompt).len();
        let options = writer.options_for(&ask.options, || ask.draw).map_err(|error| Error::Asked(error.to_string()))?;
        let stops = options.stop_strings.clone();
        let course = courses.add(Arc::new(options), start, Some(writer.speller()));
        let course = course.map_err(|refused| Error::Asked(refused.to_string()))?;
        self.jobs.insert(id, Job::Text(tokens));
        self.watch(course, id, stops, now);
        Ok(())
    }

    /// Follows a text that has begun.
    fn watch(&mut self, course: CourseId, job: JobId, stops: Vec<String>, began: Duration) {
        let Some(pen) = &self.pen else { return };
        let stream = Stream::new(pen.writer.speller(), &stops);
        self.writings.insert(course, Writing { job, stream, stops, text: String::new(), began });
    }

    /// Starts the next step of a pipeline, or ends it.
    fn advance(&mut self, id: JobId, now: Duration) {
        while let Some(Job::Pipeline(pipeline, seed, steps)) = self.jobs.get_mut(&id) {
            let trace = pipeline.trace();
            let steps_told = std::mem::replace(steps, trace.len());
            self.told.extend(trace[steps_told..].iter().cloned().map(|step| Told { job: id, news: News::Step(step) }));
            match pipeline.next().clone() {
                PipelineNext::Detect(_) => return self.to_judge.push_back(id),
                PipelineNext::Write(draft) => {
                    let seed = *seed;
                    let Err(problem) = self.write(id, &draft, seed, now) else { return };
                    self.wrote(id, Err(problem), Duration::ZERO);
                }
                // There is no corpus here.
                PipelineNext::Nearest(_) => pipeline.found(Vec::new(), Duration::ZERO),
                PipelineNext::Done => return self.finish(id),
            }
        }
    }

    fn write(&mut self, id: JobId, draft: &Draft, seed: u64, now: Duration) -> Result<(), String> {
        let texts = self.writings.len() + 1;
        let pen = self.pen.as_mut().ok_or("there is no model that writes")?;
        let (course, stops) = pen.begin(draft, seed, texts)?;
        self.tell(id, News::Draft(DraftNews::of(draft)));
        self.watch(course, id, stops, now);
        Ok(())
    }

    fn wrote(&mut self, id: JobId, text: Result<String, String>, took: Duration) {
        if let Some(Job::Pipeline(pipeline, ..)) = self.jobs.get_mut(&id) {
            pipeline.wrote(text, took);
        }
    }

    fn finish(&mut self, id: JobId) {
        let Some(Job::Pipeline(pipeline, ..)) = self.jobs.remove(&id) else { return };
        match pipeline.finish() {
            Some(outcome) => self.tell(id, News::Repaired(Box::new(outcome.into()))),
            None => self.tell(id, News::Failed(Error::NoAnswer.into())),
        }
    }

    /// Judges the texts of the job that has waited longest.
    fn judge(&mut self, clock: &dyn Fn() -> Duration) -> Result<()> {
        let (Some(id), Some(detector)) = (self.to_judge.pop_front(), &mut self.detector) else { return Ok(()) };
        let Some(Job::Pipeline(pipeline, ..)) = self.jobs.get_mut(&id) else { return Ok(()) };
        let PipelineNext::Detect(turns) = pipeline.next().clone() else { return Ok(()) };
        let start = clock();
        let verdicts: Result<Vec<Verdict>> = detector.detect_batch(&turns)?.into_iter().collect();
        let now = clock();
        match verdicts {
            Ok(verdicts) => {
                pipeline.judged(verdicts, now.saturating_sub(start));
                self.advance(id, now);
            }
            Err(error) => {
                self.jobs.remove(&id);
                self.tell(id, News::Failed(error.into()));
            }
        }
        Ok(())
    }

    /// Runs a pass of all texts.
    fn pass(&mut self, clock: &dyn Fn() -> Duration) -> Result<()> {
        let Some(Pen { writer, engine, courses }) = &mut self.pen else { return Ok(()) };
        let (writings, told) = (&mut self.writings, &mut self.told);
        let mut ended = Vec::new();
        writer.pass(engine, courses, |event| match event {
            Event::Tokens(id, tokens) => {
                let Some(writing) = writings.get_mut(&id) else { return };
                told.extend(writing.take(tokens));
            }
            Event::Done(id, sequences) => {
                ended.push((id, sequences.into_iter().next().ok_or_else(|| "it ended without a text".to_owned())));
            }
            Event::Failed(id, error) => ended.push((id, Err(error.to_string()))),
        })?;
        let now = clock();
        for (course, outcome) in ended {
            if let Some(writing) = self.writings.remove(&course) {
                self.end(writing, outcome, now);
            }
        }
        Ok(())
    }

    /// A text has ended.
    fn end(&mut self, writing: Writing, outcome: Result<Generated, String>, now: Duration) {
        let Some(Pen { writer, .. }) = &self.pen else { return };
        let id = writing.job;
        let outcome = outcome.map(|generated| (writer.written(&generated, &writing.stops), generated));
        if let Ok((text, _)) = &outcome
            && let Some(rest) = text.strip_prefix(&writing.text).filter(|rest| !rest.is_empty())
        {
            self.tell(id, News::Piece(rest.to_owned()));
        }
        match (self.jobs.get(&id), outcome) {
            (Some(Job::Pipeline(..)), outcome) => {
                self.wrote(id, outcome.map(|(text, _)| text), now.saturating_sub(writing.began));
                self.advance(id, now);
            }
            (Some(Job::Text(prompt)), Ok((text, generated))) => {
                let news = News::Text(Text::of(text, *prompt, &generated));
                self.jobs.remove(&id);
                self.tell(id, news);
            }
            (Some(Job::Text(_)), Err(problem)) => {
                self.jobs.remove(&id);
                self.tell(id, News::Failed(Error::Asked(problem).into()));
            }
            (None, _) => {}
        }
    }

    fn tell(&mut self, job: JobId, news: News) {
        self.told.push(Told { job, news });
    }
}

impl Writing {
    /// Takes new tokens. Tells the text that is certain now.
    fn take(&mut self, tokens: &[u32]) -> Option<Told> {
        let piece: String = tokens.iter().map(|&token| self.stream.push(token)).collect();
        self.text += &piece;
        (!piece.is_empty()).then_some(Told { job: self.job, news: News::Piece(piece) })
    }
}

fn missing(what: &str) -> Error {
    Error::Asked(format!("there is no {what} here; load its bundle first"))
}
