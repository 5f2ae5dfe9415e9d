//! ONNX graph → [`Program`]: what the exporter spelled out in a thousand nodes, as the dozen layers it means.
//!
//! ```text
//! graph ─► anchors ─► regions ─► probe ─► blocks ─► Program
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

mod activation;
mod anchors;
mod attention;
mod blocks;
pub(crate) mod constants;
mod distances;
mod embedding;
mod encoder;
mod glue;
mod graph;
mod head;
mod ladder;
mod norms;
mod positions;
mod probe;
mod recipe;
mod region;
mod sample;
mod unfused;

use crate::head::HeadGraph;
use crate::lengths::Lengths;
use crate::program::{Head, Program, Readout, Stack, Unfused};
use blocks::{Chain, Stream, fuse_blocks};
use encoder::Encoder;
pub(crate) use positions::positions_of;
use std::collections::BTreeSet;
use std::sync::Arc;
use tract_onnx::pb::{GraphProto, ModelProto};
use unfused::Fused;

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

/// A program whose word table is still in the file.
struct Draft {
    embedding: embedding::Draft,
    layers: Vec<crate::program::Layer>,
    last: Option<grice_kernels::LayerNorm>,
    head: head::Draft,
}

impl Draft {
    /// Moves the word table out of the file.
    fn finish(self, graph: &mut GraphProto) -> Fused<Program> {
        let Draft { embedding, layers, last, head: head::Draft { graph: head, layers: head_layers } } = self;
        let encoder = Stack { embedding: embedding.finish(graph)?, layers, last };
        let head = Head { layers: head_layers, graph: Some(HeadGraph(Arc::new(head))) };
        Ok(Program { encoder, readout: Readout::Classes(head) })
    }
}

fn draft(model: &ModelProto, output: &str, lengths: &Lengths) -> Fused<(Draft, usize, BTreeSet<u64>)> {
    let proto = model.graph.as_ref().ok_or_else(|| Unfused::new("it holds no graph"))?;
    let graph = graph::Graph::new(proto);
    let anchors = anchors::Anchors::find(&graph);
    let regions = region::Regions::new(&graph, &anchors);
    let probe = probe::Probe::new(&graph, &anchors, &model.opset_import);
    let output = proto.output.iter().map(|value| value.name.as_str()).find(|name| *name == output);
    let output = output.ok_or_else(|| Unfused::new("it has no such output"))?;
    let glue = glue::Glue::new(&regions, &probe, lengths);
    let draft = fuse_all(&glue, output).map_err(|unfused| glue.ladder.explain(unfused))?;
    Ok((draft, glue.ladder.up_to(), glue.ladder.pieces()))
}

/// The whole program that makes `output`.
fn fuse_all<'p>(glue: &glue::Glue<'_, 'p>, output: &'p str) -> Fused<Draft> {
    let (mut embedding, normed) = embedding::fuse_embedding(glue)?;
    let mut encoder = Encoder::new(glue, normed.norm.gamma.len());
    let stream = match encoder.projection_of(normed.output)? {
        None => normed.into(),
        Some((projection, value)) => {
            encoder = Encoder::new(glue, projection.outputs());
            (embedding.norm, embedding.projection) = (Some(normed.norm), Some(projection));
            Stream { value, normed: None }
        }
    };
    let Chain { first, layers, last, output: hidden } = fuse_blocks(&encoder, stream)?;
    embedding.norm = embedding.norm.or(first);
    Ok(Draft { embedding, layers, last, head: head::fuse_head(&encoder, hidden, output)? })
}
