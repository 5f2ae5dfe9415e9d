//! How many axes a value has, where its own producers tell.

use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto, type_proto};

/// Ranks of the values of one graph.
pub(super) struct Ranks<'g> {
    known: HashMap<&'g str, usize>,
}

impl<'g> Ranks<'g> {
    /// From what the file declares, and forward from there: nodes of an ONNX graph are sorted.
    pub(super) fn new(graph: &'g GraphProto, nodes: &'g [NodeProto]) -> Ranks<'g> {
        let mut ranks = Ranks { known: HashMap::new() };
        let declared = graph.input.iter().chain(&graph.value_info);
        ranks.known.extend(declared.filter_map(|value| Some((value.name.as_str(), declared_rank(value)?))));
        ranks.known.extend(graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor.dims.len())));
        let lengths: HashMap<&str, usize> = graph
            .initializer
            .iter()
            .filter(|tensor| tensor.dims.len() == 1)
            .map(|tensor| (tensor.name.as_str(), tensor.dims[0] as usize))
            .collect();
        for node in nodes {
            let Some(output) = node.output.first().map(String::as_str) else { continue };
            if node.op_type.ends_with("EmbedLayerNormalization") {
                ranks.known.extend(node.output.iter().map(String::as_str).zip([3, 1, 3]));
            }
            if !ranks.known.contains_key(output)
                && let Some(rank) = ranks.of_node(node, &lengths)
            {
                ranks.known.insert(output, rank);
            }
        }
        ranks
    }

    /// The rank of a value, if it is known.
    pub(super) fn of(&self, name: &str) -> Option<usize> {
        self.known.get(name).copied()
    }

    fn of_node(&self, node: &NodeProto, lengths: &HashMap<&str, usize>) -> Option<usize> {
        let input = |slot: usize| self.of(node.input.get(slot)?);
        let ints = |name: &str| {
            let attribute = node.attribute.iter().find(|attribute| attribute.name == name);
            attribute.map(|attribute| attribute.ints.len()).filter(|count| *count > 0)
        };
        match node.op_type.as_str() {
            "Constant" => Some(node.attribute.first()?.t.as_ref()?.dims.len()),
            "Transpose" => ints("perm").or_else(|| input(0)),
            "Reshape" | "Expand" => lengths.get(node.input.get(1)?.as_str()).copied(),
            "Unsqueeze" => Some(input(0)? + ints("axes").or_else(|| Some(*lengths.get(node.input.get(1)?.as_str())?))?),
            "Squeeze" => {
                input(0)?.checked_sub(ints("axes").or_else(|| Some(*lengths.get(node.input.get(1)?.as_str())?))?)
            }
            "ReduceSum" | "ReduceMean" | "ReduceMax" => {
                let keeps = node.attribute.iter().find(|attribute| attribute.name == "keepdims");
                let axes = ints("axes").or_else(|| lengths.get(node.input.get(1)?.as_str()).copied());
                if keeps.is_none_or(|keeps| keeps.i != 0) { input(0) } else { input(0)?.checked_sub(axes?) }
            }
            "Gather" => (input(0)? + input(1)?).checked_sub(1),
            "Shape" => Some(1),
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Where" | "MatMul" | "FusedMatMul" | "Equal" | "Min" | "Max" => {
                let ranks = (0..node.input.len()).map(input).collect::<Option<Vec<usize>>>()?;
                ranks.into_iter().max()
            }
            "Cast"
            | "Identity"
            | "Softmax"
            | "LayerNormalization"
            | "Tanh"
            | "Erf"
            | "Sqrt"
            | "Gelu"
            | "BiasGelu"
            | "FastGelu"
            | "SkipLayerNormalization"
            | "Attention"
            | "MultiHeadAttention"
            | "Slice"
            | "Relu"
            | "DynamicQuantizeLinear"
            | "QuantizeLinear"
            | "DequantizeLinear"
            | "Sigmoid"
            | "Clip" => input(0),
            _ => None,
        }
    }
}

fn declared_rank(value: &ValueInfoProto) -> Option<usize> {
    let type_proto::Value::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    Some(tensor.shape.as_ref()?.dim.len())
}
