//! The nodes that hold weights: dense layers, embeddings and layer norms, in every form that exporters and quantizers give
//! them. What lies between two anchors is the glue that `probe` identifies by running it.

use super::constants::{
    INT32, Quantization, count, dims, float_matrix, floats, integers, matrix_dims, quantized_matrix, spread,
    take_quantized, take_shifted,
};
use super::graph::{Graph, attribute, float_attribute, integer_attribute, is};
use super::norms::{self, Normed};
use crate::weights::Matrix;
use grice_kernels::LayerNorm;
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// One anchor; its output is the key it is kept under.
pub(super) enum Anchor<'p> {
    /// `input · weights + bias`, from onnx `MatMul`, `Gemm`, `MatMulInteger`, with or without an `Add`.
    Linear { input: &'p str, weights: Weights<'p>, bias: Option<Bias<'p>> },
    /// Rows of a table by `indices`.
    Embedding { indices: &'p str, table: Weights<'p> },
    /// Normalisation over the last axis.
    Norm { input: &'p str, norm: LayerNorm },
}

/// A constant matrix in the file, not yet read.
#[derive(Clone)]
pub(super) struct Weights<'p> {
    tensor: &'p TensorProto,
    quantization: Option<(&'p TensorProto, Option<&'p TensorProto>, usize)>,
    transposed: bool,
}

/// A constant vector in the file, not yet read: fp32, or int32 behind a `DequantizeLinear`, as quantizers write the bias of a
/// `Gemm`.
#[derive(Clone, Copy)]
pub(super) struct Bias<'p> {
    tensor: &'p TensorProto,
    scales: Option<&'p TensorProto>,
}

/// Where a matrix is stored, and how to read it.
pub(super) struct Stored {
    name: String,
    quantization: Option<Quantization>,
    transposed: bool,
}

impl Stored {
    /// Moves the matrix out of the file, since the largest one is not to be held twice: the matrix, and what is to be added to
    /// each of its elements.
    pub(super) fn take(self, graph: &mut GraphProto) -> Option<(Matrix, f32)> {
        let tensor = graph.initializer.iter_mut().find(|tensor| tensor.name == self.name)?;
        let tensor = std::mem::take(tensor);
        let (matrix, shift) = match &self.quantization {
            None => (float_matrix(&tensor)?, 0.0),
            Some(how) if how.scales.len() == 1 && how.zero_points.len() == 1 => take_shifted(tensor, how)?,
            Some(how) => (take_quantized(tensor, how)?, 0.0),
        };
        Some((if self.transposed { matrix.transposed() } else { matrix }, shift))
    }
}

/// All anchors of a graph by the value they make.
pub(super) struct Anchors<'p> {
    by_output: HashMap<&'p str, Anchor<'p>>,
    /// Outputs in the order of the graph.
    pub(super) order: Vec<&'p str>,
}

impl<'p> Weights<'p> {
    /// A constant as it is.
    pub(super) fn plain(tensor: &'p TensorProto) -> Weights<'p> {
        Weights { tensor, quantization: None, transposed: false }
    }

    /// `[rows, columns]`, after transposition.
    pub(super) fn shape(&self) -> Option<(usize, usize)> {
        match (matrix_dims(self.tensor)?.as_slice(), self.transposed) {
            (&[rows, columns], false) | (&[columns, rows], true) => Some((rows, columns)),
            _ => None,
        }
    }

    /// The tensor's name: what is shared between anchors has the same.
    pub(super) fn name(&self) -> &'p str {
        &self.tensor.name
    }

    pub(super) fn is_transposed(&self) -> bool {
        self.transposed
    }

    pub(super) fn read(&self) -> Option<Matrix> {
        let matrix = match self.quantization()? {
            None => float_matrix(self.tensor)?,
            Some(quantization) => quantized_matrix(self.tensor, &quantization)?,
        };
        Some(if self.transposed { matrix.transposed() } else { matrix })
    }

