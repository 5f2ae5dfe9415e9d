//! ONNX bytes → tract's typed graph, with symbolic batch and sequence axes, checked to be a detector.
//!
//! The only importer: every engine starts from the [`Network`] made here.

use crate::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::Gather;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_hir::internal::DimLike;

const INPUT_IDS: &str = "input_ids";
const ATTENTION_MASK: &str = "attention_mask";
const TOKEN_TYPE_IDS: &str = "token_type_ids";
pub(crate) const LOGITS: &str = "logits";

/// A detector's graph, decluttered and type-checked: `input_ids` and `attention_mask` (int64 `[batch, sequence]`, and
/// `token_type_ids` where the file has it) to `logits` (float32 `[batch, labels]`).
#[derive(Clone, Debug)]
pub struct Network {
    typed: Arc<TypedModel>,
    labels: usize,
    embedding_rows: Option<usize>,
    takes_token_types: bool,
}

/// One line of what a graph is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSummary {
    /// The operator.
    pub op: String,
    /// How many nodes of it.
    pub nodes: usize,
}

impl Network {
    /// Reads an ONNX file of a detector with `labels` output columns.
    ///
    /// # Errors
    /// One of [`Error`]'s `Onnx…` and `Graph…` variants, naming the input, output, node or operator at fault.
    pub fn import(onnx: &[u8], labels: usize) -> Result<Network> {
        without_panic(|| import(onnx, labels))
    }

    /// The graph, after declutter and before any engine's optimisation.
    pub fn typed(&self) -> &TypedModel {
        &self.typed
    }

    /// Columns of `logits`.
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// Rows of the word embedding, one more than the highest usable token id; `None` if the graph gathers in another way.
    pub fn embedding_rows(&self) -> Option<usize> {
        self.embedding_rows
    }

    /// Whether the graph has a third input, `token_type_ids`, to be fed zeros.
    pub fn takes_token_types(&self) -> bool {
        self.takes_token_types
    }

    /// Bytes of constants in the graph.
    pub fn constant_bytes(&self) -> usize {
        let constants =
            self.typed.nodes().iter().filter(|node| node.op_is::<tract_onnx::tract_core::ops::konst::Const>());
        constants
            .filter_map(|node| node.outputs.first().and_then(|outlet| outlet.fact.konst.as_ref()))
            .map(|tensor| tensor.volume() * tensor.datum_type().size_of())
            .sum()
    }

    /// How many nodes of each operator, most frequent first.
    pub fn summary(&self) -> Vec<NodeSummary> {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for node in self.typed.nodes() {
            *counts.entry(node.op.name().to_string()).or_default() += 1;
        }
        let mut lines: Vec<_> = counts.into_iter().map(|(op, nodes)| NodeSummary { op, nodes }).collect();
        lines.sort_by(|a, b| b.nodes.cmp(&a.nodes).then_with(|| a.op.cmp(&b.op)));
        lines
    }
}

/// tract panics on some malformed files (tensors of unknown element types, say). An import shares nothing with the rest of the
/// process, so a panic in it is one more way to say that the file is no good.
pub(crate) fn without_panic<T>(import: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(import)).unwrap_or_else(|panic| {
        let cause = panic.downcast_ref::<String>().cloned();
        let cause = cause.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Error::Graph(format!("the importer gave up: {}", cause.as_deref().unwrap_or("no reason given"))))
    })
}

fn import(onnx: &[u8], labels: usize) -> Result<Network> {
    // Exported shape hints are often stale after a quantizer has rewritten the file; tract infers them anyway.
    let framework = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
    let mut bytes = onnx;
    let mut proto =
        framework.proto_model_for_read(&mut bytes).map_err(|error| Error::OnnxSyntax(root_cause(&error)))?;
    let takes_token_types = check_signature(&proto)?;
    crate::rewrite::rewrite(&mut proto, LOGITS);
    let mut inference = framework.model_for_proto_model(&proto).map_err(|error| Error::Graph(causes(&error)))?;
    drop(proto);
    check_operators(&inference)?;
    let typed =
        type_check(&mut inference, takes_token_types, &[LOGITS]).map_err(|error| Error::Graph(causes(&error)))?;
    check_logits(&typed, labels)?;
    let embedding_rows = find_embedding_rows(&typed);
    Ok(Network { typed: Arc::new(typed), labels, embedding_rows, takes_token_types })
}

