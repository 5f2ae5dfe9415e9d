//! The compiled engine next to a bundle's model: made once for a device, and used at every start on it.

use super::open::{open_adapter, wait_for};
use super::plan::OnDevice;
use super::{Bounds, Plan, comparison};
use crate::{Bundle, Device, Error, Options, Result};
use grice_gpu::{Answers, CompiledPlan, GpuPlan, Origin};
use grice_model::{Batch, Logits, Precision};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The compiled file, and the times of the steps.
#[derive(Clone, Debug)]
pub struct Compilation {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// The adapter that it is for.
    pub adapter: String,
    /// Of the model.
    pub precision: Precision,
    /// Bytes of weights on the device.
    pub weight_bytes: u64,
    /// Reading and importing the ONNX file.
    pub import: Duration,
    /// Packing, uploading, choosing tiles, making pipelines and comparing with the processor.
    pub plan: Duration,
    /// Writing the file.
    pub write: Duration,
    /// Loading the file and comparing with the processor's answers; replaces `import` and `plan` in later starts.
    pub load: Duration,
}

/// Compiles a bundle's model for a GPU, writes the file and checks that it loads. `clock` returns the time since any fixed moment.
///
/// # Errors
/// [`Error::Gpu`] for a bundle without a place for the file, a model that does not run on the GPU, or a file that cannot be written; other
/// errors of the bundle.
pub fn compile(bundle: &Bundle, options: &Options, clock: fn() -> Duration) -> Result<Compilation> {
    wait_for(options.device, compile_for(bundle, options, clock))?
}

async fn compile_for(bundle: &Bundle, options: &Options, clock: fn() -> Duration) -> Result<Compilation> {
    let precision = options.precision_of(bundle);
    let Some(path) = bundle.compiled_path(precision, options.gpu_cache.as_deref())? else {
        let reason = "a compiled engine is stored next to its bundle, but this bundle is neither a folder nor a .tar file; for the built-in \
                      model it is stored in the cache folder: set GRICE_CACHE_DIR";
        return Err(Error::Gpu(reason.to_owned()));
    };
    let start = clock();
    let network = bundle.network(precision)?;
    let imported = clock();
    let (labels, embedding_rows) = (network.labels(), network.embedding_rows());
    let origin = Origin { digest: bundle.model_digest(precision)?, precision, labels, embedding_rows };
    let unfused = |unfused: &grice_model::Unfused| {
        Error::Gpu(format!("the GPU engine runs fused networks only: {}", unfused.reason))
    };
    let program = network.program().map_err(unfused)?.clone();
    let index = if let Device::Gpu(index) = options.device { index } else { None };
    let gpu = open_adapter(options, index).await.map_err(Error::Gpu)?;
    let told = |error: grice_gpu::GpuError| Error::Gpu(error.to_string());
    let planning = clock();
    let plan = GpuPlan::new(&gpu, program.clone(), labels).await.map_err(told)?;
    let batch = comparison::batch(&network).map_err(Error::Gpu)?;
    let expected = comparison::answer(network, precision, &batch).map_err(Error::Gpu)?;
    comparison::compare_answers(&batch, &expected, precision, &plan).await.map_err(Error::Gpu)?;
    let writing = clock();
    let bytes = plan.compile(&path, &program, origin, answers_of(&batch, &expected)).map_err(told)?;
    let written = clock();
    let weight_bytes = plan.weight_bytes();
    let adapter = gpu.adapter().name.clone();
    // Both at once may need too much device memory, and the pipelines of this one would make the other look fast.
    drop((plan, program, gpu));
    let gpu = open_adapter(options, index).await.map_err(Error::Gpu)?;
    let loading = clock();
    let compiled = CompiledPlan::open(&path).map_err(told)?;
    load(&gpu, &compiled, precision).await.map_err(Error::Gpu)?;
    Ok(Compilation {
        adapter,
        import: imported - start,
        plan: writing - planning,
        write: written - writing,
        load: clock() - loading,
        path,
        bytes,
        precision,
        weight_bytes,
    })
}

