//! `DequantizeLinear` of a constant → the fp32 constant.
//!
//! An importer would fold it too, but by general broadcasting over tens of megabytes, which a cold start feels.

use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

const FLOAT: i32 = 1;
const INT8: i32 = 3;

pub(super) fn rewrite(graph: &mut GraphProto) {
    let position: HashMap<&str, usize> =
        graph.initializer.iter().enumerate().map(|(index, tensor)| (tensor.name.as_str(), index)).collect();
    let mut folded = Vec::new();
    for (index, node) in graph.node.iter().enumerate() {
        if let Some(tensor) = fold(graph, &position, node) {
            folded.push((index, tensor));
        }
    }
    let mut nodes = folded.iter().map(|(index, _)| *index).peekable();
    let mut index = 0..;
    graph.node.retain(|_| nodes.next_if_eq(&index.next().unwrap_or(usize::MAX)).is_none());
    graph.initializer.extend(folded.into_iter().map(|(_, tensor)| tensor));
}

/// The fp32 tensor of a node that dequantizes int8 initializers without a zero point.
fn fold(graph: &GraphProto, position: &HashMap<&str, usize>, node: &NodeProto) -> Option<TensorProto> {
    if node.op_type != "DequantizeLinear" || super::nodes::integer_attribute(node, "block_size").unwrap_or(0) != 0 {
        return None;
    }
    let initializer = |slot: usize| -> Option<&TensorProto> {
        let name = node.input.get(slot).filter(|name| !name.is_empty())?;
        graph.initializer.get(*position.get(name.as_str())?)
    };
    let weights = initializer(0).filter(|tensor| tensor.data_type == INT8 && tensor.data_location.unwrap_or(0) == 0)?;
    let scales = floats(initializer(1)?)?;
    let has_zero_point = node.input.get(2).is_some_and(|name| !name.is_empty());
    if has_zero_point && !initializer(2).is_some_and(|zero| zero.data_type == INT8 && is_zero(zero)) {
        return None;
    }
    let dims: Vec<usize> = weights.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect::<Option<_>>()?;
    let count = dims.iter().try_fold(1usize, |count, &dim| count.checked_mul(dim))?;
    if weights.raw_data.len() != count || count == 0 {
        return None;
    }
    let axis = super::nodes::integer_attribute(node, "axis").unwrap_or(1);
    let axis = usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis }).ok()?;
    // How many weights in a row share a scale, and how many scales there are before they start again.
    let (run, period) = match scales.len() {
        1 => (count, 1),
        scales if dims.get(axis) == Some(&scales) => (dims[axis + 1..].iter().product(), scales),
        _ => return None,
    };
    let mut raw_data = Vec::with_capacity(count * 4);
    // One scale for each weight of a block of `period` runs, so that the inner loop only multiplies.
    let block: Vec<f32> = scales.iter().flat_map(|&scale| std::iter::repeat_n(scale, run)).collect();
    for weights in weights.raw_data.chunks_exact(run * period) {
        let values = weights.iter().zip(&block).map(|(&weight, scale)| f32::from(weight as i8) * scale);
        raw_data.extend(values.flat_map(f32::to_le_bytes));
    }
    Some(TensorProto {
        name: node.output.first()?.clone(),
        dims: weights.dims.clone(),
        data_type: FLOAT,
        raw_data,
        ..TensorProto::default()
    })
}

fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    if tensor.data_type != FLOAT || tensor.data_location.unwrap_or(0) != 0 {
        return None;
    }
    if tensor.raw_data.is_empty() {
        return Some(tensor.float_data.clone());
    }
    tensor.raw_data.chunks_exact(4).map(|bytes| Some(f32::from_le_bytes(bytes.try_into().ok()?))).collect()
}

fn is_zero(tensor: &TensorProto) -> bool {
    tensor.raw_data.iter().all(|&byte| byte == 0) && tensor.int32_data.iter().all(|&value| value == 0)
}
