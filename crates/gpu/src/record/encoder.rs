//! The encoder as dispatches: rows of words in `Wide`, hidden states of token 0 of each sequence out in `Attended`, which the head
//! goes on from.

use super::embedding::record_embedding;
use super::geometry::Geometry;
use super::head::record_head;
use super::shaders::{ATTENTION, GATHER_ROWS, LAYER_NORM};
use super::{Arena, Buffer, Dispatch, PipelineKey, Recording, Step, View};
use crate::error::GpuError;
use crate::gemm::{Product, Scratch, Weights};
use crate::model::{AttentionPlan, LayerPlan, Model, NormPlan};
use crate::tune::Tiles;
use grice_kernels::Activation;

pub(super) const SCRATCH: Scratch = Scratch {
    quantized: Buffer::Arena(Arena::Quantized),
    scales: Buffer::Arena(Arena::Scales),
    shares: Buffer::Arena(Arena::Shares),
};

/// Records a forward pass. `Starts` and `Blocks` hold what the geometry has under these names; see [`record_embedding`]
/// for the other inputs.
///
/// # Errors
/// As [`Product::record`] and [`Tiles::choose`].
pub(crate) fn record_forward(model: &Model, geometry: &Geometry, tiles: &Tiles) -> Result<Recording, GpuError> {
    let mut recording = Recording::default();
    record_embedding(&mut recording, model, geometry.tokens, tiles)?;
    for (number, layer) in model.layers.iter().enumerate() {
        let mut run = LayerRun { model, layer, geometry, tiles, number, recording: &mut recording };
        match &layer.query {
            None => run.run_all()?,
            Some(query) => run.run_first(query)?,
        }
    }
    record_head(&mut recording, model, geometry.rows(), tiles)?;
    Ok(recording)
}

/// One layer of one pass.
struct LayerRun<'a> {
    model: &'a Model,
    layer: &'a LayerPlan,
    geometry: &'a Geometry,
    tiles: &'a Tiles,
    number: usize,
    recording: &'a mut Recording,
}

/// Queries, and keys and values, which lie in the same rows.
pub(super) struct Operands {
    pub(super) q: View,
    pub(super) k: View,
    pub(super) v: View,
    /// Whether only token 0 asks, and queries are rows of sequences.
    pub(super) first: bool,
}

impl LayerRun<'_> {
    fn run_all(&mut self) -> Result<(), GpuError> {
        let (tokens, columns) = (self.geometry.tokens, self.model.hidden);
        let hidden = self.model.hidden_view(Arena::Hidden, tokens);
        let projected = View::whole(Buffer::Arena(Arena::Wide), tokens, 3 * columns);
        self.project("qkv", hidden, &self.layer.projections, projected)?;
        let part = |part: usize| View { columns, offset: part * columns, ..projected };
        let context = self.model.hidden_view(Arena::Context, tokens);
        self.attend(&Operands { q: part(0), k: part(1), v: part(2), first: false }, context);
        let attended = self.model.hidden_view(Arena::Attended, tokens);
        self.finish(context, hidden, attended)?;
        self.feed_forward(attended, hidden)
    }

    /// The last layer: queries, and all that follows attention, for token 0 only.
    fn run_first(&mut self, query: &Weights) -> Result<(), GpuError> {
        let (tokens, rows, columns) = (self.geometry.tokens, self.geometry.rows(), self.model.hidden);
        let hidden = self.model.hidden_view(Arena::Hidden, tokens);
        let first = self.model.hidden_view(Arena::First, rows);
        record_gather(self.recording, self.step("gather"), hidden, first);
        let queries = self.model.hidden_view(Arena::Query, rows);
        self.project("query", first, query, queries)?;
        let projected = View::whole(Buffer::Arena(Arena::Wide), tokens, 2 * columns);
        self.project("kv", hidden, &self.layer.projections, projected)?;
        let part = |part: usize| View { columns, offset: part * columns, ..projected };
        let context = self.model.hidden_view(Arena::Context, rows);
        self.attend(&Operands { q: queries, k: part(0), v: part(1), first: true }, context);
        let finished = self.model.hidden_view(Arena::Hidden, rows);
        self.finish(context, first, finished)?;
        self.feed_forward(finished, self.model.hidden_view(Arena::Attended, rows))
    }

    fn step(&self, op: &'static str) -> Step {
        Step::new(Some(self.number), op)
    }

    fn project(&mut self, op: &'static str, x: View, weights: &Weights, y: View) -> Result<(), GpuError> {
        self.multiply(op, x, weights, Activation::Identity, None, y)
    }

    fn multiply(
        &mut self,
        op: &'static str,
        x: View,
        weights: &Weights,
        activation: Activation,
        residual: Option<View>,
        y: View,
    ) -> Result<(), GpuError> {
        let product = Product { step: self.step(op), x, weights, activation, residual, y, scratch: SCRATCH };
        self.recording.multiply(&product, self.tiles)
    }

    fn attend(&mut self, operands: &Operands, out: View) {
        record_attention(self.recording, self.step("attention"), &self.layer.attention, operands, self.geometry, out);
    }

    /// `norm(output(context) + residual)`.
    fn finish(&mut self, context: View, residual: View, y: View) -> Result<(), GpuError> {
        let layer = self.layer;
        self.multiply("output", context, &layer.output, Activation::Identity, Some(residual), y)?;
        record_norm(self.recording, self.step("norm"), y, &layer.attention_norm);
        Ok(())
    }

    /// `norm(down(activation(up(x))) + x)`.
    fn feed_forward(&mut self, x: View, y: View) -> Result<(), GpuError> {
        let layer = self.layer;
        let inner = View::whole(Buffer::Arena(Arena::Wide), x.rows, layer.up.n);
        self.multiply("feed_forward", x, &layer.up, layer.activation, None, inner)?;
        self.multiply("feed_forward", inner, &layer.down, Activation::Identity, Some(x), y)?;
        record_norm(self.recording, self.step("norm"), y, &layer.norm);
        Ok(())
    }
}

