//! The ways to make a product, timed one by one: for benches.

use super::device_timer::DeviceTimer;
use super::timing::fastest;
use super::{Class, Shape, Size, check, ladder};
use crate::device::Gpu;
use crate::error::GpuError;
use crate::gemm::{Abilities, Method};
use grice_model::Precision;
use std::time::Duration;

/// A way to make a product, and how long it takes.
#[derive(Clone, Debug)]
pub struct TimedProduct {
    /// Shader and sizes.
    pub method: String,
    /// Whether it goes by cooperative matrices.
    pub is_cooperative: bool,
    /// Of one product, its dispatches one after another with many others like it.
    pub time: Duration,
}

/// Times every way to multiply `[m, k]` by weights of `[k, n]`, in about `budget` in all; the best guess for the adapter comes first.
/// Cooperative matrices are left out where they do not make the right products.
///
/// # Errors
/// [`GpuError`] if the device has no room for the matrices, or is lost.
pub fn time_products(
    gpu: &Gpu,
    precision: Precision,
    [m, k, n]: [usize; 3],
    budget: Duration,
) -> Result<Vec<TimedProduct>, GpuError> {
    let mut abilities = gpu.abilities();
    if let Some(fragments) = abilities.cooperative
        && check::cooperative_fault(gpu, fragments, &abilities)?.is_some()
    {
        abilities = Abilities { cooperative: None, ..abilities };
    }
    let size = Size { m, k, n };
    let candidates = ladder::candidates(Class::of(gpu.adapter()), precision, size, &abilities);
    let mut timer = DeviceTimer::new(gpu, &Shape { precision, rows: m, k, n }, abilities.binding_bytes_max)?;
    let each = budget / candidates.len().max(1) as u32;
    let mut timed = Vec::new();
    for choice in candidates {
        if let Some((choice, time)) = fastest(&[choice], each, &mut timer) {
            let is_cooperative = matches!(choice.method, Method::Cooperative { .. });
            timed.push(TimedProduct { method: format!("{choice:?}"), is_cooperative, time });
        }
    }
    gpu.lost().map_or(Ok(timed), |reason| Err(GpuError::Lost(reason)))
}
