//! A fused program in a file: what a start reads in place of the ONNX file, without its importer, and the same on every instruction set.
//!
//! ```text
//! Program ─► a JSON description and its tensors ─► file ─► checked ─► Program
//! ```
//!
//! The file is a safetensors file (<https://huggingface.co/docs/safetensors>), so other tools can list its tensors. Its metadata hold, under
//! `grice_program`, what the tensors are to each other. Each tensor has a BLAKE3 hash, so damage is an error and never a wrong number.

mod attention;
mod compact;
mod container;
mod parts;
mod weights;

pub use container::StoredFile;

use crate::safetensors::Source;

use crate::steps::Unsound;
use crate::{Error, Precision, Program, Result};
use container::{Reader, Writer};
use parts::KeptProgram;
use serde::{Deserialize, Serialize};

/// What a file of a program was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramOrigin {
    /// `sha256:<hex>` of the model's files, as a bundle's manifest has it.
    pub digest: String,
    /// The precision that the bundle calls the model by.
    pub precision: Precision,
    /// Columns of its logits.
    pub labels: usize,
    /// The longest sequence in which the program was compared with its graph, in tokens.
    pub compared_up_to: Option<usize>,
}

/// The latest form of description that this release reads. It writes the oldest that can say a program, so that earlier releases read what
/// they can run: the second form added to the first all but post-norm layers with layer norms, of as many key heads as heads, that see all.
const VERSION: u32 = 2;
/// The metadata that hold it.
const METADATA: &str = "grice_program";

#[derive(Serialize, Deserialize)]
struct Description {
    version: u32,
    origin: ProgramOrigin,
    program: KeptProgram,
}

/// The first number of a description, which every release reads.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Program {
    /// The program as a file, without a copy of its weights. The head must be dense layers.
    ///
    /// # Errors
    /// [`Error::Program`] for a head that is a graph.
    pub fn store(&self, origin: ProgramOrigin) -> Result<StoredFile<'_>> {
        let mut writer = Writer::default();
        let program = KeptProgram::of(self, &mut writer).map_err(Error::Program)?;
        let version = if self.is_of_first_form() { 1 } else { VERSION };
        let description = Description { version, origin, program };
        let text = serde_json::to_string(&description).map_err(|error| Error::Program(error.to_string()))?;
        writer.finish(METADATA, &text).map_err(|error| Error::Program(error.to_string()))
    }

    /// Whether a file says of itself that it holds a program.
    pub fn is_stored(source: &dyn Source) -> bool {
        Reader::open(source, METADATA, false).is_ok()
    }

    /// The program in a file, and what it was made from. Tensors are read one after another, and each is compared with its hash if
    /// `verify` is set. Nothing of the file is believed: the steps of the program are checked too.
    ///
    /// # Errors
    /// [`Error::Program`] for a file that is damaged, made by a later release, or no file of a program.
    pub fn restore(source: &dyn Source, verify: bool) -> Result<(Program, ProgramOrigin)> {
        restore(source, verify).map_err(Error::Program)
    }
}

fn restore(source: &dyn Source, verify: bool) -> std::result::Result<(Program, ProgramOrigin), String> {
    let (reader, text) = Reader::open(source, METADATA, verify)?;
    let unreadable = |error: serde_json::Error| format!("its description cannot be read: {error}");
    let Version { version } = serde_json::from_str(&text).map_err(unreadable)?;
    if !(1..=VERSION).contains(&version) {
        return Err(format!(
            "its description has version {version}, and this grice reads 1 to {VERSION}; compile the model again"
        ));
    }
    let Description { origin, program, .. } = serde_json::from_str(&text).map_err(unreadable)?;
    let program = program.read(&reader)?;
    let (steps, _) = program.clone().into_steps(origin.labels);
    steps.check().map_err(|unsound: Unsound| format!("it is damaged: {unsound}"))?;
    if steps.answer.columns != origin.labels {
        return Err(format!("it makes {} logits, not the {} that it says", steps.answer.columns, origin.labels));
    }
    Ok((program, origin))
}
