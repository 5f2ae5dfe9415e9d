//! `norm(act(x·W + b) + residual)` in one pass.
//!
//! With rows enough, each task takes a block of rows through everything: quantization, product, epilogue, norm; nothing but the
//! weights is read twice. With few rows the tasks share out the columns instead, so that each weight is read by one thread only.

use crate::gemm::operand::{self, with_scratch};
use crate::gemm::product::{Product, Target};
use crate::packed::PackedLinear;
use crate::pool::{Parts, share};
use crate::{Activation, Isa, Kernels, LayerNorm, ShapeError, layer_norm};

/// Rows that a task takes at most: enough to read the weights seldom, few enough to stay in the second-level cache.
pub(crate) const BLOCK_ROWS: usize = 48;
/// Below this many rows a task, columns are shared out instead.
const BLOCK_ROWS_MIN: usize = 24;
/// Numbers that are worth waking a thread for, for work as light as quantization or norm.
const LIGHT_TASK: usize = 16_384;

/// Products of numbers that are worth a second thread: about a microsecond's.
const SHARED_PRODUCTS_MIN: usize = 1 << 18;

/// Bytes of a weight that every block of rows would read from memory again, because it does not stay in a core's cache. Measured with two
/// threads (`benches/generation.rs` with prompts of 64 and 128 tokens, `grice profile latency`): sharing out the columns of 4 MB (1024 by 4096 in int8) takes 0.7 of the time, of 2.4 MB (768 by 3072) 1.15 of it.
const LARGE_WEIGHT: usize = 3 << 20;
/// With more rows than this the rows themselves do not stay in the cache.
const LARGE_WEIGHT_ROWS: usize = 192;

/// What follows a product: `out = norm(act(x·W + b) + residual)`.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// Applied to the product with its bias.
    pub activation: Activation,
    /// Added to that, `[rows, n]`.
    pub residual: Option<&'a [f32]>,
    /// Applied to complete rows at the end.
    pub norm: Option<&'a LayerNorm>,
}

impl Kernels {
    /// `out = norm(act(x·W + b) + residual)` for `x` `[rows, k]` and `out` `[rows, n]`, row after row.
    ///
    /// With 8-bit weights each row of `x` is quantized on the way, as [`crate::reference::quantize_row`] does; the sums of products are
    /// exact (with 4-bit weights those of groups, [`crate::reference::linear_int4`]), so what precedes the activation is the same to the last bit on every instruction set and for any number of threads. A
    /// row with a NaN or an infinity then becomes a row of NaN, and does not touch the others.
    ///
    /// # Errors
    /// When a slice is not as long as its shape says.
    pub fn linear(
        &self,
        x: &[f32],
        rows: usize,
        weights: &PackedLinear,
        epilogue: &Epilogue<'_>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        check_shapes(x, rows, weights.k(), weights.n(), epilogue, out)?;
        let out = Parts::new(out);
        let products = rows.saturating_mul(weights.k()).saturating_mul(weights.n());
        match split(rows, block_rows(BLOCK_ROWS, weights), self.threads(), products, weights.bytes()) {
            Split::Rows { blocks } => self.pool().run(blocks, &|block| {
                let rows = share(rows, blocks, block);
                // SAFETY: each row is in one block only.
                with_scratch(|scratch| unsafe { self.linear_rows(x, rows, weights, epilogue, &out, scratch) });
            }),
            Split::Columns => with_scratch(|scratch| {
                let tasks = light_tasks(rows * weights.k());
                let x = operand::prepare(weights, x, weights.k(), rows, &mut scratch.input, self.pool(), tasks);
                let target = Target { parts: &out, start: 0, stride: weights.n() };
                // SAFETY: `out` is this call's, and nothing of it is in use.
                unsafe {
                    self.multiply_columns(weights, x, rows, epilogue.activation, epilogue.residual, target);
                    self.normalize(epilogue.norm, &out, rows, weights.n());
                }
            }),
        }
        Ok(())
    }

    /// A block of rows, from `x` to complete rows of `out`.
    ///
    /// # Safety
    /// Nobody else uses these rows of `out`.
    unsafe fn linear_rows(
        &self,
        x: &[f32],
        rows: std::ops::Range<usize>,
        weights: &PackedLinear,
        epilogue: &Epilogue<'_>,
        out: &Parts<'_, f32>,
        scratch: &mut operand::Scratch,
    ) {
        let (k, n) = (weights.k(), weights.n());
        let x = &x[rows.start * k..rows.end * k];
        let operand = operand::prepare(weights, x, k, rows.len(), &mut scratch.input, self.pool(), 1);
        let product = Product {
            isa: self.isa(),
            weights,
            operand,
            rows: 0..rows.len(),
            panels: 0..weights.panel_count(),
            activation: epilogue.activation,
            residual: epilogue.residual,
        };
        // SAFETY: the caller's promise.
        unsafe {
            product.write_to(Target { parts: out, start: rows.start * n, stride: n });
            normalize_rows(self.isa(), epilogue.norm, out, rows, n);
        }
    }

