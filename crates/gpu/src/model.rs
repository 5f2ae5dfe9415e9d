//! A program as the device holds it: its steps, and every part that they name packed and uploaded.

use crate::error::GpuError;
use crate::gemm::{PackedWeights, Weights};
use crate::recording::{Arena, Buffer, View};
use grice_kernels::{AttentionShape, LayerNorm, Rotary, Rounding, ScoreBias, SlotMap};
use grice_model::{
    Action, Embedding, Extent, Linear, Operand, Parts, Precision, Relative, Scores, Step, Steps, Values, numbers_of,
};
use serde::{Deserialize, Serialize};

/// The widest head that `attention` takes.
pub(crate) const HEAD_DIM_MAX: usize = 128;
/// The largest distance that is looked up; beyond it there is no slot of its own in any model.
pub(crate) const REACH_MAX: i64 = 1 << 16;

/// A window that is wider than any sequence is long.
const WINDOW_MAX: u32 = 1 << 24;

/// Steps, and what they name by number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Model {
    pub(crate) steps: Steps,
    pub(crate) embedding: EmbeddingPlan,
    pub(crate) linears: Vec<Weights>,
    pub(crate) norms: Vec<NormPlan>,
    pub(crate) attentions: Vec<AttentionPlan>,
}

/// What becomes of the rows that the processor gathers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EmbeddingPlan {
    /// Of the tables and the norm.
    pub(crate) columns: usize,
    pub(crate) form: Form,
    pub(crate) positions: Option<PositionsPlan>,
    /// Gamma, beta (neither of which matters without a norm), then the row that is added to every token, if there is one.
    pub(crate) parameters: Buffer,
    pub(crate) constant: bool,
    /// Whether there is a norm.
    pub(crate) normed: bool,
    #[serde(with = "crate::bits")]
    pub(crate) epsilon: f32,
    /// Whether the norm subtracts the mean.
    pub(crate) centred: bool,
}

/// Rows for positions, from the lowest that any token takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PositionsPlan {
    /// F32 `[rows, columns]`.
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
            Values::F32(_) | Values::Int8Columns { .. } | Values::Int8Shifted { .. } | Values::Int4Groups { .. } => {
                Form::F32
            }
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
pub(crate) struct AttentionPlan {
    pub(crate) heads: usize,
    pub(crate) key_heads: usize,
    pub(crate) head_dim: usize,
    #[serde(with = "crate::bits")]
    pub(crate) scale: f32,
    /// How far a query sees to either side, where that is bounded.
    pub(crate) window: Option<u32>,
    pub(crate) relative: Option<RelativePlan>,
    pub(crate) rotary: Option<RotaryPlan>,
    pub(crate) bias: Option<BiasPlan>,
}

/// What distances add to scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BiasPlan {
    /// F32 `[heads, 2 · reach + 1]`, key minus query.
    pub(crate) values: Buffer,
    /// Beyond it, to either side, distances add what this one does.
    pub(crate) reach: usize,
}

/// The angles of rotary positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RotaryPlan {
    /// F32 `[positions, 2, columns / 2]`: cosines, then sines.
    pub(crate) table: Buffer,
    /// Columns of a head that turn.
    pub(crate) columns: usize,
    pub(crate) positions: usize,
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
    #[serde(with = "crate::bits")]
    pub(crate) epsilon: f32,
    /// Whether the mean is subtracted.
    pub(crate) centred: bool,
}

/// Takes words that are to lie on the device, under a name for messages, and says as what.
pub(crate) type Upload<'a> = &'a mut dyn FnMut(String, Vec<u32>) -> Result<Buffer, GpuError>;

impl Model {
    /// The matrix that an operand is, of a batch of so many tokens and sequences.
    pub(crate) fn view(operand: &Operand, extent: &Extent) -> View {
        let Operand { slot, rows, width, offset, columns } = *operand;
        let (rows, stride) = (extent.rows(rows), stride(width));
        View { buffer: Buffer::Arena(Arena::Slot(slot)), rows, columns, stride, offset }
    }

    /// What a pass leaves of each sequence: logits, or hidden states of token 0 for a head on the processor.
    pub(crate) fn answers(&self, sequences: usize) -> View {
        Model::view(&self.steps.answer, &Extent { sequences, ..Extent::default() })
    }

