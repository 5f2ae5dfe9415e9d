//! Parts of an ONNX graph, for those who write some.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

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

/// An attribute that is one integer.
pub(crate) fn integer_attribute(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int.into(), i: value, ..AttributeProto::default() }
}

/// An attribute that is a list of integers.
pub(crate) fn integers_attribute(name: &str, values: &[i64]) -> AttributeProto {
    let ints = values.to_vec();
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Ints.into(), ints, ..AttributeProto::default() }
}

/// An attribute that is one number.
pub(crate) fn float_attribute(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Float.into(), f: value, ..AttributeProto::default() }
}
