//! A model as its architecture: stacks of residual blocks, and what reads their last hidden states. A new architecture is data here;
//! [`crate::steps`] turns it into what engines do.

use crate::head::{HeadGraph, HeadPlan};
use crate::weights::{Along, Linear, Matrix};
use crate::{EngineError, Precision};
use grice_kernels::{Activation, AttentionShape, LayerNorm, Rotary, Rounding, ScoreBias, ShapeError, SlotMap};
use std::sync::Arc;

/// The fused form of a network. All token-wise steps work on packed tokens `[ΣL, hidden]`.
#[derive(Clone, Debug)]
pub struct Program {
    /// Token ids → hidden states.
    pub encoder: Stack,
    /// Hidden states → the answer for each sequence.
    pub readout: Readout,
}

/// What is read of the last hidden states.
#[derive(Clone, Debug)]
pub enum Readout {
    /// Hidden states of token 0 of each sequence → logits.
    Classes(Head),
    /// One vector for each sequence, as wide as a hidden state.
    Pooled {
        /// How the tokens of a sequence become one.
        pooling: Pooling,
        /// Whether vectors are divided by their lengths.
        normalised: bool,
    },
}

/// How the hidden states of a sequence become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of all tokens, special ones included.
    Mean,
    /// Token 0.
    Cls,
}

/// An embedding and the layers after it.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Token ids → hidden states.
    pub embedding: Embedding,
    /// In the order they run.
    pub layers: Vec<Layer>,
    /// Normalisation of the last hidden states, which stacks of pre-norm blocks have.
    pub last: Option<LayerNorm>,
}

/// Residual blocks that are counted as one layer, in the order they run.
pub type Layer = Vec<Block>;

/// A residual block: `norm(x + body(x))`, or `x + body(norm(x))`.
#[derive(Clone, Debug)]
pub struct Block {
    /// The normalisation, where there is one.
    pub norm: Option<LayerNorm>,
    /// Where it stands.
    pub place: Place,
    /// What is added to `x`.
    pub body: Body,
}

/// Where the normalisation of a residual block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `x + body(norm(x))`: pre-norm.
    Before,
    /// `norm(x + body(x))`: post-norm.
    After,
}

/// What a residual block adds.
#[derive(Clone, Debug)]
pub enum Body {
    /// What the tokens of a sequence tell each other.
    Attention(Box<Attention>),
    /// What each token makes of itself.
    FeedForward(FeedForward),
}

/// `output(attention(query(x), key(x), value(x)))`.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Queries, `[hidden, heads · head_dim]`.
    pub query: Linear,
    /// Keys, `[hidden, key_heads · head_dim]`.
    pub key: Linear,
    /// Values, `[hidden, key_heads · head_dim]`.
    pub value: Linear,
    /// After attention, `[heads · head_dim, hidden]`.
    pub output: Linear,
    /// What happens between them.
    pub scores: Scores,
}

/// Scaled dot-product attention in `heads` heads.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// How many heads.
    pub heads: usize,
    /// How many heads keys and values have, a divisor of `heads`: each serves as many heads, side by side.
    pub key_heads: usize,
    /// Columns of a head.
    pub head_dim: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// Which keys a query sees.
    pub sees: Sees,
    /// How scores depend on where tokens stand.
    pub positions: ScorePositions,
}

/// Which keys a query sees, of those of its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// All.
    All,
    /// Those at most this far to either side.
    Window(usize),
    /// Its own and those before it, at most this many with its own: what decoders have.
    Earlier(Option<usize>),
    /// All of the encoder's: cross-attention.
    Source,
}

/// How scores depend on where tokens stand.
#[derive(Clone, Debug, PartialEq)]
pub enum ScorePositions {
    /// Not at all.
    None,
    /// DeBERTa's relative positions.
    Disentangled(Relative),
    /// Queries and keys are turned first.
    Rotary(Rotary),
    /// Each distance adds a number to a head's scores.
    Bias(ScoreBias),
}

