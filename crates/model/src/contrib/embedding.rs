//! The embedding as one operator.

use super::norms::write_norm;
use super::source::{Expanded, Source, input, number, refuse_outputs, required};
use super::writer::Writer;
use crate::fuse::constants::{float, integers};
use crate::proto::{float_tensor, integer_attribute};
use tract_onnx::pb::{NodeProto, TensorProto};

const INT32: i64 = 6;

/// The parts of the sum, and what normalises it.
struct Parts {
    words: String,
    positions: String,
    /// Rows of token types.
    segments: Option<String>,
    gamma: String,
    beta: String,
}

/// `norm(words[ids] + positions[…] + segments[types])`; also the sum before the norm, and the number of tokens of each sequence.
pub(super) fn embed_layer_norm(node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    let ids = required(node, 0, "input_ids")?;
    let words = to.op("Gather", &[required(node, 2, "word_embedding")?, ids]);
    let table = required(node, 3, "position_embedding")?;
    let positions = match input(node, 8) {
        Some(positions) => to.op("Gather", &[table, positions]),
        None => first_rows(to, table, ids),
    };
    let segments = match (input(node, 1), input(node, 4)) {
        (Some(types), Some(segments)) => Some(to.op("Gather", &[segments, types])),
        (None, None) => None,
        _ => return Err("has segment ids or a segment table, but not both".to_owned()),
    };
    let (gamma, beta) = (required(node, 5, "gamma")?.to_owned(), required(node, 6, "beta")?.to_owned());
    Parts { words, positions, segments, gamma, beta }.write(node, to)
}

/// As [`embed_layer_norm`], all of it in 8 bits with one scale and zero point a tensor.
pub(super) fn quantized_embed_layer_norm(source: &Source<'_>, node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    // Each of the five tensors stands at a slot of its own, its scale six further on and its zero point eleven.
    const SCALE: usize = 6;
    const ZERO: usize = 11;
    let ids = required(node, 0, "input_ids")?;
    let words = to.op("Gather", &[required(node, 2, "word_embedding")?, ids]);
    let words = to.op(
        "DequantizeLinear",
        &[&words, required(node, 2 + SCALE, "scale")?, required(node, 2 + ZERO, "zero point")?],
    );
    let mut constant = |slot: usize, what: &str| {
        let values = source.weights(node, slot, what)?;
        let how = [source.weights(node, slot + SCALE, "scale")?, source.weights(node, slot + ZERO, "zero point")?];
        let values = dequantize(values, how).ok_or_else(|| format!("has a {what} that cannot be read"))?;
        Ok::<_, String>(to.constant(values))
    };
    let (table, gamma, beta) = (constant(3, "position table")?, constant(5, "gamma")?, constant(6, "beta")?);
    let segments = match (input(node, 1), input(node, 4)) {
        (Some(types), Some(_)) => Some((constant(4, "segment table")?, types)),
        (None, None) => None,
        _ => return Err("has segment ids or a segment table, but not both".to_owned()),
    };
    let positions = first_rows(to, &table, ids);
    let segments = segments.map(|(table, types)| to.op("Gather", &[&table, types]));
    Parts { words, positions, segments, gamma, beta }.write(node, to)
}

impl Parts {
    fn write(self, node: &NodeProto, to: &mut Writer) -> Expanded<()> {
        refuse_outputs(node, &[0, 1, 2])?;
        let mut sum = to.op("Add", &[&self.words, &self.positions]);
        if let Some(segments) = &self.segments {
            sum = to.op("Add", &[&sum, segments]);
        }
        if let Some(name) = node.output.get(2).filter(|name| !name.is_empty()) {
            to.rename_last(name);
            sum = name.clone();
        }
        let epsilon = number(node, "epsilon").unwrap_or(1e-12);
        write_norm(to, &sum, &self.gamma, Some(&self.beta), epsilon, &node.output[0]);
        if let Some(name) = node.output.get(1).filter(|name| !name.is_empty()) {
            // Without a mask the operator makes zeros, by which attention shows nothing.
            let mask = input(node, 7).ok_or("makes a mask index, but has no mask (input 7)")?;
            write_lengths(to, mask, name);
        }
        Ok(())
    }
}

/// `(q − zero) · scale`, one of each for the whole tensor.
fn dequantize(tensor: &TensorProto, [scale, zero]: [&TensorProto; 2]) -> Option<TensorProto> {
    let (scale, zero) = (float(scale)?, integers(zero)?);
    let &[zero] = zero.as_slice() else { return None };
    let values: Vec<f32> = integers(tensor)?.into_iter().map(|value| (value - zero) as f32 * scale).collect();
    Some(float_tensor("", &tensor.dims, &values))
}

/// The rows of a table for positions 0, 1, …
fn first_rows(to: &mut Writer, table: &str, ids: &str) -> String {
    let shape = to.op("Shape", &[ids]);
    let (one, zero) = (to.integers(&[1]), to.integers(&[0]));
    let tokens = to.op("Gather", &[&shape, &one]);
    to.op("Slice", &[table, &zero, &tokens, &zero])
}

/// Ones of each row of the mask, int32.
fn write_lengths(to: &mut Writer, mask: &str, output: &str) {
    let ones = to.op("Cast", &[mask]);
    to.with(integer_attribute("to", INT32));
    to.sum_to(&ones, 1, output);
}
