//! A program as the device holds it: every weight packed and uploaded, and what is left of it in numbers.

use crate::error::GpuError;
use crate::gemm::{PackedWeights, Weights};
use crate::record::{Arena, Buffer, View};
use grice_kernels::{Activation, LayerNorm, SlotMap};
use grice_model::{Attention, Dense, Embedding, Layer, Linear, Precision, Relative, Values};
use serde::{Deserialize, Serialize};

/// The widest head that `attention` takes.
pub(crate) const HEAD_DIM_MAX: usize = 128;
/// The largest distance that is looked up; beyond it there is no slot of its own in any model.
pub(crate) const REACH_MAX: i64 = 1 << 16;

/// The encoder, and the head where it is dense layers, its weights uploaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Model {
    /// Columns of a hidden state.
    pub(crate) hidden: usize,
    /// Columns of the widest matrix between two steps.
    pub(crate) wide: usize,
    pub(crate) embedding: EmbeddingPlan,
    pub(crate) layers: Vec<LayerPlan>,
    /// From hidden states of token 0 to logits; none where the processor makes them.
    pub(crate) head: Vec<DensePlan>,
}

/// `activation(x · weights + bias)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DensePlan {
    pub(crate) weights: Weights,
    #[serde(with = "crate::compiled::ActivationName")]
    pub(crate) activation: Activation,
}

/// What becomes of the rows that the processor gathers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EmbeddingPlan {
    /// Of the tables and the norm.
    pub(crate) columns: usize,
    pub(crate) form: Form,
    pub(crate) positions: Option<PositionsPlan>,
    /// Gamma, beta, then the row that is added to every token, if there is one.
    pub(crate) parameters: Buffer,
    pub(crate) constant: bool,
    #[serde(with = "crate::compiled::bits")]
    pub(crate) epsilon: f32,
    /// From `columns` to the columns of hidden states, where these are more.
    pub(crate) projection: Option<Weights>,
}

/// Rows for positions, from the lowest that any token takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PositionsPlan {
    /// F32 `[rows, hidden]`.
    pub(crate) table: Buffer,
    pub(crate) rows: usize,
}

/// How rows of words come to the device: as they are stored, which for most models is half the bytes or a quarter of f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Form {
    F32,
    F16,
    Int8,
}

impl Form {
    pub(crate) fn of(words: &Values) -> Form {
        match words {
            // Factors of columns are multiplied in by [`grice_model::Lookup`].
            Values::F32(_) | Values::Int8Columns { .. } | Values::Int8Shifted { .. } => Form::F32,
            Values::F16(_) => Form::F16,
            Values::Int8Rows { .. } => Form::Int8,
        }
    }

    /// As `embed.wgsl` numbers them.
    pub(crate) fn code(self) -> u32 {
        match self {
            Form::F32 => 0,
            Form::F16 => 1,
            Form::Int8 => 2,
        }
    }

    /// Whether each row has a factor.
    pub(crate) fn has_scales(self) -> bool {
        self == Form::Int8
    }

