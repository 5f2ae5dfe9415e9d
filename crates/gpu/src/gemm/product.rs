//! A product as a list of dispatches. Pure: it names buffers and holds none.

use super::method::{Choice, Method, WORKGROUPS_MAX};
use super::shaders::{QUANTIZE_ROWS, REDUCE};
use super::weights::{WeightPart, Weights};
use crate::error::GpuError;
use crate::recording::{Buffer, Dispatch, Label, PipelineKey, View};
use grice_kernels::Activation;
use grice_model::Precision;

/// `y = act(x · w + bias) + residual`, for `x` `[rows, k]`, `w` `[k, n]`, `residual` and `y` `[rows, n]`.
///
/// Views start and go on in multiples of four numbers. If `n` is no multiple of four, `y` and the residual have room for the next one;
/// what `y` holds there is zero if the residual's is.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    /// What it is part of.
    pub(crate) label: Label,
    pub(crate) x: View,
    pub(crate) weights: &'a Weights,
    pub(crate) activation: Activation,
    pub(crate) residual: Option<View>,
    pub(crate) y: View,
    pub(crate) scratch: Scratch,
}

/// Buffers that a product uses on the way, and leaves anything in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scratch {
    /// Rows in 8 bits, [`quantized_bytes`]; for 8-bit weights.
    pub(crate) quantized: Buffer,
    /// Their scales, four bytes a row; for 8-bit weights.
    pub(crate) scales: Buffer,
    /// Sums over shares of k, [`Product::shares_bytes`].
    pub(crate) shares: Buffer,
}

/// Bytes of `rows` rows of `k` numbers in 8 bits.
pub(crate) fn quantized_bytes(rows: usize, k: usize) -> u64 {
    rows as u64 * k.next_multiple_of(16) as u64
}

