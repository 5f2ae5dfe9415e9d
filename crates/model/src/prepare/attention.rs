//! `Attention` of opset 23, which the newer exporter writes → the products and the softmax that it stands for.

use super::types::{BOOL, FLOAT, is_standard, types_of};
use crate::proto::{float_tensor, node_of};
use crate::{Error, Result};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

const INT64: i32 = 7;

/// Spells out every such node.
///
/// # Errors
/// [`Error::GraphAttribute`] naming a node that does more than an encoder's attention.
pub(super) fn spell_out(graph: &mut GraphProto) -> Result<()> {
    let is_attention = |node: &NodeProto| node.op_type == "Attention" && is_standard(node);
    if !graph.node.iter().any(is_attention) {
        return Ok(());
    }
    let types = types_of(graph);
    let mut nodes = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node) {
        if !is_attention(&node) {
            nodes.push(node);
            continue;
        }
        check(&node)?;
        let mask = node.input.get(3).filter(|name| !name.is_empty());
        let mask_type = mask.map(|mask| types.get(mask).copied().unwrap_or(0));
        if !matches!(mask_type, None | Some(FLOAT | BOOL)) {
            return Err(refused(
                &node,
                "attn_mask",
                "is of a type that cannot be told; export with opset 22 or earlier",
            ));
        }
        let mut spelling = Spelling { node: &node, nodes: &mut nodes, constants: &mut graph.initializer };
        spelling.write(mask_type);
    }
    graph.node = nodes;
    Ok(())
}

fn check(node: &NodeProto) -> Result<()> {
    let extra = |names: &[String], from: usize| names.iter().skip(from).any(|name| !name.is_empty());
    if extra(&node.input, 4) || extra(&node.output, 1) {
        return Err(refused(node, "past_key", "or another input or output of a decoder is there; an encoder has none"));
    }
    let number = |name: &str| find(node, name).map_or(0, |attribute| attribute.i);
    for name in ["is_causal", "qk_matmul_output_mode"] {
        if number(name) != 0 {
            return Err(refused(node, name, "is not 0, which grice cannot run"));
        }
    }
    if find(node, "softcap").is_some_and(|softcap| softcap.f != 0.0) {
        return Err(refused(node, "softcap", "is not 0, which grice cannot run"));
    }
    if number("q_num_heads") != number("kv_num_heads") {
        return Err(refused(node, "kv_num_heads", "is not `q_num_heads`, which grice cannot run"));
    }
    Ok(())
}

fn find<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn refused(node: &NodeProto, attribute: &str, problem: &str) -> Error {
    Error::GraphAttribute {
        op: node.op_type.clone(),
        node: node.name.clone(),
        attribute: attribute.to_owned(),
        problem: problem.to_owned(),
    }
}

/// The nodes of one attention.
struct Spelling<'a> {
    node: &'a NodeProto,
    nodes: &'a mut Vec<NodeProto>,
    constants: &'a mut Vec<TensorProto>,
}

impl Spelling<'_> {
    fn write(&mut self, mask_type: Option<i32>) {
        let output = self.node.output[0].clone();
        let heads = find(self.node, "q_num_heads").map(|heads| heads.i).filter(|&heads| heads > 0);
        let [query, key, value] = [0, 1, 2].map(|slot| {
            let input = self.node.input.get(slot).cloned().unwrap_or_default();
            match heads {
                Some(heads) => self.split_heads(input, heads, ["query", "key", "value"][slot]),
                None => input,
            }
        });
        let turned = self.transpose(key, &[0, 1, 3, 2], "turned_key");
        let scores = self.push("MatMul", vec![query.clone(), turned], "scores");
        let scaled = self.scale(scores, query);
        let masked = match mask_type {
            None => scaled,
            Some(BOOL) => {
                let lowest = self.float("lowest", f32::MIN);
                self.push("Where", vec![self.node.input[3].clone(), scaled, lowest], "masked")
            }
            Some(_) => self.push("Add", vec![scaled, self.node.input[3].clone()], "masked"),
        };
        let shares = self.push("Softmax", vec![masked], "shares");
        self.set("axis", -1);
        let mixed = self.push("MatMul", vec![shares, value], "mixed");
        let joined = match heads {
            Some(_) => {
                let turned = self.transpose(mixed, &[0, 2, 1, 3], "joined");
                let shape = self.integers("joined_shape", &[0, 0, -1]);
                self.push("Reshape", vec![turned, shape], "flat")
            }
            None => mixed,
        };
        self.nodes.push(node_of("Identity", vec![joined], output));
    }

    /// By the attribute, or by the root of a head's width.
    fn scale(&mut self, scores: String, query: String) -> String {
        if let Some(scale) = find(self.node, "scale") {
            let scale = self.float("scale", scale.f);
            return self.push("Mul", vec![scores, scale], "scaled");
        }
        let shape = self.push("Shape", vec![query], "shape");
        let last = self.integers("last", &[3]);
        let width = self.push("Gather", vec![shape, last], "width");
        let width = self.push("Cast", vec![width], "float_width");
        self.set("to", i64::from(FLOAT));
        let root = self.push("Sqrt", vec![width], "root");
        self.push("Div", vec![scores, root], "scaled")
    }

    /// `[rows, tokens, heads · width]` → `[rows, heads, tokens, width]`.
    fn split_heads(&mut self, input: String, heads: i64, part: &str) -> String {
        let shape = self.integers(&format!("{part}_shape"), &[0, 0, heads, -1]);
        let split = self.push("Reshape", vec![input, shape], &format!("{part}_split"));
        self.transpose(split, &[0, 2, 1, 3], &format!("{part}_heads"))
    }

    fn transpose(&mut self, input: String, perm: &[i64], part: &str) -> String {
        let turned = self.push("Transpose", vec![input], part);
        let perm = AttributeProto {
            name: "perm".to_owned(),
            r#type: AttributeType::Ints as i32,
            ints: perm.to_vec(),
            ..AttributeProto::default()
        };
        self.nodes.iter_mut().next_back().into_iter().for_each(|node| node.attribute.push(perm.clone()));
        turned
    }

    fn push(&mut self, op: &str, input: Vec<String>, part: &str) -> String {
        let output = self.name(part);
        self.nodes.push(node_of(op, input, output.clone()));
        output
    }

    /// An attribute of the node pushed last.
    fn set(&mut self, name: &str, value: i64) {
        let attribute = AttributeProto {
            name: name.to_owned(),
            r#type: AttributeType::Int as i32,
            i: value,
            ..AttributeProto::default()
        };
        self.nodes.iter_mut().next_back().into_iter().for_each(|node| node.attribute.push(attribute.clone()));
    }

    fn float(&mut self, part: &str, value: f32) -> String {
        let name = self.name(part);
        self.constants.push(float_tensor(&name, &[], &[value]));
        name
    }

    fn integers(&mut self, part: &str, values: &[i64]) -> String {
        let name = self.name(part);
        self.constants.push(TensorProto {
            name: name.clone(),
            dims: vec![values.len() as i64],
            data_type: INT64,
            int64_data: values.to_vec(),
            ..TensorProto::default()
        });
        name
    }

    fn name(&self, part: &str) -> String {
        format!("{}.{part}", self.node.output[0])
    }
}
