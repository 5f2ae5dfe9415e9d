//! Layer norms that also add what they normalise.

use super::source::{Expanded, Source, input, number, refuse_outputs, required};
use super::writer::Writer;
use crate::proto::{float_attribute, integer_attribute};
use tract_onnx::pb::NodeProto;

/// Operators that make a product whose bias may have been moved into the norm after it.
const PRODUCTS: [&str; 6] =
    ["MatMul", "FusedMatMul", "MatMulNBits", "MatMulBnb4", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"];

/// `norm(input + skip + bias)`; the sum may be an output too.
pub(super) fn skip_layer_norm(source: &Source<'_>, node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    refuse_outputs(node, &[0, 3])?;
    let mut parts = [required(node, 0, "input")?.to_owned(), required(node, 1, "skip")?.to_owned()];
    if let Some(bias) = input(node, 4) {
        // Beside the product that it belongs to, where a reader of the graph looks for it.
        let of_product = |slot: usize| {
            let made_by = source.producer(node, slot);
            made_by.is_some_and(|node| PRODUCTS.contains(&node.op_type.as_str()) || is_scaled_product(source, node))
        };
        let slot = usize::from(!of_product(0) && of_product(1));
        parts[slot] = to.op("Add", &[&parts[slot], bias]);
    }
    let sum = to.op("Add", &[&parts[0], &parts[1]]);
    let sum = match node.output.get(3).filter(|name| !name.is_empty()) {
        Some(name) => {
            to.rename_last(name);
            name.clone()
        }
        None => sum,
    };
    let epsilon = number(node, "epsilon").unwrap_or(1e-12);
    write_norm(to, &sum, required(node, 2, "gamma")?, input(node, 3), epsilon, &node.output[0]);
    Ok(())
}

/// `MatMulInteger` is followed by a cast and by its scales.
fn is_scaled_product(source: &Source<'_>, node: &NodeProto) -> bool {
    node.op_type == "Mul" && (0..2).any(|slot| source.producer(node, slot).is_some_and(|node| node.op_type == "Cast"))
}

pub(super) fn write_norm(to: &mut Writer, x: &str, gamma: &str, beta: Option<&str>, epsilon: f32, output: &str) {
    let inputs: Vec<&str> = [x, gamma].into_iter().chain(beta).collect();
    to.op_to("LayerNormalization", &inputs, output);
    to.with(integer_attribute("axis", -1));
    to.with(float_attribute("epsilon", epsilon));
}
