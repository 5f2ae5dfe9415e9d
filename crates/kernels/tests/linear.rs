//! Every instruction set of this machine against the reference, over shapes that fit no tile.
#![allow(clippy::unwrap_used)]

use std::sync::OnceLock;

use grice_kernels::{
    Activation, Epilogue, Isa, Kernels, LayerNorm, PackedLinear, Rounding, WeightData, WeightPart, reference, vector,
};
use proptest::prelude::*;

const PLAIN: Epilogue<'static> = Epilogue { activation: Activation::Identity, residual: None, norm: None };

/// What a case multiplies; numbers by a fixed generator, so that a seed names them.
#[derive(Clone, Debug)]
struct Case {
    rows: usize,
    k: usize,
    n: usize,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    (0usize..70, 0usize..200, 0usize..140, any::<u64>()).prop_map(|(rows, k, n, seed)| Case { rows, k, n, seed })
}

/// Uniform numbers in [-1, 1), by a xorshift generator.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
    }

    /// All of i8, the extremes often.
    fn bytes(&mut self, count: usize) -> Vec<i8> {
        let byte = |bits: u64| match bits >> 60 {
            0 => -128,
            1 => 127,
            _ => (bits >> 32) as i8,
        };
        (0..count).map(|_| byte(self.next())).collect()
    }
}

/// Pools of 1, 2, 3 and 7 threads for every instruction set, started once.
fn all_kernels() -> &'static [Kernels] {
    static KERNELS: OnceLock<Vec<Kernels>> = OnceLock::new();
    KERNELS.get_or_init(|| {
        let each = |isa| [1, 2, 3, 7].map(|threads| Kernels::with_isa(isa, threads));
        Isa::available().into_iter().flat_map(each).collect()
    })
}

/// To the last bit, but for the NaN's own bits.
fn assert_same(kernels: &Kernels, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
        let (isa, threads) = (kernels.isa().name(), kernels.threads());
        assert!(same, "{isa}, {threads} threads: {got} instead of {expected} at {index}");
    }
}

/// What follows a product, in the steps that every instruction set takes.
fn epilogue_stepwise(mut y: Vec<f32>, epilogue: &Epilogue<'_>) -> Vec<f32> {
    match epilogue.activation {
        Activation::Identity => {}
        Activation::Gelu => vector::gelu(Isa::scalar(), &mut y),
        Activation::GeluTanh => vector::gelu_tanh(Isa::scalar(), &mut y),
        Activation::Relu => vector::relu(Isa::scalar(), &mut y),
        Activation::Tanh => vector::tanh(Isa::scalar(), &mut y),
        Activation::Silu => vector::silu(Isa::scalar(), &mut y),
    }
    for (y, more) in y.iter_mut().zip(epilogue.residual.unwrap_or_default()) {
        *y += more;
    }
    epilogue.norm.map_or_else(|| y.clone(), |norm| reference::layer_norm_stepwise(&y, norm))
}

fn assert_close(kernels: &Kernels, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let close = (got - expected).abs() <= tolerance * expected.abs().max(1.0) || got.is_nan() && expected.is_nan();
        let (isa, threads) = (kernels.isa().name(), kernels.threads());
        assert!(close, "{isa}, {threads} threads: {got} instead of {expected} at {index}");
    }
}

fn check_int8(case: &Case, x: &[f32]) {
    let Case { rows, k, n, seed } = *case;
    let mut numbers = Numbers(seed | 1);
    let (w, scales, bias) = (numbers.bytes(k * n), numbers.floats(n), numbers.floats(n));
    let residual = numbers.floats(rows * n);
    let expected = reference::linear_int8(x, &w, &scales, Some(&bias), rows, k, n);
    let part = WeightPart { n, data: WeightData::Int8 { values: &w, scales: &scales }, bias: Some(&bias) };
    for kernels in all_kernels() {
        let packed = PackedLinear::pack(kernels.isa(), k, &[part], Rounding::Fused).unwrap();
        let mut out = vec![f32::NAN; rows * n];
        kernels.linear(x, rows, &packed, &PLAIN, &mut out).unwrap();
        assert_same(kernels, &out, &expected);
        let added: Vec<f32> = expected.iter().zip(&residual).map(|(y, more)| y + more).collect();
        let epilogue = Epilogue { residual: Some(&residual), ..PLAIN };
        kernels.linear(x, rows, &packed, &epilogue, &mut out).unwrap();
        assert_same(kernels, &out, &added);
    }
}

