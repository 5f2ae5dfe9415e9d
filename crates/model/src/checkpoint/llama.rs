//! LLaMA and what is built like it: Qwen2 with its biases, Mistral with its window, SmolLM2.

use super::config::Config;
use super::parts;
use super::weights::{Layout, Weights};
use crate::generator::Generator;
use crate::program::{Attention, Block, Body, Embedding, FeedForward, Place, ScorePositions, Scores, Sees, Stack};
use grice_kernels::{Rotary, RotaryScaling};
use serde_json::json;
use std::sync::Arc;

/// What the names of its dense layers end in.
pub(super) const DENSE: &[&str] = &[
    ".self_attn.q_proj",
    ".self_attn.k_proj",
    ".self_attn.v_proj",
    ".self_attn.o_proj",
    ".mlp.gate_proj",
    ".mlp.up_proj",
    ".mlp.down_proj",
];

struct Shape {
    hidden: usize,
    inner: usize,
    epsilon: f32,
    scores: Scores,
}

pub(super) fn build(config: &Config, weights: &Weights<'_>) -> Result<Generator, String> {
    config.only("pretraining_tp", &[json!(1)])?;
    let (hidden, vocabulary) = (config.size("hidden_size")?, config.size("vocab_size")?);
    let inner = config.size("intermediate_size")?;
    let epsilon = config.number_or("rms_norm_eps", 1e-6)?;
    let layers = config.size("num_hidden_layers")?;
    let shape = Shape { hidden, inner, epsilon, scores: scores(config, hidden)? };
    let windows = windows(config, layers)?;
    let words = Arc::new(weights.matrix("model.embed_tokens.weight", vocabulary, hidden)?);
    let embedding = Embedding { words: words.clone(), positions: None, constant: None, norm: None, projection: None };
    let layers = windows.into_iter().enumerate().map(|(layer, window)| {
        let scores = Scores { sees: Sees::Earlier(window), ..shape.scores.clone() };
        block(config, weights, &Shape { scores, ..shape }, layer)
    });
    let layers = layers.collect::<Result<_, _>>()?;
    let last = Some(weights.rms_norm("model.norm", hidden, epsilon)?);
    let vocabulary = parts::head(weights, &words, config.flag_or("tie_word_embeddings", false)?)?;
    Ok(Generator { encoder: None, decoder: Stack { embedding, layers, last }, vocabulary })
}

fn scores(config: &Config, hidden: usize) -> Result<Scores, String> {
    let heads = config.size("num_attention_heads")?;
    let key_heads = config.size_if("num_key_value_heads")?.unwrap_or(heads);
    let head_dim = match config.size_if("head_dim")? {
        Some(size) => size,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(config.wrong("num_attention_heads", &format!("{heads} do not divide {hidden} columns"))),
    };
    if !heads.is_multiple_of(key_heads) {
        let problem = format!("{key_heads} key heads do not divide {heads} heads");
        return Err(config.wrong("num_key_value_heads", &problem));
    }
    let rotary = rotary(config, head_dim)?;
    Ok(Scores {
        heads,
        key_heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        sees: Sees::Earlier(None),
        positions: ScorePositions::Rotary(rotary),
    })
}

/// How many tokens a token of each layer sees, its own among them; `None` for all.
fn windows(config: &Config, layers: usize) -> Result<Vec<Option<usize>>, String> {
    let is_mistral = config.text("model_type")? == Some("mistral");
    let window = match is_mistral || config.flag_or("use_sliding_window", false)? {
        true => config.size_if("sliding_window")?,
        false => None,
    };
    // Layers below this one see all.
    let first = if is_mistral { 0 } else { config.count_if("max_window_layers")?.unwrap_or(0) };
    let windows: Vec<_> = (0..layers).map(|layer| window.filter(|_| layer >= first)).collect();
    if let Some(types) = config.get("layer_types") {
        let name = |window: &Option<usize>| if window.is_some() { "sliding_attention" } else { "full_attention" };
        if *types != json!(windows.iter().map(name).collect::<Vec<_>>()) {
            return Err(config.wrong("layer_types", "it contradicts the fields of the window"));
        }
    }
    Ok(windows)
}

/// Newer files keep what belongs to rotary positions in one object.
fn rotary(config: &Config, head_dim: usize) -> Result<Rotary, String> {
    let newer = config.object("rope_parameters")?;
    let older = config.object("rope_scaling")?;
    let theta = newer.as_ref().map(|fields| fields.number_if("rope_theta")).transpose()?.flatten();
    let base = match theta {
        Some(theta) => theta,
        None => config.number_or("rope_theta", 10_000.0)?,
    };
    for fields in newer.iter().chain([config]) {
        fields.only("partial_rotary_factor", &[json!(1.0), json!(1)])?;
    }
    let positions = config.size_if("max_position_embeddings")?.unwrap_or(2048);
    let scaling = newer.as_ref().or(older.as_ref()).map(scaling).transpose()?.unwrap_or_default();
    Ok(Rotary { base, columns: head_dim, positions, scaling })
}

fn scaling(fields: &Config) -> Result<RotaryScaling, String> {
    let kind = match fields.text("rope_type")? {
        None => fields.text("type")?,
        kind => kind,
    };
    let number = |field: &str| {
        let number = fields.number_if(field)?.filter(|number| *number > 0.0);
        number.ok_or_else(|| fields.wrong(field, "it must be a number above 0"))
    };
    match kind.unwrap_or("default") {
        "default" => Ok(RotaryScaling::None),
        "linear" => Ok(RotaryScaling::Linear { factor: number("factor")? }),
        "llama3" => Ok(RotaryScaling::Llama3 {
            factor: number("factor")?,
            low: number("low_freq_factor")?,
            high: number("high_freq_factor")?,
            positions: number("original_max_position_embeddings")?,
        }),
        other => Err(fields.wrong("rope_type", &format!("`{other}` is not supported"))),
    }
}

fn block(config: &Config, weights: &Weights<'_>, shape: &Shape, layer: usize) -> Result<Vec<Block>, String> {
    let Shape { hidden, inner, epsilon, scores } = shape;
    let name = |part: &str| format!("model.layers.{layer}.{part}");
    let linear = |part: &str, inputs, outputs| weights.linear(&name(part), inputs, outputs, Layout::OutputsFirst);
    let (width, key_width) = (scores.heads * scores.head_dim, scores.key_heads * scores.head_dim);
    let attention = Attention {
        query: linear("self_attn.q_proj", *hidden, width)?,
        key: linear("self_attn.k_proj", *hidden, key_width)?,
        value: linear("self_attn.v_proj", *hidden, key_width)?,
        output: linear("self_attn.o_proj", width, *hidden)?,
        scores: scores.clone(),
    };
    let feed_forward = FeedForward {
        gate: Some(linear("mlp.gate_proj", *hidden, *inner)?),
        up: linear("mlp.up_proj", *hidden, *inner)?,
        activation: parts::activation(config, "hidden_act", "silu")?,
        down: linear("mlp.down_proj", *inner, *hidden)?,
    };
    let block = |norm: &str, body| {
        let norm = Some(weights.rms_norm(&name(norm), *hidden, *epsilon)?);
        Ok::<_, String>(Block { norm, place: Place::Before, body })
    };
    Ok(vec![
        block("input_layernorm", Body::Attention(Box::new(attention)))?,
        block("post_attention_layernorm", Body::FeedForward(feed_forward))?,
    ])
}
