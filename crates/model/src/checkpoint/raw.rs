//! A checkpoint whose weights are not read yet, for programs that rewrite it tensor by tensor.

use super::config::{CONFIG, Config};
use super::family::{Family, is_buffer};
use super::folder::{Folder, read_if};
use super::tensors::Tensors;
use super::weights::Layout;
use crate::{Error, Result};
use serde_json::{Map, Value};

/// The files of a model that writes text, opened. Tensors are read one at a time.
pub struct RawCheckpoint<'a> {
    family: Family,
    config: Config,
    tensors: Tensors<'a>,
}

/// A tensor as its file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTensor {
    /// Its name.
    pub name: String,
    /// The type of its elements, as safetensors calls it: `F32`, `BF16`.
    pub dtype: String,
    /// Its axes.
    pub shape: Vec<usize>,
    /// What the model does with it.
    pub role: Role,
}

/// What a model does with a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The weight of a dense layer other than the vocabulary.
    Dense {
        /// The layer's name.
        layer: String,
        /// Whether its shape is `[outputs, inputs]`; `[inputs, outputs]` otherwise.
        outputs_first: bool,
    },
    /// A table, a bias, a norm, the vocabulary.
    Other,
    /// Nothing: it follows from the configuration, and may be left out.
    Buffer,
}

impl<'a> RawCheckpoint<'a> {
    /// Opens a folder and checks the headers of its files.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], naming file, field or tensor.
    pub fn open(folder: &'a dyn Folder) -> Result<RawCheckpoint<'a>> {
        let open = || {
            let bytes = read_if(folder, CONFIG)?.ok_or_else(|| format!("the file {CONFIG} is missing"))?;
            let config = Config::parse(CONFIG, &bytes)?;
            Ok(RawCheckpoint { family: Family::of(&config)?, config, tensors: Tensors::open(folder)? })
        };
        open().map_err(Error::Checkpoint)
    }

    /// `model_type` of its configuration.
    pub fn family(&self) -> &str {
        &self.family.name
    }

    /// The fields of `config.json`.
    pub fn config(&self) -> &Map<String, Value> {
        self.config.fields()
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> Vec<RawTensor> {
        let tensor = |name: &String| {
            let entry = self.tensors.entry(name).ok()?;
            let (dtype, shape) = (entry.dtype.clone(), entry.shape.clone());
            Some(RawTensor { name: name.clone(), dtype, role: self.role_of(name, shape.len()), shape })
        };
        self.tensors.names().filter_map(tensor).collect()
    }

    /// The bytes of a tensor, as they are stored.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], naming the tensor.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        self.tensors.bytes(name).map_err(Error::Checkpoint)
    }

    /// The elements of a tensor in single precision.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], naming the tensor: it is not F32, F16 or BF16, or it holds a number that is infinite or NaN.
    pub fn numbers(&self, name: &str) -> Result<Vec<f32>> {
        self.tensors.numbers(name).map_err(Error::Checkpoint)
    }

    fn role_of(&self, name: &str, axes: usize) -> Role {
        match self.family.layer_of(name).filter(|_| axes == 2) {
            Some(layer) => {
                Role::Dense { layer: layer.to_owned(), outputs_first: self.family.layout == Layout::OutputsFirst }
            }
            None if is_buffer(name) => Role::Buffer,
            None => Role::Other,
        }
    }
}
