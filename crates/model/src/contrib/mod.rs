//! Operators that ONNX Runtime adds to ONNX (domain `com.microsoft`), spelled out in standard ones.
//!
//! `optimum-cli export --optimize`, ONNX Runtime's transformer optimizer, its 4-bit quantizers and every session that saves its
//! optimized graph write them. After this step the graph is one that the fuser and tract know; an operator that is not
//! listed here keeps its name, and the importer refuses it by node.
//!
//! Specification: `docs/ContribOperators.md` of ONNX Runtime 1.22.

mod activations;
mod attention;
mod blocks;
mod embedding;
mod norms;
mod products;
mod ranks;
mod source;
mod writer;

use crate::{Error, Result};
use source::{Expanded, Source};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};
use writer::Writer;

/// The domain of the operators.
const DOMAIN: &str = "com.microsoft";

/// Replaces every node of the domain that is known. Leaves a graph without such nodes as it is.
///
/// # Errors
/// [`Error::GraphNode`] naming the node and the attribute or input that is not supported.
pub(crate) fn expand(model: &mut ModelProto) -> Result<()> {
    let opset = model.opset_import.iter().filter(|set| set.domain.is_empty() || set.domain == "ai.onnx");
    let opset = opset.map(|set| set.version).max().unwrap_or(0);
    let Some(graph) = &mut model.graph else { return Ok(()) };
    if !graph.node.iter().any(|node| node.domain == DOMAIN) {
        return Ok(());
    }
    let nodes = std::mem::take(&mut graph.node);
    let source = Source::new(graph, &nodes);
    let (mut made, mut initializers) = (Vec::with_capacity(nodes.len()), Vec::new());
    for node in &nodes {
        let mut writer = Writer::new(node, source.float, opset);
        let is_written = match node.domain.as_str() {
            DOMAIN => write(&source, node, &mut writer).map_err(|problem| refused(node, problem))?,
            _ => false,
        };
        match is_written {
            true => {
                made.extend(writer.nodes);
                initializers.extend(writer.initializers);
            }
            false => made.push(node.clone()),
        }
    }
    graph.node = made;
    graph.initializer.extend(initializers);
    drop_unread(graph);
    Ok(())
}

/// Writes the node in standard operators; whether it is one that is known.
fn write(source: &Source<'_>, node: &NodeProto, to: &mut Writer) -> Expanded<bool> {
    match node.op_type.as_str() {
        "Gelu" => activations::gelu(node, to),
        "BiasGelu" => activations::bias_gelu(node, to),
        "FastGelu" => activations::fast_gelu(node, to),
        "QuickGelu" => activations::quick_gelu(node, to),
        "BiasSoftmax" => activations::bias_softmax(source, node, to),
        "SkipLayerNormalization" => norms::skip_layer_norm(source, node, to),
        "EmbedLayerNormalization" => embedding::embed_layer_norm(node, to),
        "QEmbedLayerNormalization" => embedding::quantized_embed_layer_norm(source, node, to),
        "Attention" => attention::attention(source, node, to),
        "QAttention" => attention::quantized_attention(source, node, to),
        "MultiHeadAttention" => attention::multi_head_attention(source, node, to),
        "FusedMatMul" | "TransposeMatMul" => products::fused_mat_mul(source, node, to),
        "FusedGemm" => products::fused_gemm(node, to),
        "DynamicQuantizeMatMul" => products::dynamic_quantize_mat_mul(source, node, to),
        "MatMulIntegerToFloat" => products::mat_mul_integer_to_float(source, node, to),
        "MatMulNBits" => blocks::mat_mul_n_bits(source, node, to),
        "MatMulBnb4" => blocks::mat_mul_bnb4(source, node, to),
        "GatherBlockQuantized" => blocks::gather_block_quantized(source, node, to),
        // The same operators, under the name that they had before the standard took them over.
        "QuantizeLinear" | "DequantizeLinear" => {
            to.nodes.push(NodeProto { domain: String::new(), ..node.clone() });
            return Ok(true);
        }
        _ => return Ok(false),
    }?;
    Ok(true)
}

fn refused(node: &NodeProto, problem: String) -> Error {
    Error::GraphNode { op: node.op_type.clone(), node: writer::label(node), problem }
}

/// The packed weights that were written out are read by nothing any more.
fn drop_unread(graph: &mut GraphProto) {
    let read: std::collections::HashSet<&str> =
        graph.node.iter().flat_map(|node| &node.input).map(String::as_str).collect();
    let outputs: Vec<&str> = graph.output.iter().map(|value| value.name.as_str()).collect();
    let has_body = graph.node.iter().any(|node| node.attribute.iter().any(|attribute| attribute.g.is_some()));
    // A body may read any value outside it.
    if !has_body {
        graph
            .initializer
            .retain(|tensor| read.contains(tensor.name.as_str()) || outputs.contains(&tensor.name.as_str()));
    }
}