/// `down(activation(up(x)))`, or `down(activation(gate(x)) · up(x))`.
#[derive(Clone, Debug)]
pub struct FeedForward {
    /// What lets `up` through, `[hidden, inner]`.
    pub gate: Option<Linear>,
    /// First half, `[hidden, inner]`.
    pub up: Linear,
    /// Of the gate, or else between the halves.
    pub activation: Activation,
    /// Second half, `[inner, hidden]`.
    pub down: Linear,
}

/// What makes logits `[rows, labels]` of the hidden states of token 0, `[rows, hidden]`.
#[derive(Clone, Debug)]
pub struct Head {
    /// As dense layers, or why it is something else.
    pub layers: Result<Vec<Dense>, Unfused>,
    /// As the graph that an ONNX file has: what runs if it is no dense layers.
    pub graph: Option<HeadGraph>,
}

/// Why a graph has no fused form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfused {
    /// What was expected, what was found and where.
    pub reason: String,
}

/// `y = norm(activation(x · weights + bias))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// In single precision.
    pub linear: Linear,
    /// What follows, element by element.
    pub activation: Activation,
    /// What ends it, where there is one: ModernBERT's.
    pub norm: Option<LayerNorm>,
}

/// `norm(words[id] + positions[offset + i] + constant)`, where there is a norm, projected to the width of the layers where that is another.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// `[vocabulary, hidden]`.
    pub words: Arc<Matrix>,
    /// Absolute positions, where the encoder has them.
    pub positions: Option<Positions>,
    /// `[hidden]`: what is added to every token, such as the embedding of token type 0.
    pub constant: Option<Vec<f32>>,
    /// Normalisation after the sum, where there is one.
    pub norm: Option<LayerNorm>,
    /// From the width of the tables to that of the layers: ELECTRA's.
    pub projection: Option<Linear>,
}

/// One row for each position of a sequence.
#[derive(Clone, Debug)]
pub struct Positions {
    /// `[positions, hidden]`.
    pub table: Arc<Matrix>,
    /// The row of the first token.
    pub offset: usize,
    /// The id of tokens that are not counted, and take the row before the first one's: RoBERTa's padding.
    pub uncounted: Option<u32>,
}

impl Positions {
    /// The lowest row that any token takes.
    pub fn first_row(&self) -> usize {
        self.offset - usize::from(self.uncounted.is_some() && self.offset > 0)
    }

    /// Rows that tokens can take, from [`Self::first_row`] on.
    pub fn rows(&self) -> usize {
        self.table.rows().saturating_sub(self.first_row())
    }

    /// The longest sequence that there are rows for.
    pub fn tokens_max(&self) -> usize {
        self.table.rows().saturating_sub(self.offset)
    }
}

/// Disentangled attention (He et al., "DeBERTa", 2021): scores also get `Q_i · keys[slot(i − j)] + K_j · queries[slot(i − j)]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Relative {
    /// Projected position keys, `[2 · span, hidden]`: content to position.
    pub keys: Option<Arc<Vec<f32>>>,
    /// Projected position queries, `[2 · span, hidden]`: position to content.
    pub queries: Option<Arc<Vec<f32>>>,
    /// How far slots reach to either side.
    pub span: usize,
    /// Buckets of the log-spaced distances; 0 for distances as they are.
    pub buckets: usize,
    /// The distance that the last bucket reaches to.
    pub max_position: usize,
}

impl Relative {
    /// Which row of the tables belongs to which distance.
    ///
    /// # Errors
    /// A span, bucket count or distance out of range.
    pub fn slot_map(&self) -> Result<SlotMap, ShapeError> {
        SlotMap::new(self.span, self.buckets as i64, self.max_position)
    }

    /// The tables as the attention kernel takes them, which need not be kept beside it.
    ///
    /// # Errors
    /// Tables of another size than the slots and heads ask for.
    pub fn pack(&self, heads: usize, head_dim: usize) -> Result<grice_kernels::Relative, ShapeError> {
        let (keys, queries) = (self.keys.as_deref(), self.queries.as_deref());
        grice_kernels::Relative::new(
            keys.map(Vec::as_slice),
            queries.map(Vec::as_slice),
            self.slot_map()?,
            heads,
            head_dim,
        )
    }
}