    /// `None` if it is spelled out in a way that cannot be read, `Some(None)` if there is none.
    fn quantization(&self) -> Option<Option<Quantization>> {
        let Some((scales, zero_points, axis)) = self.quantization else { return Some(None) };
        let zero_points = zero_points.map(integers).unwrap_or_else(|| Some(Vec::new()))?;
        Some(Some(Quantization { scales: floats(scales)?, zero_points, axis }))
    }

    /// Whether an element takes less than single precision.
    pub(super) fn is_small(&self) -> bool {
        self.tensor.data_type != super::constants::FLOAT
    }

    /// How to read the matrix later, without a hold on the file.
    pub(super) fn stored(&self) -> Option<Stored> {
        let (name, transposed) = (self.tensor.name.clone(), self.transposed);
        Some(Stored { name, quantization: self.quantization()?, transposed })
    }
}

impl<'p> Bias<'p> {
    fn find(graph: &Graph<'p>, name: &'p str) -> Option<Bias<'p>> {
        if let Some(tensor) = graph.constant(name) {
            return Some(Bias { tensor, scales: None });
        }
        let node = graph.producer(name).filter(|node| is(node, "DequantizeLinear"))?;
        let tensor = graph.constant_input(node, 0).filter(|tensor| tensor.data_type == INT32)?;
        let zero_points = match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(name) => integers(graph.constant(name)?)?,
            None => Vec::new(),
        };
        let scales = Some(graph.constant_input(node, 1)?);
        zero_points.iter().all(|&point| point == 0).then_some(Bias { tensor, scales })
    }

    fn len(&self) -> Option<usize> {
        count(self.tensor)
    }

    pub(super) fn read(&self) -> Option<Vec<f32>> {
        let Some(scales) = self.scales else { return floats(self.tensor) };
        let values = integers(self.tensor)?;
        let scales = spread(&floats(scales)?, values.len())?;
        Some(values.into_iter().zip(scales).map(|(value, scale)| value as f32 * scale).collect())
    }
}

impl<'p> Anchors<'p> {
    pub(super) fn find(graph: &Graph<'p>) -> Anchors<'p> {
        let mut anchors = Anchors { by_output: HashMap::new(), order: Vec::new() };
        for node in &graph.proto.node {
            if let Some((output, anchor)) = match_anchor(graph, node) {
                anchors.order.push(output);
                anchors.by_output.insert(output, anchor);
            }
        }
        anchors
    }

    pub(super) fn get(&self, output: &str) -> Option<&Anchor<'p>> {
        self.by_output.get(output)
    }
}

fn match_anchor<'p>(graph: &Graph<'p>, node: &'p NodeProto) -> Option<(&'p str, Anchor<'p>)> {
    match node.op_type.as_str() {
        "MatMul" => {
            let weights = float_weights(graph, node.input.get(1)?)?;
            Some(with_bias(graph, node, node.input.first()?, weights))
        }
        "Gemm" => gemm(graph, node),
        "MatMulInteger" => integer_product(graph, node),
        "Gather" => gather(graph, node),
        "Mul" => scaled_gather(graph, node).or_else(|| norm(norms::spelled_out_without_beta(graph, node)?)),
        "LayerNormalization" => norm(norms::layer_norm(graph, node)?),
        "Add" => norm(norms::spelled_out(graph, node)?),
        _ => None,
    }
}

fn norm(Normed { output, input, norm }: Normed<'_>) -> Option<(&str, Anchor<'_>)> {
    Some((output, Anchor::Norm { input, norm }))
}

/// A constant 2-D matrix: fp32, fp16 behind a `Cast`, or int8 behind a `DequantizeLinear` or behind `Cast` and `Mul`.
fn float_weights<'p>(graph: &Graph<'p>, name: &'p str) -> Option<Weights<'p>> {
    let weights = match graph.constant(name) {
        Some(tensor) if tensor.data_type == super::constants::FLOAT => {
            Weights { tensor, quantization: None, transposed: false }
        }
        Some(_) => return None,
        None => {
            let node = graph.producer(name)?;
            if is(node, "Mul") {
                return scaled_columns(graph, node);
            }
            let tensor = graph.constant_input(node, 0)?;
            match node.op_type.as_str() {
                "Cast" if tensor.data_type == super::constants::FLOAT16 => {
                    Weights { tensor, quantization: None, transposed: false }
                }
                "DequantizeLinear" => dequantized(graph, node, tensor)?,
                "Transpose" if attribute(node, "perm").is_none_or(|perm| perm.ints == [1, 0]) => {
                    let weights = float_weights(graph, node.input.first()?)?;
                    Weights { transposed: !weights.transposed, ..weights }
                }
                _ => return None,
            }
        }
    };
    (dims(weights.tensor)?.len() == 2).then_some(weights)
}

