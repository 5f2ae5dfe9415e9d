//! A detector as engines run it: an embedding, encoder layers, token 0, and a head of whatever operators it was exported with.

use crate::weights::{Along, Linear, Matrix};
use crate::{Precision, Unfused};
use grice_kernels::{Activation, LayerNorm, ShapeError, SlotMap};
use std::sync::Arc;
use tract_onnx::prelude::TypedModel;

/// The fused form of a network. All token-wise steps work on packed tokens `[ΣL, hidden]`.
#[derive(Clone, Debug)]
pub struct Program {
    /// Token ids → hidden states.
    pub embedding: Embedding,
    /// In the order they run.
    pub layers: Vec<Layer>,
    /// Hidden states of token 0 of each sequence, `[rows, hidden]`, → logits `[rows, labels]`; small, and run by tract.
    pub head: Arc<TypedModel>,
    /// The same as dense layers, for devices that tract does not run on; or why it is something else.
    pub head_layers: Result<Vec<Dense>, Unfused>,
}

/// `y = activation(x · weights + bias)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// In single precision.
    pub linear: Linear,
    /// What follows, element by element.
    pub activation: Activation,
}

/// `norm(words[id] + positions[offset + i] + constant)`, projected to the width of the layers where that is another.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// `[vocabulary, hidden]`.
    pub words: Arc<Matrix>,
    /// Absolute positions, where the encoder has them.
    pub positions: Option<Positions>,
    /// `[hidden]`: what is added to every token, such as the embedding of token type 0.
    pub constant: Option<Vec<f32>>,
    /// Normalisation after the sum.
    pub norm: LayerNorm,
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

/// One post-norm encoder layer:
/// `a = norm(h + output(attention(query(h), key(h), value(h))))`, `h' = norm(a + down(activation(up(a))))`.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Queries, `[hidden, hidden]`.
    pub query: Linear,
    /// Keys, `[hidden, hidden]`.
    pub key: Linear,
    /// Values, `[hidden, hidden]`.
    pub value: Linear,
    /// What happens between them.
    pub attention: Attention,
    /// After attention, `[hidden, hidden]`.
    pub output: Linear,
    /// Normalisation of attention's output plus its input.
    pub attention_norm: LayerNorm,
    /// First half of the feed-forward network.
    pub up: Linear,
    /// Between the halves.
    pub activation: Activation,
    /// Second half.
    pub down: Linear,
    /// Normalisation of the feed-forward's output plus its input.
    pub norm: LayerNorm,
}

/// Scaled dot-product attention in `heads` heads.
#[derive(Clone, Debug)]
pub struct Attention {
    /// How many heads.
    pub heads: usize,
    /// Columns of a head; `heads · head_dim` is `hidden`.
    pub head_dim: usize,
    /// What scores are multiplied by.
    pub scale: f32,
    /// DeBERTa's relative positions.
    pub relative: Option<Relative>,
}

/// Disentangled attention (He et al., "DeBERTa", 2021): scores also get `Q_i · keys[slot(i − j)] + K_j · queries[slot(i − j)]`.
#[derive(Clone, Debug)]
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

impl Program {
    /// Columns of a hidden state.
    pub fn hidden(&self) -> usize {
        let columns = self.embedding.norm.gamma.len();
        self.embedding.projection.as_ref().map_or(columns, Linear::outputs)
    }

    /// The most tokens of a sequence, where each position has a row of its own.
    pub fn longest(&self) -> Option<usize> {
        Some(self.embedding.positions.as_ref()?.tokens_max())
    }

    /// How the weights of dense layers are stored.
    pub fn precision(&self) -> Precision {
        self.layers.first().map_or(Precision::Fp32, |layer| layer.up.weights.precision())
    }

    /// The program with its dense layers and tables in another precision; `None` if they are stored in fewer bits already.
    pub fn to_precision(mut self, precision: Precision) -> Option<Program> {
        let convert = |matrix: &mut Arc<Matrix>, along: Along| {
            *matrix = Arc::new(matrix.to_precision(precision, along)?);
            Some(())
        };
        for layer in &mut self.layers {
            let Layer { query, key, value, output, up, down, .. } = layer;
            for linear in [query, key, value, output, up, down] {
                convert(&mut linear.weights, Along::Columns)?;
            }
        }
        if let Some(projection) = &mut self.embedding.projection {
            convert(&mut projection.weights, Along::Columns)?;
        }
        convert(&mut self.embedding.words, Along::Rows)?;
        if let Some(positions) = &mut self.embedding.positions {
            convert(&mut positions.table, Along::Rows)?;
        }
        Some(self)
    }

    /// The name of every step, in the order they run, without the head's.
    pub fn steps(&self) -> impl Iterator<Item = String> + '_ {
        let layer = |layer: &Layer| {
            let attention = match &layer.attention.relative {
                Some(_) => "fused attention (disentangled)",
                None => "fused attention",
            };
            let precision = layer.up.weights.precision();
            let linear = format!("fused linear ({precision})");
            // Queries, keys and values are one product.
            [linear.clone(), attention.to_owned(), linear, format!("fused feed-forward ({precision})")]
        };
        let embedding = format!("fused embedding ({})", self.embedding.words.precision());
        let projection = self.embedding.projection.as_ref();
        let projection = projection.map(|linear| format!("fused linear ({})", linear.weights.precision()));
        std::iter::once(embedding)
            .chain(projection)
            .chain(self.layers.iter().flat_map(layer))
            .chain(["fused token 0".to_owned()])
    }

    /// Bytes of all weights.
    pub fn weight_bytes(&self) -> usize {
        let linear = |linear: &Linear| linear.weights.bytes() + linear.bias.as_ref().map_or(0, |bias| bias.len() * 4);
        let layer = |layer: &Layer| {
            let all = [&layer.query, &layer.key, &layer.value, &layer.output, &layer.up, &layer.down];
            let relative = layer.attention.relative.as_ref();
            let tables = relative.into_iter().flat_map(|relative| [&relative.keys, &relative.queries]);
            let tables: usize = tables.flatten().map(|table| table.len() * 4).sum();
            all.into_iter().map(linear).sum::<usize>() + tables
        };
        let positions = self.embedding.positions.as_ref().map_or(0, |positions| positions.table.bytes());
        let projection = self.embedding.projection.as_ref().map_or(0, linear);
        self.embedding.words.bytes() + positions + projection + self.layers.iter().map(layer).sum::<usize>()
    }
}
