// Rows of f32 into 8-bit integers, one scale a row: what grice_kernels::reference::quantize_row says. A workgroup takes a row.

struct Shape {
    rows: u32,
    /// Numbers in a row.
    k: u32,
    /// Between rows of x, and where the first starts.
    x_stride: u32,
    x_offset: u32,
    /// Words between rows of what comes out; what is beyond k in them becomes zero.
    words: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<f32>;
/// [row, words], four to a word, the first in the low bits.
@group(0) @binding(2) var<storage, read_write> quantized: array<u32>;
/// [row].
@group(0) @binding(3) var<storage, read_write> scales: array<f32>;

/// The largest magnitude that each invocation saw, as bits: they order like the numbers, with what is no number above infinity.
var<workgroup> largest: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = min(workgroup.x, shape.rows - 1u);
    let first = shape.x_offset + row * shape.x_stride;
    var bits = 0u;
    for (var column = thread; column < shape.k; column += 64u) {
        bits = max(bits, bitcast<u32>(x[first + column]) & 0x7fffffffu);
    }
    largest[thread] = bits;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            largest[thread] = max(largest[thread], largest[thread + half]);
        }
    }
    workgroupBarrier();

    let top = largest[0];
    var factor = 0.0;
    var scale = 0.0;
    if top >= 0x7f800000u {
        // A row with what is no number becomes one of them, and touches no other.
        scale = bitcast<f32>(top | 0x7fc00000u);
    } else if bitcast<f32>(top) >= 1e-30 {
        factor = 127.0 / bitcast<f32>(top);
        scale = bitcast<f32>(top) / 127.0;
    }
    if thread == 0u {
        scales[row] = scale;
    }
    for (var word = thread; word < shape.words; word += 64u) {
        var packed = 0u;
        for (var i = 0u; i < 4u; i++) {
            let column = word * 4u + i;
            if column < shape.k && factor != 0.0 {
                // round() takes halves to the even integer.
                packed |= (u32(i32(round(x[first + column] * factor))) & 0xffu) << (8u * i);
            }
        }
        quantized[row * shape.words + word] = packed;
    }
}
