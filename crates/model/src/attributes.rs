//! Attributes that send tract into a loop of 2⁶⁴ turns, or one without end, refused before tract sees them.

use crate::{Error, Result};
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

/// Axes are counted from either end of a tensor's shape, and no tensor of a real graph has as many as this.
const MOST_AXES: i64 = 64;

/// Checks what names axes, in the graph and in the bodies inside it.
///
/// # Errors
/// [`Error::GraphAttribute`] naming the first attribute that no graph can mean.
pub(crate) fn check(graph: &GraphProto) -> Result<()> {
    for node in &graph.node {
        for attribute in &node.attribute {
            if let Some(problem) = problem(attribute) {
                return Err(refused(node, attribute, problem));
            }
            attribute.g.iter().chain(&attribute.graphs).try_for_each(check)?;
        }
    }
    Ok(())
}

fn problem(attribute: &AttributeProto) -> Option<String> {
    match attribute.name.as_str() {
        "perm" => {
            let mut places = attribute.ints.clone();
            places.sort_unstable();
            let every_axis_once = places.iter().copied().eq(0..places.len() as i64);
            (!every_axis_once).then(|| format!("does not name every axis once: {:?}", attribute.ints))
        }
        "axis" | "axes" => {
            let axes = attribute.ints.iter().chain([&attribute.i]);
            let far = axes.copied().find(|axis| !(-MOST_AXES..MOST_AXES).contains(axis))?;
            Some(format!("names axis {far}, and no tensor has as many"))
        }
        _ => None,
    }
}

fn refused(node: &NodeProto, attribute: &AttributeProto, problem: String) -> Error {
    let (op, node, attribute) = (node.op_type.clone(), node.name.clone(), attribute.name.clone());
    Error::GraphAttribute { op, node, attribute, problem }
}
