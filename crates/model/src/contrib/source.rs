//! The graph that nodes are taken from, and what they say.

use super::ranks::Ranks;
use crate::fuse::constants::{FLOAT, FLOAT16};
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// Why a node has no standard spelling here.
pub(super) type Expanded<T> = std::result::Result<T, String>;

/// The graph as it was, by name.
pub(super) struct Source<'g> {
    pub(super) constants: HashMap<&'g str, &'g TensorProto>,
    pub(super) producers: HashMap<&'g str, &'g NodeProto>,
    pub(super) ranks: Ranks<'g>,
    /// The element type of most weights, in which factors are written where a node does not tell.
    pub(super) float: i32,
}

impl<'g> Source<'g> {
    pub(super) fn new(graph: &'g GraphProto, nodes: &'g [NodeProto]) -> Source<'g> {
        let mut constants: HashMap<&str, &TensorProto> =
            graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let mut producers = HashMap::new();
        for node in nodes {
            let value = node.attribute.iter().find(|attribute| attribute.name == "value");
            let value = value.and_then(|attribute| attribute.t.as_ref()).filter(|_| node.op_type == "Constant");
            if let (Some(value), Some(output)) = (value, node.output.first()) {
                constants.insert(output, value);
            }
            producers.extend(node.output.iter().filter(|name| !name.is_empty()).map(|name| (name.as_str(), node)));
        }
        let weight = |kind: i32| -> i64 {
            let tensors = graph.initializer.iter().filter(|tensor| tensor.data_type == kind);
            tensors.map(|tensor| tensor.dims.iter().fold(1, |count: i64, dim| count.saturating_mul(*dim))).sum()
        };
        let float = if weight(FLOAT16) > weight(FLOAT) { FLOAT16 } else { FLOAT };
        Source { constants, producers, ranks: Ranks::new(graph, nodes), float }
    }

    /// The constant at input `slot`.
    pub(super) fn constant(&self, node: &NodeProto, slot: usize) -> Option<&'g TensorProto> {
        self.constants.get(input(node, slot)?).copied()
    }

    /// The constant at input `slot`, or a sentence that says what is missing.
    pub(super) fn weights(&self, node: &NodeProto, slot: usize, what: &str) -> Expanded<&'g TensorProto> {
        self.constant(node, slot).ok_or_else(|| format!("needs its {what} (input {slot}) as a constant"))
    }

    /// The node that makes input `slot`.
    pub(super) fn producer(&self, node: &NodeProto, slot: usize) -> Option<&'g NodeProto> {
        self.producers.get(input(node, slot)?).copied()
    }
}

/// The name of an input that is there.
pub(super) fn input(node: &NodeProto, slot: usize) -> Option<&str> {
    node.input.get(slot).map(String::as_str).filter(|name| !name.is_empty())
}

/// The name of an input that has to be there.
pub(super) fn required<'n>(node: &'n NodeProto, slot: usize, what: &str) -> Expanded<&'n str> {
    input(node, slot).ok_or_else(|| format!("has no {what} (input {slot})"))
}

/// Refuses inputs from `slot` on that would change what the node computes.
pub(super) fn refuse_inputs(node: &NodeProto, slots: &[(usize, &str)]) -> Expanded<()> {
    match slots.iter().find(|(slot, _)| input(node, *slot).is_some()) {
        Some((slot, what)) => Err(format!("has {what} (input {slot}), which grice does not support")),
        None => Ok(()),
    }
}

/// Refuses outputs other than those that are made.
pub(super) fn refuse_outputs(node: &NodeProto, made: &[usize]) -> Expanded<()> {
    let other = (0..node.output.len()).find(|slot| !node.output[*slot].is_empty() && !made.contains(slot));
    match other {
        Some(slot) => Err(format!("makes its output {slot} (`{}`), which grice does not support", node.output[slot])),
        None => Ok(()),
    }
}

pub(super) fn integer(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.i)
}

pub(super) fn number(node: &NodeProto, name: &str) -> Option<f32> {
    node.attribute.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.f)
}

/// Refuses a flag that is set.
pub(super) fn refuse_flags(node: &NodeProto, names: &[&str]) -> Expanded<()> {
    match names.iter().find(|name| integer(node, name).unwrap_or(0) != 0) {
        Some(name) => Err(format!("sets `{name}`, which grice does not support")),
        None => Ok(()),
    }
}
