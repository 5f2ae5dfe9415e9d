//! A block of a product: some rows by some panels, cut into tiles.

use std::ops::Range;

use super::operand::Operand;
use super::tile::{F32Tile, Int4Tile, Int8Tile, Out};
use crate::packed::{PackedLinear, Panels};
use crate::pool::{Parts, share};
use crate::{Activation, Isa, activation};

/// Columns between two looks at the activation: those of all rows of a block still lie in the second-level cache.
const ACTIVATED_COLUMNS: usize = 256;
/// Numbers of the largest tile of all kernels.
const TILE_MAX: usize = 32 * 32;

/// `act(x·W + b) + residual` for some rows and some panels of `W`.
pub(crate) struct Product<'a> {
    pub(crate) isa: Isa,
    pub(crate) weights: &'a PackedLinear,
    pub(crate) operand: Operand<'a>,
    /// Which of the operand's rows.
    pub(crate) rows: Range<usize>,
    pub(crate) panels: Range<usize>,
    pub(crate) activation: Activation,
    /// Shaped and laid out like the whole of what is written to.
    pub(crate) residual: Option<&'a [f32]>,
}

/// A matrix that several tasks write to, each its own places.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) parts: &'a Parts<'a, f32>,
    /// Where the operand's row 0 begins.
    pub(crate) start: usize,
    /// From row to row.
    pub(crate) stride: usize,
}

