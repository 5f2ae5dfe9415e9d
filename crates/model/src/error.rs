//! What can be wrong with a model.

use crate::{Maxim, Precision};

/// Everything that can be wrong with a manifest, a graph or a batch. The texts name the field or node and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The manifest is not JSON of the documented form.
    #[error("grice.json: {0}")]
    ManifestSyntax(String),
    /// A field of the manifest holds a value that cannot be used.
    #[error("grice.json: field `{field}`: {problem}")]
    ManifestField {
        /// Name of the field.
        field: &'static str,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// A maxim has no temperature or an unusable one.
    #[error("grice.json: field `{field}`: `{maxim}` must be {expected}, found {found}")]
    ManifestNumber {
        /// Name of the field.
        field: &'static str,
        /// Which maxim.
        maxim: Maxim,
        /// The accepted range in words.
        expected: &'static str,
        /// The value found.
        found: f64,
    },
    /// A file of a compiled program cannot be used.
    #[error("the compiled program cannot be used: {0}")]
    Program(String),
    /// A Hugging Face folder of a model that writes or embeds texts cannot be used.
    #[error("the checkpoint cannot be used: {0}")]
    Checkpoint(String),
    /// The file is not ONNX, or is cut short.
    #[error("the ONNX file cannot be read ({0}); it may be truncated or not ONNX at all")]
    OnnxSyntax(String),
    /// The graph has other inputs than a detector.
    #[error(
        "the ONNX graph takes the inputs [{}], but a detector takes `input_ids` and `attention_mask`; is it a model for another task?",
        found.join(", ")
    )]
    GraphInputs {
        /// Names of the inputs found.
        found: Vec<String>,
    },
    /// The graph has no output of the expected name.
    #[error("the ONNX graph has the outputs [{}], but a detector has one named `logits`", found.join(", "))]
    GraphOutputs {
        /// Names of the outputs found.
        found: Vec<String>,
    },
    /// The output does not have one column for each label.
    #[error(
        "the ONNX graph's `logits` have the shape {found}, but the manifest's {labels} labels need [batch, {labels}]"
    )]
    GraphLabels {
        /// The shape found.
        found: String,
        /// How many labels the manifest has.
        labels: usize,
    },
    /// The graph holds operators that cannot be run.
    #[error("the ONNX graph uses operators that grice cannot run: {}", ops.join(", "))]
    GraphOps {
        /// `operator (node)` for each.
        ops: Vec<String>,
    },
    /// An attribute of a node holds a value that has no meaning.
    #[error("the ONNX graph cannot be used: `{attribute}` of {op} (node `{node}`) {problem}")]
    GraphAttribute {
        /// The operator.
        op: String,
        /// Name of the node.
        node: String,
        /// Name of the attribute.
        attribute: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// Weights that the graph keeps in a file beside it cannot be had.
    #[error("the weights `{tensor}` lie in the file `{file}` beside the ONNX file: {problem}")]
    ExternalData {
        /// Name of the tensor.
        tensor: String,
        /// Name of the file, as the graph has it.
        file: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A function that the model brings with it cannot be spelled out.
    #[error("the ONNX graph cannot be used: its function {function} (node `{node}`) {problem}")]
    Function {
        /// Name of the function.
        function: String,
        /// Name of the node that calls it.
        node: String,
        /// What is wrong.
        problem: String,
    },
    /// A node asks for something that grice does not support.
    #[error("the ONNX graph cannot be used: {op} (node `{node}`) {problem}")]
    GraphNode {
        /// The operator.
        op: String,
        /// Name of the node, or of the value that it makes.
        node: String,
        /// What it has or lacks.
        problem: String,
    },
    /// The graph does not type-check.
    #[error("the ONNX graph cannot be used: {0}")]
    Graph(String),
    /// The weights cannot be had in this precision.
    #[error("the weights are stored as {stored} and cannot be run as {asked}: {reason}")]
    Precision {
        /// What is in the file.
        stored: Precision,
        /// What was asked for.
        asked: Precision,
        /// Why not.
        reason: String,
    },
    /// A batch without a sequence, or a sequence without a token.
    #[error("a batch needs at least one sequence, and each sequence at least one token")]
    EmptyBatch,
    /// More tokens than a batch can address.
    #[error("a batch of {0} tokens is too large")]
    BatchTokens(usize),
    /// Tokens and lengths of sequences that do not fit.
    #[error("{0}")]
    Lengths(String),
}

/// Short for a result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
