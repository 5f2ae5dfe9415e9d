//! The one walk over a program: a flat list of steps on named buffers, and the weights that they name by number.
//!
//! ```text
//! Program ─► (Steps, Parts) ─► the CPU executes it, the GPU records it, `inspect` prints it, a compiled file holds it
//! ```
//!
//! The list holds no weights, only sizes. All rows of all sequences go through a step before the next begins. Where only token 0 is
//! asked for, the last attention picks it, and what follows has a row a sequence.

mod check;
mod generator;
mod walk;

pub use check::Unsound;
pub use generator::{GeneratorParts, GeneratorSteps};

use crate::Head;
use crate::program::{Embedding, ScorePositions, Scores, Sees};
use crate::weights::Linear;
use grice_kernels::{Activation, LayerNorm};
use serde::{Deserialize, Serialize};

/// A buffer of an engine, reused from step to step. Its rows follow each other without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// Hidden states before every other block, the first among them.
    Hidden,
    /// Hidden states before the others.
    Attended,
    /// Queries, keys and values side by side; between the two halves of a feed-forward network.
    Wide,
    /// What attention makes.
    Context,
    /// Normalised hidden states, for pre-norm blocks.
    Normed,
    /// Hidden states of token 0 of each sequence, or their mean.
    First,
    /// The same, normalised.
    FirstNormed,
    /// The queries of token 0.
    Query,
    /// What the head's layers 0, 2, 4 … make.
    Even,
    /// What its layers 1, 3, 5 … make.
    Odd,
}

/// How many rows a matrix has. In text generation `Sequences` stands for the tokens that are asked about, which are the last ones of
/// each sequence: there may be several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rows {
    /// One a token.
    Tokens,
    /// One a sequence.
    Sequences,
}

/// Whose keys and values attention reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Memory {
    /// Those of the sequence itself, as far as it has got.
    Own,
    /// Those that the encoder made of its source.
    Source,
}

/// Columns of a matrix in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operand {
    /// Where it lies.
    pub slot: Slot,
    /// How many rows it has.
    pub rows: Rows,
    /// Columns of a whole row in the buffer.
    pub width: usize,
    /// The first column.
    pub offset: usize,
    /// How many columns there are.
    pub columns: usize,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The layer that it is part of, if any.
    pub layer: Option<usize>,
    /// What it is called in traces.
    pub op: Op,
    /// What is to be done.
    pub action: Action,
}

/// What a step is called in traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "they say it themselves")]
pub enum Op {
    Embed,
    Project,
    Norm,
    Gather,
    Pool,
    Unit,
    Qkv,
    Kv,
    Query,
    Rotate,
    Keep,
    Attention,
    CrossAttention,
    Output,
    FeedForward,
    Head,
    Words,
}