/// Zeros of the columns' own: what the symmetric weights give, and the rows' sums by the zeros.
fn check_shifted(case: &Case, x: &[f32]) {
    let Case { rows, k, n, seed } = *case;
    let mut numbers = Numbers(seed | 1);
    let (w, scales, bias, zeros) = (numbers.bytes(k * n), numbers.floats(n), numbers.floats(n), numbers.bytes(n));
    let mut expected = reference::linear_int8(x, &w, &scales, Some(&bias), rows, k, n);
    for (x, out) in x.chunks_exact(k).zip(expected.chunks_exact_mut(n)) {
        let (q, scale) = reference::quantize_row(x);
        let sum = q.iter().map(|&q| i32::from(q)).sum::<i32>() as f32 * scale;
        for (column, out) in out.iter_mut().enumerate() {
            *out += sum * -(f32::from(zeros[column]) * scales[column]);
        }
    }
    let data = WeightData::Int8Shifted { values: &w, scales: &scales, zeros: &zeros };
    let part = WeightPart { n, data, bias: Some(&bias) };
    for kernels in all_kernels() {
        let packed = PackedLinear::pack(kernels.isa(), k, &[part], Rounding::Fused).unwrap();
        assert!(packed.is_int8());
        let mut out = vec![f32::NAN; rows * n];
        kernels.linear(x, rows, &packed, &PLAIN, &mut out).unwrap();
        assert_same(kernels, &out, &expected);
    }
}

fn check_f32(case: &Case) {
    let Case { rows, k, n, seed } = *case;
    let mut numbers = Numbers(seed | 1);
    let (x, w, bias) = (numbers.floats(rows * k), numbers.floats(k * n), numbers.floats(n));
    let residual = numbers.floats(rows * n);
    let mut expected = reference::matmul(&x, &w, Some(&bias), rows, k, n);
    reference::epilogue(&mut expected, n, &Epilogue { residual: Some(&residual), ..PLAIN });
    let part = WeightPart { n, data: WeightData::F32(&w), bias: Some(&bias) };
    for kernels in all_kernels() {
        let packed = PackedLinear::pack(kernels.isa(), k, &[part], Rounding::Fused).unwrap();
        let mut out = vec![f32::NAN; rows * n];
        kernels.linear(&x, rows, &packed, &Epilogue { residual: Some(&residual), ..PLAIN }, &mut out).unwrap();
        // 200 products below 1, summed in another order than the reference's, which sums in f64.
        assert_close(kernels, &out, &expected, 2e-5);
    }
}

