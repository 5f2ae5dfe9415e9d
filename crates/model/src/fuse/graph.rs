//! An ONNX graph, indexed by the names of its values.

use super::constants::{floats, integers};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// The coarsest step of a quantizer that is taken for nothing but rounding: scores or hidden states in steps of more say something else,
/// as where a mask's far value has stretched the range.
const COARSEST: f32 = 2.0;

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
    /// As a fused program takes it: what quantizers around activations round is left unrounded.
    pub(super) fn new(proto: &'p GraphProto) -> Graph<'p> {
        Graph::indexed(proto, true)
    }

    /// As it is written.
    pub(super) fn as_written(proto: &'p GraphProto) -> Graph<'p> {
        Graph::indexed(proto, false)
    }

    fn indexed(proto: &'p GraphProto, skips_quantizers: bool) -> Graph<'p> {
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
        let mut passed = HashSet::new();
        for node in &proto.node {
            if let Some((output, input)) = graph.alias(node).filter(|_| skips_quantizers || is(node, "Identity")) {
                graph.aliases.insert(output, input);
                passed.extend(node.input.first());
            }
        }
        for (index, node) in proto.node.iter().enumerate() {
            // What an alias stands for is read by the alias's readers, and by nobody on the way there.
            let is_passed = node.output.first().is_some_and(|output| {
                passed.contains(output) && is(node, "QuantizeLinear") || graph.aliases.contains_key(output.as_str())
            });
            if is_passed {
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
        let only_rounds = self.constant(source).is_none() && self.is_pair(quantize, node);
        only_rounds.then_some((output, source))
    }

    /// Whether what one node quantizes, in steps that are small, the other takes back to where it was.
    fn is_pair(&self, quantize: &'p NodeProto, dequantize: &'p NodeProto) -> bool {
        let scales = |node| self.constant_input(node, 1).and_then(floats);
        let zero_points = |node: &'p NodeProto| match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(_) => self.constant_input(node, 2).and_then(integers),
            None => Some(vec![0]),
        };
        let axis = |node| integer_attribute(node, "axis").unwrap_or(1);
        let is_fine = scales(quantize).is_some_and(|scales| scales.iter().all(|scale| *scale <= COARSEST));
        is_fine
            && scales(quantize) == scales(dequantize)
            && zero_points(quantize).is_some_and(|points| Some(points) == zero_points(dequantize))
            && (axis(quantize) == axis(dequantize) || scales(quantize).is_some_and(|scales| scales.len() == 1))
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
