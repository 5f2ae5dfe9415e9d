//! GPT-2 (Radford et al., 2019).

use super::config::Config;
use super::parts;
use super::weights::{Layout, Weights};
use crate::generator::Generator;
use crate::program::{
    Attention, Block, Body, Embedding, FeedForward, Place, Positions, ScorePositions, Scores, Sees, Stack,
};
use crate::weights::Linear;
use serde_json::json;
use std::sync::Arc;

/// What the names of its dense layers end in.
pub(super) const DENSE: &[&str] = &[".attn.c_attn", ".attn.c_proj", ".mlp.c_fc", ".mlp.c_proj"];

struct Shape {
    prefix: &'static str,
    hidden: usize,
    inner: usize,
    heads: usize,
    epsilon: f32,
}

pub(super) fn build(config: &Config, weights: &Weights<'_>) -> Result<Generator, String> {
    config.only("add_cross_attention", &[json!(false)])?;
    let (hidden, heads) = (config.size("n_embd")?, config.size("n_head")?);
    if !hidden.is_multiple_of(heads) {
        return Err(config.wrong("n_head", &format!("{heads} heads do not divide {hidden} columns")));
    }
    let vocabulary = config.size("vocab_size")?;
    // A model without its head names its tensors without the first part.
    let prefix = if weights.has("transformer.wte.weight") { "transformer." } else { "" };
    let inner = config.size_if("n_inner")?.unwrap_or(4 * hidden);
    let shape = Shape { prefix, hidden, inner, heads, epsilon: config.number_or("layer_norm_epsilon", 1e-5)? };
    let words = Arc::new(weights.matrix(&format!("{prefix}wte.weight"), vocabulary, hidden)?);
    let positions = config.size("n_positions")?;
    let table = Arc::new(weights.matrix(&format!("{prefix}wpe.weight"), positions, hidden)?);
    let positions = Some(Positions { table, offset: 0, uncounted: None });
    let embedding = Embedding { words: words.clone(), positions, constant: None, norm: None, projection: None };
    let layers = (0..config.size("n_layer")?).map(|layer| block(config, weights, &shape, layer));
    let layers = layers.collect::<Result<_, _>>()?;
    let last = Some(weights.layer_norm(&format!("{prefix}ln_f"), hidden, shape.epsilon)?);
    let vocabulary = parts::head(weights, &words, config.flag_or("tie_word_embeddings", true)?)?;
    Ok(Generator { encoder: None, decoder: Stack { embedding, layers, last }, vocabulary })
}

fn block(config: &Config, weights: &Weights<'_>, shape: &Shape, layer: usize) -> Result<Vec<Block>, String> {
    let Shape { prefix, hidden, inner, heads, epsilon } = *shape;
    let name = |part: &str| format!("{prefix}h.{layer}.{part}");
    let linear = |part: &str, inputs, outputs| weights.linear(&name(part), inputs, outputs, Layout::InputsFirst);
    let head_dim = hidden / heads;
    let mut scale = 1.0;
    if config.flag_or("scale_attn_weights", true)? {
        scale /= (head_dim as f32).sqrt();
    }
    if config.flag_or("scale_attn_by_inverse_layer_idx", false)? {
        scale /= (layer + 1) as f32;
    }
    let [query, key, value] = thirds(&linear("attn.c_attn", hidden, 3 * hidden)?)?;
    let output = linear("attn.c_proj", hidden, hidden)?;
    let (sees, positions) = (Sees::Earlier(None), ScorePositions::None);
    let scores = Scores { heads, key_heads: heads, head_dim, scale, sees, positions };
    let attention = Body::Attention(Box::new(Attention { query, key, value, output, scores }));
    let (up, down) = (linear("mlp.c_fc", hidden, inner)?, linear("mlp.c_proj", inner, hidden)?);
    let activation = parts::activation(config, "activation_function", "gelu_new")?;
    let feed_forward = Body::FeedForward(FeedForward { gate: None, up, activation, down });
    let block = |norm: &str, body| {
        let norm = Some(weights.layer_norm(&name(norm), hidden, epsilon)?);
        Ok::<_, String>(Block { norm, place: Place::Before, body })
    };
    Ok(vec![block("ln_1", attention)?, block("ln_2", feed_forward)?])
}

/// A layer whose outputs are three layers' side by side.
fn thirds(whole: &Linear) -> Result<[Linear; 3], String> {
    let outputs = whole.outputs() / 3;
    let third = |at: usize| {
        let columns = at * outputs..(at + 1) * outputs;
        let weights = whole.weights.columns_of(columns.clone()).ok_or("the tensor `attn.c_attn.weight` is empty")?;
        let bias = whole.bias.as_ref().map(|bias| bias[columns].to_vec());
        Ok::<_, String>(Linear { weights: Arc::new(weights), bias })
    };
    Ok([third(0)?, third(1)?, third(2)?])
}
