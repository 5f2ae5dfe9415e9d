//! Attention as one operator, with or without its projections.

use super::products::{before_quantization, write_product};
use super::source::{Expanded, Source, input, integer, number, refuse_flags, refuse_inputs, refuse_outputs, required};
use super::writer::Writer;
use crate::fuse::constants::{FLOAT, FLOAT16, INT8, UINT8, count};
use crate::proto::integer_attribute;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

/// What is added to the scores of masked tokens, unless the node says something else.
const MASKED: f32 = -10_000.0;

/// Queries, keys and values by one matrix `[inputs, 3 · columns]`, then attention.
pub(super) fn attention(source: &Source<'_>, node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    refuse_flags(node, &["do_rotary", "past_present_share_buffer"])?;
    refuse_inputs(node, &[(4, "a past"), (6, "a past's length")])?;
    let weights = source.weights(node, 1, "weights")?;
    to.set_float(weights.data_type);
    let sizes = projection_sizes(node, weights)?;
    let x = required(node, 0, "input")?.to_owned();
    let bias = input(node, 2).map(|_| source.weights(node, 2, "bias")).transpose()?;
    let mut start = 0;
    let projected = sizes.map(|size| {
        let columns = start..start + size;
        start += size;
        let part = to.constant(slice_columns(weights, columns.clone())?);
        let bias = bias.map(|bias| Ok::<_, String>(to.constant(slice_columns(bias, columns)?))).transpose()?;
        let output = to.name("projection");
        write_product(to, &x, &part, bias.as_deref(), &output);
        Ok::<_, String>(output)
    });
    let [query, key, value] = projected;
    let heads = Heads::of(node, sizes)?;
    heads.write(source, node, [&query?, &key?, &value?], (input(node, 3), input(node, 5)), to)
}

