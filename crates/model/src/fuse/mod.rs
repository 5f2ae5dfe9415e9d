//! ONNX graph → [`Program`]: what the exporter spelled out in a thousand nodes, as the dozen layers it means.
//!
//! ```text
//! graph ─► anchors ─► regions ─► probe ─► encoder ─► Program
//!          weights     glue       run      what it
//!          in any      between    on a     must be
//!          form        them       small
//!                                 input
//! ```
//!
//! Nodes with weights are recognised by form (`anchors`). Whatever lies between them is recognised by what it computes: a piece
//! is run through tract on a small random input and compared with the step it is taken for. A piece that computes something
//! else is not fused, and the reason names it. Equal pieces of different layers are run once. What a few tokens tell must hold in
//! sequences of every length that the model takes: `ladder` compares each piece again, up to the longest one.

mod anchors;
mod attention;
pub(crate) mod constants;
mod embedding;
mod encoder;
mod glue;
mod graph;
mod head;
mod ladder;
mod positions;
mod probe;
mod region;

use crate::lengths::Lengths;
use crate::program::{Program, Unfused};
pub(crate) use positions::positions_of;
use std::collections::BTreeSet;
use tract_onnx::pb::{GraphProto, ModelProto};

impl Unfused {
    fn new(reason: impl Into<String>) -> Unfused {
        Unfused { reason: reason.into() }
    }
}

/// A dense layer or embedding whose weights are stored in fewer bits, with its weights in single precision.
pub(crate) struct Stored {
    /// The value it makes.
    pub(crate) output: String,
    /// Its input, or the indices.
    pub(crate) input: String,
    /// `[rows, columns]`.
    pub(crate) weights: crate::weights::Matrix,
    /// Of a dense layer, zeros if it has none; `None` for an embedding.
    pub(crate) bias: Option<Vec<f32>>,
}

/// Every dense layer and embedding that is not stored in single precision.
pub(crate) fn stored_in_fewer_bits(proto: &GraphProto) -> Vec<Stored> {
    let graph = graph::Graph::as_written(proto);
    let anchors = anchors::Anchors::find(&graph);
    let stored = anchors.order.iter().filter_map(|&output| {
        let (input, weights, bias) = match anchors.get(output)? {
            anchors::Anchor::Linear { input, weights, bias } => (input, weights, Some(bias)),
            anchors::Anchor::Embedding { indices, table } => (indices, table, None),
            anchors::Anchor::Norm { .. } => return None,
        };
        let matrix = weights.read().filter(|_| weights.is_small())?;
        let bias = match bias {
            Some(Some(bias)) => Some(bias.read()?),
            Some(None) => Some(vec![0.0; matrix.columns()]),
            None => None,
        };
        Some(Stored { output: output.to_owned(), input: (*input).to_owned(), weights: matrix, bias })
    });
    stored.collect()
}

type Fused<T> = std::result::Result<T, Unfused>;

/// A program, and the pieces of its graph that were compared with its steps in sequences of up to so many tokens.
pub(crate) struct FusedForm {
    pub(crate) program: Program,
    pub(crate) up_to: usize,
    pub(crate) pieces: BTreeSet<u64>,
}

/// The fused form of a detector's graph, from `input_ids` and `attention_mask` to `output`. Leaves the graph as it is where
/// there is none, and without its word table where there is one.
pub(crate) fn fuse(model: &mut ModelProto, output: &str, lengths: &Lengths) -> Fused<FusedForm> {
    let (draft, up_to, pieces) = draft(model, output, lengths)?;
    Ok(FusedForm { program: draft.finish(model.graph.get_or_insert_default())?, up_to, pieces })
}

fn draft(model: &ModelProto, output: &str, lengths: &Lengths) -> Fused<(encoder::Draft, usize, BTreeSet<u64>)> {
    let proto = model.graph.as_ref().ok_or_else(|| Unfused::new("it holds no graph"))?;
    let graph = graph::Graph::new(proto);
    let anchors = anchors::Anchors::find(&graph);
    let regions = region::Regions::new(&graph, &anchors);
    let probe = probe::Probe::new(&graph, &anchors, &model.opset_import);
    let output = proto.output.iter().map(|value| value.name.as_str()).find(|name| *name == output);
    let output = output.ok_or_else(|| Unfused::new("it has no such output"))?;
    let glue = glue::Glue::new(&regions, &probe, lengths);
    let draft = encoder::fuse_encoder(&glue, output).map_err(|unfused| glue.ladder.explain(unfused))?;
    Ok((draft, glue.ladder.up_to(), glue.ladder.pieces()))
}
