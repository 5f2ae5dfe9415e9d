//! T5 (Raffel et al., 2020), and T5 v1.1 with its gates and its vocabulary of its own.

use super::bias::Buckets;
use super::config::Config;
use super::parts;
use super::weights::{Layout, Weights};
use crate::generator::Generator;
use crate::program::{Attention, Block, Body, Embedding, FeedForward, Place, ScorePositions, Scores, Sees, Stack};
use grice_kernels::{Activation, ScoreBias};
use std::sync::Arc;

/// What the names of its dense layers end in.
pub(super) const DENSE: &[&str] = &[
    "Attention.q",
    "Attention.k",
    "Attention.v",
    "Attention.o",
    ".DenseReluDense.wi",
    ".DenseReluDense.wi_0",
    ".DenseReluDense.wi_1",
    ".DenseReluDense.wo",
];

struct Shape<'c> {
    config: &'c Config,
    hidden: usize,
    inner: usize,
    heads: usize,
    head_dim: usize,
    epsilon: f32,
    activation: Activation,
    is_gated: bool,
}

pub(super) fn build(config: &Config, weights: &Weights<'_>) -> Result<Generator, String> {
    let (hidden, vocabulary) = (config.size("d_model")?, config.size("vocab_size")?);
    let (activation, is_gated) = feed_forward_of(config)?;
    let shape = Shape {
        config,
        hidden,
        inner: config.size("d_ff")?,
        heads: config.size("num_heads")?,
        head_dim: config.size("d_kv")?,
        epsilon: config.number_or("layer_norm_epsilon", 1e-6)?,
        activation,
        is_gated,
    };
    let layers = config.size("num_layers")?;
    let decoder_layers = config.size_if("num_decoder_layers")?.unwrap_or(layers);
    let words = Arc::new(weights.matrix(words_of(weights), vocabulary, hidden)?);
    for name in ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"] {
        // Old files repeat the table under the names of those who share it.
        if weights.has(name) && words_of(weights) != name && weights.matrix(name, vocabulary, hidden)? != *words {
            return Err(format!("the tensor `{name}` differs from `{}`, which it shares", words_of(weights)));
        }
    }
    let stack = |name: &str, layers: usize| {
        let embedding =
            Embedding { words: words.clone(), positions: None, constant: None, norm: None, projection: None };
        let is_decoder = name == "decoder";
        let bias = shape.bias(weights, name, is_decoder)?;
        let layers =
            (0..layers).map(|layer| shape.layer(weights, &format!("{name}.block.{layer}.layer"), &bias, is_decoder));
        let layers = layers.collect::<Result<_, _>>()?;
        let last = Some(weights.rms_norm(&format!("{name}.final_layer_norm"), hidden, shape.epsilon)?);
        Ok::<_, String>(Stack { embedding, layers, last })
    };
    let (encoder, mut decoder) = (stack("encoder", layers)?, stack("decoder", decoder_layers)?);
    let is_scaled = config.flag_or("tie_word_embeddings", true)?;
    let is_scaled = config.flag_or("scale_decoder_outputs", is_scaled)?;
    if is_scaled {
        // What the vocabulary takes is divided by √hidden, which its norm can do.
        let factor = 1.0 / (hidden as f32).sqrt();
        decoder.last.iter_mut().flat_map(|norm| &mut norm.gamma).for_each(|gamma| *gamma *= factor);
    }
    // Newer files call models without that scale tied, and have a vocabulary of their own beside.
    let vocabulary = parts::head(weights, &words, is_scaled || !weights.has("lm_head.weight"))?;
    Ok(Generator { encoder: Some(encoder), decoder, vocabulary })
}

