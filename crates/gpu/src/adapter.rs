//! Which GPUs there are, and which of them is taken.

use crate::error::GpuError;
use std::fmt;

/// A GPU, or a program that acts as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// Its place in [`list_adapters`].
    pub index: usize,
    /// As the driver calls it; browsers may hide it.
    pub name: String,
    /// `"vulkan"`, `"metal"`, `"dx12"` or `"webgpu"`.
    pub backend: &'static str,
    /// The driver and its version; empty where nobody says.
    pub driver: String,
    /// What kind of device it is.
    pub kind: AdapterKind,
    /// What it offers beyond what every shader needs.
    pub features: Vec<&'static str>,
    /// What its shaders are bound by.
    pub limits: AdapterLimits,
    /// What it lacks to be used at all.
    pub unfit: Option<String>,
}

/// Kinds of devices, the better ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdapterKind {
    /// A card with memory of its own.
    Discrete,
    /// Shares the processor's memory.
    Integrated,
    /// Handed through to a virtual machine.
    Virtual,
    /// Nobody says; browsers do not.
    Unknown,
    /// A program on the processor: for tests, not for speed.
    Software,
}

/// The limits that decide what fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterLimits {
    /// Bytes of a buffer.
    pub buffer_bytes_max: u64,
    /// Bytes of a buffer that a shader sees.
    pub binding_bytes_max: u64,
    /// Bytes that a workgroup shares.
    pub workgroup_bytes_max: u32,
    /// Invocations in a workgroup.
    pub invocations_max: u32,
}

/// Which adapter to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selector {
    /// The best there is: discrete before integrated before software.
    #[default]
    Auto,
    /// By its place in [`list_adapters`](crate::list_adapters).
    Index(usize),
}

/// All adapters, in the order in which [`Selector::Index`] counts them; in a browser at most one.
pub async fn list_adapters() -> Vec<Adapter> {
    find_adapters().await.into_iter().map(|(_, adapter)| adapter).collect()
}

/// The adapter that a selector means.
pub(crate) async fn choose_adapter(selector: Selector) -> Result<(wgpu::Adapter, Adapter), GpuError> {
    let mut found = find_adapters().await;
    let adapters: Vec<&Adapter> = found.iter().map(|(_, adapter)| adapter).collect();
    let index = choose_index(&adapters, selector)?;
    Ok(found.swap_remove(index))
}

/// The better kind first, of equals the first listed. A software adapter is taken only if there is nothing else.
fn choose_index(adapters: &[&Adapter], selector: Selector) -> Result<usize, GpuError> {
    let index = match selector {
        Selector::Index(index) if index < adapters.len() => index,
        Selector::Index(index) if !adapters.is_empty() => {
            return Err(GpuError::NoSuchAdapter { index, count: adapters.len() });
        }
        _ => {
            let order = |index: &usize| (adapters[*index].unfit.is_some(), adapters[*index].kind);
            (0..adapters.len()).min_by_key(order).ok_or(GpuError::NoAdapter)?
        }
    };
    match &adapters[index].unfit {
        Some(reason) => Err(GpuError::Unfit { adapter: adapters[index].name.clone(), reason: reason.clone() }),
        None => Ok(index),
    }
}

async fn find_adapters() -> Vec<(wgpu::Adapter, Adapter)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    #[cfg(not(target_arch = "wasm32"))]
    let found = instance.enumerate_adapters(wgpu::Backends::all()).await;
    #[cfg(target_arch = "wasm32")]
    let found: Vec<wgpu::Adapter> = {
        let power_preference = wgpu::PowerPreference::HighPerformance;
        let options = wgpu::RequestAdapterOptions { power_preference, ..Default::default() };
        instance.request_adapter(&options).await.into_iter().collect()
    };
    let described = found.into_iter().enumerate().map(|(index, found)| {
        let adapter = describe(index, &found);
        (found, adapter)
    });
    described.collect()
}

