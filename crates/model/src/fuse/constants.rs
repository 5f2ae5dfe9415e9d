//! Initializers and `Constant` nodes, read into plain values.

use crate::weights::{Matrix, Values};
use tract_onnx::pb::TensorProto;

pub(crate) const FLOAT: i32 = 1;
pub(crate) const UINT8: i32 = 2;
pub(crate) const INT8: i32 = 3;
pub(super) const INT32: i32 = 6;
pub(crate) const INT64: i32 = 7;
pub(crate) const FLOAT16: i32 = 10;

/// The dims, if none is negative.
pub(super) fn dims(tensor: &TensorProto) -> Option<Vec<usize>> {
    tensor.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect()
}

/// The dims without leading ones: a table of positions is often stored as `[1, positions, columns]`.
pub(super) fn matrix_dims(tensor: &TensorProto) -> Option<Vec<usize>> {
    let mut dims = dims(tensor)?;
    while dims.len() > 2 && dims[0] == 1 {
        dims.remove(0);
    }
    Some(dims)
}

/// How many elements the dims ask for.
pub(crate) fn count(tensor: &TensorProto) -> Option<usize> {
    dims(tensor)?.into_iter().try_fold(1usize, usize::checked_mul)
}

/// Whether the values are in a file of their own, which no bundle has.
fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location.unwrap_or(0) != 0
}

/// Single-precision elements, as many as the dims say.
pub(super) fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    if tensor.data_type != FLOAT || is_external(tensor) {
        return None;
    }
    let values = match tensor.raw_data.is_empty() {
        true => tensor.float_data.clone(),
        false => words::<4>(&tensor.raw_data)?.map(f32::from_le_bytes).collect(),
    };
    (values.len() == count(tensor)?).then_some(values)
}

/// The single element of a scalar or one-element tensor.
pub(crate) fn float(tensor: &TensorProto) -> Option<f32> {
    match floats(tensor)?.as_slice() {
        [value] => Some(*value),
        _ => None,
    }
}

/// Integers of any width up to 64 bits.
pub(crate) fn integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    if is_external(tensor) {
        return None;
    }
    let raw = &tensor.raw_data;
    let values: Vec<i64> = match (tensor.data_type, raw.is_empty()) {
        (INT64, true) => tensor.int64_data.clone(),
        (INT64, false) => words::<8>(raw)?.map(i64::from_le_bytes).collect(),
        (INT32, false) => words::<4>(raw)?.map(|bytes| i64::from(i32::from_le_bytes(bytes))).collect(),
        (INT8, false) => raw.iter().map(|&byte| i64::from(byte as i8)).collect(),
        (UINT8, false) => raw.iter().map(|&byte| i64::from(byte)).collect(),
        (INT32 | INT8 | UINT8, true) => tensor.int32_data.iter().map(|&value| i64::from(value)).collect(),
        _ => return None,
    };
    (values.len() == count(tensor)?).then_some(values)
}

/// A two-dimensional fp32 or fp16 tensor.
pub(super) fn float_matrix(tensor: &TensorProto) -> Option<Matrix> {
    let [rows, columns] = *matrix_dims(tensor)?.as_slice() else { return None };
    let values = match tensor.data_type {
        FLOAT => Values::F32(floats(tensor)?),
        FLOAT16 if !is_external(tensor) && !tensor.raw_data.is_empty() => {
            Values::F16(words::<2>(&tensor.raw_data)?.map(u16::from_le_bytes).collect())
        }
        _ => return None,
    };
    Matrix::new(rows, columns, values)
}

/// How an integer tensor is to be read.
pub(super) struct Quantization {
    /// One, or one for each index along `axis`.
    pub(super) scales: Vec<f32>,
    /// As many as `scales`, or none for all zeros.
    pub(super) zero_points: Vec<i64>,
    /// The axis that the scales run along.
    pub(super) axis: usize,
}

/// A two-dimensional int8 or uint8 tensor. What has another zero in each row is dequantized.
pub(super) fn quantized_matrix(tensor: &TensorProto, how: &Quantization) -> Option<Matrix> {
    take_quantized(tensor.clone(), how)
}