fn words_of(weights: &Weights<'_>) -> &'static str {
    if weights.has("shared.weight") { "shared.weight" } else { "encoder.embed_tokens.weight" }
}

/// The activation, and whether there is a gate: `relu`, `gated-gelu`.
fn feed_forward_of(config: &Config) -> Result<(Activation, bool), String> {
    let field = "feed_forward_proj";
    let text = config.text(field)?.unwrap_or("relu");
    let (name, is_gated) = text.strip_prefix("gated-").map_or((text, false), |name| (name, true));
    let activation = match (name, is_gated) {
        // For what the name means in gated models transformers has an exception.
        ("gelu", true) | ("gelu_new", _) => Activation::GeluTanh,
        ("gelu", false) => Activation::Gelu,
        ("relu", _) => Activation::Relu,
        ("silu", _) => Activation::Silu,
        _ => return Err(config.wrong(field, &format!("`{text}` is not supported"))),
    };
    Ok((activation, is_gated))
}

impl Shape<'_> {
    /// The bias of the first layer, which all layers of a stack share.
    fn bias(&self, weights: &Weights<'_>, stack: &str, is_decoder: bool) -> Result<ScoreBias, String> {
        let count = self.config.size_if("relative_attention_num_buckets")?.unwrap_or(32);
        let max_distance = self.config.size_if("relative_attention_max_distance")?.unwrap_or(128);
        let name = format!("{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
        let table = weights.numbers(&name, &[count, self.heads])?;
        Buckets { count, max_distance, both_sides: !is_decoder }.spread(&table, self.heads)
    }

    fn layer(
        &self,
        weights: &Weights<'_>,
        name: &str,
        bias: &ScoreBias,
        is_decoder: bool,
    ) -> Result<Vec<Block>, String> {
        let own = if is_decoder { Sees::Earlier(None) } else { Sees::All };
        let mut bodies = vec![self.attention(weights, &format!("{name}.0.SelfAttention"), own, Some(bias))?];
        if is_decoder {
            bodies.push(self.attention(weights, &format!("{name}.1.EncDecAttention"), Sees::Source, None)?);
        }
        let last = bodies.len();
        bodies.push(self.feed_forward(weights, &format!("{name}.{last}.DenseReluDense"))?);
        let block = |(at, body)| {
            let norm = weights.rms_norm(&format!("{name}.{at}.layer_norm"), self.hidden, self.epsilon)?;
            Ok(Block { norm: Some(norm), place: Place::Before, body })
        };
        bodies.into_iter().enumerate().map(block).collect()
    }

    fn attention(
        &self,
        weights: &Weights<'_>,
        name: &str,
        sees: Sees,
        bias: Option<&ScoreBias>,
    ) -> Result<Body, String> {
        let Shape { hidden, heads, head_dim, .. } = *self;
        let width = heads * head_dim;
        let linear = |part: &str, inputs, outputs| {
            weights.linear(&format!("{name}.{part}"), inputs, outputs, Layout::OutputsFirst)
        };
        let positions = bias.map_or(ScorePositions::None, |bias| ScorePositions::Bias(bias.clone()));
        Ok(Body::Attention(Box::new(Attention {
            query: linear("q", hidden, width)?,
            key: linear("k", hidden, width)?,
            value: linear("v", hidden, width)?,
            output: linear("o", width, hidden)?,
            scores: Scores { heads, key_heads: heads, head_dim, scale: 1.0, sees, positions },
        })))
    }

    fn feed_forward(&self, weights: &Weights<'_>, name: &str) -> Result<Body, String> {
        let Shape { hidden, inner, activation, is_gated, .. } = *self;
        let linear = |part: &str, inputs, outputs| {
            weights.linear(&format!("{name}.{part}"), inputs, outputs, Layout::OutputsFirst)
        };
        let (gate, up) = if is_gated {
            (Some(linear("wi_0", hidden, inner)?), linear("wi_1", hidden, inner)?)
        } else {
            (None, linear("wi", hidden, inner)?)
        };
        Ok(Body::FeedForward(FeedForward { gate, up, activation, down: linear("wo", inner, hidden)? }))
    }
}
