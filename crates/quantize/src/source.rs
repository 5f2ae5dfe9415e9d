//! An fp32 ONNX file, and the weights that can be quantized.

use crate::error::{OPSET_LEAST, WEIGHTS_LEAST};
use crate::tensor::{self, Floats};
use crate::values::{Place, Values, constant_at, label};
use crate::{Error, Result};
use prost::Message;
use serde::Serialize;
use std::collections::BTreeMap;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};

/// How a model is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// int8 weights; uint8 activations with a scale that each run computes.
    Dynamic,
    /// int8 weights; uint8 activations with scales from calibration.
    Static,
    /// fp16 weights; activations stay fp32.
    Fp16,
}

/// How a layer uses its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerKind {
    /// Multiplies by them (linear).
    Linear,
    /// Looks up rows of them (embedding).
    Embedding,
    /// Other uses; only fp16 converts these.
    Constant,
}

/// One weight tensor and the nodes that read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Readable name: that of the first node that reads the weights, without its operator.
    pub name: String,
    /// How it uses the weights.
    pub kind: LayerKind,
    /// How many weights.
    pub weights: usize,
    pub(crate) tensor: Place,
    /// Names of the weights: their own, and names from `Identity` nodes.
    pub(crate) aliases: Vec<String>,
    pub(crate) uses: Vec<Use>,
    /// Whether the weights are `[outputs, inputs]`, as in `Gemm` with `transB`.
    pub(crate) transposed: bool,
}

/// A weight tensor that stays unchanged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Left {
    /// Name of the layer.
    pub name: String,
    /// How many weights.
    pub weights: usize,
    /// Why.
    pub reason: String,
}

/// A node that reads the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) node: usize,
    /// Whether its other input depends on the model's inputs; if not, its result is a constant.
    pub(crate) live: bool,
}

/// A parsed and checked fp32 model.
pub struct Source {
    pub(crate) model: ModelProto,
    mode: Mode,
    layers: Vec<Layer>,
    left: Vec<Left>,
}