/// The rows of `from` at which sequences start.
pub(super) fn record_gather(recording: &mut Recording, step: Step, from: View, to: View) {
    recording.push(Dispatch {
        step,
        pipeline: PipelineKey { shader: &GATHER_ROWS, constants: Vec::new() },
        buffers: vec![from.buffer, Buffer::Arena(Arena::Starts), to.buffer],
        workgroups: [to.stride.div_ceil(64) as u32, to.rows as u32, 1],
        uniforms: vec![to.rows as u32, to.stride as u32],
    });
}

/// Attention over all sequences.
pub(super) fn record_attention(
    recording: &mut Recording,
    step: Step,
    plan: &AttentionPlan,
    operands: &Operands,
    geometry: &Geometry,
    out: View,
) {
    let Operands { q, k, v, first } = *operands;
    let AttentionPlan { heads, head_dim, scale, relative } = plan;
    let (rows, blocks) = (geometry.rows(), geometry.query_blocks());
    let (pairs, first_block, blocks) = match first {
        false => (geometry.pairs, 0, blocks),
        true => (geometry.tokens as u64, blocks, rows),
    };
    let head4 = head_dim.div_ceil(4) as u32;
    let mut constants = vec![
        ("FIRST", u32::from(first)),
        ("HEAD4", head4),
        ("FOURS", head4.div_ceil(8)),
        ("VALUE_KEYS", if head4 <= 16 { 32 } else { 16 }),
    ];
    let (tables, slots, reach, queries_start) = match relative {
        None => (Buffer::Nothing, Buffer::Nothing, 0, 0),
        Some(relative) => {
            let sides = [("KEYS", relative.keys), ("QUERIES", relative.queries), ("HALF", relative.half)];
            constants.extend(sides.map(|(name, is)| (name, u32::from(is))));
            (relative.tables, relative.slots, relative.reach, relative.queries_start)
        }
    };
    let mut uniforms = vec![*heads as u32, *head_dim as u32, scale.to_bits()];
    let places = [q.stride, q.offset, k.stride, k.offset, v.offset, out.stride, reach, queries_start, first_block];
    uniforms.extend(places.map(|number| number as u32));
    recording.push(Dispatch {
        // Scores and their sum of values; positions are work that need not grow with the pairs.
        step: step.with_operations(4 * pairs * (heads * head_dim) as u64),
        pipeline: PipelineKey { shader: &ATTENTION, constants },
        buffers: vec![q.buffer, k.buffer, out.buffer, Buffer::Arena(Arena::Blocks), tables, slots],
        workgroups: [blocks as u32, *heads as u32, 1],
        uniforms,
    });
}

/// Rows normalised in place.
pub(super) fn record_norm(recording: &mut Recording, step: Step, x: View, norm: &NormPlan) {
    recording.push(Dispatch {
        step,
        pipeline: PipelineKey { shader: &LAYER_NORM, constants: Vec::new() },
        buffers: vec![x.buffer, norm.parameters],
        workgroups: [x.rows as u32, 1, 1],
        uniforms: vec![x.rows as u32, x.columns as u32, x.stride as u32, norm.epsilon.to_bits()],
    });
}
