//! The engines: one enum of what there is, and how a network comes to run on a device.

use crate::{Device, Error, Options, Result};
use grice_cpu::{CpuEngine, CpuPlan};
use grice_model::{Batch, Engine, EngineError, EngineInfo, Logits, Network, Precision, Trace};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
mod compiled;
#[cfg(feature = "gpu")]
mod self_test;

#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
pub use compiled::{Compilation, compile};

/// Of what blocks, in a browser.
const NO_WAITING: &str = "a browser's GPU cannot be waited for; use what is asynchronous";

/// An engine on either device.
pub enum AnyEngine {
    /// On the processor.
    Cpu(CpuEngine),
    /// On a GPU.
    #[cfg(feature = "gpu")]
    Gpu(Box<grice_gpu::GpuEngine>),
}

impl AnyEngine {
    /// As [`Engine::forward`], without blocking while a GPU works: what browsers need.
    ///
    /// # Errors
    /// As [`Engine::forward`].
    pub async fn run(&mut self, batch: &Batch) -> Result<Logits, EngineError> {
        match self {
            AnyEngine::Cpu(engine) => engine.forward(batch),
            #[cfg(feature = "gpu")]
            AnyEngine::Gpu(engine) => engine.run(batch).await,
        }
    }

    /// Bytes that lie on a GPU, the weights shared with other engines among them; none of an engine on the processor.
    pub fn device_bytes(&self) -> Option<u64> {
        match self {
            AnyEngine::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            AnyEngine::Gpu(engine) => Some(engine.memory()),
        }
    }

    /// The name of the GPU that it runs on.
    pub fn adapter(&self) -> Option<&str> {
        match self {
            AnyEngine::Cpu(_) => None,
            #[cfg(feature = "gpu")]
            AnyEngine::Gpu(engine) => Some(&engine.adapter().name),
        }
    }

    /// As [`Engine::forward`], with the time of every step: `clock` tells the time since any fixed moment, and has no say on a GPU,
    /// which has its own.
    ///
    /// # Errors
    /// As [`Engine::forward`]; [`EngineError::Run`] of a GPU that has no timestamps.
    pub fn forward_traced(&mut self, batch: &Batch, clock: fn() -> Duration) -> Result<(Logits, Trace), EngineError> {
        match self {
            AnyEngine::Cpu(engine) => {
                let mut trace = Trace::start(clock);
                Ok((engine.forward_traced(batch, &mut trace)?, trace))
            }
            #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
            AnyEngine::Gpu(engine) => pollster::block_on(engine.run_traced(batch)),
            #[cfg(all(feature = "gpu", target_arch = "wasm32"))]
            AnyEngine::Gpu(_) => Err(EngineError::Run(NO_WAITING.to_owned())),
        }
    }
}

impl Engine for AnyEngine {
    fn forward(&mut self, batch: &Batch) -> Result<Logits, EngineError> {
        match self {
            AnyEngine::Cpu(engine) => engine.forward(batch),
            #[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
            AnyEngine::Gpu(engine) => engine.forward(batch),
            #[cfg(all(feature = "gpu", target_arch = "wasm32"))]
            AnyEngine::Gpu(_) => Err(EngineError::Run(NO_WAITING.to_owned())),
        }
    }

    fn info(&self) -> EngineInfo {
        match self {
            AnyEngine::Cpu(engine) => engine.info(),
            #[cfg(feature = "gpu")]
            AnyEngine::Gpu(engine) => engine.info(),
        }
    }
}

/// What a network can read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Rows of the word embedding, one more than the highest usable token id; `None` if the graph gathers in another way.
    pub embedding_rows: Option<usize>,
    /// The most tokens of a sequence; `None` if there is no such bound, or none is known.
    pub longest: Option<usize>,
    /// Whether every sequence has that many, padding included, because the graph was exported so.
    pub is_fixed: bool,
}

impl Bounds {
    fn of(network: &Network) -> Bounds {
        let (embedding_rows, longest) = (network.embedding_rows(), network.longest());
        Bounds { embedding_rows, longest, is_fixed: network.is_fixed() }
    }
}

/// A network made ready for one device, to be shared by any number of engines.
#[derive(Clone)]
pub struct Plan {
    form: Form,
    bounds: Bounds,
    fallback_reason: Option<String>,
    compiled: Option<PathBuf>,
    warnings: Vec<String>,
}

#[derive(Clone)]
enum Form {
    Cpu(CpuPlan),
    #[cfg(feature = "gpu")]
    Gpu(grice_gpu::Gpu, grice_gpu::GpuPlan),
}

