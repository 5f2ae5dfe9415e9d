//! Errors of quantization.

use crate::form::{Form, LeftLayer};

/// All errors. The texts name the tensor, node or layer and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not ONNX, or is cut short.
    #[error("the ONNX file cannot be read ({0}); it may be truncated or not ONNX at all")]
    Syntax(String),
    /// An operator set without the operators of quantized graphs.
    #[error(
        "the ONNX graph is of opset {found}; quantizing needs opset {OPSET_LEAST} or later, so export it again with one"
    )]
    Opset {
        /// The version found.
        found: i64,
    },
    /// A graph with a part that a rewrite does not understand.
    #[error("the ONNX graph has {what}, which cannot be quantized; export it without")]
    Unsupported {
        /// The part and its place.
        what: String,
    },
    /// A graph that takes only samples of one length.
    #[error(
        "the ONNX graph has inputs of fixed sizes, so padding would be calibrated too; export it with dynamic axes, or quantize \
         it without calibration (--mode dynamic)"
    )]
    FixedAxes,
    /// A weight in another file.
    #[error("the tensor `{0}` is in another file; save the model as one ONNX file with its weights inside")]
    External(String),
    /// A weight whose bytes do not fit its shape.
    #[error("the tensor `{tensor}` has the shape {dims:?} but {found} values; the file is damaged")]
    Damaged {
        /// Name of the tensor.
        tensor: String,
        /// Its shape.
        dims: Vec<i64>,
        /// Its number of values.
        found: usize,
    },
    /// A value that no node, input or weight provides.
    #[error(
        "the node `{node}` reads `{value}`, which nothing in the graph provides; the file lacks a weight or is damaged"
    )]
    Missing {
        /// Name of the node.
        node: String,
        /// Name of the value.
        value: String,
    },
    /// Weights that are not fp32.
    #[error("the weights `{tensor}` are {kind}, not fp32; quantizing starts from the fp32 model")]
    NotFp32 {
        /// Name of the tensor.
        tensor: String,
        /// Its type.
        kind: String,
    },
    /// The file is already quantized.
    #[error("the ONNX graph is quantized already (node `{node}` is a {op}); quantizing starts from the fp32 model")]
    Already {
        /// Name of a quantized node.
        node: String,
        /// Its operator.
        op: String,
    },
    /// A weight that is NaN or infinite.
    #[error("the weights `{tensor}` have a value that is not a finite number, at position {at}; the model is broken")]
    NotFinite {
        /// Name of the tensor.
        tensor: String,
        /// Position of the value, counted over the whole tensor.
        at: usize,
    },
    /// No layer of the graph can be quantized.
    #[error(
        "the ONNX graph has no layer to quantize: no MatMul, Gemm or Gather with constant fp32 weights of {WEIGHTS_LEAST} values or more"
    )]
    Nothing,
    /// No samples for calibration.
    #[error("calibration needs samples, but there are none")]
    NoSamples,
    /// A static model has no range for this value.
    #[error("no range was calibrated for `{0}`, the input of a quantized layer")]
    NoRange(String),
    /// An activation that is NaN or infinite.
    #[error(
        "the model computed a value that is not a finite number in `{0}` during calibration; its weights are broken"
    )]
    NotFiniteActivation(String),
    /// The graph cannot be imported for calibration.
    #[error("the model cannot be calibrated: {0}")]
    Import(#[from] grice_model::Error),
    /// A sample with an id beyond the model's embedding.
    #[error("sample {sample} has the token id {id}, but the model's embedding has {rows} rows")]
    TokenId {
        /// Which sample, from 1.
        sample: usize,
        /// The id.
        id: u32,
        /// The number of rows of the embedding.
        rows: usize,
    },
    /// The graph failed to run during calibration.
    #[error("the model failed to run on sample {sample}: {cause}")]
    Run {
        /// Which sample, from 1.
        sample: usize,
        /// Why.
        cause: String,
    },
    /// The folder of a model that writes text cannot be read.
    #[error("{0}")]
    Checkpoint(#[source] Box<grice_model::Error>),
    /// The folder holds quantized weights.
    #[error(
        "config.json: field `quantization_config`: the weights are quantized already; start from the model that they were made from"
    )]
    AlreadyQuantized,
    /// A tensor that cannot be rounded.
    #[error("the tensor `{tensor}` has the type {found}; expected F32, F16 or BF16")]
    TensorType {
        /// Its name.
        tensor: String,
        /// Its type.
        found: String,
    },
    /// A weight without elements.
    #[error("the tensor `{0}` is empty")]
    Empty(String),
    /// Two tensors would have one name.
    #[error("the tensor `{0}` cannot be written: another one gets its name")]
    Twice(String),
    /// A number beyond the range of 16 bits.
    #[error(
        "the tensor `{tensor}` holds {number:e}, at position {at}, which {form} cannot hold; {}",
        if *form == Form::Fp16 { "choose bf16, which has the range of fp32, or int8" } else { "the weights are broken" }
    )]
    Overflow {
        /// The tensor's name.
        tensor: String,
        /// Position of the number, counted over the whole tensor.
        at: usize,
        /// The number.
        number: f32,
        /// What it was to become.
        form: Form,
    },
    /// No layer of the folder can be quantized.
    #[error(
        "no layer can be quantized to {form}{}",
        example.as_ref().map_or(String::new(), |left| format!("; `{}` {}", left.name, left.reason))
    )]
    Layers {
        /// What they were to become.
        form: Form,
        /// One that stays as it is.
        example: Option<LeftLayer>,
    },
    /// A file cannot be written.
    #[error("{file}: cannot be written: {source}")]
    Write {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The model could not be evaluated.
    #[error("the model cannot be evaluated: {0}")]
    Evaluate(String),
    /// An evaluation without rows, or with another number of columns.
    #[error("the quality of the model cannot be measured: {0}")]
    Judge(String),
}

/// Operator set from which per-channel `DequantizeLinear` exists.
pub(crate) const OPSET_LEAST: i64 = 13;
/// Smaller tensors stay fp32: they need little memory, and the last layer of a classifier is the most sensitive.
pub(crate) const WEIGHTS_LEAST: usize = 1024;

/// Short for a result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
