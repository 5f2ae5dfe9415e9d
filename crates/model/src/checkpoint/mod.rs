//! A Hugging Face folder (`config.json`, `model.safetensors` with or without shards): a model that writes text as a [`Generator`], and a
//! model that embeds texts as a [`Program`](crate::Program).
//!
//! Each family is a table of tensor names in a file of its own. What changes the arithmetic and is not supported is refused by name.

mod bias;
mod config;
mod encoder;
mod family;
mod folder;
mod gguf;
mod gpt2;
mod llama;
mod parts;
mod quantized;
mod raw;
mod safe;
mod sentences;
mod t5;
mod tensors;
mod weights;

pub use folder::Folder;
pub use gguf::{GgufModel, GgufVocabulary};
pub use raw::{RawCheckpoint, RawTensor, Role};
pub use sentences::SentenceModel;

use crate::generator::Generator;
use crate::{Error, Result};
use config::{CONFIG, Config};
use family::{Family, is_buffer};
use folder::read_if;
use quantized::Quantized;
use safe::Safe;
use serde_json::Value;
use weights::Weights;

const GENERATION: &str = "generation_config.json";

/// A model that writes text, and what its files say of how it is used.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The model.
    pub generator: Generator,
    /// How its makers generate with it.
    pub defaults: GenerationDefaults,
    /// `model_type` of its configuration.
    pub family: String,
}

/// What `generation_config.json` and `config.json` say; `None` where they say nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Tokens that end a text, of both files.
    pub end_tokens: Vec<u32>,
    /// The first token of a decoder that has an encoder.
    pub start_token: Option<u32>,
    /// Whether the next token is drawn rather than the likeliest one.
    pub sample: Option<bool>,
    /// Divides logits before a token is drawn.
    pub temperature: Option<f32>,
    /// How many of the likeliest tokens a token is drawn from.
    pub top_k: Option<usize>,
    /// The probability of the likeliest tokens that a token is drawn from.
    pub top_p: Option<f32>,
    /// How many texts are kept at once.
    pub beams: Option<usize>,
    /// Divides (or multiplies) the logits of tokens that are there already.
    pub repetition_penalty: Option<f32>,
    /// No sequence of so many tokens appears twice.
    pub no_repeat_ngram: Option<usize>,
    /// The most new tokens.
    pub max_new_tokens: Option<usize>,
}

impl Checkpoint {
    /// Opens a folder.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], naming file, field or tensor.
    pub fn open(folder: &dyn Folder) -> Result<Checkpoint> {
        open(folder).map_err(Error::Checkpoint)
    }
}

fn open(folder: &dyn Folder) -> std::result::Result<Checkpoint, String> {
    let bytes = read_if(folder, CONFIG)?.ok_or_else(|| format!("the file {CONFIG} is missing"))?;
    let config = Config::parse(CONFIG, &bytes)?;
    let Family { name: family, build, .. } = Family::of(&config)?;
    let weights = Weights::new(Safe::open(folder, Quantized::read(&config)?)?);
    let generator = build(&config, &weights)?;
    let unread = weights.unread(is_buffer);
    if let Some(name) = unread.first() {
        return Err(format!("the tensor `{name}` is no part of a {family} model ({} such tensors)", unread.len()));
    }
    let defaults = defaults(folder, &config)?;
    generator.check().map_err(|error| error.to_string())?;
    Ok(Checkpoint { generator, defaults, family })
}

fn defaults(folder: &dyn Folder, config: &Config) -> std::result::Result<GenerationDefaults, String> {
    let bytes = read_if(folder, GENERATION)?;
    let own = bytes.map_or_else(|| Config::parse(GENERATION, b"{}"), |bytes| Config::parse(GENERATION, &bytes))?;
    let mut end_tokens = own.tokens("eos_token_id")?;
    end_tokens.extend(config.tokens("eos_token_id")?);
    end_tokens.sort_unstable();
    end_tokens.dedup();
    let start = match own.token("decoder_start_token_id")? {
        None => config.token("decoder_start_token_id")?,
        start => start,
    };
    // Without a start token decoders begin with padding.
    let pad = match own.token("pad_token_id")? {
        None => config.token("pad_token_id")?,
        pad => pad,
    };
    let whole = |field: &str| Ok::<_, String>(own.get(field).and_then(Value::as_u64).map(|number| number as usize));
    Ok(GenerationDefaults {
        end_tokens,
        start_token: start.or(pad),
        sample: own.flag_if("do_sample")?,
        temperature: own.number_if("temperature")?,
        top_k: whole("top_k")?,
        top_p: own.number_if("top_p")?,
        beams: own.size_if("num_beams")?,
        repetition_penalty: own.number_if("repetition_penalty")?,
        no_repeat_ngram: whole("no_repeat_ngram_size")?,
        max_new_tokens: own.size_if("max_new_tokens")?,
    })
}
