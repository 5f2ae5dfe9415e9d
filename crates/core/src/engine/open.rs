//! Opens a network on the requested device.

#[cfg(feature = "onnx")]
use super::AnyEngine;
use super::any::NO_WAITING;
#[cfg(feature = "gpu")]
use super::comparison;
use super::plan::OnDevice;
use super::{Bounds, Plan};
use crate::{Device, Error, Options, Result};
use grice_cpu::CpuPlan;
use grice_model::{Network, Precision};

impl Plan {
    /// Packs weights for the processor, or uploads them to a GPU and compares its answers to a few short sequences with the
    /// processor's. Does not block while a GPU works.
    ///
    /// # Errors
    /// [`Error::Engine`] for a network that the processor cannot run; [`Error::Gpu`] with the reason if a GPU is required but cannot be
    /// used. [`Device::Auto`] uses the processor instead and keeps the reason.
    pub async fn open(network: Network, precision: Precision, options: &Options) -> Result<Plan> {
        let bounds = Bounds::of(&network);
        let (form, fallback_reason) = match options.device {
            Device::Cpu => (OnDevice::Cpu(CpuPlan::new(network, precision)?), None),
            Device::Gpu(index) => (open_gpu(&network, precision, options, index).await.map_err(Error::Gpu)?, None),
            Device::Auto => match open_gpu(&network, precision, options, None).await {
                Ok(form) => (form, None),
                Err(reason) => (OnDevice::Cpu(CpuPlan::new(network, precision)?), Some(reason)),
            },
        };
        Ok(Plan { form, bounds, fallback_reason, compiled: None, warnings: Vec::new() })
    }

    /// As [`Plan::open`], blocking. In a browser only [`Device::Cpu`] can block.
    ///
    /// # Errors
    /// As [`Plan::open`].
    pub fn load(network: Network, precision: Precision, options: &Options) -> Result<Plan> {
        wait_for(options.device, Plan::open(network, precision, options))?
    }
}

/// Blocks on a future of a device.
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
) -> Result<OnDevice, String> {
    use grice_gpu::GpuPlan;
    let program =
        network.program().map_err(|unfused| format!("the GPU engine runs fused networks only: {}", unfused.reason))?;
    let gpu = open_adapter(options, index).await?;
    let plan = GpuPlan::new(&gpu, program.clone(), network.labels()).await.map_err(|error| error.to_string())?;
    comparison::compare(network.clone(), precision, &plan).await?;
    Ok(OnDevice::Gpu(gpu, plan))
}

/// The adapter that the options select.
#[cfg(feature = "gpu")]
pub(super) async fn open_adapter(options: &Options, index: Option<usize>) -> Result<grice_gpu::Gpu, String> {
    use grice_gpu::{Gpu, Selector, Settings};
    let selector = match (options.device, index) {
        (Device::Auto, _) => Selector::Index(find_hardware().await?),
        (_, Some(index)) => Selector::Index(index),
        (_, None) => Selector::Auto,
    };
    let settings = Settings { cache: options.gpu_cache.clone(), timestamps: true, ..Settings::default() };
    Gpu::open(selector, &settings).await.map_err(|error| error.to_string())
}

/// The best hardware adapter: software adapters are slower than the processor's own kernels.
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
async fn open_gpu(_: &Network, _: Precision, _: &Options, _: Option<usize>) -> Result<OnDevice, String> {
    Err("this build has no GPU engine; build with the feature `gpu`".to_owned())
}

/// All adapters, in the order in which [`Device::Gpu`] counts them.
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
pub fn find_adapters() -> Vec<grice_gpu::Adapter> {
    pollster::block_on(grice_gpu::list_adapters())
}

/// Plans an ONNX file of a detector with `labels` output columns. `path` is for messages. With `as_written`, the operators run one by
/// one as in the file; without it, the engine may run equal layers in its own form. For example, a static int8 file then uses
/// ranges per token instead of its stored ranges.
///
/// # Errors
/// [`Error::Model`] for a graph that cannot be imported, [`Error::Engine`] or [`Error::Gpu`] for one that cannot be planned.
#[cfg(feature = "onnx")]
pub fn plan_engine(path: &str, onnx: &[u8], labels: usize, as_written: bool, options: &Options) -> Result<AnyEngine> {
    let imported = if as_written { Network::import_graph(onnx, labels) } else { Network::import(onnx, labels) };
    let network = imported.map_err(|source| Error::Model { path: path.to_owned(), source: source.into() })?;
    let precision = options.precision.unwrap_or(Precision::Fp32);
    Plan::load(network, precision, options)?.engine(options.threads.unwrap_or(1))
}

/// None, because this build has no GPU engine.
#[cfg(not(all(feature = "gpu", not(target_arch = "wasm32"))))]
pub(crate) async fn reuse_compiled(
    _: &crate::Bundle,
    _: Precision,
    _: &Options,
) -> Result<(Option<Plan>, Vec<String>)> {
    Ok((None, Vec::new()))
}
