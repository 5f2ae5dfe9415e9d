//! A padding mask gathered by index arithmetic → the mask with two more axes.
//!
//! Encoders exported with scaled dot-product attention make `mask[b, j]` for every head and query out of
//! `Gather(Flatten(mask), range(batch)[b] * sequence + range(sequence)[j])`, reshaped to `[batch, 1, 1, sequence]`. That is
//! `Unsqueeze(mask, [1, 2])`, without the products of symbolic sizes that no type checker likes.

use super::nodes::{Producers, integer_attribute};
use crate::proto::integers_attribute;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// From this opset on `Unsqueeze` takes its axes as an input.
const AXES_ARE_INPUT: i64 = 13;

pub(super) fn rewrite(graph: &mut GraphProto, opset: i64) {
    let producers = Producers::of(graph);
    let found: Vec<(usize, String)> = (0..graph.node.len())
        .filter_map(|index| Some((index, gathered_mask(graph, &producers, &graph.node[index])?)))
        .collect();
    for (index, mask) in found {
        let reshape = &mut graph.node[index];
        let axes = format!("{}.axes", reshape.output[0]);
        let output = std::mem::take(&mut reshape.output);
        *reshape = NodeProto {
            name: reshape.name.clone(),
            op_type: "Unsqueeze".to_owned(),
            input: vec![mask],
            output,
            ..NodeProto::default()
        };
        if opset < AXES_ARE_INPUT {
            reshape.attribute.push(integers_attribute("axes", &[1, 2]));
            continue;
        }
        reshape.input.push(axes.clone());
        const INT64: i32 = 7;
        let tensor = TensorProto {
            name: axes,
            dims: vec![2],
            data_type: INT64,
            int64_data: vec![1, 2],
            ..TensorProto::default()
        };
        graph.initializer.push(tensor);
    }
}

/// If `node` is the last reshape of the pattern: the name of the mask `[batch, sequence]`.
fn gathered_mask(graph: &GraphProto, producers: &Producers, node: &NodeProto) -> Option<String> {
    if node.op_type != "Reshape" || node.output.len() != 1 {
        return None;
    }
    let flat = producers.input(graph, node, 0, "Reshape")?;
    if producers.integers(graph, flat, 1)? != [-1] {
        return None;
    }
    let gather = producers.input(graph, flat, 0, "Gather")?;
    let flatten = producers.input(graph, gather, 0, "Flatten")?;
    if integer_attribute(gather, "axis").unwrap_or(0) != 0 || integer_attribute(flatten, "axis") != Some(2) {
        return None;
    }
    let mask = flatten.input.first()?;
    let indices = producers.input(graph, gather, 1, "Add")?;
    // The shape of the indices is the shape of the result.
    let shape = producers.input(graph, node, 1, "Concat").and_then(|concat| match concat.input.len() {
        1 => producers.input(graph, concat, 0, "Shape"),
        _ => None,
    });
    let shape = shape.or_else(|| producers.input(graph, node, 1, "Shape"))?;
    if shape.input.first() != gather.input.get(1) {
        return None;
    }
    let columns_then_rows = [(0, 1), (1, 0)].into_iter().any(|(columns, rows)| {
        is_range(graph, producers, indices, columns, 1, &[0, 1, 2])
            && producers
                .input(graph, indices, rows, "Mul")
                .is_some_and(|rows| is_row_start(graph, producers, rows, mask))
    });
    columns_then_rows.then(|| mask.clone())
}

/// `range(batch)` on the first of four axes, times the mask's second size.
fn is_row_start(graph: &GraphProto, producers: &Producers, product: &NodeProto, mask: &str) -> bool {
    [(0, 1), (1, 0)].into_iter().any(|(range, width)| {
        is_range(graph, producers, product, range, 0, &[1, 2, 3])
            && size_of(graph, producers, product, width).is_some_and(|(of, axis)| of == mask && axis == 1)
    })
}

/// Whether an input is `range(0, size of axis, 1)`, unsqueezed at exactly the given axes one after the other.
fn is_range(graph: &GraphProto, producers: &Producers, node: &NodeProto, slot: usize, axis: i64, axes: &[i64]) -> bool {
    let mut axes_left = axes.to_vec();
    let (mut node, mut slot) = (node, slot);
    while let Some(unsqueeze) = producers.input(graph, node, slot, "Unsqueeze") {
        let axes = producers.integers(graph, unsqueeze, 1).or_else(|| axes_of(unsqueeze));
        match (axes.as_deref(), axes_left.pop()) {
            (Some([found]), Some(expected)) if *found == expected => (node, slot) = (unsqueeze, 0),
            _ => return false,
        }
    }
    let Some(range) = producers.input(graph, node, slot, "Range").filter(|_| axes_left.is_empty()) else {
        return false;
    };
    producers.integers(graph, range, 0).as_deref() == Some(&[0])
        && producers.integers(graph, range, 2).as_deref() == Some(&[1])
        && size_of(graph, producers, range, 1).is_some_and(|(_, found)| found == axis)
}

/// The axes that a node names by an attribute.
fn axes_of(node: &NodeProto) -> Option<Vec<i64>> {
    let axes = node.attribute.iter().find(|attribute| attribute.name == "axes");
    axes.map(|attribute| attribute.ints.clone())
}

/// If an input is one size of a value: the value's name and the axis.
fn size_of(graph: &GraphProto, producers: &Producers, node: &NodeProto, slot: usize) -> Option<(String, i64)> {
    let (node, slot) = match producers.input(graph, node, slot, "Cast") {
        Some(cast) => (cast, 0),
        None => (node, slot),
    };
    let gather = producers.input(graph, node, slot, "Gather")?;
    let shape = producers.input(graph, gather, 0, "Shape")?;
    match producers.integers(graph, gather, 1)?.as_slice() {
        [axis] => Some((shape.input.first()?.clone(), *axis)),
        _ => None,
    }
}
