//! A source and the choice of layers → the quantized ONNX file, with only standard operators.
//!
//! ```text
//! dynamic    x ─ DynamicQuantizeLinear ─ MatMulInteger(·, int8) ─ Cast ─ Mul(x scale · weight scales) ─ Add(bias)
//! static     x ─ QuantizeLinear ─ DequantizeLinear ─ MatMul(·, DequantizeLinear(int8)) ─ Add(bias)
//! embedding  Gather(int8) ─ Cast ─ Mul(Gather(row scales))
//! fp16       Cast(fp16), and for an embedding Gather(fp16) ─ Cast
//! ```
//!
//! ONNX Runtime's own quantizer writes the first two forms, so its fused kernels match them. A product of constants
//! (DeBERTa's projections of relative positions) gets its weights through `Cast` and `Mul`, which every engine folds at
//! load; ONNX Runtime would keep a `DequantizeLinear`, and run it and the product on every call.

use crate::numbers::{Int8Channels, Range, quantize_columns, quantize_rows, transpose};
use crate::source::{Layer, LayerKind, Mode, Source};
use crate::tensor;
use crate::values::{Place, constant_at, label};
use crate::{Error, Result};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, StringStringEntryProto, TensorProto};

/// The range of each activation, by name.
pub type Ranges = BTreeMap<String, Range>;

impl Source {
    /// The ONNX file with all layers quantized except `kept`, given by index in [`Source::layers`]. Only
    /// [`Mode::Static`] needs `ranges`.
    ///
    /// # Errors
    /// [`Error::NotFinite`] and similar errors for unusable weights; [`Error::NoRange`] for a static layer without a range.
    pub fn write(&self, kept: &BTreeSet<usize>, ranges: &Ranges) -> Result<Vec<u8>> {
        let chosen = self.layers().iter().enumerate().filter(|(place, _)| !kept.contains(place));
        let chosen: Vec<&Layer> = chosen.map(|(_, layer)| layer).collect();
        let mut writer = Writer::new(self, ranges);
        for layer in &chosen {
            match self.mode() {
                Mode::Fp16 => writer.add_fp16(layer)?,
                Mode::Dynamic | Mode::Static => writer.add_int8(layer)?,
            }
        }
        writer.write_nodes(&chosen)?;
        Ok(writer.finish(&chosen))
    }
}

struct Writer<'s> {
    source: &'s Source,
    ranges: &'s Ranges,
    names: HashSet<String>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// New names for a layer's weights, by the place of the old ones.
    weights: HashMap<PlaceKey, QuantizedWeights>,
    /// New names for an activation.
    activations: HashMap<String, Vec<String>>,
}

type PlaceKey = (bool, usize);

/// Names of a layer's new constants.
#[derive(Clone, Default)]
struct QuantizedWeights {
    values: String,
    scales: String,
    zeros: String,
    /// The whole weights in fp32, if a node makes them.
    expanded: Option<String>,
}

fn key(place: Place) -> PlaceKey {
    match place {
        Place::Initializer(index) => (false, index),
        Place::ConstantNode(index) => (true, index),
    }
}