/// Checks the names of inputs and outputs; whether `token_type_ids` is among the inputs.
pub(crate) fn check_signature(proto: &pb::ModelProto) -> Result<bool> {
    let Some(graph) = &proto.graph else {
        return Err(Error::OnnxSyntax("it holds no graph".to_owned()));
    };
    // Old exporters list the weights among the inputs as well.
    let weights: std::collections::HashSet<&str> =
        graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs: Vec<String> =
        graph.input.iter().map(|value| value.name.clone()).filter(|name| !weights.contains(name.as_str())).collect();
    let known = [INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS];
    let complete = inputs.iter().any(|name| name == INPUT_IDS) && inputs.iter().any(|name| name == ATTENTION_MASK);
    if !complete || inputs.iter().any(|name| !known.contains(&name.as_str())) {
        return Err(Error::GraphInputs { found: inputs });
    }
    let outputs: Vec<String> = graph.output.iter().map(|value| value.name.clone()).collect();
    if !outputs.iter().any(|name| name == LOGITS) {
        return Err(Error::GraphOutputs { found: outputs });
    }
    Ok(inputs.iter().any(|name| name == TOKEN_TYPE_IDS))
}

pub(crate) fn check_operators(model: &InferenceModel) -> Result<()> {
    let mut ops = Vec::new();
    for node in model.nodes() {
        let name = node.op.name();
        if let Some(op) = name.strip_prefix("Unimplemented(").and_then(|rest| rest.strip_suffix(')')) {
            ops.push(format!("{op} (node `{}`)", node.name));
        }
    }
    if ops.is_empty() { Ok(()) } else { Err(Error::GraphOps { ops }) }
}

pub(crate) fn type_check(
    model: &mut InferenceModel,
    takes_token_types: bool,
    outputs: &[impl AsRef<str>],
) -> TractResult<TypedModel> {
    let inputs = [INPUT_IDS, ATTENTION_MASK].into_iter().chain(takes_token_types.then_some(TOKEN_TYPE_IDS));
    model.select_inputs_by_name(inputs)?;
    model.select_outputs_by_name(outputs)?;
    let batch = model.symbols.sym("batch");
    let sequence = model.symbols.sym("sequence");
    for input in 0..model.inputs.len() {
        let fact = i64::fact([batch.to_dim(), sequence.to_dim()]);
        model.set_input_fact(input, fact.into())?;
    }
    std::mem::take(model).into_typed()?.into_decluttered()
}

fn check_logits(model: &TypedModel, labels: usize) -> Result<()> {
    let fact = model.output_fact(0).map_err(|error| Error::Graph(causes(&error)))?;
    let columns = fact.shape.get(1).and_then(|dim| dim.to_usize().ok());
    if fact.rank() == 2 && columns == Some(labels) && fact.datum_type == f32::datum_type() {
        return Ok(());
    }
    let dims: Vec<String> = fact.shape.iter().map(|dim| dim.to_string()).collect();
    Err(Error::GraphLabels { found: format!("[{}] of {:?}", dims.join(", "), fact.datum_type), labels })
}

/// The smallest table that is gathered straight by the token ids.
fn find_embedding_rows(model: &TypedModel) -> Option<usize> {
    let ids = model.inputs.first()?.node;
    let gathers = model.nodes().iter().filter_map(|node| Some((node, node.op_as::<Gather>()?)));
    gathers
        .filter(|(node, _)| node.inputs.get(1).is_some_and(|indices| through_casts(model, indices.node) == ids))
        .filter_map(|(node, gather)| {
            let table = model.outlet_fact(*node.inputs.first()?).ok()?;
            table.shape.get(gather.axis)?.to_usize().ok()
        })
        .min()
}

fn through_casts(model: &TypedModel, mut node: usize) -> usize {
    while model.node(node).op_is::<Cast>() && !model.node(node).inputs.is_empty() {
        node = model.node(node).inputs[0].node;
    }
    node
}

fn root_cause(error: &TractError) -> String {
    error.root_cause().to_string()
}

/// The chain of causes, outermost first, in one line.
pub(crate) fn causes(error: &TractError) -> String {
    let texts: Vec<String> = error.chain().map(|cause| cause.to_string().replace('\n', " ")).collect();
    texts.join(": ")
}
