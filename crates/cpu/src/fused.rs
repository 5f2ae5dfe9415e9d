//! The fused program on packed tokens: kernels for the encoder, tract for the head.

use grice_kernels::{
    Activation, AttentionShape, Epilogue, Isa, Kernels, LayerNorm, PackedLinear, Queries, Relative, Rounding, Rows,
    ShapeError, WeightData, WeightPart,
};
use grice_model::{
    Attention, Batch, EngineError, Head, HeadRunner, Layer, Linear, Logits, Lookup, Precision, Program, Trace, Values,
    record_step as record,
};
use std::sync::Arc;

/// Tokens run together; more only moves activations out of cache.
const TOKENS_MAX: usize = 2048;

/// The program, its threads and its buffers.
pub(crate) struct Fused {
    weights: Arc<Weights>,
    kernels: Kernels,
    head: HeadRunner,
    buffers: Buffers,
    labels: usize,
}

/// What engines of the same network share.
pub(crate) struct Weights {
    /// What the weights are packed for.
    isa: Isa,
    lookup: Lookup,
    /// From the width of the embedding to that of the layers, where these differ.
    projection: Option<PackedLinear>,
    layers: Vec<PackedLayer>,
    head: Head,
    columns: usize,
}

struct PackedLayer {
    /// Queries, keys and values side by side; in the last layer, which asks only for token 0, keys and values.
    projections: PackedLinear,
    /// Queries of the last layer.
    query: Option<PackedLinear>,
    shape: AttentionShape,
    relative: Option<Relative>,
    output: PackedLinear,
    attention_norm: LayerNorm,
    up: PackedLinear,
    activation: Activation,
    down: PackedLinear,
    norm: LayerNorm,
}

/// Reused from run to run.
#[derive(Default)]
struct Buffers {
    /// Hidden states, `[tokens, columns]`.
    hidden: Vec<f32>,
    /// After attention and its norm.
    attended: Vec<f32>,
    /// Queries, keys and values.
    projected: Vec<f32>,
    /// What attention makes.
    context: Vec<f32>,
    /// Token 0 of each sequence, and its queries.
    first: Vec<f32>,
    query: Vec<f32>,
}

impl Fused {
    pub(crate) fn new(weights: Arc<Weights>, labels: usize, threads: usize) -> Result<Fused, EngineError> {
        let head = weights.head.runner()?;
        let kernels = Kernels::with_isa(weights.isa, threads);
        Ok(Fused { weights, kernels, head, buffers: Buffers::default(), labels })
    }

    pub(crate) fn isa(&self) -> &'static str {
        self.kernels.isa().name()
    }

    pub(crate) fn forward(&mut self, batch: &Batch, mut trace: Option<&mut Trace>) -> Result<Logits, EngineError> {
        self.weights.lookup.check(batch)?;
        let mut logits = Logits::zeros(batch.rows(), self.labels);
        for rows in batch.split(TOKENS_MAX) {
            let (ids, cu_seqlens) = batch.part(rows.clone());
            let run = Run { weights: &self.weights, kernels: &self.kernels, ids, cu_seqlens: &cu_seqlens };
            run.encode(&mut self.buffers, &mut trace).map_err(|error| EngineError::Run(error.to_string()))?;
            let first = &self.buffers.attended[..rows.len() * self.weights.columns];
            let head = &mut self.head;
            let values = record(&mut trace, None, "head", 0, || head.run(first))?;
            for (row, values) in rows.zip(values.chunks_exact(self.labels)) {
                logits.row_mut(row).copy_from_slice(values);
            }
        }
        Ok(logits)
    }
}

struct Run<'a> {
    weights: &'a Weights,
    kernels: &'a Kernels,
    ids: &'a [u32],
    cu_seqlens: &'a [u32],
}

impl Run<'_> {
    /// Hidden states of token 0 of each sequence, left in `attended`'s first rows.
    fn encode(&self, buffers: &mut Buffers, trace: &mut Option<&mut Trace>) -> Result<(), ShapeError> {
        let (tokens, columns) = (self.ids.len(), self.weights.columns);
        buffers.resize(tokens, columns);
        record(trace, None, "embed", 0, || self.embed(buffers))?;
        for (number, layer) in self.weights.layers.iter().enumerate() {
            let step = LayerRun { run: self, layer, number };
            match &layer.query {
                None => step.run_all(buffers, trace)?,
                Some(query) => step.run_first(query, buffers, trace)?,
            }
        }
        Ok(())
    }

    fn embed(&self, buffers: &mut Buffers) -> Result<(), ShapeError> {
        let (lookup, tokens) = (&self.weights.lookup, self.ids.len());
        let Some(projection) = &self.weights.projection else {
            return self.embed_words(&mut buffers.hidden);
        };
        let Buffers { hidden, projected, .. } = buffers;
        let words = &mut projected[..tokens * lookup.columns()];
        self.embed_words(words)?;
        let epilogue = Epilogue { activation: Activation::Identity, residual: None, norm: None };
        self.kernels.linear(words, tokens, projection, &epilogue, hidden)
    }

    fn embed_words(&self, out: &mut [f32]) -> Result<(), ShapeError> {
        let lookup = &self.weights.lookup;
        lookup.gather(self.kernels, self.ids, self.cu_seqlens, out)?;
        self.kernels.layer_norm_in_place(out, self.ids.len(), lookup.norm())
    }
}

