//! Pieces of the graph: all that a value is made of, back to anchors and to the graph's inputs.

use super::anchors::{Anchor, Anchors};
use super::constants::{count, dims};
use super::graph::{Graph, is};
use crate::lengths::Fingerprint;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use tract_onnx::pb::TensorProto;

/// Operators that make each element out of the elements at the same place.
const ELEMENT_WISE: [&str; 22] = [
    "Abs",
    "Add",
    "Cast",
    "Clip",
    "Div",
    "Erf",
    "Exp",
    "Gelu",
    "Identity",
    "LeakyRelu",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Pow",
    "Relu",
    "Sigmoid",
    "Softplus",
    "Sqrt",
    "Sub",
    "Tanh",
    "Where",
];

/// One piece.
#[derive(Debug)]
pub(super) struct Region<'p> {
    /// What it makes.
    pub(super) value: &'p str,
    /// What it does, each step after those it depends on.
    pub(super) steps: Vec<Step<'p>>,
    /// Values of anchors and inputs that the piece starts from, in the order they are come upon.
    pub(super) sources: Vec<&'p str>,
    /// Of these, the ones of which only the shape matters.
    shapes_only: HashSet<&'p str>,
}

/// One step of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'p> {
    /// A node of the graph.
    Node(usize),
    /// A dense layer, by its output.
    Linear(&'p str),
}

/// Finds pieces of one graph.
pub(super) struct Regions<'a, 'p> {
    pub(super) graph: &'a Graph<'p>,
    pub(super) anchors: &'a Anchors<'p>,
    varying: HashSet<&'p str>,
}

impl<'p> Region<'p> {
    /// The sources whose elements matter.
    pub(super) fn data(&self) -> impl Iterator<Item = &'p str> + '_ {
        self.sources.iter().copied().filter(|source| !self.shapes_only.contains(source))
    }
}

impl<'a, 'p> Regions<'a, 'p> {
    pub(super) fn new(graph: &'a Graph<'p>, anchors: &'a Anchors<'p>) -> Self {
        Regions { graph, anchors, varying: varying_values(graph) }
    }

    /// Whether the value changes with the elements of an input.
    pub(super) fn varies(&self, name: &'p str) -> bool {
        self.varying.contains(self.graph.resolve(name))
    }

    /// What `value` is made of, back to anchors. Anchors that do not vary are looked through, but for dense layers.
    pub(super) fn back_from(&self, value: &'p str) -> Region<'p> {
        self.walk(value, |name| self.is_source(name))
    }

    fn is_source(&self, name: &'p str) -> bool {
        match self.anchors.get(name) {
            Some(Anchor::Linear { .. }) => true,
            Some(_) => self.varies(name),
            None => false,
        }
    }

    /// As [`Self::back_from`], without looking through norms.
    pub(super) fn back_to_norms(&self, value: &'p str) -> Region<'p> {
        self.walk(value, |name| match self.anchors.get(name) {
            Some(Anchor::Linear { .. } | Anchor::Norm { .. }) => true,
            Some(_) => self.varies(name),
            None => false,
        })
    }

    /// As [`Self::back_from`], and no farther than `stop`.
    pub(super) fn back_to(&self, stop: &'p str, value: &'p str) -> Region<'p> {
        self.walk(value, |name| name == stop || self.is_source(name))
    }

    /// What `value` is made of, back to `stop` and through all anchors.
    pub(super) fn between(&self, stop: &'p str, value: &'p str) -> Region<'p> {
        self.walk(value, |name| name == stop)
    }

