//! Element-wise functions, in f64.

/// x·Φ(x), Φ the normal distribution function; 0 at minus infinity, its limit.
pub fn gelu(x: f64) -> f64 {
    // Φ(x) = erfc(-x / √2) / 2, which loses nothing where Φ is small.
    if x == f64::NEG_INFINITY { 0.0 } else { x * erfc(-x * std::f64::consts::FRAC_1_SQRT_2) / 2.0 }
}

/// x·(1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2; 0 at minus infinity, its limit.
pub fn gelu_tanh(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
    if x == f64::NEG_INFINITY { 0.0 } else { x * (1.0 + inner.tanh()) / 2.0 }
}

/// tanh(x).
pub fn tanh(x: f64) -> f64 {
    x.tanh()
}

/// max(x, 0).
pub fn relu(x: f64) -> f64 {
    x.max(0.0)
}

/// x / (1 + e^-x); 0 at minus infinity, its limit.
pub fn silu(x: f64) -> f64 {
    if x == f64::NEG_INFINITY { 0.0 } else { x / (1.0 + (-x).exp()) }
}

/// 1 - erf(x) to 1e-11 of itself or better: the Taylor series of erf near 0, Lentz's continued fraction of erfc away from it (Abramowitz
/// and Stegun 7.1.5 and 7.1.14).
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 2.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..60 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return 1.0 - sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    // erfc(x) = e^(-x²) / √π / (x + (1/2) / (x + (2/2) / (x + (3/2) / …))), from the far end.
    let tail = (1..=200).rev().fold(x, |tail, n| x + f64::from(n) / 2.0 / tail);
    (-x * x).exp() / tail * std::f64::consts::FRAC_2_SQRT_PI / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Abramowitz and Stegun's table 7.1 and of wider tables.
    #[test]
    fn erfc_meets_tables() {
        for (x, erf) in [(0.0, 0.0), (0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)] {
            assert!((1.0 - erfc(x) - erf).abs() < 1e-10, "erf({x}) is {}", 1.0 - erfc(x));
            assert!((erfc(-x) - 1.0 - erf).abs() < 1e-10, "erf(-{x})");
        }
        assert!((erfc(5.0) / 1.537_459_794_4e-12 - 1.0).abs() < 1e-9);
        assert!((erfc(1.999_999_9) - erfc(2.000_000_1)).abs() < 1e-8);
    }
}
