//! An ONNX graph, indexed by the names of its values.

use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// A graph with what makes, reads and holds each value. Values that always equal another one (`Identity`, and a
/// `QuantizeLinear`–`DequantizeLinear` pair around an activation) go by the other's name.
pub(super) struct Graph<'p> {
    pub(super) proto: &'p GraphProto,
    producers: HashMap<&'p str, usize>,
    constants: HashMap<&'p str, &'p TensorProto>,
    aliases: HashMap<&'p str, &'p str>,
    consumers: HashMap<&'p str, Vec<usize>>,
    inputs: HashSet<&'p str>,
}

impl<'p> Graph<'p> {
    pub(super) fn new(proto: &'p GraphProto) -> Graph<'p> {
        let mut constants: HashMap<&str, &TensorProto> =
            proto.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let mut producers = HashMap::new();
        for (index, node) in proto.node.iter().enumerate() {
            let value = attribute(node, "value").and_then(|attribute| attribute.t.as_ref());
            if let (true, Some(value), Some(output)) = (is(node, "Constant"), value, node.output.first()) {
                constants.insert(output, value);
            }
            producers.extend(node.output.iter().filter(|name| !name.is_empty()).map(|name| (name.as_str(), index)));
        }
        let inputs = proto.input.iter().map(|value| value.name.as_str());
        let inputs = inputs.filter(|name| !constants.contains_key(name)).collect();
        let mut graph =
            Graph { proto, producers, constants, aliases: HashMap::new(), consumers: HashMap::new(), inputs };
        for node in &proto.node {
            if let Some((output, input)) = graph.alias(node) {
                graph.aliases.insert(output, input);
            }
        }
        for (index, node) in proto.node.iter().enumerate() {
            // What an alias stands for is read by the alias's readers, and by nobody on the way there.
            if is(node, "QuantizeLinear") || graph.aliases.contains_key(node.output.first().map_or("", String::as_str))
            {
                continue;
            }
            for input in &node.input {
                graph.consumers.entry(graph.resolve(input)).or_default().push(index);
            }
        }
        graph
    }

    /// The output of a node that hands its input on unchanged (or would, if nothing were rounded), and that input.
    fn alias(&self, node: &'p NodeProto) -> Option<(&'p str, &'p str)> {
        let (output, input) = (node.output.first()?.as_str(), node.input.first()?.as_str());
        if is(node, "Identity") {
            return Some((output, input));
        }
        if !is(node, "DequantizeLinear") {
            return None;
        }
        let quantize = self.producer(input).filter(|node| is(node, "QuantizeLinear"))?;
        let source = quantize.input.first()?.as_str();
        self.constant(source).is_none().then_some((output, source))
    }

    /// The name that a value goes by.
    pub(super) fn resolve(&self, name: &'p str) -> &'p str {
        let mut name = name;
        // A cycle of aliases is not a graph; it ends somewhere all the same.
        for _ in 0..=self.aliases.len() {
            match self.aliases.get(name) {
                Some(&source) => name = source,
                None => break,
            }
        }
        name
    }

    /// The node that makes a value.
    pub(super) fn producer(&self, name: &'p str) -> Option<&'p NodeProto> {
        self.producer_index(name).map(|index| &self.proto.node[index])
    }

    pub(super) fn producer_index(&self, name: &'p str) -> Option<usize> {
        self.producers.get(self.resolve(name)).copied()
    }

    /// The node that makes input `slot` of `node`, if it is of the operator asked for.
    pub(super) fn input_of(&self, node: &'p NodeProto, slot: usize, op: &str) -> Option<&'p NodeProto> {
        self.producer(node.input.get(slot)?).filter(|node| is(node, op))
    }

    /// The initializer or `Constant` behind a name.
    pub(super) fn constant(&self, name: &'p str) -> Option<&'p TensorProto> {
        self.constants.get(self.resolve(name)).copied()
    }

    /// The constant at input `slot` of `node`.
    pub(super) fn constant_input(&self, node: &'p NodeProto, slot: usize) -> Option<&'p TensorProto> {
        self.constant(node.input.get(slot).filter(|name| !name.is_empty())?)
    }

    /// The nodes that read a value, under any of its names.
    pub(super) fn consumers(&self, name: &'p str) -> &[usize] {
        self.consumers.get(self.resolve(name)).map_or(&[], Vec::as_slice)
    }

    /// The only node that reads a value.
    pub(super) fn only_consumer(&self, name: &'p str) -> Option<usize> {
        match *self.consumers(name) {
            [index] => Some(index),
            _ => None,
        }
    }

    /// Whether the name is an input of the graph.
    pub(super) fn is_input(&self, name: &str) -> bool {
        self.inputs.contains(name)
    }
}

/// Whether a node is of a standard operator.
pub(super) fn is(node: &NodeProto, op: &str) -> bool {
    node.op_type == op && (node.domain.is_empty() || node.domain == "ai.onnx")
}

pub(super) fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

pub(super) fn integer_attribute(node: &NodeProto, name: &str) -> Option<i64> {
    attribute(node, name).map(|attribute| attribute.i)
}

pub(super) fn float_attribute(node: &NodeProto, name: &str) -> Option<f32> {
    attribute(node, name).map(|attribute| attribute.f)
}
