//! Which families there are, and what is specific to each.

use super::config::Config;
use super::weights::{Layout, Weights};
use super::{gpt2, llama, t5};
use crate::generator::Generator;

/// A family of checkpoints.
pub(super) struct Family {
    /// `model_type` of its configuration.
    pub(super) name: String,
    /// Makes a model of its files.
    pub(super) build: fn(&Config, &Weights<'_>) -> Result<Generator, String>,
    /// What the names of its dense layers end in, the vocabulary apart.
    dense: &'static [&'static str],
    /// How the file holds their weights.
    pub(super) layout: Layout,
}

impl Family {
    /// That of a configuration.
    pub(super) fn of(config: &Config) -> Result<Family, String> {
        let name = config.text("model_type")?.ok_or_else(|| config.wrong("model_type", "it is missing"))?.to_owned();
        let family = |build, dense, layout| Family { name: name.clone(), build, dense, layout };
        match name.as_str() {
            "t5" => Ok(family(t5::build, t5::DENSE, Layout::OutputsFirst)),
            "gpt2" => Ok(family(gpt2::build, gpt2::DENSE, Layout::InputsFirst)),
            "llama" | "qwen2" | "mistral" => Ok(family(llama::build, llama::DENSE, Layout::OutputsFirst)),
            _ => {
                let known = "supported are t5, gpt2, llama, qwen2 and mistral";
                Err(config.wrong("model_type", &format!("`{name}` is not supported; {known}")))
            }
        }
    }

    /// The dense layer that a tensor is the weight of, if it is one.
    pub(super) fn layer_of<'n>(&self, tensor: &'n str) -> Option<&'n str> {
        let layer = tensor.strip_suffix(".weight")?;
        self.dense.iter().any(|end| layer.ends_with(end)).then_some(layer)
    }
}

/// Tensors that old files have beside the weights: masks, and tables that follow from the configuration.
pub(super) fn is_buffer(name: &str) -> bool {
    [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"].iter().any(|end| name.ends_with(end))
}
