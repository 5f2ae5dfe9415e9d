//! Weights as they stand in the file: which bytes an engine packs, uploads or gathers from.

use crate::Precision;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// A constant matrix, row-major `[rows, columns]`, in the precision it was stored in.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    values: Values,
}

/// The elements of a [`Matrix`].
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Single precision.
    F32(Vec<f32>),
    /// IEEE half precision, as bits.
    F16(Vec<u16>),
    /// Symmetric int8: an element is `values[i] · scale`, with one scale a column.
    Int8Columns {
        /// `[rows, columns]`.
        values: Vec<i8>,
        /// `[columns]`.
        scales: Vec<f32>,
    },
    /// Int8 around a zero of its own for each column: an element is `(values[i] − zero) · scale`.
    Int8Shifted {
        /// `[rows, columns]`.
        values: Vec<i8>,
        /// `[columns]`.
        scales: Vec<f32>,
        /// `[columns]`.
        zeros: Vec<i8>,
    },
    /// Symmetric int8 with one scale a row.
    Int8Rows {
        /// `[rows, columns]`.
        values: Vec<i8>,
        /// `[rows]`.
        scales: Vec<f32>,
    },
    /// Symmetric int4, a byte each: an element is `values[i] · scale`, with a scale for each group of rows of a column.
    Int4Groups {
        /// `[rows, columns]`, from −8 to 7.
        values: Vec<i8>,
        /// `[rows / group, columns]`.
        scales: Vec<f32>,
        /// Rows that make a group: a number that divides all of them.
        group: usize,
    },
}

