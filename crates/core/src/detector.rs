//! The simple interface of the library: turns in, verdicts out. Calls block until the verdict is there.

#[cfg(not(target_arch = "wasm32"))]
use crate::ErrorKind;
use crate::driver::Driver;
use crate::schedule::Counters;
use crate::task::Detect;
#[cfg(not(target_arch = "wasm32"))]
use crate::task::{Explain, Explanation};
use crate::text::Encoded;
use crate::{Bundle, Model, Options, Result, Turn, Verdict};
use grice_model::{Engine, EngineInfo, Manifest, PerMaxim};
use std::path::Path;

/// A loaded model that judges turns.
///
/// ```
/// use grice_core::{Bundle, Detector, ErrorKind, Options, Turn};
///
/// # fn main() -> grice_core::Result<()> {
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/fixtures/tiny-bert");
/// let mut detector = Detector::load(&Bundle::open(folder)?, &Options::default())?;
///
/// let question = "What did you think of the film?";
/// let verdict = detector.detect(&Turn::new(question, "I liked the music most."))?;
/// assert!((0.0..=1.0).contains(&verdict.probabilities.quantity));
/// assert_eq!(verdict.violations.quantity, verdict.probabilities.quantity > detector.thresholds().quantity);
///
/// // In a batch, a turn that cannot be judged does not affect the others.
/// let verdicts = detector.detect_batch(&[Turn::new(question, "Yes."), Turn::new(question, "")])?;
/// assert!(verdicts[0].is_ok());
/// assert_eq!(verdicts[1].as_ref().map_err(|error| error.kind()), Err(ErrorKind::BadInput));
/// # Ok(())
/// # }
/// ```
pub struct Detector {
    task: Detect,
    driver: Driver,
    warnings: Vec<String>,
}

impl Detector {
    /// Loads a bundle: tokenizer, graph and plan. Checks that they fit together.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load(bundle: &Bundle, options: &Options) -> Result<Detector> {
        let model = Model::load(bundle, options)?;
        let (task, plan) = model.into_parts();
        let driver = Driver::new(plan, options.threads.unwrap_or(1))?;
        let warnings = driver.plan.warnings();
        Ok(Detector { task, driver, warnings })
    }

    /// The verdict on one turn.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadInput`] if the turn cannot be judged; other kinds if the model fails.
    pub fn detect(&mut self, turn: &Turn) -> Result<Verdict> {
        self.driver.answer(&self.task, turn)
    }

    /// A verdict for each turn, in order. Turns of similar length run as one batch, and identical turns run once. A turn that cannot be judged, or
    /// on which the model fails, gets its own error and does not affect the others.
    ///
    /// # Errors
    /// Only if the device was lost.
    pub fn detect_batch(&mut self, turns: &[Turn]) -> Result<Vec<Result<Verdict>>> {
        self.driver.answer_all(&self.task, turns)
    }

    /// The words that moved each verdict most: see [`Explain`]. Each takes so many further runs at most; those of all turns run together, and
    /// identical ones once. On an int8 model each change is, to the bit, the difference of the probabilities that [`Detector::detect`] gives.
    ///
    /// # Errors
    /// Only if the device was lost.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn explain_batch(&mut self, judged: &[(&Turn, &Verdict)], runs: usize) -> Result<Vec<Result<Explanation>>> {
        let max_tokens = self.manifest().max_tokens;
        let begun = judged.iter().map(|(turn, verdict)| Ok(Explain::new(turn, verdict, max_tokens, runs)));
        let mut explains: Vec<Result<Explain>> = begun.collect();
        loop {
            let asked = explains.iter_mut().map(|explain| explain.as_mut().map_or_else(|_| Vec::new(), Explain::asks));
            let asked: Vec<Vec<Turn>> = asked.collect();
            let counts: Vec<usize> = asked.iter().map(Vec::len).collect();
            let turns: Vec<Turn> = asked.into_iter().flatten().collect();
            if turns.is_empty() {
                return Ok(explains.into_iter().map(|explain| explain.map(Explain::finish)).collect());
            }
            let mut answers = self.detect_batch(&turns)?.into_iter().map(probabilities_of);
            for (explain, count) in explains.iter_mut().zip(counts) {
                // All of them, also after an error.
                let found: Vec<Result<_>> = answers.by_ref().take(count).collect();
                match (found.into_iter().collect::<Result<Vec<_>>>(), &mut *explain) {
                    (Ok(found), Ok(explain)) => explain.tell(&found),
                    (Err(error), _) => *explain = Err(error),
                    (Ok(_), Err(_)) => {}
                }
            }
        }
    }

    /// The token ids of a turn.
    ///
    /// # Errors
    /// As [`Detector::detect`].
    pub fn encode(&self, turn: &Turn) -> Result<Encoded> {
        self.task.encode(turn)
    }

    /// The bundle's manifest.
    pub fn manifest(&self) -> &Manifest {
        self.task.manifest()
    }

    /// The thresholds in use.
    pub fn thresholds(&self) -> &PerMaxim<f32> {
        self.task.thresholds()
    }

    /// Describes the engine that runs the model.
    pub fn engine_info(&self) -> EngineInfo {
        self.driver.engine.info()
    }

    /// Counts what ran, and what did not need to run.
    pub fn counters(&self) -> Counters {
        self.driver.runtime.schedule().counters()
    }

    /// As [`Plan::compiled`].
    pub fn compiled(&self) -> Option<&Path> {
        self.driver.plan.compiled()
    }

    /// The name of the GPU, if the model runs on one.
    pub fn adapter(&self) -> Option<&str> {
        self.driver.engine.adapter()
    }

    /// The [`Plan::warnings`] at load.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Why [`Device::Auto`](crate::Device::Auto) selected the processor.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.driver.plan.fallback_reason()
    }
}

/// A turn that cannot be judged without its words has no probabilities.
#[cfg(not(target_arch = "wasm32"))]
fn probabilities_of(verdict: Result<Verdict>) -> Result<Option<PerMaxim<f32>>> {
    match verdict {
        Ok(verdict) => Ok(Some(verdict.probabilities)),
        Err(error) if error.kind() == ErrorKind::BadInput => Ok(None),
        Err(error) => Err(error),
    }
}
