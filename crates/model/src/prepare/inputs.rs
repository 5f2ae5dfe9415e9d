//! What a detector's graph takes and gives, as exporters write it → int64 ids and masks, positions made inside, an output `logits`.

use super::half::cast;
use super::types::{elem_type, set_elem_type};
use crate::names::{ATTENTION_MASK, INPUT_IDS, LOGITS, TOKEN_TYPE_IDS};
use crate::network::Inputs;
use crate::proto::node_of;
use crate::{Error, FixedAxes, Result};
use std::collections::HashSet;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dimension;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, ValueInfoProto, type_proto};

const POSITION_IDS: &str = "position_ids";
const INT64: i32 = 7;

/// Checks the names of inputs and outputs, and brings them into the one form that everything after reads.
pub(super) fn normalize(graph: &mut GraphProto) -> Result<Inputs> {
    // Old exporters list the weights among the inputs as well.
    let weights: HashSet<String> = graph.initializer.iter().map(|tensor| tensor.name.clone()).collect();
    graph.input.retain(|value| !weights.contains(&value.name));
    check_names(graph)?;
    name_logits(graph)?;
    let axes = fixed_axes(graph)?;
    let takes_positions = make_positions(graph);
    let casts: Vec<(String, i32)> = graph.input.iter_mut().filter_map(to_int64).collect();
    for (input, kind) in casts {
        let given = fresh(graph, &format!("{input}.as_declared"));
        rename_readers(graph, &input, &given);
        graph.node.insert(0, cast(input, given, kind));
    }
    let takes_token_types = graph.input.iter().any(|value| value.name == TOKEN_TYPE_IDS);
    Ok(Inputs { takes_token_types, takes_positions, axes })
}

fn check_names(graph: &GraphProto) -> Result<()> {
    let has = |name: &str| graph.input.iter().any(|value| value.name == name);
    let known = [INPUT_IDS, ATTENTION_MASK, TOKEN_TYPE_IDS, POSITION_IDS];
    if has(INPUT_IDS) && has(ATTENTION_MASK) && graph.input.iter().all(|value| known.contains(&value.name.as_str())) {
        return Ok(());
    }
    Err(Error::GraphInputs { found: graph.input.iter().map(|value| value.name.clone()).collect() })
}

/// An only output is the logits, whatever it is called: exporters name it after the node that makes it.
fn name_logits(graph: &mut GraphProto) -> Result<()> {
    if graph.output.iter().any(|value| value.name == LOGITS) {
        return Ok(());
    }
    let named_inside = graph.node.iter().any(|node| node.output.iter().any(|name| name == LOGITS));
    match graph.output.as_mut_slice() {
        [only] if !named_inside => {
            let made = std::mem::replace(&mut only.name, LOGITS.to_owned());
            graph.node.push(node_of("Identity", vec![made], LOGITS.to_owned()));
            Ok(())
        }
        outputs => Err(Error::GraphOutputs { found: outputs.iter().map(|value| value.name.clone()).collect() }),
    }
}

fn fixed_axes(graph: &GraphProto) -> Result<FixedAxes> {
    let mut sizes = [None, None];
    // A row of positions is often given for all rows of a batch.
    for value in graph.input.iter().filter(|value| value.name != POSITION_IDS) {
        let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_ref().and_then(|kind| kind.value.as_ref())
        else {
            continue;
        };
        let Some(shape) = tensor.shape.as_ref().filter(|shape| shape.dim.len() == sizes.len()) else { continue };
        for (size, dim) in sizes.iter_mut().zip(&shape.dim) {
            let Some(Dimension::DimValue(found)) = dim.value else { continue };
            let Some(found) = usize::try_from(found).ok().filter(|found| (1..=SIZE_MOST).contains(found)) else {
                continue;
            };
            if size.is_some_and(|size: usize| size != found) {
                let problem =
                    format!("its inputs disagree on their sizes ({} and {found}); export it again", size.unwrap_or(0));
                return Err(Error::Graph(problem));
            }
            *size = Some(found);
        }
    }
    Ok(FixedAxes { batch: sizes[0], sequence: sizes[1] })
}

/// No batch or sequence of a detector comes near it; a damaged file's may.
const SIZE_MOST: usize = 1 << 16;

/// The element type that an input was declared with, where that is no int64; it is declared int64 now.
fn to_int64(input: &mut ValueInfoProto) -> Option<(String, i32)> {
    let kind = elem_type(input.r#type.as_ref()).filter(|&kind| kind != INT64 && kind != 0)?;
    set_elem_type(input.r#type.as_mut(), INT64);
    Some((input.name.clone(), kind))
}

/// Positions count from 0 in every row; nodes that make them of the shape of the ids take the place of the input.
fn make_positions(graph: &mut GraphProto) -> bool {
    let Some(place) = graph.input.iter().position(|value| value.name == POSITION_IDS) else { return false };
    let input = graph.input.remove(place);
    let part = |name: &str| format!("{POSITION_IDS}.{name}");
    let integers = |name: String, dims: Vec<i64>, values: Vec<i64>| TensorProto {
        name,
        dims,
        data_type: INT64,
        int64_data: values,
        ..TensorProto::default()
    };
    graph.initializer.extend([
        integers(part("zero"), vec![], vec![0]),
        integers(part("one"), vec![], vec![1]),
        integers(part("row"), vec![2], vec![1, -1]),
    ]);
    let mut nodes: Vec<NodeProto> = vec![
        node_of("Shape", vec![INPUT_IDS.to_owned()], part("shape")),
        node_of("Gather", vec![part("shape"), part("one")], part("length")),
        node_of("Range", vec![part("zero"), part("length"), part("one")], part("range")),
        node_of("Reshape", vec![part("range"), part("row")], part("wide")),
        node_of("Expand", vec![part("wide"), part("shape")], part("int64")),
    ];
    match elem_type(input.r#type.as_ref()).filter(|&kind| kind != INT64 && kind != 0) {
        Some(kind) => nodes.push(cast(part("int64"), POSITION_IDS.to_owned(), kind)),
        None => nodes.push(node_of("Identity", vec![part("int64")], POSITION_IDS.to_owned())),
    }
    nodes.append(&mut graph.node);
    graph.node = nodes;
    true
}

/// A name that no value of the graph has.
fn fresh(graph: &GraphProto, name: &str) -> String {
    let mut name = name.to_owned();
    while graph.node.iter().any(|node| node.output.contains(&name)) {
        name.push('_');
    }
    name
}

fn rename_readers(graph: &mut GraphProto, from: &str, to: &str) {
    let inputs = graph.node.iter_mut().flat_map(|node| &mut node.input);
    inputs.filter(|name| *name == from).for_each(|name| *name = to.to_owned());
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    for body in attributes.flat_map(|attribute| attribute.g.iter_mut().chain(&mut attribute.graphs)) {
        rename_readers(body, from, to);
    }
}