/// As [`attention`], from 8-bit weights and an input that was rounded to bytes just before.
pub(super) fn quantized_attention(source: &Source<'_>, node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    refuse_flags(node, &["do_rotary", "past_present_share_buffer"])?;
    refuse_inputs(node, &[(8, "a past")])?;
    let weights = source.weights(node, 1, "weights")?;
    let scales = source.weights(node, 4, "scales of the weights")?;
    let zeros = input(node, 7).map(|_| source.weights(node, 7, "zero points of the weights")).transpose()?;
    let sizes = projection_sizes(node, weights)?;
    let x = before_quantization(source, node, 0)?;
    let bias = source.weights(node, 2, "bias")?;
    let mut start = 0;
    let mut projected = Vec::new();
    for size in sizes {
        let columns = start..start + size;
        start += size;
        let part = |tensor: &TensorProto| match count(tensor) {
            Some(1) => Ok(tensor.clone()),
            _ => slice_columns(tensor, columns.clone()),
        };
        let mut inputs = vec![to.constant(slice_columns(weights, columns.clone())?), to.constant(part(scales)?)];
        if let Some(zeros) = zeros {
            inputs.push(to.constant(part(zeros)?));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let weights = to.op("DequantizeLinear", &inputs);
        to.with(integer_attribute("axis", 1));
        let bias = to.constant(slice_columns(bias, columns.clone())?);
        let product = to.op("MatMul", &[x, &weights]);
        projected.push(to.op("Add", &[&product, &bias]));
    }
    let heads = Heads::of(node, sizes)?;
    heads.write(source, node, [&projected[0], &projected[1], &projected[2]], (input(node, 5), None), to)
}

/// Attention of projected queries, keys and values, `[batch, tokens, columns]` each.
pub(super) fn multi_head_attention(source: &Source<'_>, node: &NodeProto, to: &mut Writer) -> Expanded<()> {
    refuse_outputs(node, &[0])?;
    refuse_inputs(node, &[(6, "past keys"), (7, "past values"), (8, "a past's length"), (9, "a cache indirection")])?;
    let mut parts = Vec::new();
    for (slot, what) in [(0, "query"), (1, "key"), (2, "value")] {
        let name = required(node, slot, what)?;
        if source.ranks.of(name).is_some_and(|rank| rank != 3) {
            return Err(format!("takes its {what} `{name}` in another form than [batch, tokens, columns]"));
        }
        parts.push(name.to_owned());
    }
    let bias = input(node, 3).map(|_| source.weights(node, 3, "bias")).transpose()?;
    if let Some(bias) = bias {
        let columns = count(bias).filter(|columns| columns.is_multiple_of(3)).ok_or("has a bias of an odd length")? / 3;
        for (number, part) in parts.iter_mut().enumerate() {
            let bias = to.constant(slice_columns(bias, number * columns..(number + 1) * columns)?);
            *part = to.op("Add", &[part, &bias]);
        }
    }
    let heads = Heads { count: heads_of(node)?, sizes: None };
    heads.write(source, node, [&parts[0], &parts[1], &parts[2]], (input(node, 4), input(node, 5)), to)
}

/// How many heads, and how wide each of queries and values is where that is known.
struct Heads {
    count: i64,
    sizes: Option<[i64; 2]>,
}

impl Heads {
    fn of(node: &NodeProto, [query, key, value]: [usize; 3]) -> Expanded<Heads> {
        let count = heads_of(node)?;
        let size = |columns: usize| {
            let columns = columns as i64;
            let fits = columns > 0 && columns % count == 0;
            fits.then(|| columns / count).ok_or_else(|| format!("cannot part {columns} columns into {count} heads"))
        };
        if query != key {
            return Err(format!("has queries of {query} columns and keys of {key}"));
        }
        Ok(Heads { count, sizes: Some([size(query)?, size(value)?]) })
    }

    /// `softmax(scale · q · kᵀ + mask + bias) · v` head by head.
    fn write(
        &self,
        source: &Source<'_>,
        node: &NodeProto,
        [query, key, value]: [&str; 3],
        (mask, bias): (Option<&str>, Option<&str>),
        to: &mut Writer,
    ) -> Expanded<()> {
        refuse_flags(node, &["unidirectional"])?;
        refuse_outputs(node, &[0])?;
        let [query_size, value_size] = self.sizes.unwrap_or([-1, -1]);
        let query = to.split_heads(query, self.count, query_size);
        let key = to.split_heads(key, self.count, query_size);
        let value = to.split_heads(value, self.count, value_size);
        let key = to.exchange_tokens_and_columns(&key);
        let scores = to.op("MatMul", &[&query, &key]);
        let scale = number(node, "scale").filter(|scale| *scale != 0.0);
        let mut scores = match (scale, self.sizes) {
            (None, None) => {
                let size = to.size_of_last_axis(&query);
                let root = to.op("Sqrt", &[&size]);
                to.op("Div", &[&scores, &root])
            }
            (scale, sizes) => {
                let size = sizes.map_or(1, |[size, _]| size) as f32;
                let scale = to.scalar(scale.unwrap_or_else(|| size.sqrt().recip()));
                to.op("Mul", &[&scores, &scale])
            }
        };
        if let Some(mask) = mask {
            let filter = number(node, "mask_filter_value").unwrap_or(MASKED);
            let added = write_mask(source, mask, &query, filter, to)?;
            scores = to.op("Add", &[&scores, &added]);
        }
        if let Some(bias) = bias {
            scores = to.op("Add", &[&scores, bias]);
        }
        let weights = to.op("Softmax", &[&scores]);
        to.with(integer_attribute("axis", -1));
        let context = to.op("MatMul", &[&weights, &value]);
        let columns = if value_size > 0 { value_size * self.count } else { -1 };
        to.join_heads(&context, columns, &node.output[0]);
        Ok(())
    }
}

/// What is added to scores `[batch, heads, queries, keys]`: 0, and `filter` where a token is masked.
fn write_mask(source: &Source<'_>, mask: &str, query: &str, filter: f32, to: &mut Writer) -> Expanded<String> {
    let rank = source.ranks.of(mask).ok_or_else(|| format!("has a mask `{mask}` whose number of axes is unknown"))?;
    let (one, filter) = (to.scalar(1.0), to.scalar(filter));
    let shown = match rank {
        // The number of tokens of each sequence.
        1 => {
            let zero = to.integer(0);
            let shape = to.op("Shape", &[query]);
            let axis = to.integer(2);
            let tokens = to.op("Gather", &[&shape, &axis]);
            let step = to.integer(1);
            let places = to.op("Range", &[&zero, &tokens, &step]);
            let shape = to.integers(&[-1, 1, 1, 1]);
            let lengths = to.op("Cast", &[mask]);
            to.with(integer_attribute("to", i64::from(crate::fuse::constants::INT64)));
            let lengths = to.op("Reshape", &[&lengths, &shape]);
            to.op("Less", &[&places, &lengths])
        }
        2 => to.reshape(mask, &[0, 1, 1, -1]),
        _ => return Err(format!("has a mask `{mask}` of {rank} axes; [batch, tokens] is supported")),
    };
    let shown = to.cast_to_float(&shown);
    let hidden = to.op("Sub", &[&one, &shown]);
    Ok(to.op("Mul", &[&hidden, &filter]))
}

fn heads_of(node: &NodeProto) -> Expanded<i64> {
    integer(node, "num_heads").filter(|heads| *heads > 0).ok_or_else(|| "has no `num_heads`".to_owned())
}

/// Columns of queries, keys and values.
fn projection_sizes(node: &NodeProto, weights: &TensorProto) -> Expanded<[usize; 3]> {
    let &[_, columns] = weights.dims.as_slice() else { return Err("has weights that are no matrix".to_owned()) };
    let columns = usize::try_from(columns).map_err(|_| "has weights without columns".to_owned())?;
    let named = |attribute: &&AttributeProto| attribute.name == "qkv_hidden_sizes" && !attribute.ints.is_empty();
    let sizes: Vec<usize> = match node.attribute.iter().find(named) {
        Some(attribute) => attribute.ints.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect(),
        None => vec![columns / 3; 3],
    };
    let total = sizes.iter().fold(0usize, |total, size| total.saturating_add(*size));
    match <[usize; 3]>::try_from(sizes) {
        Ok(sizes) if total == columns => Ok(sizes),
        _ => Err(format!("cannot part {columns} columns of weights into queries, keys and values")),
    }
}

/// Some columns of a constant: of its last axis.
fn slice_columns(tensor: &TensorProto, columns: std::ops::Range<usize>) -> Expanded<TensorProto> {
    let cannot = || format!("has a constant `{}` that cannot be read", tensor.name);
    let width = tensor.dims.last().and_then(|&width| usize::try_from(width).ok()).ok_or_else(cannot)?;
    let total = count(tensor).filter(|total| *total > 0).ok_or_else(cannot)?;
    let raw = raw_bytes(tensor).ok_or_else(cannot)?;
    if columns.end > width || raw.len() % total != 0 || tensor.data_location.unwrap_or(0) != 0 {
        return Err(cannot());
    }
    let size = raw.len() / total;
    let rows = raw.chunks_exact(width * size);
    let raw_data = rows.flat_map(|row| &row[columns.start * size..columns.end * size]).copied().collect();
    let mut dims = tensor.dims.clone();
    if let Some(last) = dims.last_mut() {
        *last = columns.len() as i64;
    }
    Ok(TensorProto { dims, data_type: tensor.data_type, raw_data, ..TensorProto::default() })
}

/// The elements as bytes, however they are kept.
pub(super) fn raw_bytes(tensor: &TensorProto) -> Option<Vec<u8>> {
    if !tensor.raw_data.is_empty() {
        return Some(tensor.raw_data.clone());
    }
    let bytes: Vec<u8> = match tensor.data_type {
        FLOAT => tensor.float_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        FLOAT16 => tensor.int32_data.iter().flat_map(|&value| (value as u16).to_le_bytes()).collect(),
        INT8 | UINT8 => tensor.int32_data.iter().map(|&value| value as u8).collect(),
        _ => return None,
    };
    (!bytes.is_empty()).then_some(bytes)
}
