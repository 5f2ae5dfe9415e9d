//! Weights in a description: norms, dense layers and matrices, each by the names of its tensors.

use super::compact::{ELEMENTS_MAX, elements_of, fill, rectangles_of, whole_numbers_of};
use super::container::{Reader, Tensor, Writer};
use crate::weights::{Linear, Matrix, Values};
use grice_kernels::LayerNorm;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// What a description says, or why it cannot be.
pub(super) type Read<T> = Result<T, String>;

#[derive(Serialize, Deserialize)]
pub(super) struct KeptNorm {
    gamma: Tensor,
    beta: Tensor,
    /// Bits of the summand.
    epsilon: u32,
    /// Whether the mean is subtracted.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    centred: bool,
}

fn yes() -> bool {
    true
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeptLinear {
    weights: KeptMatrix,
    bias: Option<Tensor>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeptMatrix {
    rows: usize,
    columns: usize,
    #[serde(flatten)]
    values: KeptValues,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptValues {
    F32(Tensor),
    /// Rectangles `[first row, rows, first column, columns]`, their elements one rectangle after another; the rest is zero. Heads side by side
    /// are such matrices.
    Blocks {
        values: Tensor,
        rectangles: Vec<[usize; 4]>,
    },
    /// The same where every element of a column is a whole number times the column's scale, as heads stored in 8 bits are.
    Int8Blocks {
        values: Tensor,
        scales: Tensor,
        rectangles: Vec<[usize; 4]>,
    },
    F16(Tensor),
    Int8Columns {
        values: Tensor,
        scales: Tensor,
    },
    Int8Shifted {
        values: Tensor,
        scales: Tensor,
        zeros: Tensor,
    },
    Int8Rows {
        values: Tensor,
        scales: Tensor,
    },
}

/// What is read, with the matrices that several layers share.
pub(super) struct Reading<'a> {
    pub(super) reader: &'a Reader<'a>,
    matrices: RefCell<HashMap<String, Arc<Matrix>>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(reader: &'a Reader<'a>) -> Reading<'a> {
        Reading { reader, matrices: RefCell::default() }
    }
}

impl KeptNorm {
    pub(super) fn of<'p>(norm: &'p LayerNorm, name: &str, writer: &mut Writer<'p>) -> KeptNorm {
        let LayerNorm { gamma, beta, epsilon, centred } = norm;
        KeptNorm {
            gamma: writer.push(&format!("{name}.gamma"), &[gamma.len()], gamma),
            beta: writer.push(&format!("{name}.beta"), &[beta.len()], beta),
            epsilon: epsilon.to_bits(),
            centred: *centred,
        }
    }

    pub(super) fn read(self, reading: &Reading<'_>) -> Read<LayerNorm> {
        let columns = reading.reader.elements(&self.gamma);
        let [gamma, beta] = [&self.gamma, &self.beta].map(|tensor| reading.reader.read(tensor, &[columns]));
        let epsilon = f32::from_bits(self.epsilon);
        Ok(LayerNorm { gamma: gamma?, beta: beta?, epsilon, centred: self.centred })
    }
}

impl KeptLinear {
    pub(super) fn of<'p>(linear: &'p Linear, name: &str, writer: &mut Writer<'p>) -> KeptLinear {
        KeptLinear {
            weights: KeptMatrix::of(&linear.weights, name, writer),
            bias: linear.bias.as_ref().map(|bias| writer.push(&format!("{name}.bias"), &[bias.len()], bias)),
        }
    }

    pub(super) fn read(self, reading: &Reading<'_>) -> Read<Linear> {
        let weights = self.weights.read(reading)?;
        let bias = self.bias.map(|bias| reading.reader.read(&bias, &[weights.columns()])).transpose()?;
        Ok(Linear { weights, bias })
    }
}

