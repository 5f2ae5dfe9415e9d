// 8-bit operands, four along k to a word, the first in the low bits; sums are exact.

/// [row, k / 4].
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
/// [k / 4, columns4]: a word for each of four columns; k padded to sixteens with zeros.
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
/// [row], from gemm_quantize_rows.
@group(0) @binding(6) var<storage, read> row_scales: array<f32>;

/// The products of four along k of a row with four columns.
fn dots(a: u32, w: vec4<u32>) -> vec4<i32> {
    return vec4(dot4I8Packed(a, w.x), dot4I8Packed(a, w.y), dot4I8Packed(a, w.z), dot4I8Packed(a, w.w));
}

fn finish_int8(row: u32, column4: u32, sum: vec4<i32>) {
    finish(row, column4, vec4<f32>(sum) * (row_scales[row] * columns[shape.columns4 + column4]));
}
