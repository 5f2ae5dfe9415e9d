//! Parts of an ONNX graph, for those who write some.

use tract_onnx::pb::{NodeProto, TensorProto};

/// ONNX's number for f32.
const FLOAT: i32 = 1;

/// An operator without attributes, named as its one output.
pub(crate) fn node_of(op: &str, input: Vec<String>, output: String) -> NodeProto {
    NodeProto { op_type: op.to_owned(), name: output.clone(), input, output: vec![output], ..NodeProto::default() }
}

/// A constant in single precision.
pub(crate) fn float_tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: FLOAT,
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}
