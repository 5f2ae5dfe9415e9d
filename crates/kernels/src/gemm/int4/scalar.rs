//! Plain Rust: tiles of 4 rows by 16 columns.

use super::sums::{Nibbles, VECTORS, tile};
use crate::gemm::tile::{Int4Kernel, Int4Tile, by_rows};
use crate::quantize_rows;

const LANES: usize = 8;

pub(super) const KERNEL: Int4Kernel =
    Int4Kernel { rows: 4, columns: VECTORS * LANES, quantize_row: quantize_rows::scalar, tile: run };

unsafe fn run(tile: &Int4Tile) {
    // SAFETY: the caller's promise about the operands is passed on.
    unsafe { by_rows!(rows, tile, 1, 2, 3, 4) }
}

unsafe fn rows<const ROWS: usize>(operands: &Int4Tile) {
    // SAFETY: the caller's promise is passed on.
    unsafe { tile::<Plain, ROWS>(Plain, operands) }
}

#[derive(Clone, Copy)]
struct Plain;

impl Nibbles for Plain {
    type Bytes = [[u8; 4]; LANES];
    type Ints = [i32; LANES];
    type Floats = [f32; LANES];
    const LANES: usize = LANES;

    unsafe fn load(self, from: *const u8) -> Self::Bytes {
        // SAFETY: the caller's.
        unsafe { *from.cast::<Self::Bytes>() }
    }

    fn low(self, bytes: Self::Bytes) -> Self::Bytes {
        bytes.map(|bytes| bytes.map(|byte| byte & 15))
    }

    fn high(self, bytes: Self::Bytes) -> Self::Bytes {
        bytes.map(|bytes| bytes.map(|byte| byte >> 4))
    }

    fn dot(self, mut sums: Self::Ints, weights: Self::Bytes, x: i32) -> Self::Ints {
        for (sum, weights) in sums.iter_mut().zip(weights) {
            for (weight, x) in weights.into_iter().zip(x.to_ne_bytes()) {
                *sum += i32::from(weight) * i32::from(x as i8);
            }
        }
        sums
    }

    unsafe fn multiply(self, from: *const u8, factor: i32) -> Self::Ints {
        // SAFETY: the caller's.
        let numbers = unsafe { *from.cast::<[u8; LANES]>() };
        numbers.map(|number| i32::from(number) * factor)
    }

    fn splat_int(self, number: i32) -> Self::Ints {
        [number; LANES]
    }

    fn floats(self, sums: Self::Ints) -> Self::Floats {
        sums.map(|sum| sum as f32)
    }

    fn splat(self, number: f32) -> Self::Floats {
        [number; LANES]
    }

    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| a[i] + b[i])
    }

    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| a[i] * b[i])
    }

    unsafe fn load_floats(self, from: *const f32) -> Self::Floats {
        // SAFETY: the caller's.
        unsafe { from.cast::<Self::Floats>().read_unaligned() }
    }

    unsafe fn store(self, to: *mut f32, numbers: Self::Floats) {
        // SAFETY: the caller's.
        unsafe { to.cast::<Self::Floats>().write_unaligned(numbers) }
    }
}
