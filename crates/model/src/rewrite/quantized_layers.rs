//! Dense layers and embeddings in int8 or fp16, whatever operators spell them out → `MatMul`, `Add` and `Gather` in fp32.
//!
//! For graphs that do not fuse. tract runs `MatMulInteger` some forty times slower than the fp32 product.

use crate::proto::{float_tensor, node_of};
use std::collections::HashSet;
use tract_onnx::pb::GraphProto;

pub(super) fn rewrite(graph: &mut GraphProto) {
    let layers = crate::fuse::stored_in_fewer_bits(graph);
    let outputs: HashSet<&str> = layers.iter().map(|layer| layer.output.as_str()).collect();
    let mut nodes = Vec::with_capacity(graph.node.len());
    let mut layers_by_output = layers.iter().map(|layer| (layer.output.as_str(), layer)).collect::<Vec<_>>();
    layers_by_output.sort_by_key(|(output, _)| *output);
    // Each layer takes the place of the node that made its value, so that nodes stay in order.
    for node in std::mem::take(&mut graph.node) {
        let made = node.output.iter().find(|name| outputs.contains(name.as_str()));
        let place = made.and_then(|made| layers_by_output.binary_search_by_key(&made.as_str(), |(name, _)| *name).ok());
        let Some(place) = place else {
            nodes.push(node);
            continue;
        };
        let layer = layers_by_output[place].1;
        let weights = format!("{}.fp32", layer.output);
        let dims = [layer.weights.rows() as i64, layer.weights.columns() as i64];
        graph.initializer.push(float_tensor(&weights, &dims, &layer.weights.to_f32()));
        match &layer.bias {
            None => nodes.push(node_of("Gather", vec![weights, layer.input.clone()], layer.output.clone())),
            Some(bias) => {
                let (bias_name, product) = (format!("{}.bias", layer.output), format!("{}.product", layer.output));
                graph.initializer.push(float_tensor(&bias_name, &dims[1..], bias));
                nodes.push(node_of("MatMul", vec![layer.input.clone(), weights], product.clone()));
                nodes.push(node_of("Add", vec![product, bias_name], layer.output.clone()));
            }
        }
    }
    graph.node = nodes;
}
