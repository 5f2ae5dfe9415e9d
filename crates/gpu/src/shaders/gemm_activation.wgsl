// What a number becomes on its own.

/// 0 identity, 1 GELU, 2 GELU by tanh, 3 ReLU, 4 tanh, 5 SiLU: as grice_kernels::Activation.
override ACTIVATION: u32 = 0u;

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
        case 5u: {
            return silu(x);
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

/// x / (1 + e^-x). Beyond 80 the power would come near the end of f32, and the result is x or next to 0.
fn silu(x: vec4<f32>) -> vec4<f32> {
    let near = x / (1.0 + exp(-clamp(x, vec4(-80.0), vec4(80.0))));
    // Far below zero it is 0, where the bound would leave a share of it.
    let bounded = select(near, vec4(0.0), x < vec4(-80.0));
    return select(bounded, x, x != x);
}

/// Some drivers compute tanh by exponentials that overflow; beyond 15 it is ±1 in f32.
fn bounded_tanh(x: vec4<f32>) -> vec4<f32> {
    let bounded = tanh(clamp(x, vec4(-15.0), vec4(15.0)));
    return select(bounded, x, x != x);
}
