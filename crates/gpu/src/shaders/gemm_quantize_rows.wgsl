// Rows of f32 into 8-bit integers, one scale a row: what grice_kernels::reference::quantize_row says. A workgroup takes a row.

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
/// [row, k / 4], four to a word, padded with zeros to sixteens.
@group(0) @binding(2) var<storage, read_write> quantized: array<u32>;
/// [row].
@group(0) @binding(3) var<storage, read_write> scales: array<f32>;

/// The largest magnitude that each invocation saw, as bits: they order like the numbers, with what is no number above infinity.
var<workgroup> largest: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = shape.first_row + workgroup.x;
    let inside = row < shape.rows;
    let first = shape.x_offset + row * shape.x_stride;
    let words = (shape.k + 3u) / 4u;

    var bits = vec4(0u);
    if inside {
        for (var word = thread; word < words; word += 64u) {
            bits = max(bits, bitcast<vec4<u32>>(masked(x[first + word], word * 4u)) & vec4(0x7fffffffu));
        }
    }
    largest[thread] = max(max(bits.x, bits.y), max(bits.z, bits.w));
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            largest[thread] = max(largest[thread], largest[thread + half]);
        }
    }
    workgroupBarrier();
    if !inside {
        return;
    }

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
    for (var word = thread; word < (words + 3u) / 4u * 4u; word += 64u) {
        var packed = 0u;
        if word < words && factor != 0.0 {
            // round() takes halves to the even integer.
            let q = vec4<i32>(round(masked(x[first + word], word * 4u) * factor));
            packed = pack4xI8(q);
        }
        quantized[row * shape.y_stride + word] = packed;
    }
}
