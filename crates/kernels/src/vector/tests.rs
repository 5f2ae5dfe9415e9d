use super::functions::{exp, maximum_of};
use super::*;
use crate::{Isa, reference};

/// A function over a slice, with the instructions named.
type Kernel = fn(Isa, &mut [f32]);

/// Every value of a fine grid and the awkward ones, at every alignment of the tail; the error is relative to max(1, |expected|).
fn check(kernel: Kernel, expected: fn(f64) -> f64, tolerance: f64) {
    let mut inputs: Vec<f32> = (-40_000..=40_000).map(|i| i as f32 * 0.000_5).collect();
    inputs.extend((-80..=80).flat_map(|e| [2f32.powi(e), -(2f32.powi(e))]));
    inputs.extend([
        0.0,
        -0.0,
        1e-40,
        -1e-40,
        f32::MAX,
        f32::MIN,
        5.3,
        -5.3,
        5.3f32.next_up(),
        5.3f32.next_down(),
        8.0,
        -8.0,
    ]);
    for isa in Isa::available() {
        for len in [0, 1, 7, 15, 16, 17, 31, inputs.len()] {
            let mut x = inputs[..len].to_vec();
            kernel(isa, &mut x);
            let mut plain = inputs[..len].to_vec();
            kernel(Isa::scalar(), &mut plain);
            let same = x.iter().zip(&plain).all(|(x, plain)| x.to_bits() == plain.to_bits());
            assert!(same, "{}: not the bits of plain Rust", isa.name());
            for (input, got) in inputs.iter().zip(&x) {
                let expected = expected(f64::from(*input));
                let error = (f64::from(*got) - expected).abs() / expected.abs().max(1.0);
                assert!(error <= tolerance, "{}: f({input}) is {got}, not {expected}", isa.name());
            }
        }
        let mut odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7fc0_0001), -f32::NAN];
        kernel(isa, &mut odd);
        assert!(odd[0].is_nan() && odd[3].is_nan() && odd[4].is_nan(), "{}: not a number became one", isa.name());
        for (got, limit) in [(odd[1], f64::INFINITY), (odd[2], f64::NEG_INFINITY)] {
            let (got, expected) = (f64::from(got), expected(limit));
            let met = got == expected || (got - expected).abs() <= tolerance;
            assert!(met, "{}: f({limit}) is {got}, not {expected}", isa.name());
        }
    }
}

// Tolerances: the fits' own errors and a few roundings of f32 (6e-8 each); see `functions`.
#[test]
fn gelu_meets_the_reference() {
    check(gelu, reference::gelu, 2e-6);
}

#[test]
fn gelu_tanh_meets_the_reference() {
    check(gelu_tanh, reference::gelu_tanh, 1e-6);
}

#[test]
fn tanh_meets_the_reference() {
    check(tanh, reference::tanh, 5e-7);
}

#[test]
fn silu_meets_the_reference() {
    check(silu, reference::silu, 1e-6);
}

#[test]
fn relu_meets_the_reference() {
    check(relu, reference::relu, 0.0);
}

/// Runs a test written on [`Simd`] with all instructions.
struct Probe<'a> {
    input: &'a [f32],
    output: &'a mut [f32],
}

impl Operation for Probe<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (to, &x) in self.output.iter_mut().zip(self.input) {
            *to = s.largest(exp(s, s.splat(x)));
        }
    }
}

#[test]
fn exp_meets_the_reference() {
    let mut input: Vec<f32> = (-90_000..88_000).map(|i| i as f32 * 0.001).collect();
    input.extend([f32::NEG_INFINITY, f32::MIN, 0.0, -0.0, 1e-40]);
    for isa in Isa::available() {
        let mut output = vec![0.0; input.len()];
        dispatch(isa, Probe { input: &input, output: &mut output });
        for (&x, &got) in input.iter().zip(&output) {
            let expected = f64::from(x).exp();
            // 1e-7 by the fit, the rest by roundings; what is below 1.2e-38 may be 0.
            let error = (f64::from(got) - expected).abs();
            assert!(error <= expected * 3e-7 || expected < 1.2e-38, "{}: exp({x}) is {got}", isa.name());
        }
        let mut output = [0.0; 3];
        dispatch(isa, Probe { input: &[f32::INFINITY, 100.0, -100.0], output: &mut output });
        assert!(output[0] > 1e38 && output[1] > 1e38 && output[2] == 0.0, "{}: {output:?}", isa.name());
    }
}

