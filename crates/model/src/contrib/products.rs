//! Products with something fused to them: transposition, a factor, an activation, quantization.

use super::source::{Expanded, Source, input, integer, number, refuse_flags, required};
use super::writer::Writer;
use crate::proto::{integer_attribute, integers_attribute};
use tract_onnx::pb::{AttributeProto, NodeProto};

/// `alpha · A · B`, each of them with its last two axes exchanged if asked for.
pub(super) fn fused_mat_mul(source: &Source<'_>, node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    refuse_flags(node, &["transBatchA", "transBatchB"])?;
    let mut operands = Vec::new();
    for (slot, flag, what) in [(0, "transA", "A"), (1, "transB", "B")] {
        let name = required(node, slot, what)?;
        operands.push(match integer(node, flag).unwrap_or(0) {
            0 => name.to_owned(),
            _ => exchange_last_axes(source, name, to)?,
        });
    }
    let alpha = number(node, "alpha").unwrap_or(1.0);
    if alpha == 1.0 {
        to.op_to("MatMul", &[&operands[0], &operands[1]], &node.output[0]);
    } else {
        let product = to.op("MatMul", &[&operands[0], &operands[1]]);
        let alpha = to.scalar(alpha);
        to.op_to("Mul", &[&product, &alpha], &node.output[0]);
    }
    Ok(())
}

fn exchange_last_axes(source: &Source<'_>, name: &str, to: &mut Writer) -> Expanded<String> {
    let rank = source.ranks.of(name).ok_or_else(|| format!("transposes `{name}`, whose number of axes is unknown"))?;
    if rank < 2 {
        return Ok(name.to_owned());
    }
    let mut axes: Vec<i64> = (0..rank as i64).collect();
    axes.swap(rank - 2, rank - 1);
    let moved = to.op("Transpose", &[name]);
    to.with(integers_attribute("perm", &axes));
    Ok(moved)
}

/// `Gemm` and an activation.
pub(super) fn fused_gemm(node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    let activation = node.attribute.iter().find(|attribute| attribute.name == "activation");
    let activation = activation.map(|attribute| String::from_utf8_lossy(&attribute.s).into_owned());
    let activation = activation.unwrap_or_default();
    if !["Relu", "Tanh", "Sigmoid", "Identity"].contains(&activation.as_str()) {
        return Err(format!("applies `{activation}`; Relu, Tanh and Sigmoid are supported"));
    }
    let is_own = |attribute: &&AttributeProto| attribute.name.starts_with("activation");
    let inputs: Vec<&str> = node.input.iter().map(String::as_str).collect();
    let product = to.op("Gemm", &inputs);
    for attribute in node.attribute.iter().filter(|attribute| !is_own(attribute)) {
        to.with(attribute.clone());
    }
    to.op_to(&activation, &[&product], &node.output[0]);
    Ok(())
}

/// `A · dequantized(B) + bias`, where A is quantized on the way: what ONNX Runtime makes of a dynamically quantized layer.
pub(super) fn dynamic_quantize_mat_mul(source: &Source<'_>, node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    source.weights(node, 1, "B")?;
    let weights = dequantized(node, [1, 2, 3], to)?;
    write_product(to, required(node, 0, "A")?, &weights, input(node, 4), &node.output[0]);
    Ok(())
}

/// `dequantized(A) · dequantized(B) + bias`, where A was quantized by the graph just before.
pub(super) fn mat_mul_integer_to_float(source: &Source<'_>, node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    source.weights(node, 1, "B")?;
    let x = before_quantization(source, node, 0)?;
    let weights = dequantized(node, [1, 3, 5], to)?;
    write_product(to, x, &weights, input(node, 6), &node.output[0]);
    Ok(())
}

/// What `DynamicQuantizeLinear` was given to make input `slot`. Rounding it to bytes is the engine's affair.
pub(super) fn before_quantization<'g>(source: &Source<'g>, node: &NodeProto, slot: usize) -> Expanded<&'g str> {
    let is_value = |made_by: &&NodeProto| made_by.output.first().map(String::as_str) == input(node, slot);
    let quantize = source.producer(node, slot).filter(|node| node.op_type == "DynamicQuantizeLinear").filter(is_value);
    let quantize = quantize.ok_or_else(|| format!("needs its input {slot} from a DynamicQuantizeLinear"))?;
    required(quantize, 0, "input")
}

/// `DequantizeLinear` of the constant matrix at the first slot, with scales and zero points at the others.
fn dequantized(node: &NodeProto, [values, scales, zeros]: [usize; 3], to: &mut Writer) -> Expanded<String> {
    let inputs = [required(node, values, "weights")?, required(node, scales, "scales")?];
    let inputs: Vec<&str> = inputs.into_iter().chain(input(node, zeros)).collect();
    let weights = to.op("DequantizeLinear", &inputs);
    to.with(integer_attribute("axis", 1));
    Ok(weights)
}

/// `x · weights + bias`.
pub(super) fn write_product(to: &mut Writer, x: &str, weights: &str, bias: Option<&str>, output: &str) {
    match bias {
        None => to.op_to("MatMul", &[x, weights], output),
        Some(bias) => {
            let product = to.op("MatMul", &[x, weights]);
            to.op_to("Add", &[&product, bias], output);
        }
    }
}
