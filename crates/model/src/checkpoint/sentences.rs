//! A folder of `sentence-transformers`: an encoder, and how one vector is made of its hidden states.
//!
//! `modules.json` lists what a text goes through. Nothing is assumed: a folder without it, and a module or setting that is not supported, are
//! refused by name.

use super::config::Config;
use super::encoder;
use super::folder::{Folder, read_if};
use super::quantized::Quantized;
use super::safe::Safe;
use super::weights::Weights;
use crate::program::{Pooling, Program, Readout};
use crate::safetensors::Source;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const MODULES: &str = "modules.json";
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
/// Of the whole; of the encoder, under the names that it has had.
const SETTINGS: &str = "config_sentence_transformers.json";
const ENCODER_SETTINGS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];
/// A limit beyond it is none: tokenizers write 10³⁰.
const TOKENS_MAX: f64 = 1e6;

/// A model that turns a text into one vector, and what its files say of texts.
#[derive(Clone, Debug)]
pub struct SentenceModel {
    /// The encoder, with a readout of vectors.
    pub program: Program,
    /// The most tokens of a text, special ones included; longer ones are cut.
    pub tokens_max: usize,
    /// `model_type` of its configuration.
    pub family: String,
    /// The name of the tokenizer's file in the folder.
    pub tokenizer: String,
    /// What its makers put before texts, by name.
    pub prompts: BTreeMap<String, String>,
    /// Whether the tokens of a prompt count for the vector. If not, texts with prompts cannot be embedded here.
    pub pools_prompt: bool,
}

impl SentenceModel {
    /// Opens a folder.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], naming file, field, module or tensor.
    pub fn open(folder: &dyn Folder) -> Result<SentenceModel> {
        open(folder).map_err(Error::Checkpoint)
    }
}

type Read<T> = std::result::Result<T, String>;

fn open(folder: &dyn Folder) -> Read<SentenceModel> {
    let prompts = read_settings(folder)?;
    let Modules { encoder, pooling, normalised } = Modules::read(folder)?;
    let inside = Inside { folder, path: encoder };
    let bytes = read_if(&inside, CONFIG)?.ok_or_else(|| format!("the file {} is missing", inside.path_of(CONFIG)))?;
    let config = Config::parse(CONFIG, &bytes)?;
    let family = config.text("model_type")?.ok_or_else(|| config.wrong("model_type", "it is missing"))?.to_owned();
    encoder::check_family(&family).map_err(|problem| config.wrong("model_type", &problem))?;
    let weights = Weights::new(Safe::open(&inside, Quantized::read(&config)?)?);
    let stack = encoder::build(&family, &config, &weights)?;
    let (pooling, pools_prompt) = read_pooling(folder, &pooling, stack.hidden())?;
    let program = Program { encoder: stack, readout: Readout::Pooled { pooling, normalised } };
    let asked = read_tokens_max(&inside)?;
    let tokens_max = asked.into_iter().chain(program.longest()).min();
    let tokens_max = tokens_max.ok_or_else(|| format!("no file says how many tokens a text may have; {MAX_FIELD}"))?;
    let tokenizer = inside.path_of(TOKENIZER);
    Ok(SentenceModel { program, tokens_max, family, tokenizer, prompts, pools_prompt })
}

const MAX_FIELD: &str = "write `max_seq_length` into sentence_bert_config.json";

/// What a text goes through.
struct Modules {
    /// The folder of the encoder, empty for the model's own.
    encoder: String,
    /// The folder of the pooling.
    pooling: String,
    /// Whether vectors are divided by their lengths.
    normalised: bool,
}

/// One of `modules.json`.
struct Module {
    /// `Transformer`, `Pooling` and so on: the last part of the class's name, if the class is one of the library's own.
    kind: String,
    path: String,
}

