//! Plain Rust, for processors without a kernel of their own.

use super::tile::{F32Kernel, F32Tile, Int8Kernel, Int8Tile, Out, by_rows};
use crate::quantize_rows;

const COLUMNS: usize = 8;

pub(super) const INT8: Int8Kernel = Int8Kernel {
    rows: 4,
    columns: COLUMNS,
    group: 1,
    k_align: 1,
    row_bytes: 1,
    offset: 0,
    quantize_row: quantize_rows::scalar,
    tile: int8,
};

pub(super) const F32: F32Kernel = F32Kernel { rows: 4, columns: COLUMNS, tile: f32 };

unsafe fn int8(tile: &Int8Tile) {
    // SAFETY: the caller's promise about the operands is passed on.
    unsafe { by_rows!(int8_rows, tile, 1 => 1, 2 => 1, 3 => 1, 4 => 1) }
}

unsafe fn int8_rows<const ROWS: usize, const UNROLL: usize>(tile: &Int8Tile) {
    // SAFETY: all reads and writes are within the lengths that the fields of `Int8Tile` promise.
    unsafe {
        let mut sums = [[0i32; COLUMNS]; ROWS];
        for sums in &mut sums {
            for (column, sum) in sums.iter_mut().enumerate() {
                *sum = *tile.start.add(column);
            }
        }
        for i in 0..tile.k {
            let weights = *tile.panel.add(i * COLUMNS).cast::<[i8; COLUMNS]>();
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = i32::from(*tile.x.add(row * tile.x_stride + i).cast::<i8>());
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += x * i32::from(weight);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let row_scale = *tile.row_scales.add(row);
            for (column, &sum) in sums.iter().enumerate() {
                let product = sum as f32 * (row_scale * *tile.column_scales.add(column));
                write(&tile.out, row, column, product + *tile.bias.add(column));
            }
        }
    }
}

unsafe fn f32(tile: &F32Tile) {
    // SAFETY: the caller's promise about the operands is passed on.
    unsafe { by_rows!(f32_rows, tile, 1, 2, 3, 4) }
}

unsafe fn f32_rows<const ROWS: usize>(tile: &F32Tile) {
    // SAFETY: all reads and writes are within the lengths that the fields of `F32Tile` promise.
    unsafe {
        let mut sums = [[0f32; COLUMNS]; ROWS];
        for i in 0..tile.k {
            let weights = *tile.panel.cast::<[f32; COLUMNS]>().add(i);
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = *tile.x.add(row * tile.x_stride + i);
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += x * weight;
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (column, &sum) in sums.iter().enumerate() {
                write(&tile.out, row, column, sum + *tile.bias.add(column));
            }
        }
    }
}

unsafe fn write(out: &Out, row: usize, column: usize, value: f32) {
    let place = row * out.stride + column;
    // SAFETY: the caller names a row and a column of the tile, which `out` has room for.
    unsafe {
        *out.start.add(place) = if out.residual.is_null() { value } else { value + *out.residual.add(place) };
    }
}
