//! What several families share.

use super::config::Config;
use super::weights::{Layout, Weights};
use crate::generator::Vocabulary;
use crate::weights::Matrix;
use grice_kernels::Activation;

const HEAD: &str = "lm_head.weight";

/// An activation by the name that transformers calls it by.
pub(super) fn activation(config: &Config, field: &str, default: &str) -> Result<Activation, String> {
    match config.text(field)?.unwrap_or(default) {
        "relu" => Ok(Activation::Relu),
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "silu" | "swish" => Ok(Activation::Silu),
        "tanh" => Ok(Activation::Tanh),
        other => Err(config.wrong(field, &format!("the activation `{other}` is not supported"))),
    }
}

/// The product with the vocabulary: weights of its own, or if `is_tied` the table of words, even where the file holds that twice.
pub(super) fn head(weights: &Weights<'_>, words: &Matrix, is_tied: bool) -> Result<Vocabulary, String> {
    let (vocabulary, hidden) = (words.rows(), words.columns());
    if !weights.has(HEAD) {
        return match is_tied {
            true => Ok(Vocabulary::Tied),
            false => {
                Err(format!("the tensor `{HEAD}` is missing, and config.json says that it is not the table of words"))
            }
        };
    }
    let own = weights.linear("lm_head", hidden, vocabulary, Layout::OutputsFirst)?;
    match is_tied {
        false => Ok(Vocabulary::Own(own)),
        true if own.weights.is_transposed(words) => Ok(Vocabulary::Tied),
        true => Err(format!("the tensor `{HEAD}` differs from the table of words, which config.json says it is")),
    }
}
