//! What grice knows of each encoder architecture, as data.

use serde::{Deserialize, Serialize};

/// The encoder's architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Family {
    /// BERT and its kin: absolute position embeddings.
    #[serde(rename = "bert")]
    Bert,
    /// DeBERTa v2 and v3: relative positions in log-spaced buckets.
    #[serde(rename = "deberta-v2")]
    DebertaV2,
}

impl Family {
    /// The name used in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Family::Bert => "bert",
            Family::DebertaV2 => "deberta-v2",
        }
    }

    /// Whether a sequence can be no longer than `max_position_embeddings`, because each position has a row of its own.
    pub fn positions_are_rows(self) -> bool {
        match self {
            Family::Bert => true,
            Family::DebertaV2 => false,
        }
    }
}

/// Whether encoders of a kind, as `model_type` of `config.json` names it, give their first token another position than 0.
pub fn positions_begin_later(model_type: &str) -> bool {
    ["roberta", "camembert", "mpnet", "longformer", "data2vec", "xmod", "esm"]
        .iter()
        .any(|kind| model_type.contains(kind))
}