impl Product<'_> {
    /// The dispatches that make it, in order.
    ///
    /// # Errors
    /// [`GpuError::Lowering`] if views and weights do not fit each other or the choice does not fit the weights; [`GpuError::Limit`] for more
    /// than 32-bit indices reach.
    pub(crate) fn record(&self, choice: &Choice) -> Result<Vec<Dispatch>, GpuError> {
        self.check(choice)?;
        let mut dispatches = Vec::new();
        if self.weights.precision == Precision::Int8 {
            self.record_quantization(&mut dispatches)?;
        }
        for part in &self.weights.parts {
            self.record_part(choice, part, &mut dispatches)?;
        }
        Ok(dispatches)
    }

    /// Bytes of [`Scratch::shares`] that a choice needs, or 0.
    pub(crate) fn shares_bytes(&self, choice: &Choice) -> u64 {
        let (shares, _) = choice.shares_of(u32::try_from(self.weights.k).unwrap_or(u32::MAX));
        let widest = self.weights.parts.iter().map(|part| part.range.len().next_multiple_of(4)).max().unwrap_or(0);
        if shares > 1 { u64::from(shares) * self.x.rows as u64 * widest as u64 * 4 } else { 0 }
    }

    fn check(&self, choice: &Choice) -> Result<(), GpuError> {
        let refuse = |reason: String| Err(GpuError::Lowering { step: self.label.op.to_owned(), reason });
        let (rows, k, n) = (self.x.rows, self.weights.k, self.weights.n);
        if choice.method.precision() != self.weights.precision {
            return refuse(format!("{:?} cannot multiply with {} weights", choice.method, self.weights.precision));
        }
        if self.x.columns != k {
            return refuse(format!("rows of {} numbers do not fit weights of [{k}, {n}]", self.x.columns));
        }
        let outs = self.residual.iter().chain([&self.y]);
        if rows == 0 || outs.clone().any(|view| (view.rows, view.columns) != (rows, n)) {
            return refuse(format!("results of another shape than [{rows}, {n}]"));
        }
        let views = outs.chain([&self.x]);
        if views.clone().any(|view| view.stride % 4 != 0 || view.offset % 4 != 0 || view.stride < view.columns) {
            return refuse("rows that do not start at multiples of four numbers".to_owned());
        }
        let mut reads = [Some(self.x), self.residual].into_iter().flatten();
        if reads.any(|view| view.buffer == self.y.buffer && self.y.buffer != Buffer::Nothing) {
            return refuse("its result would overwrite what it reads".to_owned());
        }
        let mut ends = views.map(|view| view.offset as u64 + view.rows as u64 * view.stride as u64);
        let needed = ends.by_ref().max().unwrap_or(0).max(self.shares_bytes(choice) / 4);
        if needed > u64::from(u32::MAX) {
            let (what, name) = (format!("a matrix of {}", self.label.op), "32-bit indices");
            return Err(GpuError::Limit { what, needed, limit: u64::from(u32::MAX), name });
        }
        Ok(())
    }

    fn record_quantization(&self, dispatches: &mut Vec<Dispatch>) -> Result<(), GpuError> {
        let stride = self.weights.k.next_multiple_of(16) / 4;
        for (first, rows) in chunks(self.x.rows, WORKGROUPS_MAX as usize) {
            let mut shape = Shape { k: self.weights.k, y_stride: stride, ..Shape::of_rows(&self.x, first) };
            (shape.x_stride, shape.x_offset) = (self.x.stride / 4, self.x.offset / 4);
            dispatches.push(Dispatch {
                label: Label { operations: 0, ..self.label },
                pipeline: PipelineKey { shader: &QUANTIZE_ROWS, constants: self.tail_constants() },
                buffers: vec![self.x.buffer, self.scratch.quantized, self.scratch.scales],
                workgroups: [index(rows)?, 1, 1],
                uniforms: shape.words()?,
            });
        }
        Ok(())
    }

    fn record_part(&self, choice: &Choice, part: &WeightPart, dispatches: &mut Vec<Dispatch>) -> Result<(), GpuError> {
        let k = self.weights.k;
        let (shares, k_share) = choice.shares_of(index(k)?);
        let (tile_m, tile_n) = choice.method.tile();
        let shape = self.shape_of(part, shares, k_share);
        let y = if shares > 1 { self.scratch.shares } else { self.y.buffer };
        let mut constants = choice.method.constants();
        constants.extend(self.tail_constants());
        constants.push(("SPLIT", u32::from(shares > 1)));
        if shares == 1 {
            constants.extend(self.epilogue_constants());
        }
        for (first, rows) in chunks(self.x.rows, WORKGROUPS_MAX as usize * tile_m as usize) {
            let mut buffers = vec![self.x.buffer, part.weights, part.columns, self.residual_buffer(), y];
            if self.weights.precision == Precision::Int8 {
                buffers[0] = self.scratch.quantized;
                buffers.push(self.scratch.scales);
            }
            let operations = 2 * rows as u64 * k as u64 * part.range.len() as u64;
            dispatches.push(Dispatch {
                label: Label { operations, ..self.label },
                pipeline: PipelineKey { shader: choice.method.shader(), constants: constants.clone() },
                buffers,
                workgroups: [
                    index(part.range.len().div_ceil(tile_n as usize))?,
                    index(rows.div_ceil(tile_m as usize))?,
                    shares,
                ],
                uniforms: Shape { first_row: first, ..shape }.words()?,
            });
        }
        if shares > 1 { self.record_reduction(part, &shape, dispatches) } else { Ok(()) }
    }

    fn record_reduction(
        &self,
        part: &WeightPart,
        shape: &Shape,
        dispatches: &mut Vec<Dispatch>,
    ) -> Result<(), GpuError> {
        let int8 = self.weights.precision == Precision::Int8;
        let mut constants = vec![("INT8", u32::from(int8))];
        constants.extend(self.epilogue_constants());
        let scales = if int8 { self.scratch.scales } else { Buffer::Nothing };
        for (first, rows) in chunks(self.x.rows, WORKGROUPS_MAX as usize) {
            dispatches.push(Dispatch {
                label: Label { operations: 0, ..self.label },
                pipeline: PipelineKey { shader: &REDUCE, constants: constants.clone() },
                buffers: vec![self.scratch.shares, scales, part.columns, self.residual_buffer(), self.y.buffer],
                workgroups: [index(shape.columns4.div_ceil(64))?, index(rows)?, 1],
                uniforms: Shape { first_row: first, ..*shape }.words()?,
            });
        }
        Ok(())
    }

    fn shape_of(&self, part: &WeightPart, shares: u32, k_share: u32) -> Shape {
        let mut shape = Shape {
            k: self.weights.k,
            columns4: part.range.len().div_ceil(4),
            k_share: k_share as usize,
            shares: shares as usize,
            y_stride: self.y.stride / 4,
            y_offset: (self.y.offset + part.range.start) / 4,
            ..Shape::of_rows(&self.x, 0)
        };
        (shape.x_stride, shape.x_offset) = match self.weights.precision {
            // Words of four numbers, sixteen at a time.
            Precision::Int8 => (self.weights.k.next_multiple_of(16) / 4, 0),
            _ => (self.x.stride / 4, self.x.offset / 4),
        };
        if let Some(residual) = &self.residual {
            shape.residual_stride = residual.stride / 4;
            shape.residual_offset = (residual.offset + part.range.start) / 4;
        }
        shape
    }

    fn residual_buffer(&self) -> Buffer {
        self.residual.map_or(Buffer::Nothing, |residual| residual.buffer)
    }

    fn tail_constants(&self) -> Vec<(&'static str, u32)> {
        vec![("K_TAIL", u32::from(!self.weights.k.is_multiple_of(4)))]
    }

    fn epilogue_constants(&self) -> Vec<(&'static str, u32)> {
        vec![("ACTIVATION", activation_code(self.activation)), ("RESIDUAL", u32::from(self.residual.is_some()))]
    }
}