    /// From one row to the next, whole words of 32 bits.
    pub(crate) fn row_bytes(self, columns: usize) -> usize {
        let bytes = match self {
            Form::F32 => 4 * columns,
            Form::F16 => 2 * columns,
            Form::Int8 => columns,
        };
        bytes.next_multiple_of(4)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LayerPlan {
    /// Queries, keys and values side by side; in the last layer, which asks only for token 0, keys and values.
    pub(crate) projections: Weights,
    /// Queries of the last layer.
    pub(crate) query: Option<Weights>,
    pub(crate) attention: AttentionPlan,
    pub(crate) output: Weights,
    pub(crate) attention_norm: NormPlan,
    pub(crate) up: Weights,
    #[serde(with = "crate::compiled::ActivationName")]
    pub(crate) activation: Activation,
    pub(crate) down: Weights,
    pub(crate) norm: NormPlan,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AttentionPlan {
    pub(crate) heads: usize,
    pub(crate) head_dim: usize,
    #[serde(with = "crate::compiled::bits")]
    pub(crate) scale: f32,
    pub(crate) relative: Option<RelativePlan>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RelativePlan {
    /// Relative keys, then relative queries, of which one may be absent.
    pub(crate) tables: Buffer,
    pub(crate) keys: bool,
    pub(crate) queries: bool,
    /// Whether they are in f16, two to a word.
    pub(crate) half: bool,
    /// Numbers before those of the queries.
    pub(crate) queries_start: usize,
    /// The slot of each distance from `-reach` to `reach`.
    pub(crate) slots: Buffer,
    pub(crate) reach: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NormPlan {
    /// Gamma, then beta.
    pub(crate) parameters: Buffer,
    #[serde(with = "crate::compiled::bits")]
    pub(crate) epsilon: f32,
}

/// Takes words that are to lie on the device, under a name for messages, and says as what.
pub(crate) type Upload<'a> = &'a mut dyn FnMut(String, Vec<u32>) -> Result<Buffer, GpuError>;

impl Model {
    /// `[rows, hidden]` of an arena.
    pub(crate) fn hidden_view(&self, arena: Arena, rows: usize) -> View {
        View::whole(Buffer::Arena(arena), rows, self.hidden)
    }

    /// All products but those of the head.
    pub(crate) fn all_products(&self) -> impl Iterator<Item = &Weights> {
        self.layers.iter().flat_map(Model::products).chain(&self.embedding.projection)
    }

    /// All products of a layer.
    pub(crate) fn products(layer: &LayerPlan) -> impl Iterator<Item = &Weights> {
        [&layer.projections, &layer.output, &layer.up, &layer.down].into_iter().chain(&layer.query)
    }

    /// Whether any product is of 8-bit integers.
    pub(crate) fn has_int8(&self) -> bool {
        self.all_products().any(|weights| weights.precision == Precision::Int8)
    }

    /// The widest matrices of the head, after its even layers and after its odd ones, counting from zero.
    pub(crate) fn head_wide(&self) -> [usize; 2] {
        let widest = |first: usize| self.head.iter().skip(first).step_by(2).map(|dense| dense.weights.n).max();
        [0, 1].map(|first| widest(first).unwrap_or(0))
    }

    /// What a pass leaves of each sequence: logits, or hidden states of token 0 for a head on the processor.
    pub(crate) fn answers(&self, rows: usize) -> View {
        match self.head.split_last() {
            None => self.hidden_view(Arena::Attended, rows),
            Some((last, others)) => View::whole(Buffer::Arena(Arena::of_head(others.len())), rows, last.weights.n),
        }
    }

    /// Packs and uploads weight by weight, freeing what was packed unless somebody else holds it. No buffer becomes larger than
    /// `binding_bytes_max`.
    ///
    /// # Errors
    /// [`GpuError::Lowering`] for what the shaders do not do, and what `upload` says.
    pub(crate) fn lower(
        embedding: &Embedding,
        layers: Vec<Layer>,
        head: &[Dense],
        binding_bytes_max: u64,
        upload: Upload<'_>,
    ) -> Result<Model, GpuError> {
        let columns = embedding.norm.gamma.len();
        let hidden = embedding.projection.as_ref().map_or(columns, Linear::outputs);
        let count = layers.len();
        if count == 0 {
            return Err(unable("the encoder", "it has no layers"));
        }
        let embedding = lower_embedding(embedding, hidden, binding_bytes_max, upload)?;
        let mut lowered = Vec::with_capacity(count);
        for (number, layer) in layers.into_iter().enumerate() {
            let is_last = number + 1 == count;
            let mut lowering = LayerLowering { number, hidden, is_last, binding_bytes_max, upload };
            lowered.push(lowering.lower(layer)?);
        }
        let inner = lowered.iter().map(|layer| layer.up.n).max().unwrap_or(0);
        let head = lower_head(head, hidden, binding_bytes_max, upload)?;
        Ok(Model { hidden, wide: inner.max(3 * hidden), embedding, layers: lowered, head })
    }
}

struct LayerLowering<'a> {
    number: usize,
    hidden: usize,
    is_last: bool,
    binding_bytes_max: u64,
    upload: Upload<'a>,
}

impl LayerLowering<'_> {
    fn lower(&mut self, layer: Layer) -> Result<LayerPlan, GpuError> {
        let Layer { query, key, value, attention, output, attention_norm, up, activation, down, norm } = layer;
        let (hidden, inner) = (self.hidden, up.outputs());
        let half = matches!(up.weights.values(), Values::F16(_));
        let attention = self.attention(attention, half)?;
        let (projections, query) = match self.is_last {
            true => (self.linear("kv", &[key, value], [hidden, 2 * hidden])?, Some([query])),
            false => (self.linear("qkv", &[query, key, value], [hidden, 3 * hidden])?, None),
        };
        let query = query.map(|query| self.linear("query", &query, [hidden, hidden])).transpose()?;
        Ok(LayerPlan {
            projections,
            query,
            attention,
            output: self.linear("output", &[output], [hidden, hidden])?,
            attention_norm: self.norm("norm after attention", &attention_norm)?,
            up: self.linear("feed_forward up", &[up], [hidden, inner])?,
            activation,
            down: self.linear("feed_forward down", &[down], [inner, hidden])?,
            norm: self.norm("norm after feed_forward", &norm)?,
        })
    }

    fn name(&self, op: &str) -> String {
        format!("layer {} {op}", self.number)
    }

    fn norm(&mut self, op: &str, norm: &LayerNorm) -> Result<NormPlan, GpuError> {
        upload_norm(&self.name(op), norm, self.hidden, self.upload)
    }

    /// Dense layers of the same input, side by side.
    fn linear(&mut self, op: &str, parts: &[Linear], [k, n]: [usize; 2]) -> Result<Weights, GpuError> {
        let parts: Vec<&Linear> = parts.iter().collect();
        upload_linear(&self.name(op), &parts, [k, n], self.binding_bytes_max, self.upload)
    }

    fn attention(&mut self, attention: Attention, half: bool) -> Result<AttentionPlan, GpuError> {
        let Attention { heads, head_dim, scale, relative } = attention;
        let name = self.name("attention");
        if heads * head_dim != self.hidden {
            return Err(unable(&name, &format!("{heads} heads of {head_dim} columns are not {}", self.hidden)));
        }
        if head_dim > HEAD_DIM_MAX {
            return Err(unable(&name, &format!("its heads have {head_dim} columns, more than {HEAD_DIM_MAX}")));
        }
        let relative = relative.map(|relative| self.relative(&name, &relative, half)).transpose()?;
        Ok(AttentionPlan { heads, head_dim, scale, relative })
    }

    fn relative(&mut self, name: &str, relative: &Relative, half: bool) -> Result<RelativePlan, GpuError> {
        let map = relative.slot_map().map_err(|error| unable(name, &error.to_string()))?;
        let total = map.slots() * self.hidden;
        let sides = [&relative.keys, &relative.queries].map(|table| table.as_ref().map(|table| table.as_slice()));
        if sides.iter().flatten().any(|table| table.len() != total) {
            return Err(unable(name, &format!("its relative positions are not {} by {}", map.slots(), self.hidden)));
        }
        let numbers = sides.into_iter().flatten().flatten().copied();
        let words: Vec<u32> = if half { pack_halves(numbers) } else { numbers.map(f32::to_bits).collect() };
        let tables = (self.upload)(format!("{name}, positions"), words)?;
        let sides = (relative.keys.is_some(), relative.queries.is_some());
        let (plan, slots) = RelativePlan::of(&map, tables, Buffer::Nothing, sides, self.hidden);
        Ok(RelativePlan { slots: (self.upload)(format!("{name}, slots"), slots)?, half, ..plan })
    }
}

impl RelativePlan {
    /// Of f32 tables that lie in `tables`, and what is to lie in `slots`. `sides`: whether there are relative keys, and
    /// relative queries; each of `width` columns.
    pub(crate) fn of(
        map: &SlotMap,
        tables: Buffer,
        slots: Buffer,
        (keys, queries): (bool, bool),
        width: usize,
    ) -> (RelativePlan, Vec<u32>) {
        let ends = (map.slot(-REACH_MAX), map.slot(REACH_MAX));
        let is_end = |&reach: &i64| (map.slot(-reach), map.slot(reach)) == ends;
        let reach = (0..REACH_MAX).find(is_end).unwrap_or(REACH_MAX);
        let words = (-reach..=reach).map(|distance| map.slot(distance) as u32).collect();
        let queries_start = if keys { map.slots() * width } else { 0 };
        (RelativePlan { tables, keys, queries, half: false, queries_start, slots, reach: reach as usize }, words)
    }
}

fn unable(step: &str, reason: &str) -> GpuError {
    GpuError::Lowering { step: step.to_owned(), reason: reason.to_owned() }
}

fn lower_embedding(
    embedding: &Embedding,
    hidden: usize,
    binding_bytes_max: u64,
    upload: Upload<'_>,
) -> Result<EmbeddingPlan, GpuError> {
    let Embedding { words, positions, constant, norm, projection } = embedding;
    let (name, columns) = ("the embedding", norm.gamma.len());
    let lengths = [words.columns(), norm.beta.len(), constant.as_ref().map_or(columns, Vec::len)];
    if lengths.iter().any(|length| *length != columns) {
        return Err(unable(name, "its rows are not as long as its norm"));
    }
    // Embedded tokens wait for their projection in a buffer of hidden states.
    if columns > hidden || (projection.is_none() && columns != hidden) {
        return Err(unable(name, &format!("its rows of {columns} do not become hidden states of {hidden}")));
    }
    let positions = match positions {
        None => None,
        Some(positions) if positions.table.columns() == columns && positions.tokens_max() > 0 => {
            let numbers = &positions.table.to_f32()[positions.first_row() * columns..];
            let words = numbers.iter().map(|number| number.to_bits()).collect();
            Some(PositionsPlan { table: upload("the positions".to_owned(), words)?, rows: positions.rows() })
        }
        Some(_) => return Err(unable("the positions", &format!("they are not rows of {columns} columns"))),
    };
    let numbers = norm.gamma.iter().chain(&norm.beta).chain(constant.iter().flatten());
    let parameters = upload(name.to_owned(), numbers.map(|number| number.to_bits()).collect())?;
    let form = Form::of(words.values());
    let projection = match projection {
        None => None,
        Some(linear) => {
            let name = "the embedding's projection";
            Some(upload_linear(name, &[linear], [columns, hidden], binding_bytes_max, upload)?)
        }
    };
    let (constant, epsilon) = (constant.is_some(), norm.epsilon);
    Ok(EmbeddingPlan { columns, form, positions, parameters, constant, epsilon, projection })
}

fn lower_head(
    head: &[Dense],
    hidden: usize,
    binding_bytes_max: u64,
    upload: Upload<'_>,
) -> Result<Vec<DensePlan>, GpuError> {
    let mut columns = hidden;
    let mut lowered = Vec::with_capacity(head.len());
    for (number, Dense { linear, activation }) in head.iter().enumerate() {
        let (name, size) = (format!("head {number}"), [columns, linear.outputs()]);
        let weights = upload_linear(&name, &[linear], size, binding_bytes_max, upload)?;
        lowered.push(DensePlan { weights, activation: *activation });
        columns = linear.outputs();
    }
    Ok(lowered)
}

fn upload_linear(
    name: &str,
    parts: &[&Linear],
    [k, n]: [usize; 2],
    binding_bytes_max: u64,
    upload: Upload<'_>,
) -> Result<Weights, GpuError> {
    let found = parts.iter().map(|part| part.outputs()).sum::<usize>();
    if found != n || parts.iter().any(|part| part.inputs() != k) {
        return Err(unable(name, &format!("its weights are not {k} by {n}")));
    }
    if parts.iter().any(|part| part.bias.as_ref().is_some_and(|bias| bias.len() != part.outputs())) {
        return Err(unable(name, "its bias is not as long as its weights are wide"));
    }
    PackedWeights::pack(name, parts, binding_bytes_max)?.upload(|words| upload(name.to_owned(), words))
}

fn upload_norm(name: &str, norm: &LayerNorm, columns: usize, upload: Upload<'_>) -> Result<NormPlan, GpuError> {
    if norm.gamma.len() != columns || norm.beta.len() != columns {
        return Err(unable(name, &format!("it has not {columns} columns")));
    }
    let numbers: Vec<u32> = norm.gamma.iter().chain(&norm.beta).map(|number| number.to_bits()).collect();
    Ok(NormPlan { parameters: upload(name.to_owned(), numbers)?, epsilon: norm.epsilon })
}

/// Two to a word, the first in the low bits.
pub(crate) fn pack_halves(numbers: impl Iterator<Item = f32>) -> Vec<u32> {
    let halves: Vec<u16> = numbers.map(|number| half::f16::from_f32(number).to_bits()).collect();
    halves.chunks(2).map(|pair| u32::from(pair[0]) | u32::from(pair.get(1).copied().unwrap_or(0)) << 16).collect()
}