/// The plan from the compiled engine of a bundle's model, if one can be used on [`Options::device`], and why one
/// was ignored. With the plan, the ONNX file is not read and the processor's answers are not computed again.
pub(crate) async fn reuse_compiled(
    bundle: &Bundle,
    precision: Precision,
    options: &Options,
) -> Result<(Option<Plan>, Vec<String>)> {
    let index = match options.device {
        Device::Cpu => return Ok((None, Vec::new())),
        Device::Gpu(index) => index,
        Device::Auto => None,
    };
    let path = bundle.compiled_path(precision, options.gpu_cache.as_deref())?;
    let Some(path) = path.filter(|path| path.exists()) else { return Ok((None, Vec::new())) };
    let digest = bundle.model_digest(precision)?;
    let wanted = |origin: &Origin| {
        origin.digest == digest && origin.precision == precision && origin.labels == bundle.manifest().labels.len()
    };
    match reopen(&path, wanted, precision, options, index).await {
        Ok(plan) => Ok((Some(plan), Vec::new())),
        Err(None) => Ok((None, Vec::new())),
        Err(Some(reason)) => {
            let advice = "the ONNX file is used instead; run `grice compile` again";
            Ok((None, vec![format!("the compiled engine is ignored: {reason}; {advice}")]))
        }
    }
}

/// The plan in a file. An error without a reason is not the file's fault.
async fn reopen(
    path: &Path,
    wanted: impl Fn(&Origin) -> bool,
    precision: Precision,
    options: &Options,
    index: Option<usize>,
) -> Result<Plan, Option<String>> {
    let compiled = CompiledPlan::open(path).map_err(|error| Some(error.to_string()))?;
    if !wanted(compiled.origin()) {
        return Err(Some(format!("{}: it was made from another model than the bundle's", path.display())));
    }
    // Without a device the file cannot be checked; the caller gets the device's error when it opens the model itself.
    let gpu = open_adapter(options, index).await.map_err(|_| None)?;
    let plan = load(&gpu, &compiled, precision).await.map_err(Some)?;
    let bounds = Bounds { embedding_rows: compiled.origin().embedding_rows, ..Bounds::default() };
    let form = OnDevice::Gpu(gpu, plan);
    Ok(Plan { form, bounds, fallback_reason: None, compiled: Some(path.to_owned()), warnings: Vec::new() })
}

/// Uploads it, and compares its answers with the recorded answers of the processor.
async fn load(gpu: &grice_gpu::Gpu, compiled: &CompiledPlan, precision: Precision) -> Result<GpuPlan, String> {
    let plan = GpuPlan::load(gpu, compiled).await.map_err(|error| error.to_string())?;
    let labels = compiled.origin().labels;
    let Answers { sequences, logits } = compiled.answers();
    let batch = Batch::pack(sequences).map_err(|error| error.to_string())?;
    if logits.len() != batch.rows() * labels {
        return Err("its numbers of recorded answers and of sequences differ".to_owned());
    }
    let mut expected = Logits::zeros(batch.rows(), labels);
    for (row, bits) in logits.chunks_exact(labels.max(1)).enumerate() {
        for (value, bits) in expected.row_mut(row).iter_mut().zip(bits) {
            *value = f32::from_bits(*bits);
        }
    }
    comparison::compare_answers(&batch, &expected, precision, &plan).await?;
    Ok(plan)
}

fn answers_of(batch: &Batch, logits: &Logits) -> Answers {
    let rows = 0..batch.rows();
    Answers {
        sequences: rows.clone().map(|row| batch.sequence(row).to_vec()).collect(),
        logits: rows.flat_map(|row| logits.row(row).iter().map(|logit| logit.to_bits())).collect(),
    }
}