impl Matrix {
    /// A matrix whose elements and scales are as many as its shape says; `None` otherwise.
    pub fn new(rows: usize, columns: usize, values: Values) -> Option<Matrix> {
        let count = rows.checked_mul(columns)?;
        let fits = match &values {
            Values::F32(values) => values.len() == count,
            Values::F16(values) => values.len() == count,
            Values::Int8Columns { values, scales } => values.len() == count && scales.len() == columns,
            Values::Int8Shifted { values, scales, zeros } => {
                values.len() == count && scales.len() == columns && zeros.len() == columns
            }
            Values::Int8Rows { values, scales } => values.len() == count && scales.len() == rows,
            Values::Int4Groups { values, scales, group } => {
                let fits = *group > 0 && rows.is_multiple_of(*group) && scales.len() == rows / group * columns;
                fits && values.len() == count && values.iter().all(|value| (-8..=7).contains(value))
            }
        };
        (fits && count > 0).then_some(Matrix { rows, columns, values })
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The elements.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The elements, without a copy.
    pub fn into_values(self) -> Values {
        self.values
    }

    /// Bytes that the elements and scales take.
    pub fn bytes(&self) -> usize {
        match &self.values {
            Values::F32(values) => values.len() * 4,
            Values::F16(values) => values.len() * 2,
            Values::Int8Columns { values, scales }
            | Values::Int8Rows { values, scales }
            | Values::Int4Groups { values, scales, .. } => values.len() + scales.len() * 4,
            Values::Int8Shifted { values, scales, zeros } => values.len() + scales.len() * 4 + zeros.len(),
        }
    }

    /// The elements in single precision, `[rows, columns]`.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.values {
            Values::F32(values) => values.clone(),
            Values::F16(values) => values.iter().map(|&bits| half::f16::from_bits(bits).to_f32()).collect(),
            Values::Int8Columns { values, scales } => {
                let rows = values.chunks_exact(self.columns);
                rows.flat_map(|row| row.iter().zip(scales).map(|(&value, scale)| f32::from(value) * scale)).collect()
            }
            Values::Int8Shifted { values, scales, zeros } => {
                let scale_of = |((&value, &scale), &zero): ((&i8, &f32), &i8)| {
                    f32::from(i16::from(value) - i16::from(zero)) * scale
                };
                let rows = values.chunks_exact(self.columns);
                rows.flat_map(|row| row.iter().zip(scales).zip(zeros).map(scale_of)).collect()
            }
            Values::Int8Rows { values, scales } => {
                let rows = values.chunks_exact(self.columns).zip(scales);
                rows.flat_map(|(row, scale)| row.iter().map(move |&value| f32::from(value) * scale)).collect()
            }
            Values::Int4Groups { values, scales, group } => {
                let rows = values.chunks_exact(self.columns).enumerate();
                let scales = |row: usize| &scales[row / group * self.columns..];
                rows.flat_map(|(at, row)| row.iter().zip(scales(at)).map(|(&value, scale)| f32::from(value) * scale))
                    .collect()
            }
        }
    }

    /// Whether it is the other one with rows and columns exchanged, number by number.
    pub(crate) fn is_transposed(&self, other: &Matrix) -> bool {
        if [self.rows, self.columns] != [other.columns, other.rows] {
            return false;
        }
        let turned = other.transposed();
        turned == *self || turned.to_f32() == self.to_f32()
    }

    /// The matrix with rows and columns exchanged.
    pub fn transposed(&self) -> Matrix {
        let values = match &self.values {
            Values::F32(values) => Values::F32(transpose(values, self.rows, self.columns)),
            Values::F16(values) => Values::F16(transpose(values, self.rows, self.columns)),
            Values::Int8Columns { values, scales } => {
                Values::Int8Rows { values: transpose(values, self.rows, self.columns), scales: scales.clone() }
            }
            Values::Int8Shifted { values, scales, zeros } => match (all_alike(scales), all_alike(zeros)) {
                (Some(scale), Some(zero)) => Values::Int8Shifted {
                    values: transpose(values, self.rows, self.columns),
                    scales: vec![scale; self.rows],
                    zeros: vec![zero; self.rows],
                },
                _ => Values::F32(transpose(&self.to_f32(), self.rows, self.columns)),
            },
            Values::Int8Rows { values, scales } => {
                Values::Int8Columns { values: transpose(values, self.rows, self.columns), scales: scales.clone() }
            }
            Values::Int4Groups { .. } => Values::F32(transpose(&self.to_f32(), self.rows, self.columns)),
        };
        Matrix { rows: self.columns, columns: self.rows, values }
    }

    /// Some of its columns; `None` if it does not have them, or they are none.
    pub(crate) fn columns_of(&self, range: Range<usize>) -> Option<Matrix> {
        fn cut<T: Copy>(values: &[T], columns: usize, range: &Range<usize>) -> Option<Vec<T>> {
            let rows = values.chunks_exact(columns).map(|row| row.get(range.clone()));
            Some(rows.collect::<Option<Vec<&[T]>>>()?.concat())
        }
        let cut_row = |row: &[f32]| row.get(range.clone()).map(<[f32]>::to_vec);
        let values = match &self.values {
            Values::F32(values) => Values::F32(cut(values, self.columns, &range)?),
            Values::F16(values) => Values::F16(cut(values, self.columns, &range)?),
            Values::Int8Columns { values, scales } => {
                Values::Int8Columns { values: cut(values, self.columns, &range)?, scales: cut_row(scales)? }
            }
            Values::Int8Shifted { values, scales, zeros } => Values::Int8Shifted {
                values: cut(values, self.columns, &range)?,
                scales: cut_row(scales)?,
                zeros: zeros.get(range.clone())?.to_vec(),
            },
            Values::Int8Rows { values, scales } => {
                Values::Int8Rows { values: cut(values, self.columns, &range)?, scales: scales.clone() }
            }
            Values::Int4Groups { values, scales, group } => Values::Int4Groups {
                values: cut(values, self.columns, &range)?,
                scales: cut(scales, self.columns, &range)?,
                group: *group,
            },
        };
        Matrix::new(self.rows, range.len(), values)
    }

    /// The matrix with its elements in another precision; int8 has one scale for each of `along`, so that the largest element
    /// of a column (or row) becomes ±127. What is stored in fewer bits already is not made up from them: `None`.
    pub fn to_precision(&self, precision: Precision, along: Along) -> Option<Matrix> {
        if self.precision() == precision {
            return Some(self.clone());
        }
        let values = match &self.values {
            Values::F32(values) => Cow::Borrowed(values),
            _ => Cow::Owned(self.to_f32()),
        };
        let values = match (self.precision(), precision) {
            (Precision::Fp32, Precision::Fp16) => {
                Values::F16(values.iter().map(|&value| half::f16::from_f32(value).to_bits()).collect())
            }
            (Precision::Fp32 | Precision::Fp16, Precision::Int8) => quantize(&values, self.columns, along),
            _ => return None,
        };
        Matrix::new(self.rows, self.columns, values)
    }

    /// How the elements are stored.
    pub fn precision(&self) -> Precision {
        match &self.values {
            Values::F32(_) => Precision::Fp32,
            Values::F16(_) => Precision::Fp16,
            Values::Int8Columns { .. } | Values::Int8Shifted { .. } | Values::Int8Rows { .. } => Precision::Int8,
            Values::Int4Groups { .. } => Precision::Int4,
        }
    }
}

