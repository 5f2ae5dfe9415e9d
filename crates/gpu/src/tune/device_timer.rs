//! Times choices on a device, with numbers that nobody needs.

use super::cache::{Kept, Key};
use super::stand::Stand;
use super::timing::{Timer, fastest};
use super::{Shape, Tiles, ladder};
use crate::device::Gpu;
use crate::error::GpuError;
use crate::gemm::{Choice, PackedWeights, Product, Scratch, Weights, quantized_bytes, shaders};
use crate::recording::{Arena, Buffer, Label, View};
use grice_kernels::Activation;
use grice_model::Slot;
use grice_model::{Linear, Matrix, Precision, Values};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What timing may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// For all candidates of a shape.
    pub(super) shape: Duration,
    /// For all shapes; those left over keep the table's choice until next time.
    pub(super) total: Duration,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { shape: Duration::from_millis(300), total: Duration::from_secs(5) }
    }
}

impl Tiles {
    /// Finds the fastest choices for shapes: from the cache's folder where they are there, by timing otherwise, and keeps them there. Returns
    /// what somebody should know: why a cache was of no use.
    ///
    /// # Errors
    /// [`GpuError::Lost`]; nothing else that goes wrong here is an error.
    pub(super) fn time(
        &mut self,
        gpu: &Gpu,
        shapes: &[Shape],
        budget: Budget,
        folder: Option<&Path>,
    ) -> Result<Vec<String>, GpuError> {
        let (key, mut warnings) = (key_of(gpu), Vec::new());
        let mut kept = Kept::new(key.clone());
        if let Some(folder) = folder {
            let (read, warning) = Kept::read(folder, &key, &self.abilities);
            kept = read;
            warnings.extend(warning);
        }
        let (start, mut fresh) = (Instant::now(), false);
        for shape in shapes {
            let known = kept.get(shape).filter(|choice| choice.method.precision() == shape.precision);
            if let Some(choice) = known {
                self.timed.insert(*shape, choice);
            } else if start.elapsed() < budget.total
                && let Some(choice) = self.time_shape(gpu, shape, budget.shape)?
            {
                self.timed.insert(*shape, choice);
                kept.set(shape, choice);
                fresh = true;
            }
        }
        if let Some(folder) = folder.filter(|_| fresh) {
            warnings.extend(kept.write(folder).err());
        }
        Ok(warnings)
    }

    fn time_shape(&self, gpu: &Gpu, shape: &Shape, budget: Duration) -> Result<Option<Choice>, GpuError> {
        let candidates = ladder::candidates(self.class, shape.precision, shape.size(), &self.abilities);
        let Ok(mut timer) = DeviceTimer::new(gpu, shape, self.abilities.binding_bytes_max) else { return Ok(None) };
        let best = fastest(&candidates, budget, &mut timer);
        gpu.lost().map_or(Ok(best.map(|(choice, _)| choice)), |reason| Err(GpuError::Lost(reason)))
    }
}

/// What timed choices hold for.
pub(super) fn key_of(gpu: &Gpu) -> Key {
    let adapter = gpu.adapter();
    let mut shaders_hash = blake3::Hasher::new();
    for shader in shaders::ALL {
        shaders_hash.update(shader.name.as_bytes()).update(shader.source.as_bytes());
    }
    Key {
        adapter: adapter.name.clone(),
        backend: adapter.backend.to_owned(),
        driver: adapter.driver.clone(),
        shaders: shaders_hash.finalize().to_hex().to_string(),
    }
}

/// Runs products of one shape.
pub(super) struct DeviceTimer<'a> {
    stand: Stand<'a>,
    shape: Shape,
    weights: Weights,
    shares_bytes: u64,
    start: Instant,
}

const X: Buffer = Buffer::Arena(Arena::Slot(Slot::Hidden));
const Y: Buffer = Buffer::Arena(Arena::Slot(Slot::Wide));
const SCRATCH: Scratch = Scratch {
    quantized: Buffer::Arena(Arena::Quantized),
    scales: Buffer::Arena(Arena::Scales),
    shares: Buffer::Arena(Arena::Shares),
};

impl<'a> DeviceTimer<'a> {
    pub(super) fn new(gpu: &'a Gpu, shape: &Shape, binding_bytes_max: u64) -> Result<DeviceTimer<'a>, GpuError> {
        let Shape { precision, rows, k, n } = *shape;
        let mut stand = Stand::new(gpu);
        let layer = layer_of(precision, k, n)?;
        let mut count = 0;
        let packed = PackedWeights::pack("timing", &[&layer], binding_bytes_max)?;
        let weights = packed.upload(|words| {
            stand.put(Buffer::Weight(count), 0, bytemuck::cast_slice(&words))?;
            count += 1;
            Ok::<_, GpuError>(Buffer::Weight(count - 1))
        })?;
        // Zeros: how long a product takes does not depend on its numbers.
        stand.put(X, (rows * k.next_multiple_of(4) * 4) as u64, &[])?;
        stand.put(Y, (rows * n.next_multiple_of(4) * 4) as u64, &[])?;
        stand.put(Buffer::Nothing, 16, &[])?;
        stand.put(SCRATCH.quantized, quantized_bytes(rows, k), &[])?;
        stand.put(SCRATCH.scales, rows as u64 * 4, &[])?;
        stand.put(SCRATCH.shares, 16, &[])?;
        Ok(DeviceTimer { stand, shape: *shape, weights, shares_bytes: 16, start: Instant::now() })
    }

    pub(super) fn product(&self) -> Product<'_> {
        let Shape { rows, k, n, .. } = self.shape;
        let view =
            |buffer, columns: usize| View { buffer, rows, columns, stride: columns.next_multiple_of(4), offset: 0 };
        Product {
            label: Label { layer: None, op: "timing", operations: 0 },
            x: view(X, k),
            weights: &self.weights,
            activation: Activation::Identity,
            residual: None,
            y: view(Y, n),
            scratch: SCRATCH,
        }
    }
}

impl Timer for DeviceTimer<'_> {
    fn time(&mut self, choice: &Choice, repeats: u32) -> Option<Duration> {
        let needed = self.product().shares_bytes(choice);
        if needed > self.shares_bytes {
            self.stand.put(SCRATCH.shares, needed, &[]).ok()?;
            self.shares_bytes = needed;
        }
        let dispatches = self.product().record(choice).ok()?;
        self.stand.run(&dispatches, repeats).ok()
    }

    fn spent(&self) -> Duration {
        self.start.elapsed()
    }
}

fn layer_of(precision: Precision, k: usize, n: usize) -> Result<Linear, GpuError> {
    let values = match precision {
        Precision::Fp32 | Precision::Int4 => Values::F32(vec![0.0; k * n]),
        Precision::Fp16 => Values::F16(vec![0; k * n]),
        Precision::Int8 => Values::Int8Columns { values: vec![0; k * n], scales: vec![0.0; n] },
    };
    let reason = format!("there are no weights of [{k}, {n}]");
    let refused = || GpuError::Lowering { step: "timing".to_owned(), reason };
    Ok(Linear { weights: Arc::new(Matrix::new(k, n, values).ok_or_else(refused)?), bias: None })
}