/// What an engine is to do. Numbers name parts: [`Parts`] says which.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// `to = norm(words[id] + positions[place] + constant)` of every token.
    Embed {
        /// `[tokens, embedding.columns]`.
        to: Operand,
    },
    /// `to = norm(activation(x · weights + bias) + residual)`.
    Product {
        /// `[rows, k]`.
        x: Operand,
        /// Which linear.
        linear: usize,
        /// What follows.
        then: Then,
        /// `[rows, n]`.
        to: Operand,
    },
    /// `to = norm(down(activation(up(x))) + residual)`.
    FeedForward {
        /// `[rows, k]`.
        x: Operand,
        /// Which linear is the first half.
        up: usize,
        /// Between the halves.
        #[serde(with = "ActivationName")]
        activation: Activation,
        /// Which linear is the second half.
        down: usize,
        /// What follows.
        then: Then,
        /// `[rows, inner]`: room for what is between the halves, where an engine keeps all of it.
        inner: Operand,
        /// `[rows, n]`.
        to: Operand,
    },
    /// `to = norm(x)`.
    Norm {
        /// `[rows, columns]`.
        x: Operand,
        /// Which norm.
        norm: usize,
        /// As `x`.
        to: Operand,
    },
    /// `to = activation(gate) · up`, where `x` holds the gate's columns, then those of up.
    Gate {
        /// `[rows, 2 · inner]`.
        x: Operand,
        /// Of the gate.
        #[serde(with = "ActivationName")]
        activation: Activation,
        /// `[rows, inner]`.
        to: Operand,
    },
    /// Turns heads by their tokens' places in their sequences, in place.
    Rotate {
        /// Some columns of a buffer, whole heads: `[tokens, n · head_dim]`.
        x: Operand,
        /// Which attention's rotary positions.
        attention: usize,
    },
    /// `to` = the rows of `x` of token 0 of each sequence; in text generation, of the tokens that are asked about.
    Pick {
        /// `[tokens, columns]`.
        x: Operand,
        /// `[sequences, columns]`.
        to: Operand,
    },
    /// `to` = the mean of the rows of `x` of each sequence.
    Pool {
        /// `[tokens, columns]`.
        x: Operand,
        /// `[sequences, columns]`.
        to: Operand,
    },
    /// `to = x / |x|`, row by row.
    Unit {
        /// `[sequences, columns]`.
        x: Operand,
        /// As `x`.
        to: Operand,
    },
    /// `to = softmax(scores · scale) · v` in every sequence and head.
    Attend {
        /// Queries, `[rows, heads · head_dim]`; with a row a sequence only token 0 asks.
        q: Operand,
        /// Keys, `[tokens, key_heads · head_dim]`.
        k: Operand,
        /// Values, as keys.
        v: Operand,
        /// Which attention.
        attention: usize,
        /// As `q`.
        to: Operand,
    },
    /// Puts keys and values into the memory of their sequences.
    Keep {
        /// Keys, `[tokens, key_heads · head_dim]`.
        k: Operand,
        /// Values, as keys.
        v: Operand,
        /// Which attention.
        attention: usize,
        /// Where they go: the decoder's layer.
        cache: usize,
    },
    /// `to = softmax(scores · scale) · v` in every sequence and head, with keys and values from memory: the sequence's own, or for
    /// cross-attention those of its source.
    AttendKept {
        /// Queries, `[rows, heads · head_dim]`.
        q: Operand,
        /// Whose keys and values.
        of: Memory,
        /// Which attention.
        attention: usize,
        /// Where they are: the decoder's layer.
        cache: usize,
        /// As `q`.
        to: Operand,
    },
}

/// What follows a product.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Then {
    /// Element by element.
    #[serde(with = "ActivationName")]
    pub activation: Activation,
    /// What is added after that, as the result.
    pub residual: Option<Operand>,
    /// Which norm ends it.
    pub norm: Option<usize>,
}

/// How an activation is written down.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Activation", rename_all = "kebab-case")]
pub(crate) enum ActivationName {
    Identity,
    Gelu,
    GeluTanh,
    Relu,
    Tanh,
    Silu,
}

/// The steps of a program and the sizes of what they name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Steps {
    /// In the order they run.
    pub list: Vec<Step>,
    /// What they leave: logits, the vectors of sequences, or the hidden states of token 0 for a head that is a graph.
    pub answer: Operand,
    /// Columns of the embedding's tables.
    pub embedding: usize,
    /// Columns of hidden states.
    pub hidden: usize,
    /// `[k, n]` of each linear.
    pub linears: Vec<[usize; 2]>,
    /// Columns of each norm.
    pub norms: Vec<usize>,
    /// `[heads, key_heads, head_dim]` of each attention.
    pub attentions: Vec<[usize; 3]>,
}

/// What the steps of a program name by number.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The tables.
    pub embedding: Embedding,
    /// Dense layers of the same input, side by side.
    pub linears: Vec<Vec<Linear>>,
    /// Normalisations.
    pub norms: Vec<LayerNorm>,
    /// Attentions.
    pub attentions: Vec<Scores>,
    /// The head, where there is one and it is no dense layers; its steps are none then.
    pub head: Option<Head>,
}