/// Products of f32 stepwise, to the bit.
fn check_stepwise(case: &Case) {
    let Case { rows, k, n, seed } = *case;
    let mut numbers = Numbers(seed | 1);
    let (x, w, bias) = (numbers.floats(rows * k), numbers.floats(k * n), numbers.floats(n));
    let residual = numbers.floats(rows * n);
    let expected = reference::matmul_stepwise(&x, &w, &bias, rows, k, n);
    let expected: Vec<f32> = expected.iter().zip(&residual).map(|(y, more)| y + more).collect();
    let part = WeightPart { n, data: WeightData::F32(&w), bias: Some(&bias) };
    for kernels in all_kernels() {
        let packed = PackedLinear::pack(kernels.isa(), k, &[part], Rounding::Stepwise).unwrap();
        let mut out = vec![f32::NAN; rows * n];
        kernels.linear(&x, rows, &packed, &Epilogue { residual: Some(&residual), ..PLAIN }, &mut out).unwrap();
        assert_same(kernels, &out, &expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn int8_products_are_the_reference_to_the_bit(case in cases()) {
        check_int8(&case, &Numbers(case.seed | 2).floats(case.rows * case.k));
    }

    #[test]
    fn rows_of_all_magnitudes(case in cases()) {
        let mut x = Numbers(case.seed | 2).floats(case.rows * case.k);
        for (row, x) in x.chunks_mut(case.k.max(1)).enumerate() {
            let factor = [0.0, 1e-36, 1e-30, 1e-20, 1.0, 1e20, 3e38][row % 7];
            x.iter_mut().for_each(|x| *x *= factor);
        }
        check_int8(&case, &x);
    }

    #[test]
    fn f32_products_are_the_reference(case in cases()) {
        check_f32(&case);
        check_stepwise(&case);
    }

    #[test]
    fn rows_that_are_not_numbers_stay_by_themselves(case in cases(), odd in prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY])) {
        let mut x = Numbers(case.seed | 2).floats(case.rows * case.k);
        let middle = x.len() / 2;
        if let Some(x) = x.get_mut(middle) {
            *x = odd;
        }
        check_int8(&case, &x);
    }

    #[test]
    fn parts_side_by_side_are_parts_one_by_one(case in cases(), split in 0usize..140, half in any::<bool>()) {
        let Case { rows, k, n, seed } = case;
        let split = split.min(n);
        let mut numbers = Numbers(seed | 1);
        let x = numbers.floats(rows * k);
        let widths = [split, n - split];
        let values = widths.map(|n| numbers.bytes(k * n));
        let scales = widths.map(|n| numbers.floats(n));
        let floats = numbers.floats(k * widths[1]);
        let halves: Vec<u16> = floats.iter().map(|&x| half::f16::from_f32(x).to_bits()).collect();
        let int8 = |part: usize| WeightData::Int8 { values: &values[part], scales: &scales[part] };
        let first = WeightPart { n: widths[0], data: int8(0), bias: None };
        let second = WeightPart { n: widths[1], data: if half { WeightData::F16(&halves) } else { int8(1) }, bias: None };
        for kernels in all_kernels() {
            let mut together = vec![f32::NAN; rows * n];
            let packed = PackedLinear::pack(kernels.isa(), k, &[first, second], Rounding::Fused).unwrap();
            kernels.linear(&x, rows, &packed, &PLAIN, &mut together).unwrap();
            if !half {
                let alone = [first, second].map(|part| {
                    let mut out = vec![f32::NAN; rows * part.n];
                    let packed = PackedLinear::pack(kernels.isa(), k, &[part], Rounding::Fused).unwrap();
                    kernels.linear(&x, rows, &packed, &PLAIN, &mut out).unwrap();
                    out
                });
                let expected: Vec<f32> = (0..rows)
                    .flat_map(|row| [0, 1].map(|part: usize| &alone[part][row * widths[part]..][..widths[part]]).concat())
                    .collect();
                assert_same(kernels, &together, &expected);
            } else {
                let dequantized = |row: usize, column: usize| match column.checked_sub(split) {
                    None => f32::from(values[0][row * split + column]) * scales[0][column],
                    Some(column) => half::f16::from_bits(halves[row * widths[1] + column]).to_f32(),
                };
                let w: Vec<f32> = (0..k * n).map(|index| dequantized(index / n, index % n)).collect();
                // Sums of 200 products up to 128 each, in another order.
                assert_close(kernels, &together, &reference::matmul(&x, &w, None, rows, k, n), 2e-3);
            }
        }
    }

    #[test]
    fn epilogues_are_the_reference(case in cases(), int8 in any::<bool>(), with_residual in any::<bool>(), with_norm in any::<bool>()) {
        let Case { rows, k, n, seed } = case;
        let mut numbers = Numbers(seed | 1);
        let (x, bias, residual) = (numbers.floats(rows * k), numbers.floats(n), numbers.floats(rows * n));
        let norm = LayerNorm { gamma: numbers.floats(n), beta: numbers.floats(n), epsilon: 1e-7, centred: true };
        let (w, bytes) = (numbers.floats(k * n), numbers.bytes(k * n));
        let scales = vec![0.002; n];
        let data = if int8 { WeightData::Int8 { values: &bytes, scales: &scales } } else { WeightData::F32(&w) };
        let product = if int8 {
            reference::linear_int8(&x, &bytes, &scales, Some(&bias), rows, k, n)
        } else {
            reference::matmul(&x, &w, Some(&bias), rows, k, n)
        };
        for activation in [Activation::Identity, Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Tanh, Activation::Silu] {
            let epilogue = Epilogue {
                activation,
                residual: with_residual.then_some(&residual[..]),
                norm: with_norm.then_some(&norm),
            };
            let mut expected = product.clone();
            reference::epilogue(&mut expected, n, &epilogue);
            let steps = epilogue_stepwise(product.clone(), &epilogue);
            for kernels in all_kernels() {
                let part = WeightPart { n, data, bias: Some(&bias) };
                let packed = PackedLinear::pack(kernels.isa(), k, &[part], Rounding::Fused).unwrap();
                let mut out = vec![f32::NAN; rows * n];
                kernels.linear(&x, rows, &packed, &epilogue, &mut out).unwrap();
                // A norm of one or two columns divides by differences that have few digits left.
                let tolerance = if with_norm && n < 8 { 0.05 } else { 1e-4 };
                assert_close(kernels, &out, &expected, tolerance);
                if int8 {
                    assert_same(kernels, &out, &steps);
                }
            }
        }
    }

    #[test]
    fn feed_forward_is_two_products(rows in 0usize..150, k in 1usize..70, inner in 0usize..150, n in 0usize..70, seed in any::<u64>(), int8 in any::<bool>()) {
        let mut numbers = Numbers(seed | 1);
        let (x, residual) = (numbers.floats(rows * k), numbers.floats(rows * n));
        let (up, down) = (numbers.floats(k * inner), numbers.floats(inner * n));
        let (up_bytes, down_bytes) = (numbers.bytes(k * inner), numbers.bytes(inner * n));
        let (up_scales, down_scales) = (vec![0.002; inner], vec![0.002; n]);
        let (up_bias, down_bias) = (numbers.floats(inner), numbers.floats(n));
        let data = |bytes, scales, floats| if int8 { WeightData::Int8 { values: bytes, scales } } else { WeightData::F32(floats) };
        let up = WeightPart { n: inner, data: data(&up_bytes, &up_scales, &up), bias: Some(&up_bias) };
        let down = WeightPart { n, data: data(&down_bytes, &down_scales, &down), bias: Some(&down_bias) };
        let epilogue = Epilogue { residual: Some(&residual), ..PLAIN };
        let mut all: Option<Vec<f32>> = None;
        for kernels in all_kernels() {
            let up = PackedLinear::pack(kernels.isa(), k, &[up], Rounding::Stepwise).unwrap();
            let down = PackedLinear::pack(kernels.isa(), inner, &[down], Rounding::Stepwise).unwrap();
            let mut hidden = vec![f32::NAN; rows * inner];
            let mut expected = vec![f32::NAN; rows * n];
            kernels.linear(&x, rows, &up, &Epilogue { activation: Activation::Gelu, ..PLAIN }, &mut hidden).unwrap();
            kernels.linear(&hidden, rows, &down, &epilogue, &mut expected).unwrap();
            let mut out = vec![f32::NAN; rows * n];
            kernels.feed_forward(&x, rows, &up, Activation::Gelu, &down, &epilogue, &mut out).unwrap();
            assert_same(kernels, &out, &expected);
            assert_same(kernels, &out, all.get_or_insert_with(|| out.clone()));
        }
    }
}