    fn walk(&self, value: &'p str, is_source: impl Fn(&'p str) -> bool) -> Region<'p> {
        let value = self.graph.resolve(value);
        let mut region = Region { value, steps: Vec::new(), sources: Vec::new(), shapes_only: HashSet::new() };
        let mut done = HashSet::new();
        let mut seen: HashMap<&str, bool> = HashMap::new();
        let mut stack = vec![Visit::Enter { name: value, shape_only: false }];
        while let Some(visit) = stack.pop() {
            let (name, shape_only) = match visit {
                Visit::Leave(name, step) => {
                    if done.insert(name) && !region.steps.contains(&step) {
                        region.steps.push(step);
                    }
                    continue;
                }
                Visit::Enter { name, shape_only } => (name, shape_only),
            };
            if self.graph.constant(name).is_some() || seen.get(name).is_some_and(|&only| !only || shape_only) {
                continue;
            }
            seen.insert(name, shape_only);
            if is_source(name) || self.graph.is_input(name) {
                region.add_source(name, shape_only);
                continue;
            }
            if let Some(Anchor::Linear { input, .. }) = self.anchors.get(name) {
                stack.push(Visit::Leave(name, Step::Linear(name)));
                stack.push(Visit::Enter { name: self.graph.resolve(input), shape_only });
                continue;
            }
            let Some(index) = self.graph.producer_index(name) else { continue };
            let node = &self.graph.proto.node[index];
            stack.push(Visit::Leave(name, Step::Node(index)));
            let shape_only = shape_only || is(node, "Shape");
            let inputs = node.input.iter().rev().filter(|input| !input.is_empty());
            stack.extend(inputs.map(|input| Visit::Enter { name: self.graph.resolve(input), shape_only }));
        }
        region
    }

    /// Whether a piece does the same to every token, whatever its place and however many there are: nothing but operators that work element
    /// by element, on constants of one element or of the last axis alone.
    pub(super) fn is_token_wise(&self, region: &Region<'p>) -> bool {
        let is_flat = |tensor: &TensorProto| {
            let leading = dims(tensor).and_then(|dims| Some(dims.split_last()?.1.iter().all(|dim| *dim == 1)));
            count(tensor) == Some(1) || leading.unwrap_or(false)
        };
        let is_source = |name: &str| region.sources.contains(&name);
        let made: HashSet<&str> = region.steps.iter().flat_map(|step| self.outputs(*step)).collect();
        let reads_flat = |name: &'p str| match self.graph.constant(name) {
            Some(tensor) => is_flat(tensor),
            None => is_source(self.graph.resolve(name)) || made.contains(self.graph.resolve(name)),
        };
        region.data().all(|source| self.anchors.get(source).is_some())
            && region.steps.iter().all(|step| match *step {
                Step::Linear(_) => false,
                Step::Node(index) => {
                    let node = &self.graph.proto.node[index];
                    ELEMENT_WISE.iter().any(|op| is(node, op))
                        && node.input.iter().filter(|name| !name.is_empty()).all(|name| reads_flat(name))
                }
            })
    }

    fn outputs(&self, step: Step<'p>) -> Vec<&'p str> {
        match step {
            Step::Node(index) => self.graph.proto.node[index].output.iter().map(String::as_str).collect(),
            Step::Linear(output) => vec![output],
        }
    }

    /// A text that two pieces share exactly if they do the same to their sources in the same order.
    pub(super) fn signature(&self, region: &Region<'p>) -> String {
        let mut text = String::new();
        let mut made: HashMap<&str, String> = HashMap::new();
        for (index, source) in region.sources.iter().enumerate() {
            let kind = if region.shapes_only.contains(source) { "shape" } else { "source" };
            made.insert(source, format!("{kind}{index}"));
        }
        for (index, step) in region.steps.iter().enumerate() {
            let Step::Node(node) = *step else {
                _ = write!(text, "{step:?};");
                continue;
            };
            let node = &self.graph.proto.node[node];
            _ = write!(text, "{}{:?}(", node.op_type, node.attribute);
            for input in &node.input {
                let name = self.graph.resolve(input);
                match (made.get(name), self.graph.constant(name)) {
                    (Some(made), _) => _ = write!(text, "{made},"),
                    (None, Some(tensor)) => {
                        _ = write!(text, "constant{:x},", fingerprint(tensor));
                    }
                    (None, None) => _ = write!(text, "?{name},"),
                }
            }
            text.push_str(");");
            for (slot, output) in node.output.iter().enumerate() {
                made.insert(output, format!("step{index}.{slot}"));
            }
        }
        _ = write!(text, "{:?}", made.get(region.value));
        text
    }
}

/// Forward from the graph's inputs: values that depend on them by more than a shape.
fn varying_values<'p>(graph: &Graph<'p>) -> HashSet<&'p str> {
    let mut varying: HashSet<&str> = graph.proto.input.iter().map(|value| value.name.as_str()).collect();
    varying.retain(|name| graph.is_input(name));
    // Nodes of an ONNX graph are sorted, so one pass is enough.
    for node in &graph.proto.node {
        let reads = node.input.iter().any(|input| varying.contains(graph.resolve(input)));
        if reads && !is(node, "Shape") {
            varying.extend(node.output.iter().map(String::as_str));
        }
    }
    varying
}

/// A number for what a constant holds.
fn fingerprint(tensor: &TensorProto) -> u64 {
    let mut fingerprint = Fingerprint::new();
    fingerprint.mix(tensor.data_type as u64);
    let lists =
        [&tensor.dims, &tensor.int64_data].into_iter().map(|list| list.iter().map(|item| *item as u64).collect());
    let narrow = [
        tensor.int32_data.iter().map(|item| *item as u64).collect::<Vec<u64>>(),
        tensor.float_data.iter().map(|item| u64::from(item.to_bits())).collect(),
        tensor.double_data.iter().map(|item| item.to_bits()).collect(),
        tensor.uint64_data.clone(),
    ];
    for list in lists.chain(narrow) {
        fingerprint.mix(list.len() as u64);
        list.iter().for_each(|item| fingerprint.mix(*item));
    }
    fingerprint.add(&tensor.raw_data);
    fingerprint.finish()
}

enum Visit<'p> {
    Enter { name: &'p str, shape_only: bool },
    Leave(&'p str, Step<'p>),
}

impl<'p> Region<'p> {
    fn add_source(&mut self, name: &'p str, shape_only: bool) {
        if !self.sources.contains(&name) {
            self.sources.push(name);
        }
        match shape_only {
            true => _ = self.shapes_only.insert(name),
            false => _ = self.shapes_only.remove(name),
        }
    }
}