/// The farthest distance that has a number of its own in any model.
pub(crate) const REACH_MAX: i64 = 1 << 16;

/// The numbers of a bias of scores, `[heads, 2 · reach + 1]`, key minus query, with no more distances than differ from those beyond; and their
/// reach.
pub fn numbers_of(bias: &ScoreBias) -> (usize, Vec<f32>) {
    let is_end = |distance: i64| {
        (0..bias.heads())
            .all(|head| [1, -1].iter().all(|side| bias.at(head, side * distance) == bias.at(head, side * REACH_MAX)))
    };
    let reach = (0..=REACH_MAX).rev().take_while(|distance| is_end(*distance)).last().unwrap_or(REACH_MAX);
    let numbers = (0..bias.heads()).flat_map(|head| (-reach..=reach).map(move |distance| bias.at(head, distance)));
    (reach as usize, numbers.collect())
}

impl Scores {
    /// DeBERTa's relative positions, where there are any.
    pub fn relative(&self) -> Option<&Relative> {
        match &self.positions {
            ScorePositions::Disentangled(relative) => Some(relative),
            ScorePositions::None | ScorePositions::Rotary(_) | ScorePositions::Bias(_) => None,
        }
    }

    /// Rotary positions, where there are any.
    pub fn rotary(&self) -> Option<&Rotary> {
        match &self.positions {
            ScorePositions::Rotary(rotary) => Some(rotary),
            ScorePositions::None | ScorePositions::Disentangled(_) | ScorePositions::Bias(_) => None,
        }
    }

    /// What distances add, where they add something.
    pub fn bias(&self) -> Option<&ScoreBias> {
        match &self.positions {
            ScorePositions::Bias(bias) => Some(bias),
            ScorePositions::None | ScorePositions::Disentangled(_) | ScorePositions::Rotary(_) => None,
        }
    }

    /// As its kernel takes it.
    pub fn shape(&self, rounding: Rounding) -> AttentionShape {
        let Scores { heads, key_heads, head_dim, scale, .. } = *self;
        let window = match self.sees {
            Sees::All | Sees::Source => None,
            Sees::Window(window) => Some(window),
            Sees::Earlier(window) => window,
        };
        AttentionShape { heads, key_heads, head_dim, scale, window, rounding }
    }
}

impl Program {
    /// The head, if it reads classes.
    pub fn head(&self) -> Option<&Head> {
        match &self.readout {
            Readout::Classes(head) => Some(head),
            Readout::Pooled { .. } => None,
        }
    }

    /// Columns of a hidden state.
    pub fn hidden(&self) -> usize {
        self.encoder.hidden()
    }

    /// The most tokens of a sequence, where each position has a row or an angle of its own.
    pub fn longest(&self) -> Option<usize> {
        self.encoder.longest()
    }

    /// How the weights of the encoder's dense layers are stored.
    pub fn precision(&self) -> Precision {
        self.encoder.feed_forwards().next().map_or(Precision::Fp32, |layer| layer.up.weights.precision())
    }

    /// The program with its dense layers and tables in another precision; `None` if they are stored in fewer bits already.
    pub fn to_precision(mut self, precision: Precision) -> Option<Program> {
        // What layers share they share afterwards, too.
        let mut converted: Vec<(Arc<Matrix>, Arc<Matrix>)> = Vec::new();
        let mut convert = |matrix: &mut Arc<Matrix>, along: Along| {
            let known = converted.iter().find(|(from, _)| Arc::ptr_eq(from, matrix));
            let to = match known {
                Some((_, to)) => to.clone(),
                None => Arc::new(matrix.to_precision(precision, along)?),
            };
            if known.is_none() && Arc::strong_count(matrix) > 1 {
                converted.push((matrix.clone(), to.clone()));
            }
            *matrix = to;
            Some(())
        };
        for linear in self.encoder.linears_mut() {
            convert(&mut linear.weights, Along::Columns)?;
        }
        let embedding = &mut self.encoder.embedding;
        convert(&mut embedding.words, Along::Rows)?;
        if let Some(positions) = &mut embedding.positions {
            convert(&mut positions.table, Along::Rows)?;
        }
        Some(self)
    }

