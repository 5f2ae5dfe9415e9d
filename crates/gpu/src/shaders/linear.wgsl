// y = act(x · w + bias) + residual: an invocation makes four columns of a row. The plain form, for any device and any shape.

struct Shape {
    /// Rows of x and y.
    rows: u32,
    /// Columns of x, rows of w.
    k: u32,
    /// Columns of w, in fours; what is beyond the last true one is zero in w, bias and scales.
    columns4: u32,
    /// Between rows of x in numbers, or for 8 bits in words of four; and where the first starts.
    x_stride: u32,
    x_offset: u32,
    /// Between rows of y, and where the first starts: in fours.
    y_stride: u32,
    y_offset: u32,
    /// As those of y.
    residual_stride: u32,
    residual_offset: u32,
}

/// 0 identity, 1 GELU, 2 GELU by tanh, 3 ReLU, 4 tanh: as grice_kernels::Activation.
override ACTIVATION: u32 = 0u;
/// Whether the residual is added.
override RESIDUAL: bool = false;
/// 0 f32, 1 f16 two to a word, 2 8-bit integers four along k to a word.
override WEIGHTS: u32 = 0u;

@group(0) @binding(0) var<uniform> shape: Shape;
/// f32, or for 8 bits four to a word.
@group(0) @binding(1) var<storage, read> x: array<u32>;
/// f32 and f16: [k, columns]; 8 bits: [k / 4, columns], a word for each column.
@group(0) @binding(2) var<storage, read> weights: array<u32>;
/// Two rows: the bias of each column, then its scale (8 bits only).
@group(0) @binding(3) var<storage, read> columns: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
/// Of each row of x; 8 bits only.
@group(0) @binding(6) var<storage, read> row_scales: array<f32>;

@compute @workgroup_size(16, 4)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column4 = id.x;
    let row = id.y;
    if column4 >= shape.columns4 || row >= shape.rows {
        return;
    }
    var product = vec4(0.0);
    let first = shape.x_offset + row * shape.x_stride;
    if WEIGHTS == 2u {
        var sum = vec4(0i);
        for (var word = 0u; word < (shape.k + 3u) / 4u; word++) {
            let a = x[first + word];
            let at = (word * shape.columns4 + column4) * 4u;
            sum += vec4(
                dot4I8Packed(a, weights[at]),
                dot4I8Packed(a, weights[at + 1u]),
                dot4I8Packed(a, weights[at + 2u]),
                dot4I8Packed(a, weights[at + 3u]),
            );
        }
        product = vec4<f32>(sum) * (row_scales[row] * columns[shape.columns4 + column4]);
    } else {
        for (var k = 0u; k < shape.k; k++) {
            product += bitcast<f32>(x[first + k]) * weights_at(k * shape.columns4 + column4);
        }
    }
    var value = activate(product + columns[column4]);
    if RESIDUAL {
        value += residual[shape.residual_offset + row * shape.residual_stride + column4];
    }
    y[shape.y_offset + row * shape.y_stride + column4] = value;
}

fn weights_at(index4: u32) -> vec4<f32> {
    if WEIGHTS == 1u {
        let at = index4 * 2u;
        return vec4(unpack2x16float(weights[at]), unpack2x16float(weights[at + 1u]));
    }
    let at = index4 * 4u;
    return bitcast<vec4<f32>>(vec4(weights[at], weights[at + 1u], weights[at + 2u], weights[at + 3u]));
}

fn activate(x: vec4<f32>) -> vec4<f32> {
    switch ACTIVATION {
        case 1u: {
            return gelu(x);
        }
        case 2u: {
            return gelu_tanh(x);
        }
        case 3u: {
            // As the kernels do, what is no number stays none.
            return select(x, vec4(0.0), x < vec4(0.0));
        }
        case 4u: {
            return bounded_tanh(x);
        }
        default: {
            return x;
        }
    }
}

/// x·Φ(x). Φ(-|x|) by Abramowitz and Stegun 7.1.26, which is off by less than 1e-7; nothing cancels on either side.
fn gelu(x: vec4<f32>) -> vec4<f32> {
    // Beyond this Φ(-|x|) is 0 in f32, and an infinity would make 0 · ∞.
    let near = clamp(x, vec4(-20.0), vec4(20.0));
    let t = 1.0 / (1.0 + 0.2316418882 * abs(near));
    let series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    let tail = 0.5 * series * exp(-0.5 * near * near);
    return select(x - near * tail, near * tail, x < vec4(0.0));
}

fn gelu_tanh(x: vec4<f32>) -> vec4<f32> {
    let inner = 0.7978845608 * (x + 0.044715 * x * x * x);
    // Far below zero it is 0; without the bound it would be ∞ · 0 there.
    return select(0.5 * x * (1.0 + bounded_tanh(inner)), vec4(0.0), x < vec4(-20.0));
}

/// Some drivers compute tanh by exponentials that overflow; beyond 15 it is ±1 in f32.
fn bounded_tanh(x: vec4<f32>) -> vec4<f32> {
    let bounded = tanh(clamp(x, vec4(-15.0), vec4(15.0)));
    return select(bounded, x, x != x);
}
