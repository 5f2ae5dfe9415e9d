//! Encoders of the BERT kind: BERT (Devlin et al., 2019), RoBERTa and XLM-RoBERTa, DistilBERT, MPNet. They differ in names, in where positions
//! begin, and in MPNet's bias by distance.

use super::bias::Buckets;
use super::config::Config;
use super::parts;
use super::weights::{Layout, Weights};
use crate::program::{
    Attention, Block, Body, Embedding, FeedForward, Place, Positions, ScorePositions, Scores, Sees, Stack,
};
use grice_kernels::ScoreBias;
use serde_json::json;
use std::sync::Arc;

/// What a family calls the parts of its encoder.
struct Family {
    /// As `model_type` of a configuration.
    types: &'static [&'static str],
    /// What stands before all names, if the encoder was saved with a head.
    prefix: &'static str,
    fields: Fields,
    layer: Layer,
    /// Where positions begin.
    positions: Begin,
    /// The table of a bias by distance, `[buckets, heads]`.
    bias: Option<&'static str>,
}

/// Fields of a configuration.
struct Fields {
    hidden: &'static str,
    layers: &'static str,
    heads: &'static str,
    inner: &'static str,
    activation: &'static str,
    /// DistilBERT's norms add the same number always.
    epsilon: Option<&'static str>,
}

/// Tensors of a layer.
struct Layer {
    name: &'static str,
    query: &'static str,
    key: &'static str,
    value: &'static str,
    output: &'static str,
    attention_norm: &'static str,
    up: &'static str,
    down: &'static str,
    norm: &'static str,
}

/// The row of the first position.
enum Begin {
    First,
    /// The one after the padding's id: padding in a text is not counted.
    AfterPadding,
    /// The same, and the padding's id is this one whatever the configuration says.
    After(u32),
}

const BERT_FIELDS: Fields = Fields {
    hidden: "hidden_size",
    layers: "num_hidden_layers",
    heads: "num_attention_heads",
    inner: "intermediate_size",
    activation: "hidden_act",
    epsilon: Some("layer_norm_eps"),
};
const BERT_LAYER: Layer = Layer {
    name: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    norm: "output.LayerNorm",
};
const FAMILIES: [Family; 4] = [
    Family {
        types: &["bert"],
        prefix: "bert.",
        fields: BERT_FIELDS,
        layer: BERT_LAYER,
        positions: Begin::First,
        bias: None,
    },
    Family {
        types: &["roberta", "xlm-roberta", "camembert"],
        prefix: "roberta.",
        fields: BERT_FIELDS,
        layer: BERT_LAYER,
        positions: Begin::AfterPadding,
        bias: None,
    },
    Family {
        types: &["distilbert"],
        prefix: "distilbert.",
        fields: Fields {
            hidden: "dim",
            layers: "n_layers",
            heads: "n_heads",
            inner: "hidden_dim",
            activation: "activation",
            epsilon: None,
        },
        layer: Layer {
            name: "transformer.layer",
            query: "attention.q_lin",
            key: "attention.k_lin",
            value: "attention.v_lin",
            output: "attention.out_lin",
            attention_norm: "sa_layer_norm",
            up: "ffn.lin1",
            down: "ffn.lin2",
            norm: "output_layer_norm",
        },
        positions: Begin::First,
        bias: None,
    },
    Family {
        types: &["mpnet"],
        prefix: "mpnet.",
        fields: BERT_FIELDS,
        layer: Layer {
            query: "attention.attn.q",
            key: "attention.attn.k",
            value: "attention.attn.v",
            output: "attention.attn.o",
            attention_norm: "attention.LayerNorm",
            ..BERT_LAYER
        },
        positions: Begin::After(1),
        bias: Some("encoder.relative_attention_bias.weight"),
    },
];

/// MPNet's buckets, and the distance that the last one reaches to. transformers takes these whatever the configuration says.
const BUCKETS: usize = 32;
const DISTANCE_MAX: usize = 128;
/// What norms add to variances if no file says it.
const EPSILON: f32 = 1e-12;
/// What may stand beside an encoder without being part of it: its pooler, and numbers that old files hold.
const BESIDE: [&str; 3] = ["pooler.", "embeddings.position_ids", "embeddings.token_type_ids"];

/// An encoder while it is built.
struct Encoder<'w> {
    family: &'static Family,
    config: &'w Config,
    weights: &'w Weights<'w>,
    /// What stands before its names in these files.
    prefix: &'static str,
    hidden: usize,
    heads: usize,
    epsilon: f32,
}

/// Whether a `model_type` is one of these; the known ones otherwise.
pub(super) fn check_family(family: &str) -> Result<(), String> {
    find(family).map(|_| ())
}

fn find(family: &str) -> Result<&'static Family, String> {
    let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.types).copied().collect();
    let found = FAMILIES.iter().find(|known| known.types.contains(&family));
    found.ok_or_else(|| format!("`{family}` is not supported; supported are {}", known.join(", ")))
}

