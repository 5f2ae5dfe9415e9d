//! The detection task: turns in, verdicts out.

use crate::text::{Encoded, Tokenizer};
use crate::{Bundle, Error, Reader, Result, Turn, Verdict};
use grice_cpu::{CpuEngine, CpuPlan};
use grice_model::{Batch, Engine, EngineInfo, Logits, Manifest, Network, PerMaxim, Precision};

/// How a detector is to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which of the bundle's precisions; the most exact one if `None`.
    pub precision: Option<Precision>,
    /// Threads for the engine; one if `None`.
    pub threads: Option<usize>,
    /// Thresholds in place of the manifest's.
    pub thresholds: Option<PerMaxim<f32>>,
}

/// A bundle read, checked and planned: the two ends of a detector, and what engines are made from.
pub struct Model {
    reader: Reader,
    plan: CpuPlan,
}

impl Model {
    /// Reads a bundle: tokenizer and graph, checked to fit each other. [`Options::threads`] has no say here.
    ///
    /// # Errors
    /// Of [`crate::ErrorKind::BadModel`], naming the file and what does not fit.
    pub fn load(bundle: &Bundle, options: &Options) -> Result<Model> {
        let manifest = bundle.manifest().clone();
        let precision = options.precision.unwrap_or_else(|| manifest.default_precision());
        let (path, onnx) = bundle.model(precision)?;
        let network = Network::import(onnx, manifest.labels.len())
            .map_err(|source| Error::Model { path: path.to_owned(), source })?;
        let plan = CpuPlan::new(network, precision)?;
        let tokenizer = Tokenizer::from_json(&bundle.tokenizer()?)?;
        check_ids(&tokenizer, plan.embedding_rows())?;
        check_positions(bundle)?;
        Ok(Model { reader: Reader::new(manifest, tokenizer, options.thresholds), plan })
    }

    /// An engine for this model; any number of them may be built.
    ///
    /// # Errors
    /// [`Error::Engine`] if the graph cannot be planned.
    pub fn build_engine(&self, threads: usize) -> Result<CpuEngine> {
        Ok(self.plan.engine(threads)?)
    }

    /// The network, made ready to run.
    pub fn plan(&self) -> &CpuPlan {
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
    engine: CpuEngine,
}

impl Detector {
    /// Loads a bundle: tokenizer, graph and plan, checked to fit each other.
    ///
    /// # Errors
    /// Of [`crate::ErrorKind::BadModel`], naming the file and what does not fit.
    pub fn load(bundle: &Bundle, options: &Options) -> Result<Detector> {
        let model = Model::load(bundle, options)?;
        let engine = model.build_engine(options.threads.unwrap_or(1))?;
        Ok(Detector { reader: model.reader, engine })
    }

    /// The verdict on one turn.
    ///
    /// # Errors
    /// Of [`crate::ErrorKind::BadInput`] for a turn that cannot be judged; other kinds for a model that fails.
    pub fn detect(&mut self, turn: &Turn) -> Result<Verdict> {
        let encoded = self.encode(turn)?;
        let logits = self.engine.forward(&Batch::pack(&[&encoded.ids]).map_err(Error::Batch)?)?;
        self.reader.verdict(logits.row(0), encoded.truncated)
    }

    /// A verdict for each turn, in their order. A turn that cannot be judged gets its own error and disturbs no other.
    ///
    /// # Errors
    /// Only what concerns the batch as a whole: an engine that fails.
    pub fn detect_batch(&mut self, turns: &[Turn]) -> Result<Vec<Result<Verdict>>> {
        let encoded: Vec<Result<Encoded>> = turns.iter().map(|turn| self.encode(turn)).collect();
        let sequences: Vec<&[u32]> = encoded.iter().flatten().map(|encoded| encoded.ids.as_slice()).collect();
        let logits = match sequences.len() {
            0 => Logits::zeros(0, self.manifest().labels.len()),
            _ => self.engine.forward(&Batch::pack(&sequences).map_err(Error::Batch)?)?,
        };
        let mut row = 0;
        let mut verdicts = Vec::with_capacity(turns.len());
        for encoded in encoded {
            verdicts.push(encoded.and_then(|encoded| {
                row += 1;
                self.reader.verdict(logits.row(row - 1), encoded.truncated)
            }));
        }
        Ok(verdicts)
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
}

fn check_ids(tokenizer: &Tokenizer, embedding_rows: Option<usize>) -> Result<()> {
    let bound = tokenizer.id_bound();
    match embedding_rows {
        Some(rows) if bound > rows => Err(Error::Tokenizer(format!(
            "it produces ids up to {}, but the model's embedding has only {rows} rows; tokenizer and model do not fit",
            bound - 1
        ))),
        _ => Ok(()),
    }
}

/// A model with one row a position cannot read past its last row.
fn check_positions(bundle: &Bundle) -> Result<()> {
    let manifest = bundle.manifest();
    if !manifest.family.positions_are_rows() {
        return Ok(());
    }
    let config = bundle.config()?;
    match config.get("max_position_embeddings").and_then(serde_json::Value::as_u64) {
        Some(rows) if (manifest.max_tokens as u64) > rows => Err(Error::BundleFile {
            path: "grice.json".to_owned(),
            cause: format!(
                "`max_tokens` is {}, but config.json gives the encoder only {rows} positions; lower `max_tokens`",
                manifest.max_tokens
            ),
        }),
        _ => Ok(()),
    }
}
