//! The families: which fields of a GGUF file are which of a configuration.

use super::super::config::Config;
use super::super::weights::Weights;
use super::super::{gpt2, llama, t5};
use super::fields::Fields;
use super::files::Files;
use super::names::{GPT2, LLAMA, Names, T5};
use super::rope;
use crate::generator::Generator;
use crate::gguf::Value as Field;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Positions beyond any model's, each of which has a row of angles.
const POSITIONS_MAX: usize = 1 << 21;
/// Fields that change no arithmetic.
const HARMLESS: [&str; 6] = [
    "vocab_size",
    "tensor_data_layout",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "expert_used_count",
    "attention.layer_norm_epsilon",
];
/// The distance that T5's last bucket reaches to: llama.cpp takes it whatever a model says.
const T5_DISTANCE_MAX: usize = 128;

/// What a file says of a model.
pub(super) struct Model<'f> {
    /// As transformers calls its fields.
    pub(super) config: Config,
    /// As transformers calls it.
    pub(super) family: &'static str,
    pub(super) build: fn(&Config, &Weights<'_>) -> Result<Generator, String>,
    pub(super) names: Tensors<'f>,
}

/// Which tensors a model has.
pub(super) struct Tensors<'f> {
    /// By the names that transformers gives them: what they are called in the file.
    pub(super) own: BTreeMap<String, &'f str>,
    /// Tensors that are no part of a model of the family.
    pub(super) strange: Vec<&'f str>,
    /// Columns of a head, where pairs of columns that turn together lie side by side in the rows of queries and keys.
    pub(super) turned: Option<usize>,
}

/// A configuration while it is made.
struct Making<'f> {
    files: &'f Files<'f>,
    fields: Fields<'f>,
    config: Map<String, Value>,
    /// What fields are called in the file.
    names: BTreeMap<String, String>,
}

impl<'f> Model<'f> {
    /// Reads the fields of the first file.
    pub(super) fn read(files: &'f Files<'f>) -> Result<Model<'f>, String> {
        let field = "general.architecture";
        let architecture = match files.fields().get(field) {
            Some(Field::Text(text)) => text.as_str(),
            Some(_) => return Err(format!("{}: field `{field}`: it must be a text", files.name())),
            None => return Err(format!("{}: field `{field}` is missing", files.name())),
        };
        let fields = Fields::new(files, architecture);
        let making = Making { files, fields, config: Map::new(), names: BTreeMap::new() };
        match architecture {
            "llama" => making.llama("llama"),
            "qwen2" => making.llama("qwen2"),
            "gpt2" => making.gpt2(),
            "t5" => making.t5(),
            other => Err(format!(
                "{}: field `{field}`: `{other}` is not supported; supported are llama, qwen2, gpt2 and t5",
                files.name()
            )),
        }
    }
}

impl<'f> Making<'f> {
    /// A field of the configuration, and what it is called in the file.
    fn put(&mut self, theirs: &str, own: &str, value: impl Into<Value>) {
        self.config.insert(theirs.to_owned(), value.into());
        self.names.insert(theirs.to_owned(), self.fields.name(own));
    }

    fn size(&mut self, theirs: &str, own: &str) -> Result<usize, String> {
        let size = self.fields.size(own)?;
        self.put(theirs, own, size);
        Ok(size)
    }

    /// A number above 0.
    fn number(&mut self, theirs: &str, own: &str, default: Option<f32>) -> Result<f32, String> {
        let number = self.fields.number_if(own)?.or(default).filter(|number| *number > 0.0);
        let number = number.ok_or_else(|| self.fields.wrong(own, "it must be a number above 0"))?;
        self.put(theirs, own, number);
        Ok(number)
    }

    /// The length of texts, for which tables are made.
    fn positions(&mut self, theirs: &str) -> Result<(), String> {
        match self.size(theirs, "context_length")? {
            0..=POSITIONS_MAX => Ok(()),
            size => Err(self.fields.wrong("context_length", &format!("{size} is more than {POSITIONS_MAX}"))),
        }
    }