impl<'s> Writer<'s> {
    fn new(source: &'s Source, ranges: &'s Ranges) -> Writer<'s> {
        let graph = source.graph();
        let nodes = graph.node.iter().flat_map(|node| node.output.iter().chain([&node.name]).cloned());
        let names = nodes.chain(graph.initializer.iter().map(|tensor| tensor.name.clone()));
        let names = names.chain(graph.input.iter().map(|input| input.name.clone())).collect();
        Writer {
            source,
            ranges,
            names,
            nodes: Vec::with_capacity(graph.node.len() * 2),
            initializers: Vec::new(),
            weights: HashMap::new(),
            activations: HashMap::new(),
        }
    }

    /// An unused name.
    fn fresh(&mut self, base: &str, suffix: &str) -> String {
        let mut name = format!("{base}_{suffix}");
        let mut number = 1;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{base}_{suffix}_{number}");
        }
        name
    }

    fn add_int8(&mut self, layer: &Layer) -> Result<()> {
        let floats = self.source.weights_of(layer)?;
        let &[rows, columns] = floats.dims.as_slice() else { return Ok(()) };
        let (int8, dims, scale_dims): (Int8Channels, [usize; 2], Vec<usize>) = match layer.kind {
            LayerKind::Embedding => (quantize_rows(&floats.values, columns), [rows, columns], vec![rows, 1]),
            _ if layer.transposed => {
                let values = transpose(&floats.values, rows, columns);
                (quantize_columns(&values, rows), [columns, rows], vec![rows])
            }
            _ => (quantize_columns(&floats.values, columns), [rows, columns], vec![columns]),
        };
        let base = layer.aliases.first().map_or(layer.name.as_str(), String::as_str).to_owned();
        let names = QuantizedWeights {
            values: self.fresh(&base, "int8"),
            scales: self.fresh(&base, "scale"),
            zeros: if layer.kind == LayerKind::Linear { self.fresh(&base, "zero") } else { String::new() },
            expanded: None,
        };
        self.initializers.push(tensor::int8_tensor(names.values.clone(), &dims, &int8.values));
        self.initializers.push(tensor::float_tensor(names.scales.clone(), &scale_dims, &int8.scales));
        if layer.kind == LayerKind::Linear && layer.uses.iter().any(|usage| usage.live) {
            let zeros = vec![0; int8.scales.len()];
            self.initializers.push(tensor::int8_tensor(names.zeros.clone(), &scale_dims, &zeros));
        }
        self.weights.insert(key(layer.tensor), names);
        Ok(())
    }

    fn add_fp16(&mut self, layer: &Layer) -> Result<()> {
        let floats = self.source.weights_of(layer)?;
        let base = layer.aliases.first().map_or(layer.name.as_str(), String::as_str).to_owned();
        let values = self.fresh(&base, "fp16");
        self.initializers.push(tensor::half_tensor(values.clone(), &floats.dims, &floats.values));
        if layer.kind != LayerKind::Embedding {
            // Under its old name, so that its readers need no change.
            let Some(tensor) = constant_at(self.source.graph(), layer.tensor) else { return Ok(()) };
            let name = self.fresh(&base, "to_fp32");
            self.nodes.push(cast(name, values.clone(), tensor.name.clone()));
        }
        self.weights.insert(key(layer.tensor), QuantizedWeights { values, ..QuantizedWeights::default() });
        Ok(())
    }

    fn write_nodes(&mut self, chosen: &[&Layer]) -> Result<()> {
        let graph = self.source.graph();
        let int8 = self.source.mode() != Mode::Fp16;
        let mut uses: HashMap<usize, (&Layer, bool)> = HashMap::new();
        let mut dropped: HashSet<&str> = HashSet::new();
        for layer in chosen {
            if int8 || layer.kind == LayerKind::Embedding {
                uses.extend(layer.uses.iter().map(|usage| (usage.node, (*layer, usage.live))));
                // The nodes that made or passed on the fp32 weights have no readers left.
                dropped.extend(layer.aliases.iter().map(String::as_str));
            }
        }
        for (index, node) in graph.node.iter().enumerate() {
            let passes_weights = node.output.first().is_some_and(|name| dropped.contains(name.as_str()));
            match uses.get(&index) {
                Some(&(layer, live)) => self.write_use(layer, live, node)?,
                None if passes_weights => {}
                None => self.nodes.push(node.clone()),
            }
        }
        Ok(())
    }

    fn write_use(&mut self, layer: &Layer, live: bool, node: &NodeProto) -> Result<()> {
        match (layer.kind, self.source.mode(), live) {
            (LayerKind::Embedding, Mode::Fp16, _) => self.write_fp16_lookup(layer, node),
            (LayerKind::Embedding, _, _) => self.write_int8_lookup(layer, node),
            (_, _, false) => self.write_constant_product(layer, node),
            (_, Mode::Static, true) => self.write_static(layer, node)?,
            (_, _, true) => self.write_dynamic(layer, node),
        }
        Ok(())
    }

    fn write_dynamic(&mut self, layer: &Layer, node: &NodeProto) {
        let weights = self.names_of(layer);
        let x = self.quantized_by_each_run(&node.input[0]);
        let base = label(node).to_owned();
        let (sum, sum_float, scales) =
            (self.fresh(&base, "int32"), self.fresh(&base, "float"), self.fresh(&base, "scales"));
        let multiply = vec![x[0].clone(), weights.values, x[2].clone(), weights.zeros];
        let name = self.fresh(&base, "integer");
        self.nodes.push(operator("MatMulInteger", name, multiply, vec![sum.clone()]));
        let name = self.fresh(&base, "cast");
        self.nodes.push(cast(name, sum, sum_float.clone()));
        let name = self.fresh(&base, "join_scales");
        self.nodes.push(operator("Mul", name, vec![x[1].clone(), weights.scales], vec![scales.clone()]));
        let (output, bias) = self.output_and_bias(node);
        let name = self.fresh(&base, "scale");
        self.nodes.push(operator("Mul", name, vec![sum_float, scales], vec![output]));
        self.nodes.extend(bias);
    }

    fn write_static(&mut self, layer: &Layer, node: &NodeProto) -> Result<()> {
        let x = self.quantized_by_calibration(&node.input[0])?;
        let weights = self.names_of(layer);
        let base = label(node).to_owned();
        // One per product, because engines fuse it only if it has a single product.
        let expanded = self.fresh(&base, "weights");
        let name = self.fresh(&base, "dequantize");
        let inputs = vec![weights.values, weights.scales, weights.zeros];
        let mut dequantize = operator("DequantizeLinear", name, inputs, vec![expanded.clone()]);
        dequantize.attribute.push(integer("axis", 1));
        self.nodes.push(dequantize);
        self.write_product(node, x, expanded);
        Ok(())
    }

    /// A product of two constants.
    fn write_constant_product(&mut self, layer: &Layer, node: &NodeProto) {
        let weights = self.names_of(layer);
        let expanded = weights.expanded.clone().unwrap_or_else(|| {
            let base = layer.aliases.first().map_or(layer.name.as_str(), String::as_str).to_owned();
            let (float, expanded) = (self.fresh(&base, "float"), self.fresh(&base, "fp32"));
            let name = self.fresh(&base, "to_fp32");
            self.nodes.push(cast(name, weights.values.clone(), float.clone()));
            let name = self.fresh(&base, "scale_up");
            self.nodes.push(operator("Mul", name, vec![float, weights.scales.clone()], vec![expanded.clone()]));
            expanded
        });
        self.weights.insert(key(layer.tensor), QuantizedWeights { expanded: Some(expanded.clone()), ..weights });
        self.write_product(node, node.input[0].clone(), expanded);
    }

    /// `MatMul`, and `Add` if the node has a bias.
    fn write_product(&mut self, node: &NodeProto, x: String, weights: String) {
        let (output, bias) = self.output_and_bias(node);
        let name = self.fresh(label(node), "product");
        self.nodes.push(operator("MatMul", name, vec![x, weights], vec![output]));
        self.nodes.extend(bias);
    }

    fn write_int8_lookup(&mut self, layer: &Layer, node: &NodeProto) {
        let (weights, base) = (self.names_of(layer), label(node).to_owned());
        let (rows, float, scales) =
            (self.fresh(&base, "int8"), self.fresh(&base, "float"), self.fresh(&base, "scales"));
        let name = self.fresh(&base, "rows");
        self.nodes.push(gather(name, weights.values, &node.input[1], rows.clone()));
        let name = self.fresh(&base, "cast");
        self.nodes.push(cast(name, rows, float.clone()));
        let name = self.fresh(&base, "row_scales");
        self.nodes.push(gather(name, weights.scales, &node.input[1], scales.clone()));
        let name = self.fresh(&base, "scale");
        self.nodes.push(operator("Mul", name, vec![float, scales], node.output.clone()));
    }

    fn write_fp16_lookup(&mut self, layer: &Layer, node: &NodeProto) {
        let (weights, base) = (self.names_of(layer), label(node).to_owned());
        let rows = self.fresh(&base, "fp16");
        let name = self.fresh(&base, "rows");
        self.nodes.push(gather(name, weights.values, &node.input[1], rows.clone()));
        let name = self.fresh(&base, "cast");
        self.nodes.push(cast(name, rows, node.output.first().cloned().unwrap_or_default()));
    }

    /// Quantized values, scale and zero point of an activation; several products share them.
    fn quantized_by_each_run(&mut self, x: &str) -> Vec<String> {
        if let Some(names) = self.activations.get(x) {
            return names.clone();
        }
        let names = ["uint8", "scale", "zero"].map(|suffix| self.fresh(x, suffix)).to_vec();
        let name = self.fresh(x, "quantize");
        self.nodes.push(operator("DynamicQuantizeLinear", name, vec![x.to_owned()], names.clone()));
        self.activations.insert(x.to_owned(), names.clone());
        names
    }

    /// The activation, quantized and dequantized; several products share it.
    fn quantized_by_calibration(&mut self, x: &str) -> Result<String> {
        if let Some(names) = self.activations.get(x) {
            return Ok(names[0].clone());
        }
        let range = self.ranges.get(x).ok_or_else(|| Error::NoRange(x.to_owned()))?;
        let (scale, zero) = range.scale_and_zero();
        let names = ["scale", "zero", "uint8", "dequantized"].map(|suffix| self.fresh(x, suffix));
        let [scale_name, zero_name, quantized, back] = names;
        self.initializers.push(tensor::float_tensor(scale_name.clone(), &[], &[scale]));
        self.initializers.push(tensor::byte_scalar(zero_name.clone(), zero));
        let name = self.fresh(x, "quantize");
        let inputs = vec![x.to_owned(), scale_name.clone(), zero_name.clone()];
        self.nodes.push(operator("QuantizeLinear", name, inputs, vec![quantized.clone()]));
        let name = self.fresh(x, "dequantize");
        self.nodes.push(operator("DequantizeLinear", name, vec![quantized, scale_name, zero_name], vec![back.clone()]));
        self.activations.insert(x.to_owned(), vec![back.clone()]);
        Ok(back)
    }

    /// The product's output, and the node that adds a `Gemm`'s bias.
    fn output_and_bias(&mut self, node: &NodeProto) -> (String, Option<NodeProto>) {
        let output = node.output.first().cloned().unwrap_or_default();
        match node.input.get(2).filter(|bias| !bias.is_empty()) {
            None => (output, None),
            Some(bias) => {
                let product = self.fresh(label(node), "without_bias");
                let name = self.fresh(label(node), "bias");
                let add = operator("Add", name, vec![product.clone(), bias.clone()], vec![output]);
                (product, Some(add))
            }
        }
    }

    fn names_of(&self, layer: &Layer) -> QuantizedWeights {
        self.weights.get(&key(layer.tensor)).cloned().unwrap_or_default()
    }

    fn finish(mut self, chosen: &[&Layer]) -> Vec<u8> {
        let replaced: HashSet<PlaceKey> = chosen.iter().map(|layer| key(layer.tensor)).collect();
        let old = self.source.graph();
        let stays = |index: usize| !replaced.contains(&key(Place::Initializer(index)));
        let gone: HashSet<&str> = old
            .initializer
            .iter()
            .enumerate()
            .filter(|(index, _)| !stays(*index))
            .map(|(_, tensor)| tensor.name.as_str())
            .collect();
        let kept = old.initializer.iter().enumerate().filter(|(index, _)| stays(*index));
        self.initializers.extend(kept.map(|(_, tensor)| tensor.clone()));
        let made: HashSet<&str> = self.nodes.iter().flat_map(|node| node.output.iter().map(String::as_str)).collect();
        let value_info = old.value_info.iter().filter(|info| made.contains(info.name.as_str())).cloned().collect();
        let model = &self.source.model;
        let mut metadata_props = model.metadata_props.clone();
        let mode = format!("{:?}", self.source.mode()).to_lowercase();
        metadata_props.push(StringStringEntryProto { key: "grice.quantize".to_owned(), value: mode });
        let graph = GraphProto {
            node: std::mem::take(&mut self.nodes),
            name: old.name.clone(),
            initializer: std::mem::take(&mut self.initializers),
            doc_string: old.doc_string.clone(),
            input: old.input.iter().filter(|input| !gone.contains(input.name.as_str())).cloned().collect(),
            output: old.output.clone(),
            value_info,
            ..GraphProto::default()
        };
        tract_onnx::pb::ModelProto {
            ir_version: model.ir_version,
            opset_import: model.opset_import.clone(),
            producer_name: model.producer_name.clone(),
            producer_version: model.producer_version.clone(),
            domain: model.domain.clone(),
            model_version: model.model_version,
            doc_string: model.doc_string.clone(),
            graph: Some(graph),
            metadata_props,
            ..tract_onnx::pb::ModelProto::default()
        }
        .encode_to_vec()
    }
}

fn operator(op: &str, name: String, input: Vec<String>, output: Vec<String>) -> NodeProto {
    NodeProto { name, op_type: op.to_owned(), input, output, ..NodeProto::default() }
}

fn cast(name: String, input: String, output: String) -> NodeProto {
    let mut node = operator("Cast", name, vec![input], vec![output]);
    node.attribute.push(integer("to", DataType::Float as i64));
    node
}

fn gather(name: String, table: String, ids: &str, output: String) -> NodeProto {
    let mut node = operator("Gather", name, vec![table, ids.to_owned()], vec![output]);
    node.attribute.push(integer("axis", 0));
    node
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i: value, ..AttributeProto::default() }
}