    /// The most tokens of a sequence that there are angles for, where they are needed.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn longest(&self) -> Option<usize> {
        self.attentions.iter().filter_map(|attention| attention.rotary).map(|rotary| rotary.positions).min()
    }

    /// All linears but those of the head.
    pub(crate) fn encoder_linears(&self) -> Vec<&Weights> {
        let is_head = |number: usize| {
            let names = |step: &Step| matches!(step.action, Action::Product { linear, .. } if linear == number);
            self.steps.list.iter().any(|step| step.op == grice_model::Op::Head && names(step))
        };
        self.linears.iter().enumerate().filter(|(number, _)| !is_head(*number)).map(|(_, weights)| weights).collect()
    }

    /// Columns of the widest rows that become 8-bit integers on the way; 0 if none do.
    pub(crate) fn quantized_columns(&self) -> usize {
        let linears = self.linears.iter().filter(|weights| weights.precision == Precision::Int8);
        linears.map(|weights| weights.k).max().unwrap_or(0)
    }

    /// Packs and uploads weight by weight, freeing what was packed unless somebody else holds it. No buffer becomes larger than
    /// `binding_bytes_max`. Answers the model, and the embedding, whose words stay with the processor.
    ///
    /// # Errors
    /// [`GpuError::Lowering`] for what the shaders do not do, and what `upload` says.
    pub(crate) fn lower(
        steps: Steps,
        parts: Parts,
        binding_bytes_max: u64,
        upload: Upload<'_>,
    ) -> Result<(Model, Embedding), GpuError> {
        steps.check().map_err(|unsound| unable("the program", &unsound.to_string()))?;
        let Parts { embedding, linears, norms, attentions, .. } = parts;
        let names = Names(&steps);
        let plan = lower_embedding(&embedding, upload)?;
        let halves = names.attentions_in_halves(&linears);
        let attentions = attentions.into_iter().zip(halves).enumerate().map(|(number, (scores, half))| {
            AttentionLowering { name: names.attention(number), half, upload }.lower(scores)
        });
        let attentions = attentions.collect::<Result<_, _>>()?;
        let norms = norms.iter().enumerate().map(|(number, norm)| upload_norm(&names.norm(number), norm, upload));
        let norms = norms.collect::<Result<_, _>>()?;
        let sizes = steps.linears.clone();
        let linears = linears.into_iter().zip(sizes).enumerate().map(|(number, (parts, size))| {
            upload_linear(&names.linear(number), &parts, size, binding_bytes_max, upload)
        });
        let linears = linears.collect::<Result<_, _>>()?;
        // The processor only gathers its rows.
        let embedding = Embedding { norm: None, projection: None, ..embedding };
        Ok((Model { steps, embedding: plan, linears, norms, attentions }, embedding))
    }
}

/// From one row to the next: whole fours.
pub(crate) fn stride(columns: usize) -> usize {
    columns.next_multiple_of(4)
}

/// What parts are called in messages: after the first step that names them.
struct Names<'a>(&'a Steps);

impl Names<'_> {
    fn of(&self, kind: &str, names: impl Fn(&Action) -> bool) -> String {
        match self.0.list.iter().find(|step| names(&step.action)) {
            Some(Step { layer: Some(layer), op, .. }) => format!("layer {layer} {}{kind}", op.name()),
            Some(step) => format!("{}{kind}", step.op.name()),
            None => kind.trim_start().to_owned(),
        }
    }

    fn linear(&self, number: usize) -> String {
        self.of("", |action| match action {
            Action::Product { linear, .. } => *linear == number,
            Action::FeedForward { up, down, .. } => *up == number || *down == number,
            _ => false,
        })
    }

    fn norm(&self, number: usize) -> String {
        self.of(" norm", |action| match action {
            Action::Product { then, .. } | Action::FeedForward { then, .. } => then.norm == Some(number),
            Action::Norm { norm, .. } => *norm == number,
            _ => false,
        })
    }

    fn attention(&self, number: usize) -> String {
        self.of("", |action| matches!(action, Action::Attend { attention, .. } if *attention == number))
    }

    /// Of each attention whether the product that makes its keys has weights in f16; then its tables are in f16 too.
    fn attentions_in_halves(&self, linears: &[Vec<Linear>]) -> Vec<bool> {
        let mut halves = vec![false; self.0.attentions.len()];
        let mut made_by = std::collections::HashMap::new();
        for step in &self.0.list {
            match step.action {
                Action::Product { linear, to, .. } => _ = made_by.insert(to.slot, linear),
                Action::Attend { k, attention, .. } => {
                    let parts =
                        made_by.get(&k.slot).and_then(|&linear| linears.get(linear)).and_then(|parts| parts.first());
                    halves[attention] = parts.is_some_and(|part| matches!(part.weights.values(), Values::F16(_)));
                }
                _ => {}
            }
        }
        halves
    }
}

struct AttentionLowering<'a> {
    name: String,
    half: bool,
    upload: Upload<'a>,
}

