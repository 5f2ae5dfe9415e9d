//! Products with weights, and what follows them.

use crate::{Activation, Epilogue};

/// `x·w + bias` with `x` `[rows, k]`, `w` `[k, n]`, `bias` `[n]` or none; summed in f64.
pub fn matmul(x: &[f32], w: &[f32], bias: Option<&[f32]>, rows: usize, k: usize, n: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows * n);
    for row in 0..rows {
        for column in 0..n {
            let products = (0..k).map(|i| f64::from(x[row * k + i]) * f64::from(w[i * n + column]));
            let sum: f64 = products.sum();
            out.push((sum + bias.map_or(0.0, |bias| f64::from(bias[column]))) as f32);
        }
    }
    out
}

/// A row in 8 bits: integers in ±127 and the factor that gives the row back.
///
/// Symmetric, as in ONNX DynamicQuantizeLinear but with zero point 0 and one scale a row: `scale = absmax / 127`, `q = round(x ·
/// (127 / absmax))`, halves to even. A row whose largest magnitude is below 1e-30 counts as zeros (its scale is 0); one with a NaN or an
/// infinity has the scale NaN and zeros, so that all its products are NaN.
pub fn quantize_row(x: &[f32]) -> (Vec<i8>, f32) {
    // As integers the magnitudes order like the numbers, with NaN above infinity.
    let absmax = f32::from_bits(x.iter().map(|x| x.to_bits() & 0x7fff_ffff).max().unwrap_or(0));
    if absmax < 1e-30 {
        return (vec![0; x.len()], 0.0);
    }
    if !absmax.is_finite() {
        return (vec![0; x.len()], f32::NAN);
    }
    let inverse = 127.0 / absmax;
    (x.iter().map(|x| (x * inverse).round_ties_even() as i8).collect(), absmax / 127.0)
}

/// The exact sums of products of 8-bit integers: `q` `[rows, k]` times `w` `[k, n]`.
pub fn matmul_int8(q: &[i8], w: &[i8], rows: usize, k: usize, n: usize) -> Vec<i32> {
    let mut out = vec![0; rows * n];
    for row in 0..rows {
        for i in 0..k {
            for column in 0..n {
                out[row * n + column] += i32::from(q[row * k + i]) * i32::from(w[i * n + column]);
            }
        }
    }
    out
}

/// `x·w + bias` by way of 8-bit integers: each row of `x` quantized by [`quantize_row`], exact sums, then `sum · (row's scale · column's
/// scale) + bias` in f32.
pub fn linear_int8(
    x: &[f32],
    w: &[i8],
    scales: &[f32],
    bias: Option<&[f32]>,
    rows: usize,
    k: usize,
    n: usize,
) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows * n);
    for row in 0..rows {
        let (q, scale) = quantize_row(&x[row * k..][..k]);
        let sums = matmul_int8(&q, w, 1, k, n);
        for column in 0..n {
            let product = sums[column] as f32 * (scale * scales[column]);
            out.push(product + bias.map_or(0.0, |bias| bias[column]));
        }
    }
    out
}

/// `x·w + bias` by way of 4-bit integers in groups, to the bit: each row of `x` quantized by [`quantize_row`]; for each group of `k` the exact
/// sum of `q · (value - zero)`, rounded to f32, which it fits; the groups' sums times their scales added one after another, from 0, in f32
/// with each operation rounded by itself; then `sum · row's scale + bias`. `values` is `[k, n]`, `scales` and `zeros` are `[groups, n]`;
/// without zeros all are 8.
#[allow(clippy::too_many_arguments, reason = "the operands of the formula")]
pub fn linear_int4(
    x: &[f32],
    values: &[u8],
    scales: &[f32],
    zeros: Option<&[u8]>,
    group: usize,
    bias: Option<&[f32]>,
    k: usize,
    n: usize,
) -> Vec<f32> {
    let mut out = Vec::new();
    for row in x.chunks_exact(k) {
        let (q, scale) = quantize_row(row);
        for column in 0..n {
            let mut total = 0f32;
            for (index, q) in q.chunks(group).enumerate() {
                let zero = zeros.map_or(8, |zeros| i32::from(zeros[index * n + column]));
                let number = |i: usize| i32::from(values[(index * group + i) * n + column]) - zero;
                let sum: i32 = q.iter().enumerate().map(|(i, &q)| i32::from(q) * number(i)).sum();
                total += sum as f32 * scales[index * n + column];
            }
            out.push(total * scale + bias.map_or(0.0, |bias| bias[column]));
        }
    }
    out
}

