//! ONNX tensors ↔ plain numbers.

use crate::{Error, Result};
use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::f16;

/// An fp32 tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Floats {
    pub(crate) dims: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// Whether it has fp32 values.
pub(crate) fn is_float(tensor: &TensorProto) -> bool {
    tensor.data_type == DataType::Float as i32
}

/// Whether it has floating-point values of another width.
pub(crate) fn is_other_float(tensor: &TensorProto) -> bool {
    [DataType::Float16, DataType::Bfloat16, DataType::Double].iter().any(|&kind| tensor.data_type == kind as i32)
}

/// Whether its values are in another file.
pub(crate) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location.unwrap_or(0) != 0
}

/// Name of its element type in ONNX.
pub(crate) fn kind_name(tensor: &TensorProto) -> String {
    DataType::try_from(tensor.data_type)
        .map_or_else(|_| format!("type {}", tensor.data_type), |kind| format!("{kind:?}").to_lowercase())
}

/// The number of values of its shape; `None` for an invalid shape.
pub(crate) fn volume(tensor: &TensorProto) -> Option<usize> {
    tensor.dims.iter().try_fold(1usize, |volume, &dim| volume.checked_mul(usize::try_from(dim).ok()?))
}

/// The values of an fp32 tensor; checks that they are finite and match its shape.
pub(crate) fn read_floats(tensor: &TensorProto, name: &str) -> Result<Floats> {
    if is_external(tensor) {
        return Err(Error::External(name.to_owned()));
    }
    if !is_float(tensor) {
        return Err(Error::NotFp32 { tensor: name.to_owned(), kind: kind_name(tensor) });
    }
    let values: Vec<f32> = if tensor.raw_data.is_empty() {
        tensor.float_data.clone()
    } else {
        let (words, rest) = tensor.raw_data.as_chunks::<4>();
        // Incomplete bytes at the end make the count wrong, which is reported below.
        words.iter().map(|&word| f32::from_le_bytes(word)).chain(rest.first().map(|_| 0.0)).collect()
    };
    if volume(tensor) != Some(values.len()) {
        return Err(Error::Damaged { tensor: name.to_owned(), dims: tensor.dims.clone(), found: values.len() });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(Error::NotFinite { tensor: name.to_owned(), at }),
        None => Ok(Floats { dims: tensor.dims.iter().map(|&dim| dim as usize).collect(), values }),
    }
}

/// An initializer of fp32 numbers.
pub(crate) fn float_tensor(name: String, dims: &[usize], values: &[f32]) -> TensorProto {
    raw(name, dims, DataType::Float, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// An initializer of fp16 numbers, rounded to the nearest, ties to even.
pub(crate) fn half_tensor(name: String, dims: &[usize], values: &[f32]) -> TensorProto {
    raw(name, dims, DataType::Float16, values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect())
}

/// An initializer of signed bytes.
pub(crate) fn int8_tensor(name: String, dims: &[usize], values: &[i8]) -> TensorProto {
    raw(name, dims, DataType::Int8, values.iter().map(|&value| value as u8).collect())
}

/// An initializer of one unsigned byte, without axes.
pub(crate) fn byte_scalar(name: String, value: u8) -> TensorProto {
    raw(name, &[], DataType::Uint8, vec![value])
}

fn raw(name: String, dims: &[usize], kind: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name,
        dims: dims.iter().map(|&dim| dim as i64).collect(),
        data_type: kind as i32,
        raw_data,
        ..TensorProto::default()
    }
}
