//! The model to measure (a bundle or a bare ONNX file), and tokens for it.

use crate::args::Common;
use crate::error::{CliError, Result};
use crate::model::{gpu_cache, open_bundle, quietly, tell_device, threads};
use crate::workers::Workers;
use grice_core::{AnyEngine, Batch, Embedder, Error, Model, Options, Plan, Precision, import_model_file};
use std::path::Path;
use std::time::Duration;

/// Number of labels of a detector, because a bare file has no manifest.
const LABELS: usize = 4;

/// A model that is ready to run.
pub(crate) struct Subject {
    /// The bundle's name and version, or the file's path.
    pub(crate) name: String,
    pub(crate) precision: Precision,
    pub(crate) workers: Workers,
    /// For more engines.
    pub(crate) plan: Plan,
    pub(crate) engine: AnyEngine,
    /// One more than the highest token id.
    pub(crate) vocabulary: usize,
    /// Reading, importing, fusing and packing.
    pub(crate) load: Duration,
}

/// Whether the path is a bare ONNX file.
pub(crate) fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"))
}

/// Loads the model of `--model`, or the built-in one.
///
/// # Errors
/// Errors of the file or bundle; a precision that is not available.
pub(crate) fn load_subject(common: &Common) -> Result<Subject> {
    let start = std::time::Instant::now();
    let threads = threads(common);
    let options =
        Options { precision: common.precision, device: common.device, gpu_cache: gpu_cache(), ..Options::default() };
    let (name, plan) = match &common.model {
        Some(path) if is_onnx(path) => (path.display().to_string(), plan_file(path, &options)?),
        _ => {
            let bundle = open_bundle(common)?;
            let manifest = bundle.manifest();
            let name = format!("{} {}", manifest.name, manifest.version).trim_end().to_owned();
            let model = quietly(|| Model::load(&bundle, &options))?.map_err(CliError::Core)?;
            (name, model.plan().clone())
        }
    };
    tell_device(plan.fallback_reason(), &plan.warnings(), common);
    let engine = plan.engine(threads)?;
    let vocabulary = plan.embedding_rows().unwrap_or(1).max(1);
    let workers = Workers::new(threads, engine.adapter());
    Ok(Subject { name, precision: plan.precision(), workers, plan, engine, vocabulary, load: start.elapsed() })
}

/// Loads the embedder of `--model`.
///
/// # Errors
/// [`CliError::NoEmbedder`] without a path; errors of the folder.
pub(crate) fn load_embedder(common: &Common) -> Result<Subject> {
    let start = std::time::Instant::now();
    let threads = threads(common);
    let path = common.model.as_deref().ok_or(CliError::NoEmbedder)?;
    let options =
        Options { precision: common.precision, device: common.device, gpu_cache: gpu_cache(), ..Options::default() };
    let embedder = quietly(|| Embedder::open(path, &options))??;
    tell_device(embedder.fallback_reason(), embedder.warnings(), common);
    let plan = embedder.plan().clone();
    let engine = plan.engine(threads)?;
    let vocabulary = plan.embedding_rows().unwrap_or(1).max(1);
    let (name, workers) = (embedder.name().to_owned(), Workers::new(threads, engine.adapter()));
    Ok(Subject { name, precision: plan.precision(), workers, plan, engine, vocabulary, load: start.elapsed() })
}

fn plan_file(path: &Path, options: &Options) -> Result<Plan> {
    let place = path.display().to_string();
    let at_fault = |source| CliError::Core(Error::Model { path: place.clone(), source: Box::new(source) });
    let network = quietly(|| import_model_file(path, LABELS))?.map_err(CliError::Core)?;
    let precision = options.precision.unwrap_or_else(|| network.precision());
    let network = network.to_precision(precision).map_err(at_fault)?;
    quietly(|| Plan::load(network, precision, options))?.map_err(CliError::Core)
}

/// Tokens spread over the vocabulary, the same in every run; without an end.
pub(crate) fn synthetic_tokens(vocabulary: usize) -> impl Iterator<Item = u32> {
    let mut state = 1u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % vocabulary as u64) as u32
    })
}

/// Sequences of these lengths with tokens spread over the vocabulary, the same in every run.
///
/// # Errors
/// More tokens than a batch can address.
pub(crate) fn synthetic_batch(lengths: &[usize], vocabulary: usize) -> Result<Batch> {
    let mut tokens = synthetic_tokens(vocabulary);
    let rows: Vec<Vec<u32>> = lengths.iter().map(|&length| tokens.by_ref().take(length).collect()).collect();
    Batch::pack(&rows).map_err(|error| CliError::Core(Error::Batch(error.into())))
}