    /// Bytes of all weights but those of the head.
    pub fn weight_bytes(&self) -> usize {
        let embedding = &self.encoder.embedding;
        let positions = embedding.positions.as_ref().map_or(0, |positions| positions.table.bytes());
        let tables = self.encoder.attentions().filter_map(|attention| attention.scores.relative());
        let tables = tables.flat_map(|relative| [&relative.keys, &relative.queries]);
        let tables: usize = tables.flatten().map(|table| table.len() * 4).sum();
        let linears: usize = self.encoder.linears().map(Linear::bytes).sum();
        embedding.words.bytes() + positions + linears + tables
    }
}

impl Head {
    /// The graph made ready to run: `labels` numbers of a row of `columns`.
    ///
    /// # Errors
    /// [`EngineError::Plan`] if there is no graph, or tract cannot plan it.
    pub fn plan(&self, columns: usize, labels: usize) -> Result<HeadPlan, EngineError> {
        let none = || EngineError::Plan("its head is no dense layers, and it has no graph".to_owned());
        HeadPlan::new(self.graph.as_ref().ok_or_else(none)?, columns, labels)
    }

    /// Bytes of its weights.
    pub(crate) fn bytes(&self) -> usize {
        match (&self.layers, &self.graph) {
            (Ok(layers), _) => layers.iter().map(|dense| dense.linear.bytes()).sum(),
            (Err(_), Some(graph)) => graph.bytes(),
            (Err(_), None) => 0,
        }
    }

    /// The operators of its graph.
    pub(crate) fn operators(&self) -> Vec<String> {
        self.graph.as_ref().map_or_else(Vec::new, HeadGraph::operators)
    }
}

impl Embedding {
    /// Columns of its tables.
    pub fn columns(&self) -> usize {
        self.words.columns()
    }
}

impl Stack {
    /// Columns of a hidden state.
    pub fn hidden(&self) -> usize {
        self.embedding.projection.as_ref().map_or(self.embedding.columns(), Linear::outputs)
    }

    /// The most tokens of a sequence, where each position has a row or an angle of its own.
    pub fn longest(&self) -> Option<usize> {
        let rows = self.embedding.positions.as_ref().map(Positions::tokens_max);
        let rotaries = self.attentions().filter_map(|attention| attention.scores.rotary());
        rows.into_iter().chain(rotaries.map(|rotary| rotary.positions)).min()
    }

    /// All dense layers: the embedding's projection, then block after block.
    pub fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.embedding.projection.iter().chain(self.blocks().flat_map(|block| block.body.linears()))
    }

    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        let blocks = self.layers.iter_mut().flatten();
        self.embedding.projection.iter_mut().chain(blocks.flat_map(|block| block.body.linears_mut()))
    }

    /// The blocks of all layers.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.layers.iter().flatten()
    }

    pub(crate) fn attentions(&self) -> impl Iterator<Item = &Attention> {
        self.blocks().filter_map(|block| block.body.attention())
    }

    fn feed_forwards(&self) -> impl Iterator<Item = &FeedForward> {
        self.blocks().filter_map(|block| match &block.body {
            Body::FeedForward(feed_forward) => Some(feed_forward),
            Body::Attention(_) => None,
        })
    }
}

impl Body {
    /// It, if it is an attention.
    pub(crate) fn attention(&self) -> Option<&Attention> {
        match self {
            Body::Attention(attention) => Some(attention),
            Body::FeedForward(_) => None,
        }
    }

    fn linears(&self) -> Vec<&Linear> {
        match self {
            Body::Attention(attention) => {
                let Attention { query, key, value, output, .. } = &**attention;
                vec![query, key, value, output]
            }
            Body::FeedForward(FeedForward { gate, up, down, .. }) => gate.iter().chain([up, down]).collect(),
        }
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        match self {
            Body::Attention(attention) => {
                let Attention { query, key, value, output, .. } = &mut **attention;
                vec![query, key, value, output]
            }
            Body::FeedForward(FeedForward { gate, up, down, .. }) => gate.iter_mut().chain([up, down]).collect(),
        }
    }
}
