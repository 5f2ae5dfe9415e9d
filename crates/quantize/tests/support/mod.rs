//! A small detector, node by node, so that tests can change any part of it.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, tensor_shape_proto, type_proto,
};

pub(crate) const VOCABULARY: usize = 64;
pub(crate) const WIDTH: usize = 32;

/// ids → embedding → two products with biases → mask → sum over the sequence → `Gemm` (transposed) → product of 4 columns.
pub(crate) fn detector() -> ModelProto {
    let nodes = vec![
        node("Gather", "embed/Gather", &["table", "input_ids"], "embedded"),
        node("MatMul", "first/MatMul", &["embedded", "w1"], "a"),
        node("Add", "first/Add", &["a", "b1"], "b"),
        node("MatMul", "second/MatMul", &["b", "w2"], "c"),
        with_integer(node("Cast", "mask/Cast", &["attention_mask"], "mask"), "to", 1),
        node("Unsqueeze", "mask/Unsqueeze", &["mask", "last"], "mask_wide"),
        node("Mul", "mask/Mul", &["c", "mask_wide"], "masked"),
        with_integer(node("ReduceSum", "sum", &["masked", "middle"], "pooled"), "keepdims", 0),
        with_integer(node("Gemm", "head/Gemm", &["pooled", "w3", "b3"], "d"), "transB", 1),
        node("MatMul", "columns/MatMul", &["d", "w4"], "logits"),
    ];
    let initializers = vec![
        floats("table", &[VOCABULARY, WIDTH], 1),
        floats("w1", &[WIDTH, WIDTH], 2),
        floats("b1", &[WIDTH], 3),
        floats("w2", &[WIDTH, 2 * WIDTH], 4),
        floats("w3", &[WIDTH, 2 * WIDTH], 5),
        floats("b3", &[WIDTH], 6),
        floats("w4", &[WIDTH, 4], 7),
        integers("last", &[2]),
        integers("middle", &[1]),
    ];
    let ids = |name| value(name, DataType::Int64, &["batch", "sequence"]);
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(GraphProto {
            name: "detector".to_owned(),
            node: nodes,
            initializer: initializers,
            input: vec![ids("input_ids"), ids("attention_mask")],
            output: vec![value("logits", DataType::Float, &["batch", "4"])],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

pub(crate) fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

pub(crate) fn bytes(model: &ModelProto) -> Vec<u8> {
    model.encode_to_vec()
}

pub(crate) fn parse(onnx: &[u8]) -> ModelProto {
    ModelProto::decode(onnx).unwrap()
}

pub(crate) fn tensor<'m>(model: &'m mut ModelProto, name: &str) -> &'m mut TensorProto {
    graph(model).initializer.iter_mut().find(|tensor| tensor.name == name).unwrap()
}

pub(crate) fn node_named<'m>(model: &'m mut ModelProto, name: &str) -> &'m mut NodeProto {
    graph(model).node.iter_mut().find(|node| node.name == name).unwrap()
}

pub(crate) fn node(op: &str, name: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: op.to_owned(),
        name: name.to_owned(),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

pub(crate) fn with_integer(mut node: NodeProto, name: &str, value: i64) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: name.to_owned(),
        r#type: AttributeType::Int as i32,
        i: value,
        ..AttributeProto::default()
    });
    node
}

/// Values in −0.5..0.5 without a pattern, the same every time.
pub(crate) fn floats(name: &str, dims: &[usize], seed: u64) -> TensorProto {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let values: Vec<f32> = (0..dims.iter().product()).map(|_| next()).collect();
    TensorProto {
        name: name.to_owned(),
        dims: dims.iter().map(|&dim| dim as i64).collect(),
        data_type: DataType::Float as i32,
        float_data: values,
        ..TensorProto::default()
    }
}

pub(crate) fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: vec![values.len() as i64],
        data_type: DataType::Int64 as i32,
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

/// A value whose axes are numbers, or names.
pub(crate) fn value(name: &str, kind: DataType, axes: &[&str]) -> ValueInfoProto {
    use tensor_shape_proto::dimension::Value;
    let dim = |axis: &&str| tensor_shape_proto::Dimension {
        value: Some(axis.parse().map_or_else(|_| Value::DimParam((*axis).to_owned()), Value::DimValue)),
        ..tensor_shape_proto::Dimension::default()
    };
    let shape = TensorShapeProto { dim: axes.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: kind as i32, shape: Some(shape) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(r#type), ..ValueInfoProto::default() }
}