impl Modules {
    fn read(folder: &dyn Folder) -> Read<Modules> {
        let missing =
            || format!("the file {MODULES} is missing; a model that embeds texts is a sentence-transformers folder");
        let bytes = read_if(folder, MODULES)?.ok_or_else(missing)?;
        let listed: Vec<Value> =
            serde_json::from_slice(crate::without_bom(&bytes)).map_err(|error| format!("{MODULES}: {error}"))?;
        let modules = listed.iter().map(Module::read).collect::<Read<Vec<_>>>()?;
        let kinds: Vec<&str> = modules.iter().map(|module| module.kind.as_str()).collect();
        let normalised = match kinds.as_slice() {
            ["Transformer", "Pooling"] => false,
            ["Transformer", "Pooling", "Normalize"] => true,
            _ => {
                return Err(format!(
                    "{MODULES}: a text goes through {}; supported are Transformer, Pooling and Normalize, in this order",
                    kinds.join(", ")
                ));
            }
        };
        let path = |at: usize| modules[at].path.clone();
        Ok(Modules { encoder: path(0), pooling: path(1), normalised })
    }
}

impl Module {
    fn read(value: &Value) -> Read<Module> {
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        let (Some(class), Some(path)) = (text("type"), text("path")) else {
            return Err(format!("{MODULES}: each module must have a `type` and a `path`"));
        };
        let is_known = ["Transformer", "Pooling", "Normalize"].iter().any(|kind| class.ends_with(&format!(".{kind}")));
        let is_plain = !path.contains(['/', '\\', ':']) && path != "." && path != "..";
        if !class.starts_with("sentence_transformers.") || !is_known {
            return Err(format!(
                "{MODULES}: the module `{path}` of type `{class}` is not supported; supported are Transformer, Pooling and Normalize of \
                 sentence-transformers"
            ));
        }
        if !is_plain {
            return Err(format!("{MODULES}: the path `{path}` must be a folder beside it"));
        }
        let kind = class.rsplit('.').next().unwrap_or_default().to_owned();
        Ok(Module { kind, path: path.to_owned() })
    }
}

/// What `1_Pooling/config.json` says: how, and whether prompts count.
fn read_pooling(folder: &dyn Folder, path: &str, hidden: usize) -> Read<(Pooling, bool)> {
    let inside = Inside { folder, path: path.to_owned() };
    let file = inside.path_of(CONFIG);
    let bytes = read_if(&inside, CONFIG)?.ok_or_else(|| format!("the file {file} is missing"))?;
    let config = Config::parse(CONFIG, &bytes)?;
    let named = |problem: String| format!("{path}/{problem}");
    for field in ["word_embedding_dimension", "embedding_dimension"] {
        match config.size_if(field).map_err(named)? {
            Some(columns) if columns != hidden => {
                return Err(format!("{file}: field `{field}`: it is {columns}, but the encoder makes {hidden}"));
            }
            _ => {}
        }
    }
    let pools_prompt = config.flag_or("include_prompt", true).map_err(named)?;
    let modes = pooling_modes(&config).map_err(named)?;
    match modes.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["mean"] => Ok((Pooling::Mean, pools_prompt)),
        ["cls"] => Ok((Pooling::Cls, pools_prompt)),
        [] => Err(format!("{file}: it names no pooling; supported are mean and cls")),
        other => {
            Err(format!("{file}: the pooling {} is not supported; supported are mean and cls", other.join(" with ")))
        }
    }
}

/// The ways of pooling that are on, in either of the forms that the file has had.
fn pooling_modes(config: &Config) -> Read<Vec<String>> {
    match config.get("pooling_mode") {
        Some(Value::String(mode)) => return Ok(vec![mode.clone()]),
        Some(Value::Array(modes)) if modes.iter().all(Value::is_string) => {
            return Ok(modes.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        }
        Some(_) => return Err(config.wrong("pooling_mode", "it must be a text")),
        None => {}
    }
    let mut modes = Vec::new();
    for mode in ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"] {
        if config.flag_or(&format!("pooling_mode_{mode}"), false)? {
            let short = if mode == "mean_sqrt_len_tokens" { mode } else { mode.trim_end_matches("_tokens") };
            modes.push(short.trim_end_matches("_token").to_owned());
        }
    }
    Ok(modes)
}