#[test]
fn weights_around_zeros_of_their_own_give_the_same_bits_everywhere() {
    for (rows, k, n) in [(1, 1, 1), (3, 7, 5), (5, 64, 33), (17, 130, 48), (40, 384, 96)] {
        let case = Case { rows, k, n, seed: 77 + k as u64 };
        let x = Numbers(91).floats(rows * k);
        check_shifted(&case, &x);
    }
}

#[test]
fn shapes_of_the_models() {
    for (k, n) in [(768, 2304), (3072, 768), (384, 1152), (1024, 96)] {
        for rows in [1, 3, 50] {
            let mut numbers = Numbers(9);
            let x = numbers.floats(rows * k);
            let (w, scales) = (numbers.bytes(k * n), numbers.floats(n));
            let expected = reference::linear_int8(&x, &w, &scales, None, rows, k, n);
            let floats = numbers.floats(k * n);
            let product = reference::matmul(&x, &floats, None, rows, k, n);
            for kernels in all_kernels() {
                let part = WeightPart { n, data: WeightData::Int8 { values: &w, scales: &scales }, bias: None };
                let mut out = vec![f32::NAN; rows * n];
                let packed = PackedLinear::pack(kernels.isa(), k, &[part], Rounding::Fused).unwrap();
                kernels.linear(&x, rows, &packed, &PLAIN, &mut out).unwrap();
                assert_same(kernels, &out, &expected);
                let part = WeightPart { n, data: WeightData::F32(&floats), bias: None };
                let packed = PackedLinear::pack(kernels.isa(), k, &[part], Rounding::Fused).unwrap();
                kernels.linear(&x, rows, &packed, &PLAIN, &mut out).unwrap();
                // 3072 products below 1, in another order.
                assert_close(kernels, &out, &product, 1e-4);
            }
        }
    }
}