/// As [`quantized_matrix`], without a copy of the elements where that can be.
pub(super) fn take_quantized(tensor: TensorProto, how: &Quantization) -> Option<Matrix> {
    let [rows, columns] = *dims(&tensor)?.as_slice() else { return None };
    if is_external(&tensor) || !matches!(tensor.data_type, INT8 | UINT8) {
        return None;
    }
    let along = [rows, columns].get(how.axis).copied()?;
    let scales = spread(&how.scales, along)?;
    let zeros = if how.zero_points.is_empty() { vec![0; along] } else { spread(&how.zero_points, along)? };
    let zero = if tensor.data_type == INT8 { 0 } else { 128 };
    if zeros.iter().all(|&point| point == zero) {
        let values = match (tensor.data_type, tensor.raw_data.is_empty()) {
            (INT8, false) => bytemuck::allocation::cast_vec(tensor.raw_data),
            (_, false) => tensor.raw_data.iter().map(|&byte| (byte ^ 0x80) as i8).collect(),
            _ => integers(&tensor)?.into_iter().map(|value| i8::try_from(value - zero).ok()).collect::<Option<_>>()?,
        };
        let values = match how.axis {
            0 => Values::Int8Rows { values, scales },
            _ => Values::Int8Columns { values, scales },
        };
        return Matrix::new(rows, columns, values);
    }
    if let (true, Some(scales), Some(zeros)) =
        (how.axis == 1 || how.scales.len() == 1, spread(&how.scales, columns), spread(&how.zero_points, columns))
    {
        let zeros: Vec<i8> = zeros.into_iter().map(|point| i8::try_from(point - zero).ok()).collect::<Option<_>>()?;
        let values: Vec<i8> = match (tensor.data_type, tensor.raw_data.is_empty()) {
            (INT8, false) => bytemuck::allocation::cast_vec(tensor.raw_data),
            (_, false) => tensor.raw_data.iter().map(|&byte| (byte ^ 0x80) as i8).collect(),
            _ => integers(&tensor)?.into_iter().map(|value| i8::try_from(value - zero).ok()).collect::<Option<_>>()?,
        };
        return Matrix::new(rows, columns, Values::Int8Shifted { values, scales, zeros });
    }
    let at = |index: usize| if how.axis == 0 { index / columns } else { index % columns };
    let values = integers(&tensor)?.into_iter().enumerate();
    let values = values.map(|(index, value)| (value - zeros[at(index)]) as f32 * scales[at(index)]).collect();
    Matrix::new(rows, columns, Values::F32(values))
}

/// A table of which all elements share a scale and a zero point that int8 cannot centre on, as int8 around its own zero, and what
/// is to be added to every element: `(q − z) · s = q · s − z · s`. Spares a table of tens of megabytes from growing fourfold.
pub(super) fn take_shifted(tensor: TensorProto, how: &Quantization) -> Option<(Matrix, f32)> {
    let [rows, columns] = *dims(&tensor)?.as_slice() else { return None };
    let (&[scale], &[zero]) = (how.scales.as_slice(), how.zero_points.as_slice()) else { return None };
    if is_external(&tensor) || tensor.raw_data.is_empty() {
        return None;
    }
    let (values, zero) = match tensor.data_type {
        INT8 => (bytemuck::allocation::cast_vec(tensor.raw_data), zero),
        UINT8 => {
            let mut values = tensor.raw_data;
            values.iter_mut().for_each(|byte| *byte ^= 0x80);
            (bytemuck::allocation::cast_vec(values), zero - 128)
        }
        _ => return None,
    };
    let matrix = Matrix::new(rows, columns, Values::Int8Rows { values, scales: vec![scale; rows] })?;
    Some((matrix, -(zero as f32) * scale))
}

/// One value for each of `count` indices.
pub(super) fn spread<T: Copy>(values: &[T], count: usize) -> Option<Vec<T>> {
    match values {
        [value] => Some(vec![*value; count]),
        values if values.len() == count => Some(values.to_vec()),
        _ => None,
    }
}

fn words<const BYTES: usize>(raw: &[u8]) -> Option<impl Iterator<Item = [u8; BYTES]> + '_> {
    let (words, rest) = raw.as_chunks::<BYTES>();
    rest.is_empty().then(|| words.iter().copied())
}
