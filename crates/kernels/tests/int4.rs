//! Products with 4-bit weights in groups.
#![allow(clippy::unwrap_used)]

use grice_kernels::{
    Activation, Epilogue, GroupScales, Int4Groups, Isa, Kernels, PackedLinear, Rounding, WeightData, WeightPart,
    reference,
};
use half::f16;
use proptest::prelude::*;

const PLAIN: Epilogue<'static> = Epilogue { activation: Activation::Identity, residual: None, norm: None };

/// Numbers in ±1 that look random and are the same every time.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Numbers from 0 to 15.
fn nibbles(count: usize, seed: u64) -> Vec<u8> {
    numbers(count, seed).iter().map(|x| (x * 8.0 + 8.0) as u8).collect()
}

struct Weight {
    k: usize,
    n: usize,
    group: usize,
    values: Vec<u8>,
    scales: Vec<f32>,
    zeros: Option<Vec<u8>>,
    bias: Vec<f32>,
}

impl Weight {
    fn new(k: usize, n: usize, group: usize, with_zeros: bool) -> Self {
        let factors = k.div_ceil(group) * n;
        // Numbers that binary16 holds.
        let scales = numbers(factors, 2).iter().map(|x| f16::from_f32(*x).to_f32()).collect();
        let zeros = with_zeros.then(|| nibbles(factors, 3));
        Self { k, n, group, values: nibbles(k * n, 1), scales, zeros, bias: numbers(n, 4) }
    }

    fn part(&self) -> WeightPart<'_> {
        let groups = Int4Groups {
            values: &self.values,
            scales: GroupScales::F32(&self.scales),
            zeros: self.zeros.as_deref(),
            group: self.group,
        };
        WeightPart { n: self.n, data: WeightData::Int4Groups(groups), bias: Some(&self.bias) }
    }

    fn expected(&self, x: &[f32]) -> Vec<f32> {
        let zeros = self.zeros.as_deref();
        reference::linear_int4(x, &self.values, &self.scales, zeros, self.group, Some(&self.bias), self.k, self.n)
    }

    /// Every instruction set, to the bit, in some numbers of threads.
    fn check(&self, rows: usize) {
        let x = numbers(rows * self.k, 5);
        let expected = self.expected(&x);
        for isa in Isa::available() {
            let packed = PackedLinear::pack(isa, self.k, &[self.part()], Rounding::Fused).unwrap();
            assert!(packed.is_int4() && !packed.is_int8());
            for threads in [1, 2] {
                let mut out = vec![f32::NAN; rows * self.n];
                Kernels::with_isa(isa, threads).linear(&x, rows, &packed, &PLAIN, &mut out).unwrap();
                let name = format!("{} {rows}x{}x{} by {}", isa.name(), self.k, self.n, self.group);
                assert_same(&name, &out, &expected);
            }
        }
    }
}

fn assert_same(name: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{name}");
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_eq!(got.to_bits(), expected.to_bits(), "{name}: {got} at {at}, not {expected}");
    }
}

#[test]
fn meets_the_reference_to_the_bit() {
    for group in [32, 64, 128] {
        for with_zeros in [false, true] {
            for rows in [1, 2, 3, 4, 5, 7, 8, 9, 17] {
                Weight::new(256, 40, group, with_zeros).check(rows);
            }
            for (k, n) in [(128, 1), (8, 33), (100, 31), (129, 64), (1024, 70)] {
                Weight::new(k, n, group, with_zeros).check(2);
            }
        }
    }
}

/// The reference's steps against the formula.
#[test]
fn the_steps_are_near_the_formula() {
    for with_zeros in [false, true] {
        let weight = Weight::new(256, 20, 64, with_zeros);
        let x = numbers(3 * 256, 5);
        let number = |index: usize| {
            let factor = index / weight.n / weight.group * weight.n + index % weight.n;
            let zero = weight.zeros.as_ref().map_or(8, |zeros| zeros[factor]);
            (f32::from(weight.values[index]) - f32::from(zero)) * weight.scales[factor]
        };
        let w: Vec<f32> = (0..weight.values.len()).map(number).collect();
        let formula = reference::matmul(&x, &w, Some(&weight.bias), 3, weight.k, weight.n);
        for (got, expected) in weight.expected(&x).iter().zip(&formula) {
            // 256 roundings of x by at most 1/254, times weights of at most 15, in random directions: some 0.2 on average.
            assert!((got - expected).abs() < 1.5, "{got}, not {expected}");
        }
    }
}

