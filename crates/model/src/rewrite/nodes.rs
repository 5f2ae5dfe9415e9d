//! Who makes what in a graph that is rewritten.

use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto};

/// Which node makes which value.
pub(super) struct Producers {
    pub(super) by_output: HashMap<String, usize>,
}

impl Producers {
    pub(super) fn of(graph: &GraphProto) -> Producers {
        let outputs =
            graph.node.iter().enumerate().flat_map(|(index, node)| node.output.iter().map(move |name| (name, index)));
        Producers { by_output: outputs.map(|(name, index)| (name.clone(), index)).collect() }
    }

    /// The node that makes the input `slot` of `node`, if it is of the operator asked for.
    pub(super) fn input<'g>(
        &self,
        graph: &'g GraphProto,
        node: &NodeProto,
        slot: usize,
        op: &str,
    ) -> Option<&'g NodeProto> {
        let made_by = graph.node.get(*self.by_output.get(node.input.get(slot)?)?)?;
        (made_by.op_type == op).then_some(made_by)
    }

    /// The integers of an input that is a constant or initializer.
    pub(super) fn integers(&self, graph: &GraphProto, node: &NodeProto, slot: usize) -> Option<Vec<i64>> {
        let name = node.input.get(slot)?;
        let tensor = match self.by_output.get(name) {
            Some(&index) => {
                let constant = graph.node.get(index).filter(|node| node.op_type == "Constant")?;
                constant.attribute.iter().find(|attribute| attribute.name == "value")?.t.as_ref()?
            }
            None => graph.initializer.iter().find(|tensor| tensor.name == *name)?,
        };
        const INT64: i32 = 7;
        if tensor.data_type != INT64 {
            return None;
        }
        if tensor.raw_data.is_empty() {
            return Some(tensor.int64_data.clone());
        }
        let bytes = tensor.raw_data.chunks_exact(8);
        bytes.map(|bytes| Some(i64::from_le_bytes(bytes.try_into().ok()?))).collect()
    }
}

pub(super) fn integer_attribute(node: &NodeProto, name: &str) -> Option<i64> {
    node.attribute.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.i)
}
