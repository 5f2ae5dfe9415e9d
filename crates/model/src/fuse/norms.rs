//! Layer norms, in one operator or spelled out.

use super::constants::{float, floats, integers};
use super::graph::{Graph, attribute, float_attribute, integer_attribute, is};
use grice_kernels::LayerNorm;
use tract_onnx::pb::{NodeProto, TensorProto};

/// A layer norm in a graph.
#[derive(Clone)]
pub(super) struct Normed<'p> {
    /// The value it makes.
    pub(super) output: &'p str,
    /// The value that it normalises.
    pub(super) input: &'p str,
    pub(super) norm: LayerNorm,
}

pub(super) fn layer_norm<'p>(graph: &Graph<'p>, node: &'p NodeProto) -> Option<Normed<'p>> {
    let gamma = floats(graph.constant_input(node, 1)?)?;
    let beta = match node.input.get(2).filter(|name| !name.is_empty()) {
        Some(name) => floats(graph.constant(name)?)?,
        None => vec![0.0; gamma.len()],
    };
    if integer_attribute(node, "axis").unwrap_or(-1) != -1 || gamma.len() != beta.len() {
        return None;
    }
    let epsilon = float_attribute(node, "epsilon").unwrap_or(1e-5);
    let norm = LayerNorm { gamma, beta, epsilon, centred: true };
    Some(Normed { output: node.output.first()?, input: node.input.first()?, norm })
}

/// What exporters before opset 17 write: `(x − mean) / sqrt(mean((x − mean)²) + ε) · γ + β`, matched from the last `Add`.
pub(super) fn spelled_out<'p>(graph: &Graph<'p>, node: &'p NodeProto) -> Option<Normed<'p>> {
    let (beta, scaled) = constant_and_other(graph, node, "Add")?;
    let mut normed = scaled_norm(graph, graph.producer(scaled)?)?;
    normed.norm.beta = floats(beta).filter(|beta| beta.len() == normed.norm.gamma.len())?;
    Some(Normed { output: node.output.first()?, ..normed })
}

/// The same without β, matched from the last `Mul`.
pub(super) fn spelled_out_without_beta<'p>(graph: &Graph<'p>, node: &'p NodeProto) -> Option<Normed<'p>> {
    let normed = scaled_norm(graph, node)?;
    let is_added_to = |&index: &usize| {
        let next = &graph.proto.node[index];
        let beta = constant_and_other(graph, next, "Add").and_then(|(beta, _)| floats(beta));
        beta.is_some_and(|beta| beta.len() == normed.norm.gamma.len())
    };
    (!graph.consumers(normed.output).iter().any(is_added_to)).then_some(normed)
}

/// `(x − mean) / sqrt(mean((x − mean)²) + ε) · γ`, with zeros for β.
fn scaled_norm<'p>(graph: &Graph<'p>, node: &'p NodeProto) -> Option<Normed<'p>> {
    let (gamma, divided) = constant_and_other(graph, node, "Mul")?;
    let divide = graph.producer(divided).filter(|node| is(node, "Div"))?;
    let centred = graph.input_of(divide, 0, "Sub")?;
    let deviation = graph.input_of(divide, 1, "Sqrt")?;
    let (epsilon, variance) = constant_and_other(graph, graph.input_of(deviation, 0, "Add")?, "Add")?;
    let variance = graph.producer(variance).filter(|node| is_mean(graph, node))?;
    let square = graph.producer(variance.input.first()?)?;
    let input = graph.resolve(centred.input.first()?);
    let mean = graph.producer(centred.input.get(1)?).filter(|node| is_mean(graph, node))?;
    if graph.resolve(mean.input.first()?) != input || !is_square_of(graph, square, input) {
        return None;
    }
    let gamma = floats(gamma).filter(|gamma| gamma.len() > 1)?;
    let (beta, epsilon) = (vec![0.0; gamma.len()], float(epsilon)?);
    let norm = LayerNorm { gamma, beta, epsilon, centred: true };
    Some(Normed { output: node.output.first()?, input, norm })
}

fn constant_and_other<'p>(graph: &Graph<'p>, node: &'p NodeProto, op: &str) -> Option<(&'p TensorProto, &'p str)> {
    let slot = (0..2).find(|&slot| is(node, op) && graph.constant_input(node, slot).is_some())?;
    Some((graph.constant_input(node, slot)?, node.input.get(1 - slot)?))
}

/// `ReduceMean` over the last axis, kept.
fn is_mean<'p>(graph: &Graph<'p>, node: &'p NodeProto) -> bool {
    let axes = attribute(node, "axes").map(|axes| axes.ints.clone());
    let axes = axes.or_else(|| integers(graph.constant_input(node, 1)?));
    is(node, "ReduceMean") && integer_attribute(node, "keepdims").unwrap_or(1) == 1 && axes == Some(vec![-1])
}

/// `Pow(x − mean, 2)` or `(x − mean) · (x − mean)`, whichever `Sub` it is of.
fn is_square_of<'p>(graph: &Graph<'p>, square: &'p NodeProto, input: &str) -> bool {
    let centred = |slot: usize| {
        graph.input_of(square, slot, "Sub").is_some_and(|node| {
            let from = node.input.first().map(|name| graph.resolve(name));
            let mean = node.input.get(1).and_then(|name| graph.producer(name));
            from == Some(input) && mean.is_some_and(|node| is_mean(graph, node))
        })
    };
    match square.op_type.as_str() {
        "Pow" => centred(0) && graph.constant_input(square, 1).and_then(float) == Some(2.0),
        "Mul" => centred(0) && centred(1),
        _ => false,
    }
}