impl Source {
    /// Reads an ONNX file and finds what `mode` can quantize.
    ///
    /// # Errors
    /// An [`Error`] that names the tensor or node if the file is not fp32 ONNX of opset 13 or later with its weights
    /// inside.
    pub fn read(onnx: &[u8], mode: Mode) -> Result<Source> {
        let model = ModelProto::decode(onnx).map_err(|error| Error::Syntax(error.to_string()))?;
        let Some(graph) = &model.graph else { return Err(Error::Syntax("it has no graph".to_owned())) };
        check_opset(&model)?;
        check_nodes(&model, graph)?;
        let values = Values::of(graph)?;
        let (layers, left) = match mode {
            Mode::Dynamic | Mode::Static => find_int8_layers(graph, &values)?,
            Mode::Fp16 => find_fp16_layers(graph, &values)?,
        };
        if layers.is_empty() {
            return Err(Error::Nothing);
        }
        Ok(Source { model, mode, layers, left })
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The layers that can be quantized, in the order of the graph.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The weights that always stay fp32.
    pub fn left(&self) -> &[Left] {
        &self.left
    }

    /// Number of columns of the output `logits`, if the file defines it.
    pub fn columns(&self) -> Option<usize> {
        use tract_onnx::pb::{tensor_shape_proto::dimension::Value, type_proto};
        let output = self.graph().output.iter().find(|output| output.name == "logits")?;
        let type_proto::Value::TensorType(tensor) = output.r#type.as_ref()?.value.as_ref()?;
        match tensor.shape.as_ref()?.dim.last()?.value.as_ref()? {
            Value::DimValue(columns) => usize::try_from(*columns).ok(),
            Value::DimParam(_) => None,
        }
    }

    /// Number of rows of the smallest table that the token ids index directly, if there is one.
    pub fn vocabulary(&self) -> Option<usize> {
        let graph = self.graph();
        let lookups = graph.node.iter().filter(|node| node.op_type == "Gather");
        let by_ids = lookups.filter(|node| node.input.get(1).is_some_and(|ids| ids == "input_ids"));
        let tables = by_ids.filter_map(|node| {
            let name = node.input.first()?;
            graph.initializer.iter().find(|tensor| tensor.name == *name)?.dims.first().copied()
        });
        tables.filter_map(|rows| usize::try_from(rows).ok()).min()
    }

    /// The values that quantized layers multiply with their weights, each once, in the order of the graph.
    pub fn activations(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for layer in self.layers.iter().filter(|layer| layer.kind == LayerKind::Linear) {
            for name in self.inputs_of(layer) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// The value that a linear layer multiplies with its weights.
    pub(crate) fn inputs_of(&self, layer: &Layer) -> Vec<String> {
        let live = layer.uses.iter().filter(|usage| usage.live);
        live.filter_map(|usage| self.graph().node.get(usage.node)?.input.first().cloned()).collect()
    }

    /// The weights of a layer.
    pub(crate) fn weights_of(&self, layer: &Layer) -> Result<Floats> {
        let name = layer.aliases.first().unwrap_or(&layer.name);
        match constant_at(self.graph(), layer.tensor) {
            Some(tensor) => tensor::read_floats(tensor, name),
            None => Err(Error::Missing { node: layer.name.clone(), value: name.clone() }),
        }
    }

    pub(crate) fn graph(&self) -> &GraphProto {
        static EMPTY: std::sync::LazyLock<GraphProto> = std::sync::LazyLock::new(GraphProto::default);
        self.model.graph.as_ref().unwrap_or(&EMPTY)
    }
}

fn check_opset(model: &ModelProto) -> Result<()> {
    let sets = model.opset_import.iter().filter(|set| set.domain.is_empty() || set.domain == "ai.onnx");
    let found = sets.map(|set| set.version).max().unwrap_or(1);
    if found < OPSET_LEAST { Err(Error::Opset { found }) } else { Ok(()) }
}

fn check_nodes(model: &ModelProto, graph: &GraphProto) -> Result<()> {
    let unsupported = |what: String| Err(Error::Unsupported { what });
    if let Some(function) = model.functions.first() {
        return unsupported(format!("model functions (`{}`)", function.name.as_deref().unwrap_or_default()));
    }
    if !graph.sparse_initializer.is_empty() {
        return unsupported("sparse weights".to_owned());
    }
    for node in &graph.node {
        // Names inside a branch or loop body may refer to any outer value.
        if node.attribute.iter().any(|attribute| attribute.g.is_some() || !attribute.graphs.is_empty()) {
            return unsupported(format!("control flow (`{}`, a {})", label(node), node.op_type));
        }
        if is_quantized(&node.op_type) {
            return Err(Error::Already { node: label(node).to_owned(), op: node.op_type.clone() });
        }
    }
    Ok(())
}

/// Operators that only quantizers write.
fn is_quantized(op: &str) -> bool {
    matches!(op, "QuantizeLinear" | "DequantizeLinear" | "DynamicQuantizeLinear" | "MatMulInteger" | "ConvInteger")
        || op.starts_with("QLinear")
        || op.starts_with("DynamicQuantize")
        || matches!(op, "MatMulNBits" | "MatMulIntegerToFloat" | "QAttention" | "QGemm" | "QEmbedLayerNormalization")
}

/// How a node uses weights, if int8 supports the use.
enum Reading {
    Linear { transposed: bool },
    Embedding,
}

/// The layer of a weight tensor, from the nodes that read it under any name.
fn find_int8_layers(graph: &GraphProto, values: &Values<'_>) -> Result<(Vec<Layer>, Vec<Left>)> {
    let mut readers: BTreeMap<Place, Vec<(usize, usize)>> = BTreeMap::new();
    let mut order = Vec::new();
    for (index, node) in graph.node.iter().enumerate().filter(|(_, node)| node.op_type != "Identity") {
        for (slot, input) in node.input.iter().enumerate() {
            let Some(place) = values.constant(input) else { continue };
            let nodes = readers.entry(place).or_default();
            if nodes.is_empty() {
                order.push(place);
            }
            nodes.push((index, slot));
        }
    }
    let (mut layers, mut left) = (Vec::new(), Vec::new());
    for place in order {
        let (Some(tensor), Some(nodes)) = (constant_at(graph, place), readers.get(&place)) else { continue };
        let multiplied = nodes.iter().find(|&&(node, slot)| is_weight_slot(&graph.node[node], slot));
        let Some(&(first, slot)) = multiplied else { continue };
        let name = &graph.node[first].input[slot];
        if tensor::is_other_float(tensor) {
            return Err(Error::NotFp32 { tensor: name.clone(), kind: tensor::kind_name(tensor) });
        }
        let weights = tensor::volume(tensor).unwrap_or(0);
        if !tensor::is_float(tensor) || weights <= 1 {
            continue;
        }
        if tensor::is_external(tensor) {
            return Err(Error::External(name.clone()));
        }
        match describe_layer(graph, values, tensor, place, nodes) {
            Ok(layer) => layers.push(Layer { weights, ..layer }),
            Err(reason) => left.push(Left { name: layer_name(&graph.node[first]), weights, reason }),
        }
    }
    Ok((layers, left))
}

/// A layer, or why the tensor cannot be quantized.
fn describe_layer(
    graph: &GraphProto,
    values: &Values<'_>,
    tensor: &TensorProto,
    place: Place,
    nodes: &[(usize, usize)],
) -> Result<Layer, String> {
    if tensor.dims.len() != 2 {
        return Err(format!("its weights have {} axes, not 2", tensor.dims.len()));
    }
    if tensor::volume(tensor).unwrap_or(0) < WEIGHTS_LEAST {
        return Err(format!("it is small: fewer than {WEIGHTS_LEAST} weights"));
    }
    let aliases = values.names_of(place);
    if let Some(output) = graph.output.iter().find(|output| aliases.contains(&output.name)) {
        return Err(format!("its weights are also the output `{}`", output.name));
    }
    let mut found: Option<(LayerKind, bool)> = None;
    for &(index, slot) in nodes {
        let node = &graph.node[index];
        let reading = match read_as(node, slot)? {
            Reading::Linear { transposed } => (LayerKind::Linear, transposed),
            Reading::Embedding => (LayerKind::Embedding, false),
        };
        if *found.get_or_insert(reading) != reading {
            return Err(format!("its weights also feed `{}` in another way", label(node)));
        }
    }
    let (kind, transposed) = found.ok_or("nothing reads it")?;
    let uses = nodes.iter().map(|&(node, _)| {
        let live = graph.node[node].input.first().is_some_and(|input| values.is_live(input));
        Use { node, live: live || kind == LayerKind::Embedding }
    });
    let first = nodes.first().ok_or("nothing reads it")?;
    let name = layer_name(&graph.node[first.0]);
    Ok(Layer { name, kind, weights: 0, tensor: place, aliases, uses: uses.collect(), transposed })
}

/// Whether a constant at this input is a layer's weights, not a bias or a shape.
fn is_weight_slot(node: &NodeProto, slot: usize) -> bool {
    match node.op_type.as_str() {
        "MatMul" | "Gemm" => slot < 2,
        "Gather" => slot == 0,
        _ => false,
    }
}

fn read_as(node: &NodeProto, slot: usize) -> Result<Reading, String> {
    let integer =
        |name: &str| node.attribute.iter().find(|attribute| attribute.name == name).map_or(0, |found| found.i);
    let factor =
        |name: &str| node.attribute.iter().find(|attribute| attribute.name == name).map_or(1.0, |found| found.f);
    match (node.op_type.as_str(), slot) {
        ("MatMul", 1) => Ok(Reading::Linear { transposed: false }),
        ("Gemm", 1) if integer("transA") != 0 => Err("its input is transposed (Gemm with transA)".to_owned()),
        ("Gemm", 1) if factor("alpha") != 1.0 || factor("beta") != 1.0 => {
            Err("its result is scaled (Gemm with alpha or beta)".to_owned())
        }
        ("Gemm", 1) => Ok(Reading::Linear { transposed: integer("transB") != 0 }),
        ("MatMul" | "Gemm", 0) => Err("its weights are the left factor".to_owned()),
        ("Gather", 0) if node.input.len() < 2 => Err("it has no indices (Gather without indices)".to_owned()),
        ("Gather", 0) if integer("axis") == 0 => Ok(Reading::Embedding),
        ("Gather", 0) => Err("it does not look up rows, but another axis".to_owned()),
        (op, _) => Err(format!("its weights also feed `{}`, a {op}", label(node))),
    }
}

/// Every large fp32 initializer: its readers still get fp32.
fn find_fp16_layers(graph: &GraphProto, values: &Values<'_>) -> Result<(Vec<Layer>, Vec<Left>)> {
    let (mut layers, mut left) = (Vec::new(), Vec::new());
    for (index, tensor) in graph.initializer.iter().enumerate() {
        if tensor::is_external(tensor) {
            return Err(Error::External(tensor.name.clone()));
        }
        let weights = tensor::volume(tensor).unwrap_or(0);
        let place = Place::Initializer(index);
        let aliases = values.names_of(place);
        let nodes = graph.node.iter().enumerate().filter(|(_, node)| node.op_type != "Identity");
        let readers: Vec<(usize, usize)> = nodes
            .flat_map(|(index, node)| node.input.iter().enumerate().map(move |(slot, input)| (index, slot, input)))
            .filter(|(_, _, input)| aliases.contains(input))
            .map(|(index, slot, _)| (index, slot))
            .collect();
        let weight = readers.iter().find(|&&(node, slot)| is_weight_slot(&graph.node[node], slot));
        if weight.is_some() && tensor::is_other_float(tensor) {
            return Err(Error::NotFp32 { tensor: tensor.name.clone(), kind: tensor::kind_name(tensor) });
        }
        if !tensor::is_float(tensor) || weights < WEIGHTS_LEAST || readers.is_empty() {
            continue;
        }
        let kind = fp16_kind(graph, &readers);
        let name = match weight {
            Some(&(node, _)) => layer_name(&graph.node[node]),
            None => tensor.name.clone(),
        };
        let peak = tensor::read_floats(tensor, &tensor.name)?.values.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
        // f16::MAX. Clamping would change the model; fp32 does not.
        if peak > 65504.0 {
            left.push(Left { name, weights, reason: format!("it holds {peak:e}, beyond fp16's largest number 65504") });
            continue;
        }
        let uses = readers.iter().map(|&(node, _)| Use { node, live: true }).collect();
        layers.push(Layer { name, kind, weights, tensor: place, aliases, uses, transposed: false });
    }
    Ok((layers, left))
}

fn fp16_kind(graph: &GraphProto, readers: &[(usize, usize)]) -> LayerKind {
    let all = |test: fn(&NodeProto, usize) -> bool| readers.iter().all(|&(node, slot)| test(&graph.node[node], slot));
    if all(|node, slot| matches!(read_as(node, slot), Ok(Reading::Embedding))) {
        LayerKind::Embedding
    } else if all(|node, slot| matches!(node.op_type.as_str(), "MatMul" | "Gemm") && slot == 1) {
        LayerKind::Linear
    } else {
        LayerKind::Constant
    }
}

/// `/model/encoder/layer.0/attention/self/query/MatMul` without its last part.
fn layer_name(node: &NodeProto) -> String {
    let name = label(node);
    let short = name.strip_suffix(&node.op_type).map(|name| name.trim_end_matches(['/', '_', '.']));
    short.filter(|name| !name.is_empty()).unwrap_or(name).trim_start_matches('/').to_owned()
}
