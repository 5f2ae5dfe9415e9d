// Each row as (x - mean) / sqrt(variance + epsilon) · gamma + beta, in place. A workgroup takes a row.

struct Shape {
    rows: u32,
    columns: u32,
    /// Between rows.
    stride: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
/// Gamma, then beta: [2, columns].
@group(0) @binding(2) var<storage, read> parameters: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    // Were there a workgroup too many, it would write what another writes as well.
    let first = min(workgroup.x, shape.rows - 1u) * shape.stride;
    let columns = shape.columns;
    var part = 0.0;
    for (var column = thread; column < columns; column += 64u) {
        part += x[first + column];
    }
    let mean = sum_of(part, thread) / f32(columns);
    part = 0.0;
    for (var column = thread; column < columns; column += 64u) {
        let distance = x[first + column] - mean;
        part += distance * distance;
    }
    let factor = inverseSqrt(sum_of(part, thread) / f32(columns) + shape.epsilon);
    for (var column = thread; column < columns; column += 64u) {
        x[first + column] = (x[first + column] - mean) * factor * parameters[column] + parameters[columns + column];
    }
}
