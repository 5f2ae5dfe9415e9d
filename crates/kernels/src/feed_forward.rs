//! Two products with an activation between: the feed-forward half of a transformer's layer.

use std::ops::Range;

use crate::gemm::operand::{self, Scratch, odd_lines, with_scratch};
use crate::gemm::product::{Product, Target};
use crate::linear::{Split, block_rows, check_shapes, light_tasks, normalize_rows, split};
use crate::pool::{Parts, share};
use crate::{Activation, Epilogue, Kernels, PackedLinear, ShapeError};

/// Rows that a task takes at most; its rows between the products, four times as wide as `x`, stay in the second-level cache.
const BLOCK_ROWS: usize = 36;

/// The two weights, and what comes between and after.
struct FeedForward<'a> {
    up: &'a PackedLinear,
    activation: Activation,
    down: &'a PackedLinear,
    epilogue: &'a Epilogue<'a>,
}

impl Kernels {
    /// `out = norm(act₂(act(x·U + b)·D + c) + residual)` for `x` `[rows, up.k]` and `out` `[rows, down.n]`; `act₂`, residual and norm are the
    /// epilogue's. The rows between the two products exist only a block at a time.
    ///
    /// # Errors
    /// When `down` has not the rows for what `up` makes, or a slice is not as long as its shape says.
    #[allow(clippy::too_many_arguments, reason = "two products, each with its parts")]
    pub fn feed_forward(
        &self,
        x: &[f32],
        rows: usize,
        up: &PackedLinear,
        activation: Activation,
        down: &PackedLinear,
        epilogue: &Epilogue<'_>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        if up.n() != down.k() {
            return Err(ShapeError::Mismatch {
                what: "k of `down`",
                against: "n of `up`",
                expected: up.n(),
                got: down.k(),
            });
        }
        ShapeError::product("rows · n of `up`", rows, up.n().saturating_add(64))?;
        check_shapes(x, rows, up.k(), down.n(), epilogue, out)?;
        let layer = FeedForward { up, activation, down, epilogue };
        let out = Parts::new(out);
        let products = rows.saturating_mul(up.k() + down.n()).saturating_mul(up.n());
        match split(rows, block_rows(BLOCK_ROWS, up), self.threads(), products, up.bytes().max(down.bytes())) {
            Split::Rows { blocks } => self.pool().run(blocks, &|block| {
                let rows = share(rows, blocks, block);
                // SAFETY: each row is in one block only.
                with_scratch(|scratch| unsafe { layer.run_rows(self, x, rows, &out, scratch) });
            }),
            // SAFETY: `out` is this call's.
            Split::Columns => with_scratch(|scratch| unsafe { layer.run_columns(self, x, rows, &out, scratch) }),
        }
        Ok(())
    }
}

impl FeedForward<'_> {
    /// A block of rows through both products.
    ///
    /// # Safety
    /// Nobody else uses these rows of `out`.
    unsafe fn run_rows(
        &self,
        kernels: &Kernels,
        x: &[f32],
        rows: Range<usize>,
        out: &Parts<'_, f32>,
        scratch: &mut Scratch,
    ) {
        let (isa, pool) = (kernels.isa(), kernels.pool());
        let (up, down) = (self.up, self.down);
        let count = rows.len();
        let x = &x[rows.start * up.k()..rows.end * up.k()];
        let operand = operand::prepare(up, x, up.k(), count, &mut scratch.input, pool, 1);
        let stride = hidden_stride(up);
        scratch.hidden.resize(count * stride);
        let panels = 0..up.panel_count();
        let first =
            Product { isa, weights: up, operand, rows: 0..count, panels, activation: self.activation, residual: None };
        // SAFETY: the scratch is this task's.
        unsafe { first.write_to(Target { parts: &Parts::new(&mut scratch.hidden), start: 0, stride }) };
        let operand = operand::prepare(down, &scratch.hidden, stride, count, &mut scratch.hidden_input, pool, 1);
        let second = Product {
            isa,
            weights: down,
            operand,
            rows: 0..count,
            panels: 0..down.panel_count(),
            activation: self.epilogue.activation,
            residual: self.epilogue.residual,
        };
        let n = down.n();
        // SAFETY: the caller's promise.
        unsafe {
            second.write_to(Target { parts: out, start: rows.start * n, stride: n });
            normalize_rows(isa, self.epilogue.norm, out, rows, n);
        }
    }

    /// All rows, the columns of each product shared out.
    ///
    /// # Safety
    /// Nobody else uses `out`.
    unsafe fn run_columns(
        &self,
        kernels: &Kernels,
        x: &[f32],
        rows: usize,
        out: &Parts<'_, f32>,
        scratch: &mut Scratch,
    ) {
        let (up, down, pool) = (self.up, self.down, kernels.pool());
        let tasks = light_tasks(rows * up.k());
        let operand = operand::prepare(up, x, up.k(), rows, &mut scratch.input, pool, tasks);
        let stride = hidden_stride(up);
        scratch.hidden.resize(rows * stride);
        // SAFETY: the scratch is this call's.
        unsafe {
            let target = Target { parts: &Parts::new(&mut scratch.hidden), start: 0, stride };
            kernels.multiply_columns(up, operand, rows, self.activation, None, target);
        }
        let tasks = light_tasks(rows * up.n());
        let operand = operand::prepare(down, &scratch.hidden, stride, rows, &mut scratch.hidden_input, pool, tasks);
        let target = Target { parts: out, start: 0, stride: down.n() };
        // SAFETY: the caller's promise.
        unsafe {
            kernels.multiply_columns(down, operand, rows, self.epilogue.activation, self.epilogue.residual, target);
            kernels.normalize(self.epilogue.norm, out, rows, down.n());
        }
    }
}

/// From row to row between the products: apart by an odd number of cache lines, so that a tile's rows do not share a cache set.
fn hidden_stride(up: &PackedLinear) -> usize {
    odd_lines(4 * up.n()) / 4
}
