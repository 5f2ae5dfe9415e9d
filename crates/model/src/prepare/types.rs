//! The element types of a graph's values, as far as its nodes say them for sure.

use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto, TypeProto, type_proto};

pub(super) const FLOAT: i32 = 1;
const UINT8: i32 = 2;
const INT32: i32 = 6;
const INT64: i32 = 7;
pub(super) const BOOL: i32 = 9;

/// The types of all values.
pub(super) fn types_of(graph: &GraphProto) -> HashMap<String, i32> {
    let mut types = start_types(graph).collect();
    graph.node.iter().for_each(|node| note_types(node, &mut types));
    types
}

/// The types of inputs and initializers.
pub(super) fn start_types(graph: &GraphProto) -> impl Iterator<Item = (String, i32)> + '_ {
    let constants = graph.initializer.iter().map(|tensor| (tensor.name.clone(), tensor.data_type));
    let inputs = graph.input.iter();
    constants.chain(inputs.filter_map(|value| Some((value.name.clone(), elem_type(value.r#type.as_ref())?))))
}

pub(super) fn elem_type(kind: Option<&TypeProto>) -> Option<i32> {
    match kind?.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => Some(tensor.elem_type),
    }
}

pub(super) fn set_elem_type(kind: Option<&mut TypeProto>, to: i32) {
    if let Some(type_proto::Value::TensorType(tensor)) = kind.and_then(|kind| kind.value.as_mut()) {
        tensor.elem_type = to;
    }
}

/// Whether a node is of a standard operator.
pub(super) fn is_standard(node: &NodeProto) -> bool {
    node.domain.is_empty() || node.domain == "ai.onnx"
}

/// Notes the types of a node's outputs, as far as they are sure.
pub(super) fn note_types(node: &NodeProto, types: &mut HashMap<String, i32>) {
    let of_input = |slot: usize| node.input.get(slot).and_then(|name| types.get(name)).copied();
    let attribute = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
    let held = |name: &str| attribute(name).and_then(|attribute| attribute.t.as_ref()).map(|tensor| tensor.data_type);
    let kind = match node.op_type.as_str() {
        _ if !is_standard(node) => None,
        "Cast" => attribute("to").map(|to| to.i as i32),
        "Constant" => held("value").or_else(|| attribute("value_float").or(attribute("value_floats")).map(|_| FLOAT)),
        "ConstantOfShape" => Some(held("value").unwrap_or(FLOAT)),
        "Shape" | "Size" | "NonZero" | "ArgMax" | "ArgMin" => Some(INT64),
        "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "And" | "Or" | "Xor" | "Not" | "IsNaN"
        | "IsInf" => Some(BOOL),
        "Where" | "CastLike" | "DequantizeLinear" => {
            of_input(1).or_else(|| of_input(2).filter(|_| node.op_type == "Where"))
        }
        "OneHot" | "QuantizeLinear" => of_input(2),
        "DynamicQuantizeLinear" => {
            types.extend(node.output.get(1).map(|scale| (scale.clone(), FLOAT)));
            Some(UINT8)
        }
        "MatMulInteger" | "ConvInteger" => Some(INT32),
        "If" | "Loop" | "Scan" => None,
        "Split" => {
            types.extend(
                of_input(0).into_iter().flat_map(|kind| node.output.iter().map(move |name| (name.clone(), kind))),
            );
            None
        }
        _ => of_input(0),
    };
    types.extend(kind.and_then(|kind| Some((node.output.first()?.clone(), kind))));
}
