//! GPT-2 (Radford et al., 2019).

use super::config::Config;
use super::parts;
use super::weights::{Layout, Weights};
use crate::generator::Generator;
use crate::program::{
    Attention, Block, Body, Embedding, FeedForward, Place, Positions, ScorePositions, Scores, Sees, Stack,
};
use crate::weights::{Linear, Matrix, Values};
use serde_json::json;
use std::sync::Arc;

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
    let words = parts::head(weights, &words, config.flag_or("tie_word_embeddings", true)?)?;
    Ok(Generator { encoder: None, decoder: Stack { embedding, layers, last }, words })
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
    let [query, key, value] = thirds(&linear("attn.c_attn", hidden, 3 * hidden)?);
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
fn thirds(whole: &Linear) -> [Linear; 3] {
    let (inputs, outputs) = (whole.inputs(), whole.outputs() / 3);
    std::array::from_fn(|third| {
        let at = third * outputs;
        let columns = |row: usize| row * 3 * outputs + at..row * 3 * outputs + at + outputs;
        let values = match whole.weights.values() {
            Values::F16(values) => {
                Values::F16((0..inputs).flat_map(|row| values[columns(row)].iter().copied()).collect())
            }
            Values::Int8Columns { values, scales } => Values::Int8Columns {
                values: (0..inputs).flat_map(|row| values[columns(row)].iter().copied()).collect(),
                scales: scales[at..at + outputs].to_vec(),
            },
            _ => {
                let values = whole.weights.to_f32();
                Values::F32((0..inputs).flat_map(|row| values[columns(row)].iter().copied()).collect())
            }
        };
        let weights = Matrix::new(inputs, outputs, values).map(Arc::new);
        let weights = weights.unwrap_or_else(|| whole.weights.clone());
        let bias = whole.bias.as_ref().map(|bias| bias[at..at + outputs].to_vec());
        Linear { weights, bias }
    })
}
