//! Rewrites of the ONNX graph before it is imported: what an exporter spelled out in a way that cannot be type-checked.

mod nodes;
mod padding_mask;
mod quantized_layers;
mod weight_scales;

use nodes::Producers;
use std::collections::HashSet;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto};

/// Rewrites what is recognised and leaves everything else as it is. Afterwards the graph holds only what `output` needs.
pub(crate) fn rewrite(model: &mut ModelProto, output: &str) {
    rewrite_with(model, output, |graph| {
        quantized_layers::rewrite(graph);
        weight_scales::rewrite(graph);
    });
}

/// Only what type-checking needs; every other value keeps its name.
pub(crate) fn rewrite_for_types(model: &mut ModelProto, output: &str) {
    rewrite_with(model, output, |_| {});
}

fn rewrite_with(model: &mut ModelProto, output: &str, further: impl Fn(&mut GraphProto)) {
    let opset = model.opset_import.iter().filter(|set| set.domain.is_empty() || set.domain == "ai.onnx");
    let opset = opset.map(|set| set.version).max().unwrap_or(0);
    let Some(graph) = &mut model.graph else { return };
    // Names inside a branch or loop body may refer to any value outside; such graphs are left alone.
    if graph.node.iter().any(|node| node.attribute.iter().any(holds_graph)) {
        return;
    }
    padding_mask::rewrite(graph, opset);
    further(graph);
    keep_only_needed(graph, output);
}

fn holds_graph(attribute: &AttributeProto) -> bool {
    attribute.g.is_some() || !attribute.graphs.is_empty()
}

/// Drops the nodes and initializers that `output` does not depend on.
fn keep_only_needed(graph: &mut GraphProto, output: &str) {
    let producers = Producers::of(graph);
    let mut needed = HashSet::from([output.to_owned()]);
    let mut waiting = vec![output.to_owned()];
    let mut nodes = HashSet::new();
    while let Some(name) = waiting.pop() {
        let Some(&node) = producers.by_output.get(&name) else { continue };
        nodes.insert(node);
        for input in &graph.node[node].input {
            if needed.insert(input.clone()) {
                waiting.push(input.clone());
            }
        }
    }
    let mut position = 0..;
    graph.node.retain(|_| position.next().is_some_and(|position: usize| nodes.contains(&position)));
    graph.initializer.retain(|tensor| needed.contains(&tensor.name));
    graph.output.retain(|value| value.name == output);
}
