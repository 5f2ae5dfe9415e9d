//! The sources of a graph's values.

use crate::{Error, Result};
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// Where a constant is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Initializer(usize),
    ConstantNode(usize),
}

/// Constants by all of their names, and the values that depend on the graph's inputs.
pub(crate) struct Values<'g> {
    constants: HashMap<&'g str, Place>,
    live: HashSet<&'g str>,
}

impl<'g> Values<'g> {
    /// Follows a graph from its inputs and constants.
    ///
    /// # Errors
    /// [`Error::Missing`] for a value that is read before it is defined.
    pub(crate) fn of(graph: &'g GraphProto) -> Result<Values<'g>> {
        let mut constants: HashMap<&str, Place> = HashMap::new();
        for (index, tensor) in graph.initializer.iter().enumerate() {
            constants.insert(&tensor.name, Place::Initializer(index));
        }
        // Old exporters also list the weights as inputs.
        let inputs = graph.input.iter().map(|input| input.name.as_str());
        let mut live: HashSet<&str> = inputs.filter(|name| !constants.contains_key(name)).collect();
        let mut known: HashSet<&str> = live.iter().chain(constants.keys()).copied().collect();
        for (index, node) in graph.node.iter().enumerate() {
            if let Some(value) = node.input.iter().find(|name| !name.is_empty() && !known.contains(name.as_str())) {
                return Err(Error::Missing { node: label(node).to_owned(), value: value.clone() });
            }
            if node.input.iter().any(|name| live.contains(name.as_str())) {
                live.extend(node.output.iter().map(String::as_str));
            }
            known.extend(node.output.iter().map(String::as_str));
            let Some(output) = node.output.first() else { continue };
            if constant_tensor(node).is_some() {
                constants.insert(output, Place::ConstantNode(index));
            } else if node.op_type == "Identity" {
                let place = node.input.first().and_then(|input| constants.get(input.as_str()).copied());
                constants.extend(place.map(|place| (output.as_str(), place)));
            }
        }
        Ok(Values { constants, live })
    }

    /// Where the constant with this name is stored; follows `Identity` nodes.
    pub(crate) fn constant(&self, name: &str) -> Option<Place> {
        self.constants.get(name).copied()
    }

    /// Every name of a constant, sorted.
    pub(crate) fn names_of(&self, place: Place) -> Vec<String> {
        let names = self.constants.iter().filter(|(_, found)| **found == place);
        let mut names: Vec<String> = names.map(|(name, _)| (*name).to_owned()).collect();
        names.sort();
        names
    }

    /// Whether a value depends on the graph's inputs.
    pub(crate) fn is_live(&self, name: &str) -> bool {
        self.live.contains(name)
    }
}

/// The tensor stored at a place.
pub(crate) fn constant_at(graph: &GraphProto, place: Place) -> Option<&TensorProto> {
    match place {
        Place::Initializer(index) => graph.initializer.get(index),
        Place::ConstantNode(index) => constant_tensor(graph.node.get(index)?),
    }
}

/// The tensor of a `Constant` node.
pub(crate) fn constant_tensor(node: &NodeProto) -> Option<&TensorProto> {
    let value = node.attribute.iter().find(|attribute| attribute.name == "value" && node.op_type == "Constant");
    value.and_then(|attribute| attribute.t.as_ref())
}

/// A node's name, or the name of its first output.
pub(crate) fn label(node: &NodeProto) -> &str {
    if node.name.is_empty() { node.output.first().map_or("", String::as_str) } else { &node.name }
}
