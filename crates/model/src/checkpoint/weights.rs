//! The tensors of a checkpoint as the parts of a model.

use crate::weights::{Linear, Matrix};
use grice_kernels::LayerNorm;
use std::sync::Arc;

/// Tensors by the names that transformers gives them.
pub(super) struct Weights<'a> {
    tensors: Box<dyn Named + 'a>,
}

/// Which axis of a weight is that of the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[outputs, inputs]`: PyTorch's `Linear`.
    OutputsFirst,
    /// `[inputs, outputs]`: GPT-2's `Conv1D`.
    InputsFirst,
}

/// Tensors that a kind of file holds. Errors name the tensor.
pub(super) trait Named {
    /// Whether there is a tensor of that name.
    fn has(&self, name: &str) -> bool;

    /// Tensors that were not read.
    fn unread(&self) -> Vec<String>;

    /// The weight of a dense layer, without `.weight`, as `[inputs, outputs]`. `layout` is that of the family's safetensors files.
    fn weight(&self, layer: &str, inputs: usize, outputs: usize, layout: Layout) -> Result<Matrix, String>;

    /// A table, `[rows, columns]`.
    fn table(&self, name: &str, rows: usize, columns: usize) -> Result<Matrix, String>;

    /// A table of embeddings, without `.weight`, `[rows, columns]`, in whatever form the files have it.
    fn embeddings(&self, module: &str, rows: usize, columns: usize) -> Result<Matrix, String> {
        self.table(&format!("{module}.weight"), rows, columns)
    }

    /// All elements of a tensor in single precision. None is infinite or no number.
    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String>;
}

impl<'a> Weights<'a> {
    /// The tensors of files that are open.
    pub(super) fn new(tensors: impl Named + 'a) -> Weights<'a> {
        Weights { tensors: Box::new(tensors) }
    }

    /// Whether there is a tensor of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.has(name)
    }

    /// Tensors that were not read, except those whose names `may_stay`.
    pub(super) fn unread(&self, may_stay: impl Fn(&str) -> bool) -> Vec<String> {
        self.tensors.unread().into_iter().filter(|name| !may_stay(name)).collect()
    }

    /// A dense layer `name.weight` with, if it has one, `name.bias`.
    pub(super) fn linear(&self, name: &str, inputs: usize, outputs: usize, layout: Layout) -> Result<Linear, String> {
        let weights = Arc::new(self.tensors.weight(name, inputs, outputs, layout)?);
        let bias = format!("{name}.bias");
        let bias = if self.has(&bias) { Some(self.numbers(&bias, &[outputs])?) } else { None };
        Ok(Linear { weights, bias })
    }

    /// A matrix as it is in the file, `[rows, columns]`.
    pub(super) fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Matrix, String> {
        self.tensors.table(name, rows, columns)
    }

    /// A table of embeddings `name.weight`, `[rows, columns]`: as it is in the file, or in 8 bits with a scale for each row.
    pub(super) fn table(&self, name: &str, rows: usize, columns: usize) -> Result<Matrix, String> {
        self.tensors.embeddings(name, rows, columns)
    }

    /// A norm without a mean: `name.weight`.
    pub(super) fn rms_norm(&self, name: &str, columns: usize, epsilon: f32) -> Result<LayerNorm, String> {
        let gamma = self.numbers(&format!("{name}.weight"), &[columns])?;
        Ok(LayerNorm { gamma, beta: vec![0.0; columns], epsilon, centred: false })
    }

    /// `name.weight` and `name.bias`, or `name.gamma` and `name.beta`, as they are called in old files.
    pub(super) fn layer_norm(&self, name: &str, columns: usize, epsilon: f32) -> Result<LayerNorm, String> {
        let is_old = self.has(&format!("{name}.gamma"));
        let [gamma, beta] = if is_old { ["gamma", "beta"] } else { ["weight", "bias"] };
        let gamma = self.numbers(&format!("{name}.{gamma}"), &[columns])?;
        let beta = self.numbers(&format!("{name}.{beta}"), &[columns])?;
        Ok(LayerNorm { gamma, beta, epsilon, centred: true })
    }

    /// All elements of a tensor in single precision. None is infinite or no number.
    pub(super) fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        self.tensors.numbers(name, shape)
    }
}
