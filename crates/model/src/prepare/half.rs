//! Half precision → single precision: a graph that computes in fp16 (or bfloat16), whoever converted it, computes the same in fp32.
//!
//! What was computed in fp16 on other runtimes is computed more exactly here, within their own rounding. Matrices stay in the file in
//! fp16, behind a `Cast`, which is the form that the fuser and the rewrites know; everything smaller is widened. Casts that
//! then change nothing become `Identity`, so that a converter's blocks of fp32 operators are no longer islands.

use super::types::{FLOAT, elem_type, is_standard, note_types, set_elem_type, start_types};
use std::collections::HashMap;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

const FLOAT16: i32 = 10;
const BFLOAT16: i32 = 16;

/// Changes nothing in a graph without half precision.
pub(super) fn widen(model: &mut ModelProto) {
    let Some(graph) = &mut model.graph else { return };
    if mentions_half(graph) {
        widen_graph(graph, &HashMap::new());
    }
}

fn is_half(kind: i32) -> bool {
    kind == FLOAT16 || kind == BFLOAT16
}

fn mentions_half(graph: &GraphProto) -> bool {
    let in_types =
        graph.input.iter().chain(&graph.output).any(|value| elem_type(value.r#type.as_ref()).is_some_and(is_half));
    let in_attribute = |attribute: &AttributeProto| {
        names_type(attribute) && is_half(attribute.i as i32)
            || attribute.t.iter().chain(&attribute.tensors).any(|tensor| is_half(tensor.data_type))
            || attribute.g.iter().chain(&attribute.graphs).any(mentions_half)
    };
    in_types
        || graph.initializer.iter().any(|tensor| is_half(tensor.data_type))
        || graph.node.iter().any(|node| node.attribute.iter().any(in_attribute))
}

/// Whether the attribute says of which type a node's output is.
fn names_type(attribute: &AttributeProto) -> bool {
    matches!(attribute.name.as_str(), "to" | "dtype" | "output_dtype")
}

/// `outer` are the types of the values around the graph of a branch or a loop.
fn widen_graph(graph: &mut GraphProto, outer: &HashMap<String, i32>) {
    for value in graph.input.iter_mut().chain(&mut graph.output) {
        if elem_type(value.r#type.as_ref()).is_some_and(is_half) {
            set_elem_type(value.r#type.as_mut(), FLOAT);
        }
    }
    graph.value_info.clear();
    widen_constants(graph);
    let mut types = outer.clone();
    types.extend(start_types(graph));
    for node in &mut graph.node {
        widen_node(node, &types);
        note_types(node, &mut types);
    }
}

fn widen_node(node: &mut NodeProto, types: &HashMap<String, i32>) {
    for attribute in &mut node.attribute {
        if names_type(attribute) && is_half(attribute.i as i32) {
            attribute.i = i64::from(FLOAT);
        }
        attribute.t.iter_mut().chain(&mut attribute.tensors).for_each(widen_tensor);
        attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(|graph| widen_graph(graph, types));
    }
    let input = node.input.first().and_then(|input| types.get(input));
    let to = node.attribute.iter().find(|attribute| attribute.name == "to").map(|attribute| attribute.i);
    if node.op_type == "Cast" && is_standard(node) && to == Some(i64::from(FLOAT)) && input == Some(&FLOAT) {
        node.op_type = "Identity".to_owned();
        node.attribute.clear();
    }
}

/// Matrices go behind a `Cast`; other initializers become fp32 where they stand.
fn widen_constants(graph: &mut GraphProto) {
    let readers = |name: &str| {
        let name = name.to_owned();
        graph.node.iter().filter(move |node| node.input.contains(&name))
    };
    let only_cast = |name: &str| readers(name).all(|node| node.op_type == "Cast" && is_standard(node));
    // What reads them otherwise may want to see a constant.
    let usual = ["MatMul", "Gemm", "Gather", "Transpose", "Cast"];
    let is_weight = |name: &str| readers(name).all(|node| usual.contains(&node.op_type.as_str()) && is_standard(node));
    let is_matrix = |tensor: &TensorProto| {
        let is_matrix = tensor.dims.len() == 2 && tensor.dims.iter().all(|&dim| dim > 1);
        tensor.data_type == FLOAT16 && is_matrix && is_weight(&tensor.name)
    };
    let matrices: Vec<(usize, bool)> = graph
        .initializer
        .iter()
        .enumerate()
        .filter(|(_, tensor)| is_matrix(tensor))
        .map(|(index, tensor)| (index, only_cast(&tensor.name)))
        .collect();
    let mut casts = Vec::new();
    for &(index, stands) in &matrices {
        let tensor = &mut graph.initializer[index];
        to_raw_half(tensor);
        if !stands {
            // The value keeps its name, in single precision; the file's tensor gets another.
            let name = tensor.name.clone();
            tensor.name = format!("{name}.fp16");
            casts.push(cast(tensor.name.clone(), name, FLOAT));
        }
    }
    for (index, tensor) in graph.initializer.iter_mut().enumerate() {
        if matrices.binary_search_by_key(&index, |(matrix, _)| *matrix).is_err() {
            widen_tensor(tensor);
        }
    }
    if !casts.is_empty() {
        casts.append(&mut graph.node);
        graph.node = casts;
    }
}

pub(super) fn cast(from: String, to_name: String, to: i32) -> NodeProto {
    let kind = AttributeProto {
        name: "to".to_owned(),
        r#type: AttributeType::Int as i32,
        i: i64::from(to),
        ..AttributeProto::default()
    };
    NodeProto { attribute: vec![kind], ..crate::proto::node_of("Cast", vec![from], to_name) }
}

/// Half-precision bits that lie in `int32_data` → `raw_data`.
fn to_raw_half(tensor: &mut TensorProto) {
    if tensor.raw_data.is_empty() {
        let bits = std::mem::take(&mut tensor.int32_data);
        tensor.raw_data = bits.into_iter().flat_map(|bits| (bits as u16).to_le_bytes()).collect();
    }
}

fn widen_tensor(tensor: &mut TensorProto) {
    if !is_half(tensor.data_type) {
        return;
    }
    to_raw_half(tensor);
    let is_brain = tensor.data_type == BFLOAT16;
    let to_f32 = |bytes: &[u8; 2]| {
        let bits = u16::from_le_bytes(*bytes);
        if is_brain { half::bf16::from_bits(bits).to_f32() } else { half::f16::from_bits(bits).to_f32() }
    };
    tensor.raw_data = tensor.raw_data.as_chunks::<2>().0.iter().map(to_f32).flat_map(f32::to_le_bytes).collect();
    tensor.data_type = FLOAT;
}