fn dequantized<'p>(graph: &Graph<'p>, node: &'p NodeProto, tensor: &'p TensorProto) -> Option<Weights<'p>> {
    if integer_attribute(node, "block_size").unwrap_or(0) != 0 {
        return None;
    }
    let axis = integer_attribute(node, "axis").unwrap_or(1);
    let rank = dims(tensor)?.len() as i64;
    let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?;
    let zero_points = match node.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => Some(graph.constant(name)?),
        None => None,
    };
    Some(Weights { tensor, quantization: Some((graph.constant_input(node, 1)?, zero_points, axis)), transposed: false })
}

/// `Cast(int8 matrix) · scales` of its columns: weights that meet a constant, in operators that every runtime folds at load.
fn scaled_columns<'p>(graph: &Graph<'p>, node: &'p NodeProto) -> Option<Weights<'p>> {
    let slot = (0..2).find(|&slot| graph.input_of(node, slot, "Cast").is_some())?;
    let tensor = graph.constant_input(graph.input_of(node, slot, "Cast")?, 0)?;
    let scales = graph.constant_input(node, 1 - slot)?;
    let columns = dims(tensor).filter(|dims| dims.len() == 2)?[1];
    (tensor.data_type == super::constants::INT8 && dims(scales)? == [columns]).then_some(())?;
    Some(Weights { tensor, quantization: Some((scales, None, 1)), transposed: false })
}

/// A product of `input` and `weights`, with the bias that may be added next.
fn with_bias<'p>(
    graph: &Graph<'p>,
    product: &'p NodeProto,
    input: &'p str,
    weights: Weights<'p>,
) -> (&'p str, Anchor<'p>) {
    let output = product.output[0].as_str();
    let outputs = weights.shape().map(|(_, outputs)| outputs);
    let added = graph.only_consumer(output).map(|index| &graph.proto.node[index]).filter(|node| is(node, "Add"));
    let bias = added.and_then(|add| {
        let bias = (0..2).find_map(|slot| graph.constant_input(add, slot))?;
        (dims(bias)?.last().copied() == outputs && count(bias) == outputs).then_some((add.output.first()?, bias))
    });
    match bias {
        Some((output, tensor)) => {
            (output, Anchor::Linear { input, weights, bias: Some(Bias { tensor, scales: None }) })
        }
        None => (output, Anchor::Linear { input, weights, bias: None }),
    }
}

fn gemm<'p>(graph: &Graph<'p>, node: &'p NodeProto) -> Option<(&'p str, Anchor<'p>)> {
    let one = |name: &str| float_attribute(node, name).is_none_or(|value| value == 1.0);
    if !one("alpha") || !one("beta") || integer_attribute(node, "transA").unwrap_or(0) != 0 {
        return None;
    }
    let mut weights = float_weights(graph, node.input.get(1)?)?;
    weights.transposed ^= integer_attribute(node, "transB").unwrap_or(0) != 0;
    let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => Some(Bias::find(graph, name)?),
        None => None,
    };
    if bias.is_some_and(|bias| bias.len() != weights.shape().map(|(_, outputs)| outputs)) {
        return None;
    }
    Some((node.output.first()?, Anchor::Linear { input: node.input.first()?, weights, bias }))
}