/// The prompts by name. Refuses one that stands before every text, and models of other kinds.
fn read_settings(folder: &dyn Folder) -> Read<BTreeMap<String, String>> {
    let Some(bytes) = read_if(folder, SETTINGS)? else { return Ok(BTreeMap::new()) };
    let settings = Config::parse(SETTINGS, &bytes)?;
    settings.only("model_type", &[json!("SentenceTransformer")])?;
    settings.only("truncate_dim", &[])?;
    let prompts = read_prompts(&settings)?;
    let name = settings.text("default_prompt_name")?;
    match name.map(|name| (name, prompts.get(name))) {
        None => Ok(prompts),
        Some((_, Some(prompt))) if prompt.is_empty() => Ok(prompts),
        Some((name, _)) => Err(settings.wrong(
            "default_prompt_name",
            &format!("the prompt `{name}` before every text is not supported; take the field out, and name the prompt with --prompt"),
        )),
    }
}

fn read_prompts(settings: &Config) -> Read<BTreeMap<String, String>> {
    let Some(written) = settings.object("prompts")? else { return Ok(BTreeMap::new()) };
    let prompt = |(name, value): (&String, &Value)| match value.as_str() {
        Some(text) => Ok((name.clone(), text.to_owned())),
        None => Err(settings.wrong("prompts", &format!("`{name}` must be a text, and is {value}"))),
    };
    written.fields().iter().map(prompt).collect()
}

/// The most tokens of a text, as the encoder's settings say, or else its tokenizer's.
fn read_tokens_max(inside: &Inside<'_>) -> Read<Option<usize>> {
    let file = "tokenizer_config.json";
    let tokenizer = read_if(inside, file)?.map(|bytes| Config::parse(file, &bytes)).transpose()?;
    if let Some(tokenizer) = &tokenizer {
        tokenizer.only("truncation_side", &[json!("right")])?;
    }
    for file in ENCODER_SETTINGS {
        let Some(bytes) = read_if(inside, file)? else { continue };
        let settings = Config::parse(file, &bytes)?;
        settings.only("do_lower_case", &[json!(false)])?;
        settings.only("transformer_task", &[json!("feature-extraction")])?;
        settings.only("module_output_name", &[json!("token_embeddings")])?;
        settings.only("processing_kwargs", &[json!({})])?;
        settings.only("query_expansion", &[])?;
        let modalities = settings.object("modality_config")?;
        if let Some(text) = modalities.and_then(|modalities| modalities.object("text").transpose()).transpose()? {
            text.only("method", &[json!("forward")])?;
            text.only("method_output_name", &[json!("last_hidden_state")])?;
        }
        if let Some(tokens) = settings.size_if("max_seq_length")? {
            return Ok(Some(tokens));
        }
    }
    let Some(tokenizer) = tokenizer else { return Ok(None) };
    match tokenizer.get("model_max_length").map(Value::as_f64) {
        None => Ok(None),
        Some(Some(tokens)) if tokens >= TOKENS_MAX => Ok(None),
        Some(Some(tokens)) if tokens >= 1.0 => Ok(Some(tokens as usize)),
        _ => Err(tokenizer.wrong("model_max_length", "it must be a number from 1 on")),
    }
}

/// A folder in a folder, or the folder itself.
struct Inside<'f> {
    folder: &'f dyn Folder,
    path: String,
}

impl Inside<'_> {
    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }
}

impl Folder for Inside<'_> {
    fn file(&self, name: &str) -> std::io::Result<Option<Box<dyn Source + '_>>> {
        self.folder.file(&self.path_of(name))
    }
}
