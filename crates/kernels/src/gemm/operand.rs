//! The rows of a product, in the form in which its kernel reads them.

use std::cell::Cell;

use super::tile::Int8Kernel;
use crate::aligned::Aligned;
use crate::packed::{PackedLinear, Panels};
use crate::packed_groups::Int4Panels;
use crate::pool::{Parts, Pool, share};

/// Rows ready for a kernel.
#[derive(Clone, Copy)]
pub(crate) enum Operand<'a> {
    /// Quantized rows, `stride` bytes apart, a factor for each, and the sum of each, times its factor, where the weights need it.
    Int8 { bytes: &'a [u8], stride: usize, k: usize, scales: &'a [f32], sums: &'a [f32] },
    /// Rows as signed bytes, `stride` bytes apart, a factor for each, and the sums of the groups of each, side by side.
    Int4 { bytes: &'a [u8], stride: usize, scales: &'a [f32], sums: &'a [i32] },
    /// Rows `stride` numbers apart.
    F32 { numbers: &'a [f32], stride: usize },
}

/// Memory for an operand.
#[derive(Default)]
pub(crate) struct OperandBuffer {
    bytes: Aligned<u8>,
    numbers: Aligned<f32>,
    sums: Aligned<i32>,
}

/// Memory for one task at a time, kept by its thread.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) input: OperandBuffer,
    pub(crate) hidden: Aligned<f32>,
    pub(crate) hidden_input: OperandBuffer,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Lends this thread's memory. A task that asks while it is lent gets memory of its own.
pub(crate) fn with_scratch<R>(use_it: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.take().unwrap_or_default();
    let result = use_it(&mut scratch);
    SCRATCH.set(Some(scratch));
    result
}

/// Prepares `rows` rows of `k`, which are `x_stride` numbers apart, in `tasks` tasks.
pub(crate) fn prepare<'a>(
    weights: &PackedLinear,
    x: &'a [f32],
    x_stride: usize,
    rows: usize,
    buffer: &'a mut OperandBuffer,
    pool: &Pool,
    tasks: usize,
) -> Operand<'a> {
    let k = weights.k();
    let task_count = tasks.clamp(1, rows.max(1));
    match &weights.panels {
        Panels::Int8 { kernel, shifts, .. } => {
            let padded = k.next_multiple_of(kernel.k_align);
            let stride = odd_lines(padded * kernel.row_bytes);
            buffer.bytes.resize(rows * stride);
            // Factors, then sums.
            buffer.numbers.resize(2 * rows);
            let (bytes, scales) = (Parts::new(&mut buffer.bytes), Parts::new(&mut buffer.numbers));
            pool.run(task_count, &|task| {
                for row in share(rows, task_count, task) {
                    // SAFETY: each row is one task's; only an `Isa` gives the kernel, and the row has room for `padded` numbers.
                    unsafe {
                        let out = bytes.part(row * stride, padded * kernel.row_bytes);
                        let scale = (kernel.quantize_row)(&x[row * x_stride..][..k], out);
                        scales.part(row, 1)[0] = scale;
                        if shifts.is_some() {
                            scales.part(rows + row, 1)[0] =
                                row_sum(kernel, &out[..k * kernel.row_bytes]) as f32 * scale;
                        }
                    }
                }
            });
            let (scales, sums) = buffer.numbers.split_at(rows);
            Operand::Int8 { bytes: &buffer.bytes, stride, k: padded, scales, sums }
        }
        Panels::Int4(panels) => prepare_int4(panels, x, x_stride, [rows, k, task_count], buffer, pool),
        // Rows whose places differ by whole pages share one set of the cache; a tile of them would not fit.
        Panels::F32 { .. } | Panels::F16 { .. } if x_stride.is_multiple_of(1024) && rows > 4 => {
            let stride = odd_lines(4 * k) / 4;
            buffer.numbers.resize(rows * stride);
            let numbers = Parts::new(&mut buffer.numbers);
            pool.run(task_count, &|task| {
                for row in share(rows, task_count, task) {
                    // SAFETY: each row is one task's.
                    unsafe { numbers.part(row * stride, k) }.copy_from_slice(&x[row * x_stride..][..k]);
                }
            });
            Operand::F32 { numbers: &buffer.numbers, stride }
        }
        Panels::F32 { .. } | Panels::F16 { .. } => Operand::F32 { numbers: x, stride: x_stride },
    }
}

/// Rows of `k` numbers as signed bytes, padded with zeros to whole groups, and the groups' sums.
fn prepare_int4<'a>(
    panels: &Int4Panels,
    x: &[f32],
    x_stride: usize,
    [rows, k, tasks]: [usize; 3],
    buffer: &'a mut OperandBuffer,
    pool: &Pool,
) -> Operand<'a> {
    let (groups, group) = (panels.groups, panels.group);
    let stride = odd_lines(groups * group);
    buffer.bytes.resize(rows * stride);
    buffer.numbers.resize(rows);
    buffer.sums.resize(rows * groups);
    let (bytes, scales) = (Parts::new(&mut buffer.bytes), Parts::new(&mut buffer.numbers));
    let sums = Parts::new(&mut buffer.sums);
    pool.run(tasks, &|task| {
        for row in share(rows, tasks, task) {
            // SAFETY: each row is one task's; only an `Isa` gives the kernel, and the row has room for whole groups.
            let (out, sums) = unsafe {
                let out = bytes.part(row * stride, groups * group);
                scales.part(row, 1)[0] = (panels.kernel.quantize_row)(&x[row * x_stride..][..k], out);
                (out, sums.part(row * groups, groups))
            };
            for (sum, group) in sums.iter_mut().zip(out.chunks_exact(group)) {
                *sum = group.iter().map(|&byte| i32::from(byte as i8)).sum();
            }
        }
    });
    Operand::Int4 { bytes: &buffer.bytes, stride, scales: &buffer.numbers, sums: &buffer.sums }
}

/// The sum of a quantized row; below 2²⁴ for every `k` that weights are packed with, so exact as f32 too.
fn row_sum(kernel: &Int8Kernel, row: &[u8]) -> i32 {
    if kernel.row_bytes == 2 {
        return row.as_chunks::<2>().0.iter().map(|&word| i32::from(i16::from_ne_bytes(word))).sum();
    }
    // Flipping the highest bit of a byte that was offset by 128 takes the offset off.
    let flip = kernel.offset as u8;
    row.iter().map(|&byte| i32::from((byte ^ flip) as i8)).sum()
}

/// The next odd number of cache lines, in bytes: rows so far apart spread over all sets of a cache.
pub(crate) fn odd_lines(bytes: usize) -> usize {
    (bytes.div_ceil(64) | 1) * 64
}
