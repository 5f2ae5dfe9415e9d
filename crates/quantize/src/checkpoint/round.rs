//! The bytes of a tensor in its new form.

use super::plan::{Job, Work, sides};
use crate::{Error, Form, Result};
use grice_model::{Along, Matrix, Precision, RawCheckpoint, Values};

/// The bytes of each piece of a job, in order.
pub(super) fn bytes(source: &RawCheckpoint<'_>, job: &Job) -> Result<Vec<Vec<u8>>> {
    let name = &job.tensor.name;
    let numbers = || source.numbers(name).map_err(unreadable);
    match job.work {
        Work::Copy => Ok(vec![source.bytes(name).map_err(unreadable)?]),
        Work::Cast(form) => Ok(vec![cast(name, &numbers()?, form)?]),
        Work::Int8 { outputs_first } => {
            // As weights are rounded when a model loads.
            let along = if outputs_first { Along::Rows } else { Along::Columns };
            let rounded =
                matrix(numbers()?, &job.tensor.shape).and_then(|all| all.to_precision(Precision::Int8, along));
            match rounded.map(Matrix::into_values) {
                Some(Values::Int8Rows { values, scales } | Values::Int8Columns { values, scales }) => {
                    Ok(vec![bytemuck::cast_slice(&values).to_vec(), little_endian(&scales)])
                }
                _ => Err(unfit(job)),
            }
        }
        Work::Int4 { outputs_first, group } => {
            let [outputs, inputs] = sides(&job.tensor.shape, outputs_first);
            let weight = matrix(numbers()?, &job.tensor.shape);
            let weight = weight.map(|weight| if outputs_first { weight } else { weight.transposed() });
            let weight = weight.ok_or_else(|| unfit(job))?;
            let (packed, scales) = int4(&weight.to_f32(), inputs, group);
            let shape = [outputs, inputs].map(|side| (side as i64).to_le_bytes()).concat();
            Ok(vec![packed, little_endian(&scales), shape])
        }
    }
}

/// A tensor that cannot be read.
pub(super) fn unreadable(error: grice_model::Error) -> Error {
    Error::Checkpoint(Box::new(error))
}

/// What is said of a weight without elements, the only one that makes no matrix.
fn unfit(job: &Job) -> Error {
    Error::Empty(job.tensor.name.clone())
}

fn matrix(numbers: Vec<f32>, shape: &[usize]) -> Option<Matrix> {
    let [rows, columns] = *shape else { return None };
    Matrix::new(rows, columns, Values::F32(numbers))
}

/// Rows of `inputs` numbers in 4 bits, as `compressed-tensors` rounds and packs them, and a scale for each group. The largest number of a
/// group is half of the 15 steps from 0; 8 stands for 0. A word holds eight numbers, the first in its lowest bits.
fn int4(weight: &[f32], inputs: usize, group: usize) -> (Vec<u8>, Vec<f32>) {
    let (mut packed, mut scales) = (Vec::new(), Vec::new());
    for row in weight.chunks_exact(inputs.max(1)) {
        let start = packed.len();
        packed.resize(start + inputs.div_ceil(8) * 4, 0);
        for (first, weights) in (0..inputs).step_by(group).zip(row.chunks(group)) {
            let largest = weights.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
            let scale = if largest / 7.5 > 0.0 { largest / 7.5 } else { f32::EPSILON };
            for (at, weight) in (first..).zip(weights) {
                let nibble = (weight / scale).clamp(-8.0, 7.0).round_ties_even() as i8 + 8;
                packed[start + at / 2] |= (nibble as u8) << (4 * (at % 2));
            }
            scales.push(scale);
        }
    }
    (packed, scales)
}

fn cast(name: &str, numbers: &[f32], form: Form) -> Result<Vec<u8>> {
    let to_bits: fn(f32) -> u16 = match form {
        Form::Fp16 => |number| half::f16::from_f32(number).to_bits(),
        _ => |number| half::bf16::from_f32(number).to_bits(),
    };
    // All bits of the exponent: what is infinite.
    let infinite = if form == Form::Fp16 { 0x7c00 } else { 0x7f80 };
    let mut bytes = Vec::with_capacity(numbers.len() * 2);
    for (at, &number) in numbers.iter().enumerate() {
        let bits = to_bits(number);
        if bits & infinite == infinite {
            return Err(Error::Overflow { tensor: name.to_owned(), at, number, form });
        }
        bytes.extend(bits.to_le_bytes());
    }
    Ok(bytes)
}

fn little_endian(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