    /// What all families have: the table of words says how many there are, and whether the vocabulary has a table of its own.
    fn common(&mut self) -> Result<(), String> {
        let words = self.files.tensor("token_embd.weight");
        let words = words.ok_or_else(|| format!("{}: the tensor `token_embd.weight` is missing", self.files.name()))?;
        self.put("vocab_size", "vocab_size", words.shape[0]);
        if let Some(size) = self.fields.size_if("vocab_size")?.filter(|size| *size != words.shape[0]) {
            let problem = format!("it is {size}, and the tensor `token_embd.weight` has {} rows", words.shape[0]);
            return Err(self.fields.wrong("vocab_size", &problem));
        }
        self.put("tie_word_embeddings", "vocab_size", !self.has("output.weight"));
        let ends = ["eos", "eot", "eom"].iter().filter_map(|end| self.token(end).transpose());
        let mut ends = ends.collect::<Result<Vec<u32>, _>>()?;
        ends.sort_unstable();
        ends.dedup();
        self.config.insert("eos_token_id".to_owned(), json!(ends));
        Ok(())
    }

    fn has(&self, tensor: &str) -> bool {
        self.files.tensor(tensor).is_some()
    }

    fn token(&self, kind: &str) -> Result<Option<u32>, String> {
        let field = format!("tokenizer.ggml.{kind}_token_id");
        match self.files.fields().get(&field) {
            None => Ok(None),
            Some(Field::Whole(id)) if u32::try_from(*id).is_ok() => Ok(Some(*id as u32)),
            Some(other) => Err(format!("{}: field `{field}`: {other:?} is no token", self.files.name())),
        }
    }

    fn finish(
        self,
        family: &'static str,
        build: fn(&Config, &Weights<'_>) -> Result<Generator, String>,
        names: Tensors<'f>,
    ) -> Result<Model<'f>, String> {
        self.fields.refuse_others(&HARMLESS)?;
        Ok(Model { config: Config::made(self.files.name().to_owned(), self.config, self.names), family, build, names })
    }

    fn llama(mut self, family: &'static str) -> Result<Model<'f>, String> {
        self.config.insert("model_type".to_owned(), json!(family));
        self.common()?;
        let hidden = self.size("hidden_size", "embedding_length")?;
        self.size("intermediate_size", "feed_forward_length")?;
        self.size("num_hidden_layers", "block_count")?;
        let heads = self.size("num_attention_heads", "attention.head_count")?;
        if let Some(key_heads) = self.fields.size_if("attention.head_count_kv")? {
            self.put("num_key_value_heads", "attention.head_count_kv", key_heads);
        }
        self.number("rms_norm_eps", "attention.layer_norm_rms_epsilon", None)?;
        self.positions("max_position_embeddings")?;
        let base = self.number("rope_theta", "rope.freq_base", Some(10_000.0))?;
        let head_dim = match self.fields.size_if("attention.key_length")? {
            Some(size) => size,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                let problem = format!("{heads} heads do not divide {hidden} columns");
                return Err(self.fields.wrong("attention.head_count", &problem));
            }
        };
        for field in ["attention.value_length", "rope.dimension_count"] {
            if let Some(size) = self.fields.size_if(field)?.filter(|size| *size != head_dim) {
                return Err(self
                    .fields
                    .wrong(field, &format!("{size} is not supported: a head has {head_dim} columns")));
            }
        }
        self.put("head_dim", "attention.key_length", head_dim);
        if let Some(scaling) = rope::scaling(self.files, &self.fields, base, head_dim)? {
            self.put("rope_scaling", "rope.scaling.type", scaling);
        }
        self.refuse_llama()?;
        // Queries and keys are stored for turning neighbours; only this architecture's.
        let turned = (family == "llama").then_some(head_dim);
        let names = tensors(self.files, &LLAMA, turned);
        self.finish(family, llama::build, names)
    }

    /// What LLaMA-style models may have and grice's have not.
    fn refuse_llama(&self) -> Result<(), String> {
        let (zero, none) = (Field::Whole(0), Field::Number(0.0));
        self.fields.only("expert_count", std::slice::from_ref(&zero))?;
        self.fields.only("attention.causal", &[Field::Flag(true)])?;
        self.fields.only("attention.sliding_window", &[zero])?;
        self.fields.only("use_parallel_residual", &[Field::Flag(false)])?;
        self.fields.only("rope.scaling.attn_factor", &[Field::Number(1.0)])?;
        for field in ["logit_scale", "embedding_scale", "residual_scale"] {
            self.fields.only(field, &[none.clone(), Field::Number(1.0)])?;
        }
        ["attention.clamp_kqv", "attention.max_alibi_bias", "attention.scale"]
            .iter()
            .try_for_each(|field| self.fields.only(field, std::slice::from_ref(&none)))
    }