/// The sequences of a batch, for sizes and counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Tokens of all sequences.
    pub tokens: usize,
    /// Sequences.
    pub sequences: usize,
    /// Pairs of a token and a token that it sees, of the same sequence.
    pub pairs: u64,
    /// Pairs of a token and a token of its source.
    pub source_pairs: u64,
}

impl Slot {
    /// How many there are.
    pub const COUNT: usize = Slot::Odd as usize + 1;
}

impl Extent {
    /// Of sequences by their offsets, `[sequences + 1]`, the first of them 0.
    pub fn of(cu_seqlens: &[u32]) -> Extent {
        Extent {
            tokens: cu_seqlens.last().map_or(0, |&end| end as usize),
            sequences: cu_seqlens.len().saturating_sub(1),
            pairs: cu_seqlens.windows(2).map(|pair| u64::from(pair[1] - pair[0]).pow(2)).sum(),
            source_pairs: 0,
        }
    }

    /// How many rows there are.
    pub fn rows(&self, rows: Rows) -> usize {
        match rows {
            Rows::Tokens => self.tokens,
            Rows::Sequences => self.sequences,
        }
    }
}

impl Operand {
    /// All of a buffer of `[rows, columns]`.
    pub fn whole(slot: Slot, rows: Rows, columns: usize) -> Operand {
        Operand { slot, rows, width: columns, offset: 0, columns }
    }

    /// Some of its columns.
    pub fn part(self, offset: usize, columns: usize) -> Operand {
        Operand { offset: self.offset + offset, columns, ..self }
    }

    /// Whether its rows are all of the buffer's.
    pub fn is_whole(&self) -> bool {
        self.offset == 0 && self.columns == self.width
    }
}

impl Action {
    /// What it writes, the result last. What is done in place writes nothing new: its buffer stays what it was.
    pub fn writes(&self) -> impl Iterator<Item = Operand> {
        let (room, to) = match *self {
            Action::Rotate { .. } | Action::Keep { .. } => (None, None),
            Action::FeedForward { inner, to, .. } => (Some(inner), Some(to)),
            Action::Embed { to }
            | Action::Product { to, .. }
            | Action::Norm { to, .. }
            | Action::Gate { to, .. }
            | Action::Pick { to, .. }
            | Action::Pool { to, .. }
            | Action::Unit { to, .. }
            | Action::Attend { to, .. }
            | Action::AttendKept { to, .. } => (None, Some(to)),
        };
        room.into_iter().chain(to)
    }

    /// What it reads.
    pub fn reads(&self) -> impl Iterator<Item = Operand> {
        let [first, second, third] = match *self {
            Action::Embed { .. } => [None; 3],
            Action::Product { x, then, .. } | Action::FeedForward { x, then, .. } => [Some(x), then.residual, None],
            Action::Norm { x, .. }
            | Action::Pick { x, .. }
            | Action::Pool { x, .. }
            | Action::Unit { x, .. }
            | Action::Gate { x, .. }
            | Action::Rotate { x, .. } => [Some(x), None, None],
            Action::Attend { q, k, v, .. } => [Some(q), Some(k), Some(v)],
            Action::Keep { k, v, .. } => [Some(k), Some(v), None],
            Action::AttendKept { q, .. } => [Some(q), None, None],
        };
        [first, second, third].into_iter().flatten()
    }
}