#[test]
fn parts_lie_side_by_side_and_halves_are_exact() {
    let (first, second) = (Weight::new(96, 30, 32, false), Weight::new(96, 21, 32, true));
    let halves: Vec<u16> = second.scales.iter().map(|x| f16::from_f32(*x).to_bits()).collect();
    let mut part = second.part();
    if let WeightData::Int4Groups(groups) = &mut part.data {
        groups.scales = GroupScales::F16(&halves);
    }
    let x = numbers(2 * 96, 5);
    let (left, right) = (first.expected(&x), second.expected(&x));
    for isa in Isa::available() {
        let packed = PackedLinear::pack(isa, 96, &[first.part(), part], Rounding::Fused).unwrap();
        let mut out = vec![f32::NAN; 2 * 51];
        Kernels::with_isa(isa, 1).linear(&x, 2, &packed, &PLAIN, &mut out).unwrap();
        for row in 0..2 {
            let expected: Vec<f32> = left[row * 30..][..30].iter().chain(&right[row * 21..][..21]).copied().collect();
            assert_same(isa.name(), &out[row * 51..][..51], &expected);
        }
    }
}

#[test]
fn mixed_parts_become_f32() {
    let (four, other) = (Weight::new(64, 8, 32, true), Weight::new(64, 8, 64, false));
    let floats = numbers(64 * 8, 9);
    let f32 = WeightPart { n: 8, data: WeightData::F32(&floats), bias: None };
    for isa in Isa::available() {
        for parts in [[four.part(), other.part()], [four.part(), f32]] {
            let packed = PackedLinear::pack(isa, 64, &parts, Rounding::Stepwise).unwrap();
            assert!(!packed.is_int4() && !packed.is_int8());
            let (x, mut out) = (numbers(64, 5), vec![0.0; 16]);
            Kernels::with_isa(isa, 1).linear(&x, 1, &packed, &PLAIN, &mut out).unwrap();
            let expected = four.expected(&x);
            for (got, expected) in out.iter().zip(&expected) {
                assert!((got - expected).abs() < 0.5, "{}: {got}, not {expected}", isa.name());
            }
        }
    }
}

#[test]
fn rows_that_are_no_numbers_stay_alone() {
    let weight = Weight::new(64, 20, 32, true);
    let mut x = numbers(3 * 64, 5);
    let expected = weight.expected(&x);
    x[70] = f32::NAN;
    for isa in Isa::available() {
        let packed = PackedLinear::pack(isa, 64, &[weight.part()], Rounding::Fused).unwrap();
        let mut out = vec![0.0; 3 * 20];
        Kernels::with_isa(isa, 1).linear(&x, 3, &packed, &PLAIN, &mut out).unwrap();
        assert_same(isa.name(), &out[..20], &expected[..20]);
        assert!(out[20..40].iter().all(|x| x.is_nan()));
        assert_same(isa.name(), &out[40..], &expected[40..]);
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let pack = |values: &[u8], scales: &[f32], zeros: Option<&[u8]>, group| {
        let groups = Int4Groups { values, scales: GroupScales::F32(scales), zeros, group };
        let part = WeightPart { n: 2, data: WeightData::Int4Groups(groups), bias: None };
        PackedLinear::pack(Isa::scalar(), 16, &[part], Rounding::Fused).is_ok()
    };
    assert!(pack(&[15; 32], &[1.0; 4], Some(&[15; 4]), 8));
    assert!(pack(&[15; 32], &[1.0; 2], None, 32));
    assert!(!pack(&[15; 31], &[1.0; 4], None, 8));
    assert!(!pack(&[16; 32], &[1.0; 4], None, 8));
    assert!(!pack(&[15; 32], &[1.0; 3], None, 8));
    assert!(!pack(&[15; 32], &[1.0; 4], Some(&[15; 3]), 8));
    assert!(!pack(&[15; 32], &[1.0; 4], Some(&[16; 4]), 8));
    for group in [0, 4, 12, 8192] {
        assert!(!pack(&[15; 32], &[1.0; 4], None, group), "{group}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn meets_the_reference(k in 1usize..300, n in 1usize..80, group in 1usize..17, rows in 1usize..12, with_zeros: bool) {
        Weight::new(k, n, 8 * group, with_zeros).check(rows);
    }
}