/// `DynamicQuantizeLinear` → `MatMulInteger` → `Cast` → `Mul` by both scales: how ONNX Runtime writes a dynamically quantized
/// product. The activation is taken before it is quantized.
fn integer_product<'p>(graph: &Graph<'p>, node: &'p NodeProto) -> Option<(&'p str, Anchor<'p>)> {
    let quantize = graph.input_of(node, 0, "DynamicQuantizeLinear")?;
    let tensor = graph.constant_input(node, 1)?;
    let next = |name: &'p str| graph.only_consumer(name).map(|index| &graph.proto.node[index]);
    let cast = next(node.output.first()?).filter(|node| is(node, "Cast"))?;
    let scaled = next(cast.output.first()?).filter(|node| is(node, "Mul"))?;
    let scales = (0..2).find_map(|slot| graph.input_of(scaled, slot, "Mul"))?;
    let of_activation = |slot: usize| {
        let name = graph.resolve(scales.input.get(slot)?);
        (name == graph.resolve(quantize.output.get(1)?)).then_some(())
    };
    let weight_scales = match (of_activation(0), of_activation(1)) {
        (Some(()), None) => graph.constant_input(scales, 1)?,
        (None, Some(())) => graph.constant_input(scales, 0)?,
        _ => return None,
    };
    let zero_points = match node.input.get(3).filter(|name| !name.is_empty()) {
        Some(name) => Some(graph.constant(name)?),
        None => None,
    };
    let weights = Weights { tensor, quantization: Some((weight_scales, zero_points, 1)), transposed: false };
    weights.shape()?;
    Some(with_bias(graph, scaled, quantize.input.first()?, weights))
}

/// `Gather` of a float table, or of an int8 table that is dequantized afterwards.
fn gather<'p>(graph: &Graph<'p>, node: &'p NodeProto) -> Option<(&'p str, Anchor<'p>)> {
    if integer_attribute(node, "axis").unwrap_or(0) != 0 {
        return None;
    }
    let (name, indices) = (node.input.first()?.as_str(), node.input.get(1)?.as_str());
    let output = node.output.first()?.as_str();
    if let Some(table) = float_weights(graph, name) {
        return Some((output, Anchor::Embedding { indices, table }));
    }
    let tensor = graph.constant(name).filter(|tensor| dims(tensor).is_some_and(|dims| dims.len() == 2))?;
    let next = graph.only_consumer(output).map(|index| &graph.proto.node[index])?;
    let table = match next.op_type.as_str() {
        "Cast" if tensor.data_type == super::constants::FLOAT16 => {
            Weights { tensor, quantization: None, transposed: false }
        }
        // One scale for the whole table; by row it could not follow the gather.
        "DequantizeLinear" => {
            let table = dequantized(graph, next, tensor)?;
            let (scale, zero_points, _) = table.quantization?;
            (count(scale) == Some(1)).then_some(())?;
            Weights { quantization: Some((scale, zero_points, 0)), ..table }
        }
        _ => return None,
    };
    Some((next.output.first()?, Anchor::Embedding { indices, table }))
}

/// `Cast(Gather(int8 table)) · Gather(scales)`: a table with one scale a row, kept at its size in memory by any runtime.
fn scaled_gather<'p>(graph: &Graph<'p>, node: &'p NodeProto) -> Option<(&'p str, Anchor<'p>)> {
    let cast_slot = (0..2).find(|&slot| graph.input_of(node, slot, "Cast").is_some())?;
    let cast = graph.input_of(node, cast_slot, "Cast")?;
    let values = graph.input_of(cast, 0, "Gather")?;
    let scales = graph.input_of(node, 1 - cast_slot, "Gather")?;
    let rows_of = |gather: &'p NodeProto| {
        let axis = integer_attribute(gather, "axis").unwrap_or(0);
        (axis == 0).then(|| graph.constant_input(gather, 0)).flatten()
    };
    let (tensor, scales_tensor) = (rows_of(values)?, rows_of(scales)?);
    let (indices, same) = (values.input.get(1)?.as_str(), scales.input.get(1)?.as_str());
    let fits = dims(tensor)?.len() == 2 && count(scales_tensor) == dims(tensor)?.first().copied();
    if graph.resolve(indices) != graph.resolve(same) || !fits {
        return None;
    }
    let table = Weights { tensor, quantization: Some((scales_tensor, None, 0)), transposed: false };
    Some((node.output.first()?, Anchor::Embedding { indices, table }))
}