impl Parts {
    /// A step in words, with the precision of its weights.
    pub fn describe(&self, action: &Action) -> String {
        let precision = |linear: &usize| self.linears[*linear][0].weights.precision();
        match action {
            Action::Embed { .. } => format!("fused embedding ({})", self.embedding.words.precision()),
            Action::Product { linear, .. } => format!("fused linear ({})", precision(linear)),
            Action::FeedForward { up, .. } => format!("fused feed-forward ({})", precision(up)),
            Action::Norm { .. } => "fused norm".to_owned(),
            Action::Gate { .. } => "fused gate".to_owned(),
            Action::Rotate { .. } => "fused rotation".to_owned(),
            Action::Pick { .. } => "fused token 0".to_owned(),
            Action::Pool { .. } => "fused mean of tokens".to_owned(),
            Action::Unit { .. } => "fused unit length".to_owned(),
            Action::Keep { .. } => "fused keeping of keys and values".to_owned(),
            Action::Attend { attention, .. } | Action::AttendKept { attention, .. } => {
                describe_attention(&self.attentions[*attention])
            }
        }
    }
}

fn describe_attention(scores: &Scores) -> String {
    let name = if scores.sees == Sees::Source { "fused cross-attention" } else { "fused attention" };
    match scores.positions {
        ScorePositions::Disentangled(_) => format!("{name} (disentangled)"),
        ScorePositions::Rotary(_) => format!("{name} (rotary)"),
        ScorePositions::Bias(_) => format!("{name} (relative bias)"),
        ScorePositions::None => name.to_owned(),
    }
}

impl Op {
    /// As traces and reports spell it.
    pub fn name(self) -> &'static str {
        match self {
            Op::Embed => "embed",
            Op::Project => "project",
            Op::Norm => "norm",
            Op::Gather => "gather",
            Op::Pool => "pool",
            Op::Unit => "unit",
            Op::Qkv => "qkv",
            Op::Kv => "kv",
            Op::Query => "query",
            Op::Rotate => "rotate",
            Op::Keep => "keep",
            Op::Attention => "attention",
            Op::CrossAttention => "cross_attention",
            Op::Output => "output",
            Op::FeedForward => "feed_forward",
            Op::Head => "head",
            Op::Words => "words",
        }
    }
}

impl Steps {
    /// Multiplications and additions of a step, counted as two operations each. Relative positions are work that need not grow with the
    /// pairs, and are left out.
    pub fn operations(&self, action: &Action, extent: &Extent) -> u64 {
        let product = |rows: Rows, linear: usize| {
            let [k, n] = self.linears[linear];
            2 * (extent.rows(rows) * k * n) as u64
        };
        match *action {
            Action::Product { x, linear, .. } => product(x.rows, linear),
            Action::FeedForward { x, up, down, .. } => product(x.rows, up) + product(x.rows, down),
            Action::Attend { q, .. } => {
                let pairs = if q.rows == Rows::Tokens { extent.pairs } else { extent.tokens as u64 };
                // Scores and their sum of values.
                4 * pairs * q.columns as u64
            }
            Action::AttendKept { q, of, .. } => {
                let pairs = if of == Memory::Source { extent.source_pairs } else { extent.pairs };
                4 * pairs * q.columns as u64
            }
            Action::Embed { .. }
            | Action::Keep { .. }
            | Action::Norm { .. }
            | Action::Gate { .. }
            | Action::Rotate { .. }
            | Action::Pool { .. }
            | Action::Unit { .. }
            | Action::Pick { .. } => 0,
        }
    }

    /// Elements that a buffer must have room for, with rows of `width` columns taking `stride(width)`; 0 if no step uses it.
    pub fn elements(&self, slot: Slot, extent: &Extent, stride: impl Fn(usize) -> usize) -> usize {
        let written = self.list.iter().flat_map(|step| step.action.writes()).filter(|operand| operand.slot == slot);
        written.map(|operand| extent.rows(operand.rows) * stride(operand.width)).max().unwrap_or(0)
    }

    /// The buffers that steps write.
    pub fn slots(&self) -> Vec<Slot> {
        let written = self.list.iter().flat_map(|step| step.action.writes()).map(|operand| operand.slot);
        written.collect::<std::collections::BTreeSet<Slot>>().into_iter().collect()
    }
}
