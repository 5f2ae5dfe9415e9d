// Each row as (x - mean) / sqrt(variance + epsilon) · gamma + beta, in place or of another matrix. A workgroup takes a row.

struct Shape {
    rows: u32,
    columns: u32,
    /// Between rows.
    stride: u32,
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
/// Gamma, then beta: [2, columns].
@group(0) @binding(2) var<storage, read> parameters: array<f32>;
/// What is normalised, if not `y` itself; its rows lie as those of `y`.
@group(0) @binding(3) var<storage, read> x: array<f32>;

override IN_PLACE: bool = true;
/// Whether the mean is subtracted; if not, it counts as 0: an RMS norm.
override CENTRED: bool = true;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    // Were there a workgroup too many, it would write what another writes as well.
    let first = min(workgroup.x, shape.rows - 1u) * shape.stride;
    let columns = shape.columns;
    var part = 0.0;
    for (var column = thread; column < columns; column += 64u) {
        part += at(first + column);
    }
    var mean = 0.0;
    if CENTRED {
        mean = sum_of(part, thread) / f32(columns);
    }
    part = 0.0;
    for (var column = thread; column < columns; column += 64u) {
        let distance = at(first + column) - mean;
        part += distance * distance;
    }
    let factor = inverseSqrt(sum_of(part, thread) / f32(columns) + shape.epsilon);
    for (var column = thread; column < columns; column += 64u) {
        y[first + column] = (at(first + column) - mean) * factor * parameters[column] + parameters[columns + column];
    }
}

fn at(index: u32) -> f32 {
    if IN_PLACE {
        return y[index];
    }
    return x[index];
}