impl AttentionLowering<'_> {
    fn lower(mut self, scores: Scores) -> Result<AttentionPlan, GpuError> {
        let AttentionShape { heads, key_heads, head_dim, scale, window, .. } = scores.shape(Rounding::Fused);
        if head_dim > HEAD_DIM_MAX {
            let reason = format!("its heads have {head_dim} columns, more than {HEAD_DIM_MAX}");
            return Err(unable(&self.name, &reason));
        }
        let window = window.map(|window| u32::try_from(window).unwrap_or(u32::MAX).min(WINDOW_MAX));
        let relative = scores.relative().map(|relative| self.relative(relative, heads * head_dim)).transpose()?;
        let rotary = scores.rotary().map(|rotary| self.rotary(rotary, head_dim)).transpose()?;
        let bias = scores.bias().map(|bias| self.bias(bias)).transpose()?;
        Ok(AttentionPlan { heads, key_heads, head_dim, scale, window, relative, rotary, bias })
    }

    fn bias(&mut self, bias: &ScoreBias) -> Result<BiasPlan, GpuError> {
        let (reach, numbers) = numbers_of(bias);
        let words = numbers.iter().map(|number| number.to_bits()).collect();
        Ok(BiasPlan { values: (self.upload)(format!("{}, bias", self.name), words)?, reach })
    }

    fn rotary(&mut self, rotary: &Rotary, head_dim: usize) -> Result<RotaryPlan, GpuError> {
        let table = rotary.table().map_err(|error| unable(&self.name, &error.to_string()))?;
        if rotary.columns > head_dim {
            return Err(unable(&self.name, "more columns turn than its heads have"));
        }
        let words = table.values().iter().map(|number| number.to_bits()).collect();
        let table = (self.upload)(format!("{}, angles", self.name), words)?;
        Ok(RotaryPlan { table, columns: rotary.columns, positions: rotary.positions })
    }

    fn relative(&mut self, relative: &Relative, width: usize) -> Result<RelativePlan, GpuError> {
        let (name, half) = (self.name.as_str(), self.half);
        let map = relative.slot_map().map_err(|error| unable(name, &error.to_string()))?;
        let total = map.slots() * width;
        let sides = [&relative.keys, &relative.queries].map(|table| table.as_ref().map(|table| table.as_slice()));
        if sides.iter().flatten().any(|table| table.len() != total) {
            return Err(unable(name, &format!("its relative positions are not {} by {width}", map.slots())));
        }
        let numbers = sides.into_iter().flatten().flatten().copied();
        let words: Vec<u32> = if half { pack_halves(numbers) } else { numbers.map(f32::to_bits).collect() };
        let tables = (self.upload)(format!("{name}, positions"), words)?;
        let sides = (relative.keys.is_some(), relative.queries.is_some());
        let (plan, slots) = RelativePlan::of(&map, tables, Buffer::Nothing, sides, width);
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

fn lower_embedding(embedding: &Embedding, upload: Upload<'_>) -> Result<EmbeddingPlan, GpuError> {
    let Embedding { words, positions, constant, norm, .. } = embedding;
    let (name, columns) = ("the embedding", embedding.columns());
    let (normed, plain) = (norm.is_some(), || LayerNorm {
        gamma: vec![1.0; columns],
        beta: vec![0.0; columns],
        epsilon: 0.0,
        centred: true,
    });
    let norm = norm.clone().unwrap_or_else(plain);
    let lengths = [norm.gamma.len(), norm.beta.len(), constant.as_ref().map_or(columns, Vec::len)];
    if lengths.iter().any(|length| *length != columns) {
        return Err(unable(name, "its rows are not as long as its norm"));
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
    let (form, constant) = (Form::of(words.values()), constant.is_some());
    let LayerNorm { epsilon, centred, .. } = norm;
    Ok(EmbeddingPlan { columns, form, positions, parameters, constant, normed, epsilon, centred })
}

fn upload_linear(
    name: &str,
    parts: &[Linear],
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
    PackedWeights::pack(name, &parts.iter().collect::<Vec<_>>(), binding_bytes_max)?
        .upload(|words| upload(name.to_owned(), words))
}

fn upload_norm(name: &str, norm: &LayerNorm, upload: Upload<'_>) -> Result<NormPlan, GpuError> {
    if norm.gamma.len() != norm.beta.len() {
        return Err(unable(name, "its parameters are not as many"));
    }
    let numbers: Vec<u32> = norm.gamma.iter().chain(&norm.beta).map(|number| number.to_bits()).collect();
    Ok(NormPlan { parameters: upload(name.to_owned(), numbers)?, epsilon: norm.epsilon, centred: norm.centred })
}

/// Two to a word, the first in the low bits.
pub(crate) fn pack_halves(numbers: impl Iterator<Item = f32>) -> Vec<u32> {
    let halves: Vec<u16> = numbers.map(|number| half::f16::from_f32(number).to_bits()).collect();
    halves.chunks(2).map(|pair| u32::from(pair[0]) | u32::from(pair.get(1).copied().unwrap_or(0)) << 16).collect()
}