impl KeptMatrix {
    pub(super) fn of<'p>(matrix: &'p Matrix, name: &str, writer: &mut Writer<'p>) -> KeptMatrix {
        let (rows, columns) = (matrix.rows(), matrix.columns());
        let shape = [rows, columns];
        let mut scale = |scales: &'p [f32]| writer.push(&format!("{name}.scales"), &[scales.len()], scales);
        let weight = format!("{name}.weight");
        let values = match matrix.values() {
            Values::F32(values) if values.len() <= ELEMENTS_MAX => KeptValues::of_f32(values, shape, name, writer),
            Values::F32(values) => KeptValues::F32(writer.push(&weight, &shape, values)),
            Values::F16(values) => KeptValues::F16(writer.push(&weight, &shape, values)),
            Values::Int8Columns { values, scales } => {
                KeptValues::Int8Columns { scales: scale(scales), values: writer.push(&weight, &shape, values) }
            }
            Values::Int8Rows { values, scales } => {
                KeptValues::Int8Rows { scales: scale(scales), values: writer.push(&weight, &shape, values) }
            }
            Values::Int4Groups { .. } => KeptValues::F32(writer.push_made(&weight, &shape, &matrix.to_f32())),
            Values::Int8Shifted { values, scales, zeros } => KeptValues::Int8Shifted {
                scales: scale(scales),
                zeros: writer.push(&format!("{name}.zeros"), &[zeros.len()], zeros),
                values: writer.push(&weight, &shape, values),
            },
        };
        KeptMatrix { rows, columns, values }
    }

    pub(super) fn read(self, reading: &Reading<'_>) -> Read<Arc<Matrix>> {
        let KeptMatrix { rows, columns, values } = self;
        let (reader, shape) = (reading.reader, [rows, columns]);
        let name = match &values {
            KeptValues::F32(values) | KeptValues::F16(values) => values.name(),
            KeptValues::Blocks { values, .. }
            | KeptValues::Int8Blocks { values, .. }
            | KeptValues::Int8Columns { values, .. }
            | KeptValues::Int8Shifted { values, .. }
            | KeptValues::Int8Rows { values, .. } => values.name(),
        };
        let name = name.to_owned();
        if let Some(known) = reading.matrices.borrow().get(&name) {
            return Ok(known.clone());
        }
        let values = match values {
            KeptValues::F32(values) => Values::F32(reader.read(&values, &shape)?),
            KeptValues::Blocks { values, rectangles } => {
                let elements: Vec<f32> = reader.read(&values, &[reader.elements(&values)])?;
                Values::F32(fill(&elements, &rectangles, shape).ok_or_else(|| misplaced(&name))?)
            }
            KeptValues::Int8Blocks { values, scales, rectangles } => {
                let numbers: Vec<i8> = reader.read(&values, &[reader.elements(&values)])?;
                let scales: Vec<f32> = reader.read(&scales, &[columns])?;
                let elements: Vec<f32> = numbers.into_iter().map(f32::from).collect();
                let mut whole = fill(&elements, &rectangles, shape).ok_or_else(|| misplaced(&name))?;
                for row in whole.chunks_exact_mut(columns) {
                    row.iter_mut().zip(&scales).for_each(|(element, scale)| *element *= scale);
                }
                Values::F32(whole)
            }
            KeptValues::F16(values) => Values::F16(reader.read(&values, &shape)?),
            KeptValues::Int8Columns { values, scales } => {
                Values::Int8Columns { values: reader.read(&values, &shape)?, scales: reader.read(&scales, &[columns])? }
            }
            KeptValues::Int8Rows { values, scales } => {
                Values::Int8Rows { values: reader.read(&values, &shape)?, scales: reader.read(&scales, &[rows])? }
            }
            KeptValues::Int8Shifted { values, scales, zeros } => Values::Int8Shifted {
                values: reader.read(&values, &shape)?,
                scales: reader.read(&scales, &[columns])?,
                zeros: reader.read(&zeros, &[columns])?,
            },
        };
        let matrix = Matrix::new(rows, columns, values);
        let matrix = Arc::new(matrix.ok_or_else(|| format!("it is damaged: `{name}` is empty"))?);
        reading.matrices.borrow_mut().insert(name, matrix.clone());
        Ok(matrix)
    }
}

impl KeptValues {
    /// In the smallest form that gives the very same numbers back.
    fn of_f32<'p>(values: &'p [f32], shape: [usize; 2], name: &str, writer: &mut Writer<'p>) -> KeptValues {
        let ([rows, columns], weight) = (shape, format!("{name}.weight"));
        let parts = rectangles_of(values, columns);
        let rectangles = parts.clone().unwrap_or_else(|| vec![[0, rows, 0, columns]]);
        let elements: Vec<f32> = rectangles.iter().flat_map(|at| elements_of(values, columns, *at)).collect();
        if let Some((numbers, scales)) = whole_numbers_of(&elements, &rectangles, columns) {
            let scales = writer.push_made(&format!("{name}.scales"), &[columns], &scales);
            let values = writer.push_made(&weight, &[numbers.len()], &numbers);
            return KeptValues::Int8Blocks { values, scales, rectangles };
        }
        match parts {
            Some(rectangles) => {
                KeptValues::Blocks { values: writer.push_made(&weight, &[elements.len()], &elements), rectangles }
            }
            None => KeptValues::F32(writer.push(&weight, &shape, values)),
        }
    }
}

fn misplaced(name: &str) -> String {
    format!("it is damaged: the blocks of `{name}` do not lie in it")
}