fn describe(index: usize, found: &wgpu::Adapter) -> Adapter {
    let (info, limits) = (found.get_info(), found.limits());
    let known = [
        (wgpu::Features::SHADER_F16, "shader-f16"),
        (wgpu::Features::SUBGROUP, "subgroups"),
        (wgpu::Features::TIMESTAMP_QUERY, "timestamp-query"),
        (wgpu::Features::PIPELINE_CACHE, "pipeline-cache"),
        (wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, "cooperative-matrix"),
    ];
    let offered = found.features();
    Adapter {
        index,
        name: if info.name.is_empty() { "GPU without a name".to_owned() } else { info.name.clone() },
        backend: match info.backend {
            wgpu::Backend::Vulkan => "vulkan",
            wgpu::Backend::Metal => "metal",
            wgpu::Backend::Dx12 => "dx12",
            wgpu::Backend::BrowserWebGpu => "webgpu",
            wgpu::Backend::Gl => "gl",
            wgpu::Backend::Noop => "none",
        },
        driver: [info.driver.as_str(), info.driver_info.as_str()].join(" ").trim().to_owned(),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Cpu => AdapterKind::Software,
            wgpu::DeviceType::Other => AdapterKind::Unknown,
        },
        features: known.into_iter().filter(|(flag, _)| offered.contains(*flag)).map(|(_, name)| name).collect(),
        limits: AdapterLimits {
            buffer_bytes_max: limits.max_buffer_size,
            binding_bytes_max: limits.max_storage_buffer_binding_size,
            workgroup_bytes_max: limits.max_compute_workgroup_storage_size,
            invocations_max: limits.max_compute_invocations_per_workgroup,
        },
        unfit: lacking_limit(&limits),
    }
}

/// The first of WebGPU's default limits that an adapter does not reach.
fn lacking_limit(limits: &wgpu::Limits) -> Option<String> {
    let mut lacking = None;
    let least = wgpu::Limits::default();
    least.check_limits_with_fail_fn(limits, false, |name, needed, found| {
        // Textures and render targets are nothing to us, but a device asks for all of its limits at once.
        lacking.get_or_insert_with(|| format!("its {name} is {found}, and {needed} are needed"));
    });
    lacking
}

impl Adapter {
    /// Whether it is a program on the processor.
    pub fn is_software(&self) -> bool {
        self.kind == AdapterKind::Software
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, self.kind, self.backend)
    }
}

impl fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AdapterKind::Discrete => "discrete",
            AdapterKind::Integrated => "integrated",
            AdapterKind::Virtual => "virtual",
            AdapterKind::Unknown => "unknown kind",
            AdapterKind::Software => "software",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(kind: AdapterKind, unfit: bool) -> Adapter {
        let limits =
            AdapterLimits { buffer_bytes_max: 0, binding_bytes_max: 0, workgroup_bytes_max: 0, invocations_max: 0 };
        let unfit = unfit.then(|| "its max_buffer_size is 1, and 2 are needed".to_owned());
        let (name, driver) = (format!("a {kind} one"), String::new());
        Adapter { index: 0, name, backend: "vulkan", driver, kind, features: Vec::new(), limits, unfit }
    }

    fn check(adapters: &[(AdapterKind, bool)], selector: Selector, expected: Result<usize, &str>) {
        let adapters: Vec<Adapter> = adapters.iter().map(|&(kind, unfit)| adapter(kind, unfit)).collect();
        match (choose_index(&adapters.iter().collect::<Vec<_>>(), selector), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
            (found, expected) => panic!("{found:?} where {expected:?} was due"),
        }
    }

    #[test]
    fn the_best_kind_is_taken() {
        use AdapterKind::{Discrete, Integrated, Software, Unknown};
        check(&[(Software, false), (Integrated, false), (Discrete, false), (Discrete, false)], Selector::Auto, Ok(2));
        check(&[(Software, false), (Unknown, false)], Selector::Auto, Ok(1));
        check(&[(Software, false)], Selector::Auto, Ok(0));
        check(&[(Software, false), (Discrete, true)], Selector::Auto, Ok(0));
        check(&[(Software, false), (Discrete, false)], Selector::Index(0), Ok(0));
    }

    #[test]
    fn what_is_not_there_or_not_fit_is_refused() {
        check(&[], Selector::Auto, Err("no GPU was found"));
        check(&[], Selector::Index(1), Err("no GPU was found"));
        check(&[(AdapterKind::Discrete, false)], Selector::Index(1), Err("there is no GPU 1"));
        check(&[(AdapterKind::Discrete, true)], Selector::Auto, Err("max_buffer_size is 1"));
    }
}
