//! AMX, Intel's matrix unit: tiles of 32 rows by 32 columns in four tile registers of 16 by 16 sums. Products of few rows wait for
//! memory, and go to the AVX-512 kernel, which reads the same panels.
//!
//! `tdpbusd` multiplies unsigned by signed bytes as `vpdpbusd` does, 16 by 16 by 64 of them at once, so rows are offset by 128 here too. The
//! sums are exact, and the same as everywhere. Instructions and their operands:
//! <https://www.intel.com/content/www/us/en/docs/intrinsics-guide/index.html> (AMX).

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::avx512;
use super::tile::{Int8Kernel, Int8Tile};

const COLUMNS: usize = 32;
/// Rows of a tile register.
const TILE_ROWS: usize = 16;
/// Consecutive `k` in a row of a tile register.
const TILE_K: usize = 64;
/// Below this many rows the AVX-512 kernel is as fast, or faster where the weights come from memory.
const ROWS_MIN: usize = 10;

pub(super) const INT8: Int8Kernel = Int8Kernel { rows: 2 * TILE_ROWS, k_align: TILE_K, tile: int8, ..avx512::INT8 };

/// Asks for lines that lie two steps ahead in the panel, as `fetch_ahead` does in the other kernels: a step reads 32 of them.
macro_rules! fetch_ahead {
    ($($line:literal)*) => {
        concat!($("prefetcht0 [{panel} + 4096 + ", $line, "]\n"),*)
    };
}

/// The operand of `ldtilecfg`: of each tile register its rows and the bytes of a row.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Sums of a tile, row after row.
#[repr(C, align(64))]
struct Sums([[i32; COLUMNS]; 2 * TILE_ROWS]);

unsafe fn int8(tile: &Int8Tile) {
    // SAFETY: only an `Isa` gives the kernel, so the processor has these instructions; the operands are the caller's promise.
    unsafe {
        if tile.rows < ROWS_MIN {
            return (avx512::INT8.tile)(tile);
        }
        let mut sums = MaybeUninit::<Sums>::uninit();
        let config = config(tile.rows);
        match tile.k {
            // The loops run once at least.
            0 => sums = MaybeUninit::zeroed(),
            _ if tile.rows <= TILE_ROWS => sum_one(tile, &config, sums.as_mut_ptr()),
            _ => sum_two(tile, &config, sums.as_mut_ptr()),
        }
        finish(tile, sums.as_ptr());
    }
}

/// Registers 0 to 3 hold sums, 4 and 5 rows, 6 and 7 columns.
fn config(rows: usize) -> Config {
    let (first, second) = (rows.min(TILE_ROWS) as u8, rows.saturating_sub(TILE_ROWS) as u8);
    let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    config.rows[..8].copy_from_slice(&[first, first, second, second, first, second, TILE_ROWS as u8, TILE_ROWS as u8]);
    for (bytes, &rows) in config.row_bytes.iter_mut().zip(&config.rows) {
        *bytes = if rows > 0 { TILE_K as u16 } else { 0 };
    }
    config
}

/// Sums of up to 16 rows.
///
/// # Safety
/// The processor has AMX; the operands are as long as the fields of `Int8Tile` promise, with `k` a multiple of 64 above 0; `config` is that of
/// the tile's rows.
unsafe fn sum_one(tile: &Int8Tile, config: &Config, sums: *mut Sums) {
    // SAFETY: the caller's promise: all reads and writes are within the operands. The block leaves the registers as it found them: released.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "2:",
            "tileloadd tmm6, [{panel} + {two_lines}]",
            "tileloadd tmm4, [{x} + {x_stride}]",
            fetch_ahead!(0 64 128 192 256 320 384 448 512 576 640 704 768 832 896 960),
            "tdpbusd tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{panel} + {two_lines} + 64]",
            fetch_ahead!(1024 1088 1152 1216 1280 1344 1408 1472 1536 1600 1664 1728 1792 1856 1920 1984),
            "tdpbusd tmm1, tmm4, tmm7",
            "add {panel}, 2048",
            "add {x}, 64",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {two_lines}], tmm0",
            "tilestored [{sums} + {two_lines} + 64], tmm1",
            "tilerelease",
            config = in(reg) config,
            panel = inout(reg) tile.panel => _,
            two_lines = in(reg) 4 * COLUMNS,
            x = inout(reg) tile.x => _,
            x_stride = in(reg) tile.x_stride,
            steps = inout(reg) tile.k / TILE_K => _,
            sums = in(reg) sums,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Sums of 17 to 32 rows.
///
/// # Safety
/// As for `sum_one`.
unsafe fn sum_two(tile: &Int8Tile, config: &Config, sums: *mut Sums) {
    // SAFETY: as above.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm6, [{panel} + {two_lines}]",
            "tileloadd tmm4, [{x} + {x_stride}]",
            fetch_ahead!(0 64 128 192 256 320 384 448 512 576 640 704 768 832 896 960),
            "tdpbusd tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{panel} + {two_lines} + 64]",
            fetch_ahead!(1024 1088 1152 1216 1280 1344 1408 1472 1536 1600 1664 1728 1792 1856 1920 1984),
            "tdpbusd tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{low} + {x_stride}]",
            "tdpbusd tmm2, tmm5, tmm6",
            "tdpbusd tmm3, tmm5, tmm7",
            "add {panel}, 2048",
            "add {x}, 64",
            "add {low}, 64",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {two_lines}], tmm0",
            "tilestored [{sums} + {two_lines} + 64], tmm1",
            "tilestored [{sums} + {two_lines} + 2048], tmm2",
            "tilestored [{sums} + {two_lines} + 2112], tmm3",
            "tilerelease",
            config = in(reg) config,
            panel = inout(reg) tile.panel => _,
            two_lines = in(reg) 4 * COLUMNS,
            x = inout(reg) tile.x => _,
            low = inout(reg) tile.x.add(TILE_ROWS * tile.x_stride) => _,
            x_stride = in(reg) tile.x_stride,
            steps = inout(reg) tile.k / TILE_K => _,
            sums = in(reg) sums,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// From sums to numbers.
///
/// # Safety
/// The processor has AVX-512; `sums` holds the tile's rows, and the operands are as long as the fields of `Int8Tile` promise.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn finish(tile: &Int8Tile, sums: *const Sums) {
    for row in 0..tile.rows {
        // SAFETY: the caller's promise.
        unsafe {
            let sums = (&raw const (*sums).0[row]).cast::<i32>();
            let halves = [_mm512_load_si512(sums.cast()), _mm512_load_si512(sums.add(16).cast())];
            avx512::finish_int8(tile, row, halves);
        }
    }
}
