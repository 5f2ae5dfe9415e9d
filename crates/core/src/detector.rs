//! The detection task: turns in, verdicts out.

use crate::engine::wait_for;
use crate::isolate::{run_guarded, run_rows_blocking};
use crate::text::Encoded;
use crate::{AnyEngine, Bundle, Device, Error, Plan, Planner, Reader, Result, Turn, Verdict};
use grice_model::{Batch, Engine, EngineError, EngineInfo, Logits, Manifest, PerMaxim, Precision};
use std::path::{Path, PathBuf};

/// How a detector is to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which of the bundle's precisions; the most exact one if `None`.
    pub precision: Option<Precision>,
    /// Threads for the engine; one if `None`.
    pub threads: Option<usize>,
    /// Thresholds in place of the manifest's.
    pub thresholds: Option<PerMaxim<f32>>,
    /// Where to run it; the processor by default.
    pub device: Device,
    /// A folder in which a GPU keeps what it need not find out twice: compiled pipelines, the best tiles. None is kept if `None`.
    pub gpu_cache: Option<PathBuf>,
}

/// A bundle read, checked and planned: the two ends of a detector, and what engines are made from.
pub struct Model {
    reader: Reader,
    plan: Plan,
}

impl Model {
    /// Reads a bundle and plans it for [`Options::device`], without blocking while a GPU works. [`Options::threads`] has no say
    /// here.
    ///
    /// # Errors
    /// Of [`crate::ErrorKind::BadModel`], naming the file and what does not fit; [`Error::Gpu`] if a GPU was asked for and
    /// cannot be used.
    pub async fn open(bundle: &Bundle, options: &Options) -> Result<Model> {
        let plan = Planner::new(bundle, options).open_last(options).await?;
        Ok(Model { reader: Reader::read(bundle, options, plan.bounds())?, plan })
    }

    /// As [`Model::open`], waiting for it. In a browser only the processor can be waited for.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn load(bundle: &Bundle, options: &Options) -> Result<Model> {
        wait_for(options.device, Model::open(bundle, options))?
    }

    /// An engine for this model; any number of them may be built.
    ///
    /// # Errors
    /// [`Error::Engine`] if the graph cannot be planned, [`Error::Gpu`] if a GPU has no room for it.
    pub fn build_engine(&self, threads: usize) -> Result<AnyEngine> {
        self.plan.engine(threads)
    }

    /// The network, made ready to run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Text in, verdict out.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The precision of its weights.
    pub fn precision(&self) -> Precision {
        self.plan.precision()
    }

    /// One more than the highest token id that the model can read, if its graph tells.
    pub fn id_bound(&self) -> Option<usize> {
        self.plan.embedding_rows()
    }
}

/// A loaded model that judges turns.
pub struct Detector {
    reader: Reader,
    engine: AnyEngine,
    /// What another engine is made of, should this one panic.
    plan: Plan,
    threads: usize,
    fallback_reason: Option<String>,
    warnings: Vec<String>,
    compiled: Option<PathBuf>,
}

impl Detector {
    /// Loads a bundle: tokenizer, graph and plan, checked to fit each other.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load(bundle: &Bundle, options: &Options) -> Result<Detector> {
        let model = Model::load(bundle, options)?;
        let threads = options.threads.unwrap_or(1);
        let engine = model.build_engine(threads)?;
        let fallback_reason = model.plan.fallback_reason().map(str::to_owned);
        let warnings = model.plan.warnings();
        let compiled = model.plan.compiled().map(Path::to_owned);
        let Model { reader, plan } = model;
        Ok(Detector { reader, engine, plan, threads, fallback_reason, warnings, compiled })
    }

    /// The verdict on one turn.
    ///
    /// # Errors
    /// Of [`crate::ErrorKind::BadInput`] for a turn that cannot be judged; other kinds for a model that fails.
    pub fn detect(&mut self, turn: &Turn) -> Result<Verdict> {
        let encoded = self.encode(turn)?;
        let logits = self.forward(&Batch::pack(&[&encoded.ids]).map_err(|error| Error::Batch(error.into()))?)?;
        self.reader.verdict(logits.row(0), encoded.reading())
    }

    /// A verdict for each turn, in their order. A turn that cannot be judged, or on which the model fails, gets its own error and
    /// disturbs no other.
    ///
    /// # Errors
    /// Only of a device that went away.
    pub fn detect_batch(&mut self, turns: &[Turn]) -> Result<Vec<Result<Verdict>>> {
        let encoded: Vec<Result<Encoded>> = turns.iter().map(|turn| self.encode(turn)).collect();
        let sequences: Vec<&[u32]> = encoded.iter().flatten().map(|encoded| encoded.ids.as_slice()).collect();
        let rows = match sequences.len() {
            0 => Vec::new(),
            _ => {
                let batch = Batch::pack(&sequences).map_err(|error| Error::Batch(error.into()))?;
                run_rows_blocking(&batch, |part| self.forward(part))?
            }
        };
        let mut rows = rows.into_iter();
        let verdicts = encoded.into_iter().map(|encoded| {
            let encoded = encoded?;
            let row = rows.next().ok_or(EngineError::Panicked)??;
            self.reader.verdict(&row, encoded.reading())
        });
        Ok(verdicts.collect())
    }

    /// Runs the engine; one that panicked is replaced.
    fn forward(&mut self, batch: &Batch) -> Result<Logits, EngineError> {
        match run_guarded(&mut self.engine, batch) {
            Err(EngineError::Panicked) => {
                self.engine = self.plan.engine(self.threads).map_err(|error| EngineError::Plan(error.to_string()))?;
                Err(EngineError::Run("an operator gave up".to_owned()))
            }
            outcome => outcome,
        }
    }

    /// Token ids of a turn, as the model reads it.
    ///
    /// # Errors
    /// As [`Detector::detect`].
    pub fn encode(&self, turn: &Turn) -> Result<Encoded> {
        self.reader.encode(turn)
    }

    /// The bundle's manifest.
    pub fn manifest(&self) -> &Manifest {
        self.reader.manifest()
    }

    /// The thresholds in force.
    pub fn thresholds(&self) -> &PerMaxim<f32> {
        self.reader.thresholds()
    }

    /// What runs the model.
    pub fn engine_info(&self) -> EngineInfo {
        self.engine.info()
    }

    /// As [`Plan::compiled`].
    pub fn compiled(&self) -> Option<&Path> {
        self.compiled.as_deref()
    }

    /// The name of the GPU that runs it, if one does.
    pub fn adapter(&self) -> Option<&str> {
        self.engine.adapter()
    }

    /// As [`Plan::warnings`], of the time of loading.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Why it runs on the processor where a GPU would have been welcome.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback_reason.as_deref()
    }
}
