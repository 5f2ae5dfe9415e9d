//! Products of any number of rows with weights in f32 and binary16.
#![allow(clippy::unwrap_used)]

use grice_kernels::{Activation, Epilogue, Isa, Kernels, PackedLinear, Rounding, WeightData, WeightPart};

const PLAIN: Epilogue<'static> = Epilogue { activation: Activation::Identity, residual: None, norm: None };

/// A model that writes a token at a time must compute what it computes for many at once; and halves are the numbers that they are.
#[test]
fn rows_do_not_depend_on_how_many_there_are() {
    let (k, n, rows) = (67, 70, 29);
    let numbers = |count: usize| (0..count).map(|i| ((i * 37 % 1013) as f32 - 506.0) / 506.0).collect::<Vec<f32>>();
    let halves: Vec<u16> = numbers(k * n).iter().map(|x| half::f16::from_f32(*x).to_bits()).collect();
    let w: Vec<f32> = halves.iter().map(|&bits| half::f16::from_bits(bits).to_f32()).collect();
    let x = numbers(rows * k);
    for isa in Isa::available() {
        for rounding in [Rounding::Stepwise, Rounding::Fused] {
            let mut forms = Vec::new();
            for data in [WeightData::F32(&w), WeightData::F16(&halves)] {
                let part = WeightPart { n, data, bias: None };
                let packed = PackedLinear::pack(isa, k, &[part], rounding).unwrap();
                let (kernels, mut all) = (Kernels::with_isa(isa, 1), vec![0.0; rows * n]);
                kernels.linear(&x, rows, &packed, &PLAIN, &mut all).unwrap();
                for count in 1..rows {
                    let mut some = vec![0.0; count * n];
                    kernels.linear(&x[..count * k], count, &packed, &PLAIN, &mut some).unwrap();
                    assert!(some == all[..count * n], "{}: {count} rows of {packed:?}", isa.name());
                }
                forms.push(all);
            }
            assert!(forms[0] == forms[1], "{}: halves", isa.name());
        }
    }
}
