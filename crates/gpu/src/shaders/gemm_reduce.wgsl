// Adds up the sums over shares of k, in f32 or exactly in 8 bits, and finishes them.

/// Whether the sums are integers.
override INT8: bool = false;

/// [share, row, columns4], as keep_share wrote them.
@group(0) @binding(1) var<storage, read> kept: array<vec4<u32>>;
/// [row]; read for 8 bits only.
@group(0) @binding(2) var<storage, read> row_scales: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let column4 = workgroup.x * 64u + thread;
    let row = shape.first_row + workgroup.y;
    if column4 >= shape.columns4 || row >= shape.rows {
        return;
    }
    let first = row * shape.columns4 + column4;
    let step = shape.rows * shape.columns4;
    if INT8 {
        var sum = vec4(0i);
        for (var share = 0u; share < shape.shares; share++) {
            sum += bitcast<vec4<i32>>(kept[first + share * step]);
        }
        finish(row, column4, vec4<f32>(sum) * (row_scales[row] * columns[shape.columns4 + column4]));
    } else {
        var sum = vec4(0.0);
        for (var share = 0u; share < shape.shares; share++) {
            sum += bitcast<vec4<f32>>(kept[first + share * step]);
        }
        finish(row, column4, sum);
    }
}