impl Buffers {
    fn resize(&mut self, tokens: usize, columns: usize) {
        for buffer in [&mut self.hidden, &mut self.attended, &mut self.context] {
            buffer.resize(tokens * columns, 0.0);
        }
        self.projected.resize(tokens * columns * 3, 0.0);
    }
}

/// One layer of one run.
struct LayerRun<'a> {
    run: &'a Run<'a>,
    layer: &'a PackedLayer,
    number: usize,
}

impl LayerRun<'_> {
    fn run_all(&self, buffers: &mut Buffers, trace: &mut Option<&mut Trace>) -> Result<(), ShapeError> {
        let (tokens, columns) = (self.run.ids.len(), self.run.weights.columns);
        let Buffers { hidden, attended, projected, context, .. } = buffers;
        self.project(&self.layer.projections, hidden, tokens, projected, "qkv", trace)?;
        let rows = |part: usize| Rows { data: projected.as_slice(), stride: 3 * columns, offset: part * columns };
        self.attend([rows(0), rows(1), rows(2)], Queries::All, context, trace)?;
        self.finish(context, hidden, tokens, attended, trace)?;
        self.feed_forward(attended, tokens, hidden, trace)
    }

    /// The last layer: queries, and all that follows attention, for token 0 only.
    fn run_first(
        &self,
        query: &PackedLinear,
        buffers: &mut Buffers,
        trace: &mut Option<&mut Trace>,
    ) -> Result<(), ShapeError> {
        let (tokens, columns) = (self.run.ids.len(), self.run.weights.columns);
        let rows = self.run.cu_seqlens.len() - 1;
        let Buffers { hidden, attended, projected, context, first, query: queries } = buffers;
        first.clear();
        for &start in &self.run.cu_seqlens[..rows] {
            first.extend_from_slice(&hidden[start as usize * columns..(start as usize + 1) * columns]);
        }
        queries.resize(rows * columns, 0.0);
        self.project(query, first, rows, queries, "query", trace)?;
        let projected = &mut projected[..tokens * columns * 2];
        self.project(&self.layer.projections, hidden, tokens, projected, "kv", trace)?;
        let (context, attended) = (&mut context[..rows * columns], &mut attended[..rows * columns]);
        let keys = |part: usize| Rows { data: &*projected, stride: 2 * columns, offset: part * columns };
        let queries = Rows { data: queries.as_slice(), stride: columns, offset: 0 };
        self.attend([queries, keys(0), keys(1)], Queries::First, context, trace)?;
        let finished = &mut hidden[..rows * columns];
        self.finish(context, first, rows, finished, trace)?;
        self.feed_forward(finished, rows, attended, trace)
    }

    fn project(
        &self,
        weights: &PackedLinear,
        x: &[f32],
        rows: usize,
        out: &mut [f32],
        op: &'static str,
        trace: &mut Option<&mut Trace>,
    ) -> Result<(), ShapeError> {
        let epilogue = Epilogue { activation: Activation::Identity, residual: None, norm: None };
        let operations = product_operations(rows, weights);
        record(trace, Some(self.number), op, operations, || self.run.kernels.linear(x, rows, weights, &epilogue, out))
    }

    fn attend(
        &self,
        [q, k, v]: [Rows<'_>; 3],
        queries: Queries,
        out: &mut [f32],
        trace: &mut Option<&mut Trace>,
    ) -> Result<(), ShapeError> {
        let layer = self.layer;
        let lengths = self.run.cu_seqlens.windows(2).map(|pair| u64::from(pair[1] - pair[0]));
        let pairs: u64 =
            lengths.map(|length| if let Queries::First = queries { length } else { length * length }).sum();
        // Scores and their sum of values; positions are work that need not grow with the pairs.
        let operations = 4 * pairs * (layer.shape.heads * layer.shape.head_dim) as u64;
        let cu_seqlens = self.run.cu_seqlens;
        record(trace, Some(self.number), "attention", operations, || {
            self.run.kernels.attention(&q, &k, &v, cu_seqlens, queries, &layer.shape, layer.relative.as_ref(), out)
        })
    }

    /// `norm(output(context) + residual)`.
    fn finish(
        &self,
        context: &[f32],
        residual: &[f32],
        rows: usize,
        out: &mut [f32],
        trace: &mut Option<&mut Trace>,
    ) -> Result<(), ShapeError> {
        let layer = self.layer;
        let residual = Some(&residual[..rows * self.run.weights.columns]);
        let epilogue = Epilogue { activation: Activation::Identity, residual, norm: Some(&layer.attention_norm) };
        let operations = product_operations(rows, &layer.output);
        record(trace, Some(self.number), "output", operations, || {
            self.run.kernels.linear(context, rows, &layer.output, &epilogue, out)
        })
    }

    fn feed_forward(
        &self,
        x: &[f32],
        rows: usize,
        out: &mut [f32],
        trace: &mut Option<&mut Trace>,
    ) -> Result<(), ShapeError> {
        let layer = self.layer;
        let epilogue = Epilogue { activation: Activation::Identity, residual: Some(x), norm: Some(&layer.norm) };
        let operations = product_operations(rows, &layer.up) + product_operations(rows, &layer.down);
        record(trace, Some(self.number), "feed_forward", operations, || {
            self.run.kernels.feed_forward(x, rows, &layer.up, layer.activation, &layer.down, &epilogue, out)
        })
    }
}

