//! Weights packed and read back.

use crate::error::GpuError;
use crate::gemm::PackedWeights;
use crate::recording::Buffer;
use grice_model::{Linear, Matrix, Precision, Values};
use std::sync::Arc;

fn number(index: usize) -> f32 {
    (index % 251) as f32 - 125.0
}

fn layer(precision: Precision, k: usize, n: usize, first: usize) -> Linear {
    let values = (first..first + k * n).map(number);
    let values = match precision {
        Precision::Fp32 => Values::F32(values.collect()),
        Precision::Fp16 => Values::F16(values.map(|value| half::f16::from_f32(value).to_bits()).collect()),
        Precision::Int4 => unreachable!("4-bit weights become f32 on a GPU"),
        Precision::Int8 => {
            let scales = (0..n).map(|column| 1.0 + (first + column) as f32).collect();
            Values::Int8Columns { values: values.map(|value| value as i8).collect(), scales }
        }
    };
    let bias = Some((0..n).map(|column| -((first + column) as f32)).collect());
    Linear { weights: Arc::new(Matrix::new(k, n, values).unwrap()), bias }
}

/// The number at a row and column of a part, as its shader finds it.
fn unpacked(packed: &PackedWeights, part: usize, row: usize, column: usize) -> f32 {
    let part = &packed.parts[part];
    let padded = part.range.len().next_multiple_of(4);
    match packed.precision {
        Precision::Fp32 => f32::from_bits(part.words[row * padded + column]),
        Precision::Fp16 => {
            let word = part.words[(row * padded + column) / 2];
            half::f16::from_bits((word >> (16 * (column % 2))) as u16).to_f32()
        }
        Precision::Int4 => unreachable!("4-bit weights become f32 on a GPU"),
        Precision::Int8 => f32::from((part.words[row / 4 * padded + column] >> (8 * (row % 4))) as u8 as i8),
    }
}

/// Layers of `[k, n]` side by side, of which every number is where it belongs, and zeros everywhere else.
fn check(layers: &[(Precision, usize)], k: usize, binding_bytes_max: u64, precision: Precision, parts: usize) {
    let layers: Vec<Linear> = layers.iter().map(|&(precision, n)| layer(precision, k, n, n)).collect();
    let packed = PackedWeights::pack("a step", &layers.iter().collect::<Vec<_>>(), binding_bytes_max).unwrap();
    assert_eq!((packed.precision, packed.parts.len()), (precision, parts));
    let columns = layers.iter().flat_map(|layer| (0..layer.outputs()).map(move |column| (layer, column)));
    let mut place = (0, 0);
    for (layer, column) in columns {
        let part = &packed.parts[place.0];
        let padded = part.range.len().next_multiple_of(4);
        assert!(part.words.len() as u64 * 4 <= binding_bytes_max);
        let scale = match layer.weights.values() {
            Values::Int8Columns { scales, .. } if precision == Precision::Int8 => scales[column],
            _ => 0.0,
        };
        assert_eq!(part.columns[place.1], layer.bias.as_ref().unwrap()[column].to_bits());
        assert_eq!(part.columns[padded + place.1], scale.to_bits());
        let exact = if scale == 0.0 { 1.0 } else { scale };
        for row in 0..k {
            let expected = layer.weights.to_f32()[row * layer.outputs() + column];
            assert_eq!(unpacked(&packed, place.0, row, place.1) * exact, expected, "row {row}, column {column}");
        }
        place = if place.1 + 1 == part.range.len() { (place.0 + 1, 0) } else { (place.0, place.1 + 1) };
    }
    assert_eq!(place, (parts, 0));
    let nonzero = packed.parts.iter().flat_map(|part| &part.words).map(|word| word.count_ones()).sum::<u32>();
    let counted = (0..parts).flat_map(|part| (0..packed.parts[part].range.len()).map(move |column| (part, column)));
    let ones = |(part, column)| (0..k).map(|row| bits(&packed, part, row, column).count_ones()).sum::<u32>();
    assert_eq!(nonzero, counted.map(ones).sum::<u32>(), "padding is not zero");
}

fn bits(packed: &PackedWeights, part: usize, row: usize, column: usize) -> u32 {
    let value = unpacked(packed, part, row, column);
    match packed.precision {
        Precision::Fp32 => value.to_bits(),
        Precision::Fp16 => u32::from(half::f16::from_f32(value).to_bits()),
        Precision::Int4 => unreachable!("4-bit weights become f32 on a GPU"),
        Precision::Int8 => u32::from(value as i8 as u8),
    }
}

#[test]
fn every_number_is_where_its_shader_looks() {
    for precision in [Precision::Fp32, Precision::Fp16, Precision::Int8] {
        check(&[(precision, 7)], 5, 1 << 20, precision, 1);
        check(&[(precision, 3), (precision, 6), (precision, 1)], 18, 1 << 20, precision, 1);
        check(&[(precision, 8), (precision, 8)], 16, 1 << 20, precision, 1);
    }
}

#[test]
fn what_is_too_large_for_a_buffer_is_split_by_columns() {
    // Of 16 rows: 64, 32 and 16 bytes a column.
    check(&[(Precision::Fp32, 10), (Precision::Fp32, 9)], 16, 64 * 4, Precision::Fp32, 5);
    check(&[(Precision::Fp16, 10), (Precision::Fp16, 9)], 15, 32 * 9, Precision::Fp16, 3);
    check(&[(Precision::Int8, 19)], 13, 16 * 8, Precision::Int8, 3);
}

#[test]
fn mixed_layers_become_f32() {
    check(&[(Precision::Int8, 3), (Precision::Fp32, 2)], 4, 1 << 20, Precision::Fp32, 1);
    check(&[(Precision::Fp16, 3), (Precision::Int8, 2)], 6, 1 << 20, Precision::Fp32, 1);
}

#[test]
fn what_cannot_be_packed_is_refused() {
    let refuse = |layers: &[&Linear], limit: u64, words: &str| {
        let error = PackedWeights::pack("layer 3 up", layers, limit).unwrap_err().to_string();
        assert!(error.contains("layer 3 up") && error.contains(words), "{error}");
    };
    let (a, b) = (layer(Precision::Fp32, 4, 4, 0), layer(Precision::Fp32, 5, 4, 0));
    refuse(&[&a, &b], 1 << 20, "inputs");
    refuse(&[], 1 << 20, "inputs");
    refuse(&[&a], 63, "needs 64");
    refuse(&[&layer(Precision::Int8, 132_001, 1, 0)], 1 << 30, "132000");
}

#[test]
fn buffers_are_named_in_order() {
    let packed = PackedWeights::pack("a step", &[&layer(Precision::Fp32, 16, 10, 0)], 64 * 4).unwrap();
    let (bytes, mut sizes) = (packed.bytes(), Vec::new());
    let weights = packed
        .upload(|words| {
            sizes.push(words.len() as u64 * 4);
            Ok::<_, GpuError>(Buffer::Weight(sizes.len() - 1))
        })
        .unwrap();
    assert_eq!(sizes.iter().sum::<u64>(), bytes);
    assert_eq!(weights.parts[2].range, 8..10);
    assert_eq!((weights.parts[2].weights, weights.parts[2].columns), (Buffer::Weight(4), Buffer::Weight(5)));
}