impl Plan {
    /// Packs weights for the processor, or uploads them to a GPU and compares its answers to a few short sequences with the
    /// processor's. Does not block while a GPU works.
    ///
    /// # Errors
    /// [`Error::Engine`] for a network that the processor cannot run; [`Error::Gpu`] saying why no GPU can be used where one was
    /// asked for. [`Device::Auto`] goes to the processor instead and keeps the reason.
    pub async fn open(network: Network, precision: Precision, options: &Options) -> Result<Plan> {
        let bounds = Bounds::of(&network);
        let (form, fallback_reason) = match options.device {
            Device::Cpu => (Form::Cpu(CpuPlan::new(network, precision)?), None),
            Device::Gpu(index) => (open_gpu(&network, precision, options, index).await.map_err(Error::Gpu)?, None),
            Device::Auto => match open_gpu(&network, precision, options, None).await {
                Ok(form) => (form, None),
                Err(reason) => (Form::Cpu(CpuPlan::new(network, precision)?), Some(reason)),
            },
        };
        Ok(Plan { form, bounds, fallback_reason, compiled: None, warnings: Vec::new() })
    }

    /// As [`Plan::open`], waiting for it. In a browser only [`Device::Cpu`] can be waited for.
    ///
    /// # Errors
    /// As [`Plan::open`].
    pub fn load(network: Network, precision: Precision, options: &Options) -> Result<Plan> {
        wait_for(options.device, Plan::open(network, precision, options))?
    }

    /// An engine with `threads` threads of its own; on a GPU they have no say.
    ///
    /// # Errors
    /// [`Error::Engine`] if its state cannot be made, [`Error::Gpu`] if its buffers cannot.
    pub fn engine(&self, threads: usize) -> Result<AnyEngine> {
        match &self.form {
            Form::Cpu(plan) => Ok(AnyEngine::Cpu(plan.engine(threads)?)),
            #[cfg(feature = "gpu")]
            Form::Gpu(_, plan) => match plan.engine() {
                Ok(engine) => Ok(AnyEngine::Gpu(Box::new(engine))),
                Err(error) => Err(Error::Gpu(error.to_string())),
            },
        }
    }

    /// Rows of the word embedding, one more than the highest usable token id; `None` if the graph gathers in another way.
    pub fn embedding_rows(&self) -> Option<usize> {
        self.bounds.embedding_rows
    }

    /// What the network can read.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether a sequence has the same answer with padding as without. If not, its tokens may be [`MASKED`](crate::MASKED).
    pub fn hides_padding(&self) -> bool {
        match &self.form {
            Form::Cpu(plan) => plan.hides_padding(),
            #[cfg(feature = "gpu")]
            Form::Gpu(..) => true,
        }
    }

    /// The precision of the file.
    pub fn precision(&self) -> Precision {
        match &self.form {
            Form::Cpu(plan) => plan.precision(),
            #[cfg(feature = "gpu")]
            Form::Gpu(_, plan) => plan.precision(),
        }
    }

    /// `"cpu"` or `"gpu"`.
    pub fn device(&self) -> &'static str {
        match &self.form {
            Form::Cpu(_) => "cpu",
            #[cfg(feature = "gpu")]
            Form::Gpu(..) => "gpu",
        }
    }

    /// What went wrong on a GPU without stopping anybody, such as a cache or a compiled engine that was left aside. Each for a log
    /// or a screen.
    pub fn warnings(&self) -> Vec<String> {
        let of_device = match &self.form {
            Form::Cpu(_) => Vec::new(),
            #[cfg(feature = "gpu")]
            Form::Gpu(gpu, _) => gpu.warnings(),
        };
        self.warnings.iter().cloned().chain(of_device).collect()
    }

    /// The same plan with more to warn of.
    pub(crate) fn with_warnings(self, warnings: Vec<String>) -> Plan {
        Plan { warnings, ..self }
    }

    /// The compiled engine that it came from, if it did.
    pub fn compiled(&self) -> Option<&Path> {
        self.compiled.as_deref()
    }

    /// Whether its device went away: then it has to be opened anew.
    pub fn is_lost(&self) -> bool {
        match &self.form {
            Form::Cpu(_) => false,
            #[cfg(feature = "gpu")]
            Form::Gpu(gpu, _) => gpu.lost().is_some(),
        }
    }

    /// The GPU that it lies on.
    #[cfg(feature = "gpu")]
    pub fn gpu(&self) -> Option<&grice_gpu::Gpu> {
        match &self.form {
            Form::Cpu(_) => None,
            Form::Gpu(gpu, _) => Some(gpu),
        }
    }

    /// Why it runs on the processor where a GPU would have been welcome.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback_reason.as_deref()
    }
}