fn product_operations(rows: usize, weights: &PackedLinear) -> u64 {
    2 * (rows * weights.k() * weights.n()) as u64
}

impl Weights {
    /// Packs weight by weight, freeing what was packed unless somebody else holds it.
    pub(crate) fn pack(program: Program, labels: usize, isa: Isa) -> Result<Weights, EngineError> {
        let target = Target { isa, rounding: rounding_for(&program) };
        let (columns, head) = (program.hidden(), Head::new(&program, labels)?);
        let Program { mut embedding, layers, .. } = program;
        let last = layers.len().saturating_sub(1);
        let layers = layers.into_iter().enumerate().map(|(number, layer)| pack_layer(layer, number == last, target));
        let unfit = |error: ShapeError| EngineError::Plan(error.to_string());
        let projection = embedding.projection.take().map(|linear| pack(target, &[linear]));
        let projection = projection.transpose().map_err(unfit)?;
        let layers = layers.collect::<Result<_, _>>().map_err(unfit)?;
        Ok(Weights { isa, lookup: Lookup::new(embedding).map_err(unfit)?, projection, layers, head, columns })
    }
}

/// What weights are packed for.
#[derive(Clone, Copy)]
struct Target {
    isa: Isa,
    rounding: Rounding,
}

/// Stepwise where any layer rounds what it is given to bytes: then a difference in the last bit before it would be a whole byte after it,
/// and the browser's verdict another than this one's.
fn rounding_for(program: &Program) -> Rounding {
    let is_int8 = |layer: &Layer| {
        let Layer { query, key, value, output, up, down, .. } = layer;
        let mut linears = [query, key, value, output, up, down].into_iter();
        linears.any(|linear| linear.weights.precision() == Precision::Int8)
    };
    let projection = program.embedding.projection.as_ref();
    let projects_int8 = projection.is_some_and(|linear| linear.weights.precision() == Precision::Int8);
    if projects_int8 || program.layers.iter().any(is_int8) { Rounding::Stepwise } else { Rounding::Fused }
}

fn pack_layer(layer: Layer, is_last: bool, target: Target) -> Result<PackedLayer, ShapeError> {
    let Layer { query, key, value, attention, output, attention_norm, up, activation, down, norm } = layer;
    let (projections, query) = match is_last {
        true => (pack(target, &[key, value])?, Some(pack(target, &[query])?)),
        false => (pack(target, &[query, key, value])?, None),
    };
    let Attention { heads, head_dim, scale, relative } = attention;
    Ok(PackedLayer {
        projections,
        query,
        shape: AttentionShape { heads, head_dim, scale, rounding: target.rounding },
        relative: relative.map(|relative| relative.pack(heads, head_dim)).transpose()?,
        output: pack(target, &[output])?,
        attention_norm,
        up: pack(target, &[up])?,
        activation,
        down: pack(target, &[down])?,
        norm,
    })
}

/// Dense layers of the same input, side by side.
fn pack(target: Target, linears: &[Linear]) -> Result<PackedLinear, ShapeError> {
    let inputs = linears.first().map_or(0, Linear::inputs);
    // A matrix with one scale a row is not what the kernels multiply by.
    let plain: Vec<Option<Vec<f32>>> = linears
        .iter()
        .map(|linear| matches!(linear.weights.values(), Values::Int8Rows { .. }).then(|| linear.weights.to_f32()))
        .collect();
    let parts: Vec<WeightPart<'_>> = linears
        .iter()
        .zip(&plain)
        .map(|(linear, plain)| WeightPart {
            n: linear.outputs(),
            data: match (linear.weights.values(), plain) {
                (_, Some(values)) => WeightData::F32(values),
                (Values::F32(values), _) => WeightData::F32(values),
                (Values::F16(values), _) => WeightData::F16(values),
                (Values::Int8Shifted { values, scales, zeros }, _) => WeightData::Int8Shifted { values, scales, zeros },
                (Values::Int8Columns { values, scales } | Values::Int8Rows { values, scales }, None) => {
                    WeightData::Int8 { values, scales }
                }
            },
            bias: linear.bias.as_deref(),
        })
        .collect();
    PackedLinear::pack(target.isa, inputs, &parts, target.rounding)
}
