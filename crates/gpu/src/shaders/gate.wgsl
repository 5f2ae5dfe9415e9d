// activation(gate) · up, where a row holds the gate's columns, then those of up. A workgroup takes 256 columns of a row.

struct Shape {
    /// Of the gate, and of up.
    columns: u32,
    /// Between rows.
    x_stride: u32,
    y_stride: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
/// [rows, 2 · columns].
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = workgroup.y * shape.x_stride;
    let first = workgroup.x * 256u + thread * 4u;
    var gate = vec4(0.0);
    for (var i = 0u; i < 4u; i++) {
        if first + i < shape.columns {
            gate[i] = x[row + first + i];
        }
    }
    let open = activate(gate);
    for (var i = 0u; i < 4u; i++) {
        if first + i < shape.columns {
            y[workgroup.y * shape.y_stride + first + i] = open[i] * x[row + shape.columns + first + i];
        }
    }
}