impl Product<'_> {
    /// Computes the block and writes it to its places in `target`.
    ///
    /// # Safety
    /// Nobody else uses the places of these rows and panels.
    ///
    /// # Panics
    /// If the operand, the residual or the target have no such places.
    pub(crate) unsafe fn write_to(&self, target: Target<'_>) {
        let width = self.weights.panels.columns();
        let in_tile = self.activation == Activation::Identity;
        let step = (ACTIVATED_COLUMNS / width).max(1);
        let mut first = self.panels.start;
        while first < self.panels.end {
            let panels = first..(first + step).min(self.panels.end);
            let columns = panels.start * width..(panels.end * width).min(self.weights.n());
            let residual = if in_tile { self.residual } else { None };
            for panel in panels {
                let tiles = self.rows.len().div_ceil(self.weights.panels.rows());
                for tile in 0..tiles {
                    let rows = share(self.rows.len(), tiles, tile);
                    let rows = self.rows.start + rows.start..self.rows.start + rows.end;
                    // SAFETY: the caller's promise; `columns` of the panel and `rows` are within the block.
                    unsafe { self.write_tile(rows, panel, residual, target) };
                }
            }
            if !in_tile {
                for row in self.rows.clone() {
                    let place = target.start + row * target.stride + columns.start;
                    // SAFETY: the caller's promise, and the tiles are written.
                    let numbers = unsafe { target.parts.part(place, columns.len()) };
                    activation::apply(self.isa, self.activation, numbers);
                    if let Some(residual) = self.residual {
                        activation::add(numbers, &residual[place..][..columns.len()]);
                    }
                }
            }
            first += step;
        }
    }

    /// # Safety
    /// Nobody else uses the tile's places.
    unsafe fn write_tile(&self, rows: Range<usize>, panel: usize, residual: Option<&[f32]>, target: Target<'_>) {
        let width = self.weights.panels.columns();
        let column = panel * width;
        let columns = width.min(self.weights.n() - column);
        let place = target.start + rows.start * target.stride + column;
        let last = (rows.len() - 1) * target.stride + columns;
        assert!(place + last <= target.parts.len(), "a tile beyond its target");
        assert!(residual.is_none_or(|residual| residual.len() >= place + last), "a tile beyond its residual");
        let residual = residual.map_or(std::ptr::null(), |residual| residual[place..].as_ptr());
        if columns == width {
            // SAFETY: the places up to `place + last` exist and are this tile's.
            let start = unsafe { target.parts.start().add(place) };
            let out = Out { start, stride: target.stride, residual };
            // SAFETY: `out` begins at this tile's places, and the residual has as many.
            return unsafe { self.run_kernel(rows, panel, out) };
        }
        let mut whole = [0f32; TILE_MAX];
        let start = whole[..rows.len() * width].as_mut_ptr();
        let out = Out { start, stride: width, residual: std::ptr::null() };
        // SAFETY: `out` is `rows` rows of a whole panel.
        unsafe { self.run_kernel(rows.clone(), panel, out) };
        for (row, numbers) in whole.chunks_exact(width).take(rows.len()).enumerate() {
            // SAFETY: these places are within the tile's and the residual's, asserted above.
            let out = unsafe { target.parts.part(place + row * target.stride, columns) };
            for (column, (out, number)) in out.iter_mut().zip(numbers).enumerate() {
                let place = row * target.stride + column;
                // SAFETY: as above.
                *out = if residual.is_null() { *number } else { number + unsafe { *residual.add(place) } };
            }
        }
    }

    /// # Safety
    /// `out` has room for `rows` rows of a whole panel, as has its residual, and nobody else uses that.
    unsafe fn run_kernel(&self, rows: Range<usize>, panel: usize, out: Out) {
        let (start, stride) = (out.start, out.stride);
        // SAFETY: the caller's promise.
        unsafe { self.multiply(rows.clone(), panel, out) };
        let (Panels::Int8 { kernel, shifts: Some(shifts), .. }, Operand::Int8 { sums, .. }) =
            (&self.weights.panels, self.operand)
        else {
            return;
        };
        let shifts = &shifts[panel * kernel.columns..][..kernel.columns];
        for (row, &sum) in sums[rows].iter().enumerate() {
            // SAFETY: the caller's promise: a whole panel's columns of each row.
            let numbers = unsafe { std::slice::from_raw_parts_mut(start.add(row * stride), kernel.columns) };
            for (number, &shift) in numbers.iter_mut().zip(shifts) {
                *number += sum * shift;
            }
        }
    }

    /// # Safety
    /// As for `run_kernel`.
    unsafe fn multiply(&self, rows: Range<usize>, panel: usize, out: Out) {
        let column = panel * self.weights.panels.columns();
        let bias = self.weights.bias()[column..].as_ptr();
        let k = self.weights.k();
        match (&self.weights.panels, self.operand) {
            (
                Panels::Int8 { kernel, values, start, scales, .. },
                Operand::Int8 { bytes, stride, k, scales: row_scales, .. },
            ) => {
                let tile = Int8Tile {
                    rows: rows.len(),
                    k,
                    x: bytes[rows.start * stride..rows.end * stride].as_ptr(),
                    x_stride: stride,
                    panel: values[column * k..][..k * kernel.columns].as_ptr(),
                    start: start[column..][..kernel.columns].as_ptr(),
                    row_scales: row_scales[rows].as_ptr(),
                    column_scales: scales[column..][..kernel.columns].as_ptr(),
                    bias,
                    out,
                };
                // SAFETY: the slices above are as long as the tile reads; a kernel in packed weights came by an `Isa`.
                unsafe { (kernel.tile)(&tile) }
            }
            (Panels::Int4(panels), Operand::Int4 { bytes, stride, scales, sums }) => {
                let (groups, columns) = (panels.groups, panels.kernel.columns);
                let zeros = panels.zeros.as_ref().map(|zeros| &zeros[column * groups..][..columns * groups]);
                let tile = Int4Tile {
                    rows: rows.len(),
                    groups,
                    group: panels.group,
                    x: bytes[rows.start * stride..rows.end * stride].as_ptr(),
                    x_stride: stride,
                    sums: sums[rows.start * groups..rows.end * groups].as_ptr(),
                    panel: panels.values[panel * panels.panel_bytes()..][..panels.panel_bytes()].as_ptr(),
                    zeros: zeros.map_or(std::ptr::null(), |zeros| zeros.as_ptr()),
                    row_scales: scales[rows].as_ptr(),
                    bias,
                    out,
                };
                // SAFETY: as above.
                unsafe { (panels.kernel.tile)(&tile) }
            }
            (Panels::F32 { kernel, values }, Operand::F32 { numbers, stride }) => {
                let values = values[column * k..][..k * kernel.columns].as_ptr().cast();
                // SAFETY: as above.
                unsafe { (kernel.tile)(&self.float_tile(rows, values, numbers, stride, bias, out)) }
            }
            (Panels::F16 { kernel, values }, Operand::F32 { numbers, stride }) => {
                let values = values[column * k..][..k * kernel.columns].as_ptr().cast();
                // SAFETY: as above.
                unsafe { (kernel.tile)(&self.float_tile(rows, values, numbers, stride, bias, out)) }
            }
            _ => unreachable!("an operand is prepared for the weights it meets"),
        }
    }

    /// A tile of some of the operand's rows, and a panel's values.
    fn float_tile(
        &self,
        rows: Range<usize>,
        panel: *const u8,
        numbers: &[f32],
        stride: usize,
        bias: *const f32,
        out: Out,
    ) -> F32Tile {
        let (k, count) = (self.weights.k(), rows.len());
        let x = numbers[rows.start * stride..][..(count - 1) * stride + k].as_ptr();
        F32Tile { rows: count, k, x, x_stride: stride, panel, bias, out }
    }
}