/// Waits for a future that concerns a device.
pub(crate) fn wait_for<T>(device: Device, future: impl Future<Output = T>) -> Result<T> {
    if cfg!(target_arch = "wasm32") && device != Device::Cpu {
        return Err(Error::Gpu(NO_WAITING.to_owned()));
    }
    Ok(pollster::block_on(future))
}

#[cfg(feature = "gpu")]
async fn open_gpu(
    network: &Network,
    precision: Precision,
    options: &Options,
    index: Option<usize>,
) -> Result<Form, String> {
    use grice_gpu::GpuPlan;
    let program =
        network.program().map_err(|unfused| format!("the GPU engine runs fused networks only: {}", unfused.reason))?;
    let gpu = open_adapter(options, index).await?;
    let plan = GpuPlan::new(&gpu, program.clone(), network.labels()).await.map_err(|error| error.to_string())?;
    self_test::compare(network.clone(), precision, &plan).await?;
    Ok(Form::Gpu(gpu, plan))
}

/// The adapter that the options mean.
#[cfg(feature = "gpu")]
async fn open_adapter(options: &Options, index: Option<usize>) -> Result<grice_gpu::Gpu, String> {
    use grice_gpu::{Gpu, Selector, Settings};
    let selector = match (options.device, index) {
        (Device::Auto, _) => Selector::Index(find_hardware().await?),
        (_, Some(index)) => Selector::Index(index),
        (_, None) => Selector::Auto,
    };
    let settings = Settings { cache: options.gpu_cache.clone(), timestamps: true, ..Settings::default() };
    Gpu::open(selector, &settings).await.map_err(|error| error.to_string())
}

/// The best adapter that is no program on the processor: such a one is slower than the processor's own kernels.
#[cfg(feature = "gpu")]
async fn find_hardware() -> Result<usize, String> {
    let adapters = grice_gpu::list_adapters().await;
    let fit = adapters.iter().filter(|adapter| !adapter.is_software() && adapter.unfit.is_none());
    if let Some(best) = fit.min_by_key(|adapter| adapter.kind) {
        return Ok(best.index);
    }
    Err(match adapters.iter().min_by_key(|adapter| adapter.kind) {
        None => "no GPU was found".to_owned(),
        Some(adapter) => match &adapter.unfit {
            Some(reason) => format!("{adapter} cannot be used: {reason}"),
            None => format!("{adapter} is slower than the CPU's own kernels"),
        },
    })
}

#[cfg(not(feature = "gpu"))]
async fn open_gpu(_: &Network, _: Precision, _: &Options, _: Option<usize>) -> Result<Form, String> {
    Err("this build has no GPU engine; build with the feature `gpu`".to_owned())
}

/// The plan out of the compiled engine of a bundle's model, where there is one that can be used on [`Options::device`], and why one
/// was left aside. Neither the ONNX file is read then nor the processor's answers worked out anew.
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
pub(crate) async fn reuse_compiled(
    bundle: &crate::Bundle,
    precision: Precision,
    options: &Options,
) -> Result<(Option<Plan>, Vec<String>)> {
    compiled::reuse(bundle, precision, options).await
}

/// None: there is no GPU here that an engine could have been compiled for.
#[cfg(not(all(feature = "gpu", not(target_arch = "wasm32"))))]
pub(crate) async fn reuse_compiled(
    _: &crate::Bundle,
    _: Precision,
    _: &Options,
) -> Result<(Option<Plan>, Vec<String>)> {
    Ok((None, Vec::new()))
}

/// All adapters, in the order in which [`Device::Gpu`] counts them.
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
pub fn find_adapters() -> Vec<grice_gpu::Adapter> {
    pollster::block_on(grice_gpu::list_adapters())
}

/// Plans an ONNX file of a detector with `labels` output columns. `path` is for messages. `as_written` runs its operators one by
/// one as the file has them, where else the engine may run equal layers in a way of its own: a static int8 file with the ranges
/// that it holds, say, rather than with ranges of each token.
///
/// # Errors
/// [`Error::Model`] for a graph that cannot be imported, [`Error::Engine`] or [`Error::Gpu`] for one that cannot be planned.
pub fn plan_engine(path: &str, onnx: &[u8], labels: usize, as_written: bool, options: &Options) -> Result<AnyEngine> {
    let imported = if as_written { Network::import_graph(onnx, labels) } else { Network::import(onnx, labels) };
    let network = imported.map_err(|source| Error::Model { path: path.to_owned(), source: source.into() })?;
    let precision = options.precision.unwrap_or(Precision::Fp32);
    Plan::load(network, precision, options)?.engine(options.threads.unwrap_or(1))
}