/// The encoder of a family. All tensors that are its own must be used.
pub(super) fn build(family: &str, config: &Config, weights: &Weights<'_>) -> Result<Stack, String> {
    config.only("position_embedding_type", &[json!("absolute")])?;
    config.only("is_decoder", &[json!(false)])?;
    config.only("add_cross_attention", &[json!(false)])?;
    config.only("pruned_heads", &[json!({})])?;
    let family = find(family)?;
    let (hidden, heads) = (config.size(family.fields.hidden)?, config.size(family.fields.heads)?);
    if !hidden.is_multiple_of(heads) {
        return Err(config.wrong(family.fields.heads, &format!("{heads} heads do not divide {hidden} columns")));
    }
    let words = format!("{}embeddings.word_embeddings.weight", family.prefix);
    let prefix = if weights.has(&words) { family.prefix } else { "" };
    let epsilon = family.fields.epsilon.map_or(Ok(EPSILON), |field| config.number_or(field, EPSILON))?;
    let encoder = Encoder { family, config, weights, prefix, hidden, heads, epsilon };
    let stack = Stack { embedding: encoder.embedding()?, layers: encoder.layers()?, last: None };
    let is_beside = |name: &str| match name.strip_prefix(prefix) {
        Some(own) => BESIDE.iter().any(|beside| own.starts_with(beside)),
        // The heads of a model stand beside its encoder.
        None => true,
    };
    let unread = weights.unread(is_beside);
    match unread.first() {
        None => Ok(stack),
        Some(name) => {
            let kind = family.types[0];
            Err(format!("the tensor `{name}` is no part of a {kind} encoder ({} such tensors)", unread.len()))
        }
    }
}

impl Encoder<'_> {
    fn embedding(&self) -> Result<Embedding, String> {
        let Encoder { config, weights, hidden, .. } = *self;
        let name = |part: &str| format!("{}embeddings.{part}", self.prefix);
        let words = weights.table(&name("word_embeddings"), config.size("vocab_size")?, hidden)?;
        let rows = config.size("max_position_embeddings")?;
        let table = weights.table(&name("position_embeddings"), rows, hidden)?;
        let uncounted = match self.family.positions {
            Begin::First => None,
            Begin::After(padding) => Some(padding),
            Begin::AfterPadding => Some(config.token("pad_token_id")?.unwrap_or(1)),
        };
        let offset = uncounted.map_or(0, |padding| padding as usize + 1);
        if offset >= rows {
            return Err(config.wrong("pad_token_id", &format!("no position comes after it, of {rows}")));
        }
        let types = name("token_type_embeddings.weight");
        // Texts alone have the first type throughout.
        let constant = match weights.has(&types) {
            true => {
                let count = config.size_if("type_vocab_size")?.unwrap_or(2);
                let table = weights.table(types.trim_end_matches(".weight"), count, hidden)?;
                Some(table.to_f32()[..hidden].to_vec())
            }
            false => None,
        };
        Ok(Embedding {
            words: Arc::new(words),
            positions: Some(Positions { table: Arc::new(table), offset, uncounted }),
            constant,
            norm: Some(weights.layer_norm(&name("LayerNorm"), hidden, self.epsilon)?),
            projection: None,
        })
    }

    fn layers(&self) -> Result<Vec<Vec<Block>>, String> {
        let bias = self.bias()?;
        (0..self.config.size(self.family.fields.layers)?).map(|layer| self.layer(layer, bias.as_ref())).collect()
    }

    fn layer(&self, layer: usize, bias: Option<&ScoreBias>) -> Result<Vec<Block>, String> {
        let Encoder { family: Family { fields, layer: names, .. }, config, hidden, heads, .. } = *self;
        let name = |part: &str| format!("{}{}.{layer}.{part}", self.prefix, names.name);
        let linear = |part, inputs, outputs| self.weights.linear(&name(part), inputs, outputs, Layout::OutputsFirst);
        let square = |part| linear(part, hidden, hidden);
        let head_dim = hidden / heads;
        let positions = bias.map_or(ScorePositions::None, |bias| ScorePositions::Bias(bias.clone()));
        let scale = 1.0 / (head_dim as f32).sqrt();
        let attention = Attention {
            query: square(names.query)?,
            key: square(names.key)?,
            value: square(names.value)?,
            output: square(names.output)?,
            scores: Scores { heads, key_heads: heads, head_dim, scale, sees: Sees::All, positions },
        };
        let inner = config.size(fields.inner)?;
        let activation = parts::activation(config, fields.activation, "gelu")?;
        let (up, down) = (linear(names.up, hidden, inner)?, linear(names.down, inner, hidden)?);
        let feed_forward = FeedForward { gate: None, up, activation, down };
        let block = |norm, body| {
            let norm = Some(self.weights.layer_norm(&name(norm), hidden, self.epsilon)?);
            Ok::<_, String>(Block { norm, place: Place::After, body })
        };
        let attention = block(names.attention_norm, Body::Attention(Box::new(attention)))?;
        Ok(vec![attention, block(names.norm, Body::FeedForward(feed_forward))?])
    }

    /// The bias that all layers share.
    fn bias(&self) -> Result<Option<ScoreBias>, String> {
        let Some(name) = self.family.bias else { return Ok(None) };
        self.config.only("relative_attention_num_buckets", &[json!(BUCKETS)])?;
        let table = self.weights.numbers(&format!("{}{name}", self.prefix), &[BUCKETS, self.heads])?;
        let buckets = Buckets { count: BUCKETS, max_distance: DISTANCE_MAX, both_sides: true };
        Ok(Some(buckets.spread(&table, self.heads)?))
    }
}
