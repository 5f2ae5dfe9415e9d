//! The shaders of products, put together from files that several of them share.

use crate::recording::{Access, Shader};

/// x, weights, columns, residual, y.
const FLOATS: &[Access] = &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Write];
/// The same and the scales of rows.
const INTEGERS: &[Access] = &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Write, Access::Read];

/// One module of the files named; directives such as `enable` stand in the first.
macro_rules! source {
    ($($file:literal),+) => {
        concat!($(include_str!(concat!("../shaders/gemm_", $file, ".wgsl")), "\n"),+)
    };
}

macro_rules! shader {
    ($name:ident, $text:literal, $bindings:expr, $($file:literal),+) => {
        pub(crate) static $name: Shader =
            Shader { name: $text, source: source!($($file),+), entry: "main", bindings: $bindings };
    };
}

shader!(TILE_F32, "gemm_tile_f32", FLOATS, "weights_f32", "shape", "activation", "epilogue", "tile");
shader!(
    TILE_F16_PACKED,
    "gemm_tile_f16_packed",
    FLOATS,
    "weights_f16_packed",
    "shape",
    "activation",
    "epilogue",
    "tile"
);
shader!(TILE_F16, "gemm_tile_f16", FLOATS, "weights_f16", "shape", "activation", "epilogue", "tile");
shader!(TILE_INT8, "gemm_tile_int8", INTEGERS, "int8_shared", "shape", "activation", "epilogue", "int8_tile");
shader!(ROWS_F32, "gemm_rows_f32", FLOATS, "weights_f32", "shape", "activation", "epilogue", "rows");
shader!(
    ROWS_F16_PACKED,
    "gemm_rows_f16_packed",
    FLOATS,
    "weights_f16_packed",
    "shape",
    "activation",
    "epilogue",
    "rows"
);
shader!(ROWS_F16, "gemm_rows_f16", FLOATS, "weights_f16", "shape", "activation", "epilogue", "rows");
shader!(ROWS_INT8, "gemm_rows_int8", INTEGERS, "int8_shared", "shape", "activation", "epilogue", "int8_rows");
shader!(
    COOPERATIVE_16,
    "gemm_cooperative_16",
    FLOATS,
    "fragments_16",
    "shape",
    "activation",
    "epilogue",
    "cooperative"
);
shader!(COOPERATIVE_8, "gemm_cooperative_8", FLOATS, "fragments_8", "shape", "activation", "epilogue", "cooperative");
// Sums, scales of rows, columns, residual, y.
shader!(REDUCE, "gemm_reduce", FLOATS, "shape", "activation", "epilogue", "reduce");
// Rows of f32, in 8 bits, their scales.
shader!(QUANTIZE_ROWS, "gemm_quantize_rows", &[Access::Read, Access::Write, Access::Write], "shape", "quantize_rows");

/// All of them, for what is done to each.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) static ALL: [&Shader; 12] = [
    &TILE_F32,
    &TILE_F16_PACKED,
    &TILE_F16,
    &TILE_INT8,
    &ROWS_F32,
    &ROWS_F16_PACKED,
    &ROWS_F16,
    &ROWS_INT8,
    &COOPERATIVE_16,
    &COOPERATIVE_8,
    &REDUCE,
    &QUANTIZE_ROWS,
];