/// As `gemm_activation.wgsl` numbers them.
pub(crate) fn activation_code(activation: Activation) -> u32 {
    match activation {
        Activation::Identity => 0,
        Activation::Gelu => 1,
        Activation::GeluTanh => 2,
        Activation::Relu => 3,
        Activation::Tanh => 4,
        Activation::Silu => 5,
    }
}

/// The uniform block of `gemm_shape.wgsl`, in its order.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    rows: usize,
    k: usize,
    columns4: usize,
    k_share: usize,
    x_stride: usize,
    x_offset: usize,
    y_stride: usize,
    y_offset: usize,
    residual_stride: usize,
    residual_offset: usize,
    shares: usize,
    first_row: usize,
}

impl Shape {
    fn of_rows(x: &View, first_row: usize) -> Shape {
        Shape { rows: x.rows, first_row, ..Shape::default() }
    }

    fn words(&self) -> Result<Vec<u32>, GpuError> {
        let Shape { rows, k, columns4, k_share, x_stride, x_offset, .. } = *self;
        let Shape { y_stride, y_offset, residual_stride, residual_offset, shares, first_row, .. } = *self;
        let numbers = [rows, k, columns4, k_share, x_stride, x_offset, y_stride, y_offset];
        numbers.into_iter().chain([residual_stride, residual_offset, shares, first_row]).map(index).collect()
    }
}

/// First row and number of rows of each chunk.
fn chunks(rows: usize, rows_max: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).step_by(rows_max).map(move |first| (first, rows_max.min(rows - first)))
}

fn index(number: usize) -> Result<u32, GpuError> {
    u32::try_from(number).map_err(|_| GpuError::Limit {
        what: "a size of a product".to_owned(),
        needed: number as u64,
        limit: u64::from(u32::MAX),
        name: "32-bit indices",
    })
}

/// A method that few other than tests ask for: which one multiplies is [`crate::tune`]'s choice.
impl From<Method> for Choice {
    fn from(method: Method) -> Choice {
        Choice { method, shares: 1 }
    }
}
