//! Nodes in the order in which they run. ONNX asks for it, and some converters append nodes at the end all the same.

use crate::{Error, Result};
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto};

/// Sorts nodes after those that they depend on, and leaves the order as it is otherwise.
///
/// # Errors
/// [`Error::Graph`] naming a node that depends on itself.
pub(super) fn sort(graph: &mut GraphProto) -> Result<()> {
    let mut makers = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        makers.extend(node.output.iter().filter(|name| !name.is_empty()).map(|name| (name.as_str(), index)));
    }
    let needs: Vec<Vec<usize>> = graph.node.iter().map(|node| makers_of(node, &makers)).collect();
    if needs.iter().enumerate().all(|(index, needs)| needs.iter().all(|&needed| needed < index)) {
        return Ok(());
    }
    let (mut order, mut state) = (Vec::with_capacity(needs.len()), vec![State::Unseen; needs.len()]);
    for start in 0..needs.len() {
        // Depth first without recursion: graphs are thousands of nodes deep.
        let mut waiting = vec![(start, false)];
        while let Some((node, is_done)) = waiting.pop() {
            match (state[node], is_done) {
                (State::Open, true) => {
                    state[node] = State::Placed;
                    order.push(node);
                }
                (State::Unseen, _) => {
                    state[node] = State::Open;
                    waiting.push((node, true));
                    for &needed in needs[node].iter().rev() {
                        if state[needed] == State::Open {
                            let name = &graph.node[node].name;
                            return Err(Error::Graph(format!("the node `{name}` depends on its own output")));
                        }
                        waiting.push((needed, false));
                    }
                }
                _ => {}
            }
        }
    }
    let mut nodes: Vec<Option<NodeProto>> = std::mem::take(&mut graph.node).into_iter().map(Some).collect();
    graph.node = order.into_iter().filter_map(|index| nodes[index].take()).collect();
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Unseen,
    Open,
    Placed,
}

/// The nodes that make what a node reads, itself or in the bodies inside it.
fn makers_of(node: &NodeProto, makers: &HashMap<&str, usize>) -> Vec<usize> {
    let mut needs: Vec<usize> = node.input.iter().filter_map(|name| makers.get(name.as_str()).copied()).collect();
    let bodies = node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs));
    for body in bodies {
        needs.extend(body.node.iter().flat_map(|node| makers_of(node, makers)));
        needs.extend(body.output.iter().filter_map(|value| makers.get(value.name.as_str()).copied()));
    }
    needs
}