/// What shares a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// The elements of a row: one token's embedding.
    Rows,
    /// The elements of a column: one output of a dense layer.
    Columns,
}

fn quantize(elements: &[f32], columns: usize, along: Along) -> Values {
    let lines = || elements.chunks_exact(columns.max(1));
    let larger = |scale: f32, element: &f32| scale.max(element.abs() / 127.0);
    let round = |element: &f32, scale: f32| if scale > 0.0 { rounded(element / scale) } else { 0 };
    let mut values = Vec::with_capacity(elements.len());
    match along {
        Along::Rows => {
            let mut scales = Vec::with_capacity(lines().len());
            for line in lines() {
                let (line, scale) = rounded_to_int8(line);
                values.extend(line);
                scales.push(scale);
            }
            Values::Int8Rows { values, scales }
        }
        Along::Columns => {
            let mut scales = vec![0f32; columns];
            for line in lines() {
                scales.iter_mut().zip(line).for_each(|(scale, element)| *scale = larger(*scale, element));
            }
            for line in lines() {
                values.extend(line.iter().zip(&scales).map(|(element, &scale)| round(element, scale)));
            }
            Values::Int8Columns { values, scales }
        }
    }
}

/// The numbers of a row in 8 bits, and their scale.
pub(crate) fn rounded_to_int8(row: &[f32]) -> (Vec<i8>, f32) {
    let scale = row.iter().fold(0.0, |scale: f32, element| scale.max(element.abs() / 127.0));
    (row.iter().map(|element| if scale > 0.0 { rounded(element / scale) } else { 0 }).collect(), scale)
}

/// The nearest integer, halves away from zero, at most ±127; 0 for NaN. As `f32::round`, which is a call for each number on x86-64.
fn rounded(number: f32) -> i8 {
    let number = number.clamp(-127.0, 127.0);
    let whole = number as i32;
    let rest = number - whole as f32;
    (whole + i32::from(rest >= 0.5) - i32::from(rest <= -0.5)) as i8
}

/// The value that all are, if they are one.
fn all_alike<T: Copy + PartialEq>(values: &[T]) -> Option<T> {
    values.first().copied().filter(|first| values.iter().all(|value| value == first))
}

/// In squares, so that neither side is read or written far apart.
pub(crate) fn transpose<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    const SQUARE: usize = 32;
    let mut out = values.to_vec();
    for first_row in (0..rows).step_by(SQUARE) {
        for first_column in (0..columns).step_by(SQUARE) {
            for row in first_row..rows.min(first_row + SQUARE) {
                for column in first_column..columns.min(first_column + SQUARE) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}

/// A dense layer, `y = x · weights + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `[inputs, outputs]`.
    pub weights: Arc<Matrix>,
    /// `[outputs]`.
    pub bias: Option<Vec<f32>>,
}

impl Linear {
    /// Columns of `x`.
    pub fn inputs(&self) -> usize {
        self.weights.rows()
    }

    /// Columns of `y`.
    pub fn outputs(&self) -> usize {
        self.weights.columns()
    }

    /// Bytes of its weights and its bias.
    pub fn bytes(&self) -> usize {
        self.weights.bytes() + self.bias.as_ref().map_or(0, |bias| bias.len() * 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_standard_library() {
        let quarters = (-4 * 127..=4 * 127).map(|quarter| quarter as f32 / 4.0);
        for number in quarters.flat_map(|number| [number.next_down(), number, number.next_up()]) {
            assert_eq!(f32::from(rounded(number)), number.round().clamp(-127.0, 127.0), "{number}");
        }
        assert_eq!([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.499_999_97].map(rounded), [0, 127, -127, 0]);
    }
}