#[test]
fn a_row_that_is_not_a_number_stays_by_itself_in_f32() {
    let (rows, k, n) = (40, 70, 50);
    let mut numbers = Numbers(3);
    let (mut x, w) = (numbers.floats(rows * k), numbers.floats(k * n));
    x[7 * k + 5] = f32::NAN;
    x[20 * k + 5] = f32::INFINITY;
    for kernels in all_kernels() {
        let part = WeightPart { n, data: WeightData::F32(&w), bias: None };
        let packed = PackedLinear::pack(kernels.isa(), k, &[part], Rounding::Fused).unwrap();
        let mut out = vec![0.0; rows * n];
        kernels.linear(&x, rows, &packed, &PLAIN, &mut out).unwrap();
        for (row, out) in out.chunks(n).enumerate() {
            let finite = out.iter().filter(|y| y.is_finite()).count();
            assert_eq!(finite, if row == 7 || row == 20 { 0 } else { n }, "{}, row {row}", kernels.isa().name());
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let part = WeightPart { n: 3, data: WeightData::F32(&[0.0; 6]), bias: None };
    let kernels = Kernels::new(2);
    let packed = PackedLinear::pack(kernels.isa(), 2, &[part], Rounding::Fused).unwrap();
    let norm = LayerNorm { gamma: vec![1.0; 2], beta: vec![0.0; 3], epsilon: 1e-5, centred: true };
    let check = |x: &[f32], rows, epilogue: Epilogue<'_>, out: &mut [f32], words: &str| {
        let error = kernels.linear(x, rows, &packed, &epilogue, out).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    check(&[0.0; 3], 2, PLAIN, &mut [0.0; 6], "x, [rows, k] has 3 elements, but its shape has 4");
    check(&[0.0; 4], 2, PLAIN, &mut [0.0; 5], "out, [rows, n]");
    check(&[0.0; 4], 2, Epilogue { residual: Some(&[0.0; 5]), ..PLAIN }, &mut [0.0; 6], "the residual");
    check(&[0.0; 4], 2, Epilogue { norm: Some(&norm), ..PLAIN }, &mut [0.0; 6], "gamma");
    check(&[], usize::MAX, PLAIN, &mut [], "rows · n");
    let error =
        kernels.feed_forward(&[0.0; 4], 2, &packed, Activation::Relu, &packed, &PLAIN, &mut [0.0; 6]).unwrap_err();
    assert!(error.to_string().contains("k of `down` is 2, but n of `up` is 3"), "{error}");
}