    /// All rows, the panels shared out.
    ///
    /// # Safety
    /// Nobody else uses `target`.
    pub(crate) unsafe fn multiply_columns(
        &self,
        weights: &PackedLinear,
        operand: operand::Operand<'_>,
        rows: usize,
        activation: Activation,
        residual: Option<&[f32]>,
        target: Target<'_>,
    ) {
        let panels = weights.panel_count();
        // Two tasks a thread even out what else the machine is doing; more would read `x` too often.
        let tasks = panels.min(2 * self.threads());
        self.pool().run(tasks, &|task| {
            let panels = share(panels, tasks, task);
            let product = Product { isa: self.isa(), weights, operand, rows: 0..rows, panels, activation, residual };
            // SAFETY: the caller's promise, and each panel is in one task only.
            unsafe { product.write_to(target) };
        });
    }

    /// Normalises all rows, shared out.
    ///
    /// # Safety
    /// Nobody else uses `out`.
    pub(crate) unsafe fn normalize(&self, norm: Option<&LayerNorm>, out: &Parts<'_, f32>, rows: usize, n: usize) {
        if norm.is_some() {
            let tasks = light_tasks(rows * n).min(rows).max(1);
            self.pool().run(tasks, &|task| {
                // SAFETY: the caller's promise, and each row is in one task only.
                unsafe { normalize_rows(self.isa(), norm, out, share(rows, tasks, task), n) };
            });
        }
    }
}

/// How a product is cut into tasks.
pub(crate) enum Split {
    Rows { blocks: usize },
    Columns,
}

/// As many rows of a block as whole tiles take.
pub(crate) fn block_rows(most: usize, weights: &PackedLinear) -> usize {
    let tile = weights.panels.rows();
    (most / tile).max(1) * tile
}

/// By rows if there are enough of them for all threads, or if `products` products are too few to share. `weight_bytes` are those of
/// the larger weight.
pub(crate) fn split(rows: usize, block_rows: usize, threads: usize, products: usize, weight_bytes: usize) -> Split {
    if products < SHARED_PRODUCTS_MIN {
        return Split::Rows { blocks: rows.div_ceil(block_rows) };
    }
    let blocks = rows.div_ceil(block_rows).next_multiple_of(threads);
    let reads_once = weight_bytes >= LARGE_WEIGHT && rows <= LARGE_WEIGHT_ROWS;
    if threads == 1 || (rows >= blocks * BLOCK_ROWS_MIN && !reads_once) {
        Split::Rows { blocks }
    } else {
        Split::Columns
    }
}

pub(crate) fn light_tasks(numbers: usize) -> usize {
    numbers.div_ceil(LIGHT_TASK)
}

/// # Safety
/// Nobody else uses these rows of `out`.
pub(crate) unsafe fn normalize_rows(
    isa: Isa,
    norm: Option<&LayerNorm>,
    out: &Parts<'_, f32>,
    rows: std::ops::Range<usize>,
    n: usize,
) {
    if let Some(norm) = norm {
        // SAFETY: the caller's promise.
        layer_norm::normalize(isa, norm, unsafe { out.part(rows.start * n, rows.len() * n) });
    }
}

pub(crate) fn check_shapes(
    x: &[f32],
    rows: usize,
    k: usize,
    n: usize,
    epilogue: &Epilogue<'_>,
    out: &[f32],
) -> Result<(), ShapeError> {
    let numbers = ShapeError::product("rows · n", rows, n)?;
    ShapeError::check_length("x, [rows, k]", x, ShapeError::product("rows · k", rows, k)?)?;
    ShapeError::check_length("out, [rows, n]", out, numbers)?;
    if let Some(residual) = epilogue.residual {
        ShapeError::check_length("the residual, [rows, n]", residual, numbers)?;
    }
    if let Some(norm) = epilogue.norm {
        ShapeError::check_length("the norm's gamma, [n]", &norm.gamma, n)?;
        ShapeError::check_length("the norm's beta, [n]", &norm.beta, n)?;
    }
    Ok(())
}