    fn gpt2(mut self) -> Result<Model<'f>, String> {
        self.config.insert("model_type".to_owned(), json!("gpt2"));
        self.common()?;
        self.size("n_embd", "embedding_length")?;
        self.size("n_inner", "feed_forward_length")?;
        self.size("n_layer", "block_count")?;
        let heads = self.size("n_head", "attention.head_count")?;
        if let Some(key_heads) = self.fields.size_if("attention.head_count_kv")?.filter(|size| *size != heads) {
            let problem = format!("{key_heads} is not supported: there are {heads} heads");
            return Err(self.fields.wrong("attention.head_count_kv", &problem));
        }
        self.number("layer_norm_epsilon", "attention.layer_norm_epsilon", None)?;
        self.positions("n_positions")?;
        let names = tensors(self.files, &GPT2, None);
        self.finish("gpt2", gpt2::build, names)
    }

    fn t5(mut self) -> Result<Model<'f>, String> {
        self.config.insert("model_type".to_owned(), json!("t5"));
        self.common()?;
        self.size("d_model", "embedding_length")?;
        self.size("d_ff", "feed_forward_length")?;
        let layers = self.size("num_layers", "block_count")?;
        let decoder_layers = self.fields.size_if("decoder_block_count")?.unwrap_or(layers);
        self.put("num_decoder_layers", "decoder_block_count", decoder_layers);
        self.size("num_heads", "attention.head_count")?;
        let head_dim = self.size("d_kv", "attention.key_length")?;
        if let Some(size) = self.fields.size_if("attention.value_length")?.filter(|size| *size != head_dim) {
            let problem = format!("{size} is not supported: keys have {head_dim} columns");
            return Err(self.fields.wrong("attention.value_length", &problem));
        }
        self.number("layer_norm_epsilon", "attention.layer_norm_rms_epsilon", None)?;
        let buckets = self.size("relative_attention_num_buckets", "attention.relative_buckets_count")?;
        if !(4..T5_DISTANCE_MAX).contains(&buckets) {
            let problem = format!("{buckets} buckets do not fit distances up to {T5_DISTANCE_MAX}");
            return Err(self.fields.wrong("attention.relative_buckets_count", &problem));
        }
        self.put("relative_attention_max_distance", "attention.relative_buckets_count", T5_DISTANCE_MAX);
        self.fields.size_if("context_length")?;
        self.start()?;
        let names = self.t5_tensors()?;
        self.finish("t5", t5::build, names)
    }

    /// A decoder begins with its start token, and without one with padding.
    fn start(&mut self) -> Result<(), String> {
        let field = "decoder_start_token_id";
        let own = self.fields.number_if(field)?.map(|id| id as u32);
        let start = match own {
            None => self.token("padding")?,
            own => own,
        };
        let start = start.ok_or_else(|| self.fields.wrong(field, "it is missing"))?;
        self.put(field, field, start);
        Ok(())
    }

    /// A T5 with gates is v1.1, which has a vocabulary of its own; one without is the first, which shares it and scales what it takes.
    fn t5_tensors(&mut self) -> Result<Tensors<'f>, String> {
        let (words, output) = ("token_embd.weight", "output.weight");
        let is_gated = self.has("enc.blk.0.ffn_gate.weight");
        self.put("feed_forward_proj", "feed_forward_length", if is_gated { "gated-gelu" } else { "relu" });
        let mut names = tensors(self.files, &T5, None);
        if is_gated {
            let renamed = |name: String| match name.strip_suffix(".wi.weight") {
                Some(rest) => format!("{rest}.wi_1.weight"),
                None => name,
            };
            names.own = names.own.into_iter().map(|(name, own)| (renamed(name), own)).collect();
            return Ok(names);
        }
        if let Some(own) = self.files.tensor(output) {
            // Some programs write the shared table twice.
            let shared = self.files.tensor(words);
            let same = shared.is_some_and(|shared| [&shared.kind, &own.kind].windows(2).all(|pair| pair[0] == pair[1]))
                && self.files.bytes(words)? == self.files.bytes(output)?;
            if !same {
                let problem = "differs from `token_embd.weight`, which a T5 without gates shares";
                return Err(format!("{} {problem}", self.files.named(output)));
            }
            names.own.remove("lm_head.weight");
            self.put("tie_word_embeddings", "vocab_size", true);
        }
        Ok(names)
    }
}

fn tensors<'f>(files: &'f Files<'f>, names: &Names, turned: Option<usize>) -> Tensors<'f> {
    let mut found = Tensors { own: BTreeMap::new(), strange: Vec::new(), turned };
    for name in files.tensors().filter(|name| !names.unread.contains(&name.as_str())) {
        match names.theirs(name) {
            Some(theirs) => drop(found.own.insert(theirs, name)),
            None => found.strange.push(name),
        }
    }
    found
}