/// One number through an activation, in f64 inside.
pub fn activate(activation: Activation, x: f32) -> f32 {
    let wide = f64::from(x);
    match activation {
        Activation::Identity => x,
        Activation::Gelu => (0.5 * wide * erfc(-wide / std::f64::consts::SQRT_2)) as f32,
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044715 * wide * wide * wide);
            (0.5 * wide * (1.0 + inner.tanh())) as f32
        }
        Activation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Activation::Tanh => wide.tanh() as f32,
        Activation::Silu => super::vector::silu(wide) as f32,
    }
}

/// `norm(act(y) + residual)` over rows of `n`, for `y` the product with its bias.
pub fn epilogue(y: &mut [f32], n: usize, epilogue: &Epilogue<'_>) {
    for (index, value) in y.iter_mut().enumerate() {
        *value = activate(epilogue.activation, *value) + epilogue.residual.map_or(0.0, |residual| residual[index]);
    }
    if let Some(norm) = epilogue.norm
        && n > 0
    {
        for row in y.chunks_exact_mut(n) {
            let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
            let mean = if norm.centred { mean } else { 0.0 };
            let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n as f64;
            let factor = 1.0 / (variance + f64::from(norm.epsilon)).sqrt();
            for (x, (gamma, beta)) in row.iter_mut().zip(norm.gamma.iter().zip(&norm.beta)) {
                *x = ((f64::from(*x) - mean) * factor * f64::from(*gamma) + f64::from(*beta)) as f32;
            }
        }
    }
}

/// The complementary error function to about 1e-15: its series below 3, its continued fraction above.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x.is_nan() {
        return x;
    }
    if x > 27.0 {
        return 0.0;
    }
    let root_pi = std::f64::consts::PI.sqrt();
    if x < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return 1.0 - 2.0 / root_pi * sum;
    }
    let mut fraction = x;
    for n in (1..100).rev() {
        fraction = x + f64::from(n) * 0.5 / fraction;
    }
    (-x * x).exp() / root_pi / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(activation: Activation, x: f32, expected: f32) {
        let got = activate(activation, x);
        assert!((got - expected).abs() < 1e-7, "{activation:?}({x}) = {got}, expected {expected}");
    }

    #[test]
    fn activations_at_known_points() {
        // Values by Φ(1) = 0.841344746, Φ(-2) = 0.022750132, tanh(1) = 0.761594156.
        check(Activation::Gelu, 1.0, 0.841_344_7);
        check(Activation::Gelu, -2.0, -0.045_500_264);
        check(Activation::Gelu, 0.0, 0.0);
        check(Activation::GeluTanh, 1.0, 0.841_192);
        check(Activation::Relu, -1.0, 0.0);
        check(Activation::Tanh, 1.0, 0.761_594_2);
        check(Activation::Identity, -3.5, -3.5);
    }

    #[test]
    fn rows_that_have_no_scale() {
        assert_eq!(quantize_row(&[0.0, 0.0]), (vec![0, 0], 0.0));
        assert_eq!(quantize_row(&[1e-38, -1e-39]), (vec![0, 0], 0.0));
        assert!(quantize_row(&[1.0, f32::NAN]).1.is_nan());
        assert!(quantize_row(&[1.0, f32::NEG_INFINITY]).1.is_nan());
        assert_eq!(quantize_row(&[2.0, -1.0, 0.5]).0, [127, -64, 32]);
    }
}
