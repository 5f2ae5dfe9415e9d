//! Models in GGUF files, the format of llama.cpp: its fields become those of a configuration, its tensors get the names that transformers
//! gives them, and the families build their models of both.
//!
//! ```text
//! files ─► fields ─► a configuration ─┐
//!   └────► names ──► tensors ─────────┴─► family ─► generator        vocabulary: what tokenizes
//! ```

mod families;
mod fields;
mod files;
mod names;
mod rope;
mod tensors;
mod vocabulary;

pub use vocabulary::GgufVocabulary;

use super::folder::Folder;
use super::weights::Weights;
use super::{Checkpoint, GenerationDefaults};
use crate::{Error, Precision, Result};
use families::Model;
use files::Files;
use tensors::{Form, Tensors};

/// A model that writes text from GGUF files.
#[derive(Clone, Debug)]
pub struct GgufModel {
    /// The model, and how its makers generate with it.
    pub checkpoint: Checkpoint,
    /// What its file says of tokens; `None` if it says nothing.
    pub vocabulary: Option<GgufVocabulary>,
}

impl GgufModel {
    /// Opens a GGUF file, and with any part of a split model all of its parts. Without a precision numbers of 4 bits around zero (Q4_0) stay
    /// as they are, what is rounded in another way gets 8 bits, and the rest stays as it is.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], naming file, field or tensor; [`Error::Precision`].
    pub fn open(folder: &dyn Folder, file: &str, precision: Option<Precision>) -> Result<GgufModel> {
        let form = match precision {
            Some(Precision::Fp32 | Precision::Fp16) => Form::Exact,
            Some(Precision::Int8 | Precision::Int4) | None => Form::Packed,
        };
        let mut model = open(folder, file, form).map_err(Error::Checkpoint)?;
        if let Some(precision) = precision {
            model.checkpoint.generator = model.checkpoint.generator.to_precision(precision)?;
        }
        Ok(model)
    }
}

fn open(folder: &dyn Folder, file: &str, form: Form) -> std::result::Result<GgufModel, String> {
    let files = Files::open(folder, file)?;
    let vocabulary = vocabulary::read(&files)?;
    let Model { config, family, build, names } = Model::read(&files)?;
    let defaults = GenerationDefaults {
        end_tokens: config.tokens("eos_token_id")?,
        start_token: config.token("decoder_start_token_id")?,
        ..GenerationDefaults::default()
    };
    let weights = Weights::new(Tensors::new(&files, names, form));
    let generator = build(&config, &weights)?;
    if let Some(name) = weights.unread(|_| false).first() {
        return Err(format!("{}: the tensor `{name}` is no part of a {family} model", files.name()));
    }
    generator.check().map_err(|error| error.to_string())?;
    Ok(GgufModel { checkpoint: Checkpoint { generator, defaults, family: family.to_owned() }, vocabulary })
}
