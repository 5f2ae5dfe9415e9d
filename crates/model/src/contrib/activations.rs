//! Activations, with or without a bias before them.

use super::source::{Expanded, Source, input, integer, number, required};
use super::writer::Writer;
use crate::proto::integer_attribute;
use tract_onnx::pb::NodeProto;

/// `gelu(x)`, exact.
pub(super) fn gelu(node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    let x = required(node, 0, "input")?;
    write_gelu(to, x, &node.output[0]);
    Ok(())
}

/// `gelu(x + bias)`, exact.
pub(super) fn bias_gelu(node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    let sum = to.op("Add", &[required(node, 0, "input")?, required(node, 1, "bias")?]);
    write_gelu(to, &sum, &node.output[0]);
    Ok(())
}

/// `gelu(x + bias)` by a hyperbolic tangent: `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
pub(super) fn fast_gelu(node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    let mut x = required(node, 0, "input")?.to_owned();
    if let Some(bias) = input(node, 1) {
        x = to.op("Add", &[&x, bias]);
    }
    let (cubic, factor, one, half) = (to.scalar(0.044_715), to.scalar(0.797_884_6), to.scalar(1.0), to.scalar(0.5));
    let square = to.op("Mul", &[&x, &x]);
    let cubic = to.op("Mul", &[&square, &cubic]);
    let inner = to.op("Add", &[&cubic, &one]);
    let inner = to.op("Mul", &[&inner, &x]);
    let inner = to.op("Mul", &[&inner, &factor]);
    let tanh = to.op("Tanh", &[&inner]);
    let sum = to.op("Add", &[&tanh, &one]);
    let halved = to.op("Mul", &[&x, &half]);
    to.op_to("Mul", &[&halved, &sum], &node.output[0]);
    Ok(())
}

/// `x · sigmoid(alpha · x)`.
pub(super) fn quick_gelu(node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    let x = required(node, 0, "input")?;
    let alpha = to.scalar(number(node, "alpha").unwrap_or(1.702));
    let scaled = to.op("Mul", &[x, &alpha]);
    let gate = to.op("Sigmoid", &[&scaled]);
    to.op_to("Mul", &[x, &gate], &node.output[0]);
    Ok(())
}

/// `softmax(x + bias)` over the last axis.
pub(super) fn bias_softmax(source: &Source<'_>, node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    let x = required(node, 0, "data")?;
    let axis = integer(node, "axis").unwrap_or(1);
    let last = source.ranks.of(x).map(|rank| rank as i64 - 1);
    if axis != -1 && Some(axis) != last {
        return Err(format!("works on axis {axis}; only the last axis of a value of known rank is supported"));
    }
    let sum = to.op("Add", &[x, required(node, 1, "bias")?]);
    to.op_to("Softmax", &[&sum], &node.output[0]);
    to.with(integer_attribute("axis", -1));
    Ok(())
}

/// `x/2 · (1 + erf(x/√2))`.
pub(super) fn write_gelu(to: &mut Writer, x: &str, output: &str) {
    let (root, one, half) = (to.scalar(std::f32::consts::SQRT_2), to.scalar(1.0), to.scalar(0.5));
    let scaled = to.op("Div", &[x, &root]);
    let erf = to.op("Erf", &[&scaled]);
    let sum = to.op("Add", &[&erf, &one]);
    let product = to.op("Mul", &[x, &sum]);
    to.op_to("Mul", &[&product, &half], output);
}
