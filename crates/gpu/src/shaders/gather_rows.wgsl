// Some rows of a matrix, one after another.

struct Shape {
    rows: u32,
    /// Between rows, and so long are those that come out.
    stride: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> x: array<f32>;
/// Which row of x, [rows].
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let column = workgroup.x * 64u + thread;
    let row = workgroup.y;
    if row < shape.rows && column < shape.stride {
        y[row * shape.stride + column] = x[indices[row] * shape.stride + column];
    }
}