/// As [`Probe`], for powers of two.
struct Exp2Probe<'a>(Probe<'a>);

impl Operation for Exp2Probe<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (to, &x) in self.0.output.iter_mut().zip(self.0.input) {
            *to = s.sum(exp2_of_negative(s, s.splat(x))) / S::LANES as f32;
        }
    }
}

#[test]
fn exp2_meets_the_reference() {
    let mut input: Vec<f32> = (-126_000..=0).map(|i| i as f32 * 0.001).collect();
    input.extend([-127.0, -1e30, f32::MIN, f32::NEG_INFINITY, -0.0, -1e-40, f32::NAN]);
    for isa in Isa::available() {
        let mut output = vec![0.0; input.len()];
        dispatch(isa, Exp2Probe(Probe { input: &input, output: &mut output }));
        for (&x, &got) in input.iter().zip(&output) {
            let expected = f64::from(x).max(-126.0).exp2();
            let met = if x.is_nan() { got.is_nan() } else { (f64::from(got) - expected).abs() <= expected * 3e-7 };
            assert!(met, "{}: 2^{x} is {got}", isa.name());
        }
    }
}

/// Transposes one square, with all instructions.
struct Transposition<'a> {
    square: &'a [f32],
    output: &'a mut [f32],
}

impl Operation for Transposition<'_> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> usize {
        let mut rows = [self.square.as_ptr(); LANES_MAX];
        for (row, from) in rows.iter_mut().zip(self.square.chunks_exact(LANES_MAX)) {
            *row = from.as_ptr();
        }
        // SAFETY: each row and each row of `output` has LANES_MAX elements, and there are as many.
        unsafe {
            s.transpose::<false>(&rows, self.output.as_mut_ptr(), LANES_MAX);
            s.transpose::<true>(&rows, self.output.as_mut_ptr(), LANES_MAX);
        }
        S::LANES
    }
}

#[test]
fn transposes_and_adds() {
    let square: Vec<f32> = (0..LANES_MAX * LANES_MAX).map(|i| i as f32).collect();
    for isa in Isa::available() {
        let mut output = vec![-1.0; square.len()];
        let lanes = dispatch(isa, Transposition { square: &square, output: &mut output });
        for (i, got) in output.iter().enumerate() {
            let (row, column) = (i / LANES_MAX, i % LANES_MAX);
            let inside = row < lanes && column < lanes;
            let expected = if inside { 2.0 * square[column * LANES_MAX + row] } else { -1.0 };
            assert_eq!(*got, expected, "{}: ({row}, {column})", isa.name());
        }
    }
}

/// Sums and maxima of a slice, with all instructions.
struct Folds<'a>(&'a [f32]);

impl Operation for Folds<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f32) {
        (sums_of(s, [self.0])[0], maximum_of(s, self.0))
    }
}

#[test]
fn folds_meet_plain_loops() {
    for isa in Isa::available() {
        for len in [0, 1, 3, 8, 15, 16, 17, 33, 64] {
            // Small whole numbers: any order of summation is exact.
            let x: Vec<f32> = (0..len).map(|i| ((i * 7) % 13) as f32 - 6.0).collect();
            let (sum, maximum) = dispatch(isa, Folds(&x));
            assert_eq!(sum, x.iter().sum::<f32>(), "{}: sum of {len}", isa.name());
            assert_eq!(maximum, x.iter().copied().fold(f32::NEG_INFINITY, f32::max), "{}: of {len}", isa.name());
        }
    }
}
