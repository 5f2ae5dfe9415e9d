//! Everything that can go wrong between a turn and its verdict.

use crate::generate::DecodeError;
use grice_model::EngineError;

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The turn cannot be read; change it.
    BadInput,
    /// The bundle cannot be used; change it.
    BadModel,
    /// The GPU cannot be used or was lost; try another device, or try again.
    Device,
    /// A fault in grice itself.
    Bug,
}

/// An error whose text names the file, field or node at fault and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field that must hold text is empty.
    #[error("`{field}` is empty, or holds only characters that cannot be seen; it must hold text")]
    EmptyField {
        /// Name of the field.
        field: &'static str,
    },
    /// A field holds visible text that gives no tokens.
    #[error("`{field}` holds nothing that the model's tokenizer reads; it must hold text")]
    NoTokens {
        /// Name of the field.
        field: &'static str,
    },
    /// A field is larger than any dialogue turn.
    #[error("`{field}` is {bytes} bytes long; at most {} are read", crate::TEXT_BYTES_MAX)]
    LongField {
        /// Name of the field.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// A field holds a NUL character, a sign of binary data.
    #[error("`{field}` holds a NUL character at byte {at}; it must be text")]
    NulInField {
        /// Name of the field.
        field: &'static str,
        /// Byte offset of the first NUL.
        at: usize,
    },
    /// A text has more tokens than the model reads.
    #[error("the text has {tokens} tokens; the model reads at most {longest}")]
    LongText {
        /// How many it has.
        tokens: usize,
        /// The most.
        longest: usize,
    },
    /// A field of a turn has more tokens than fit in the prompt of its recipe.
    #[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
    #[error(
        "`{field}` has {tokens} tokens, and the model reads at most {longest} with the rest of its prompt; shorten it"
    )]
    LongPrompt {
        /// Name of the field.
        field: &'static str,
        /// How many it has.
        tokens: usize,
        /// The most tokens of the whole prompt.
        longest: usize,
    },
    /// A threshold is not a probability.
    #[error("the threshold of `{0}` must be {expected}", expected = grice_model::THRESHOLD_EXPECTED)]
    Threshold(grice_model::Maxim),
    /// A file or folder of a bundle cannot be read.
    #[error("{path}: {cause}")]
    BundleFile {
        /// The path as given, or the path inside an archive.
        path: String,
        /// Why, and what was expected.
        cause: String,
    },
    /// A file does not match its digest in the manifest.
    #[error("{path}: its digest is {found}, but grice.json says {expected}; the file is damaged or another one")]
    BundleDigest {
        /// The path as given, or the path inside an archive.
        path: String,
        /// The digest of the file, `sha256:<hex>`.
        found: String,
        /// The digest in the manifest.
        expected: String,
    },
    /// The bundle has no file of the requested precision.
    #[error("the bundle `{bundle}` has no {asked} model; it has: {has}")]
    NoPrecision {
        /// Name of the bundle.
        bundle: String,
        /// The requested precision.
        asked: grice_model::Precision,
        /// The precisions in the bundle.
        has: String,
    },
    /// The model has no compiled program, and this build cannot read ONNX files.
    #[error(
        "{path}: this build reads compiled programs only; compile the model with `grice compile --device cpu`, or use a build that reads ONNX"
    )]
    NeedsOnnx {
        /// The ONNX file.
        path: String,
    },
    /// A model cannot be compiled.
    #[error("the model cannot be compiled: {0}")]
    Compile(String),
    /// The manifest or graph is at fault.
    #[error("{path}: {source}")]
    Model {
        /// The file at fault.
        path: String,
        /// What is wrong with it.
        source: Box<grice_model::Error>,
    },
    /// The tokenizer is at fault.
    #[error("tokenizer.json: {0}")]
    Tokenizer(String),
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] grice_model::EngineError),
    /// A GPU is required but cannot be used.
    #[error("no GPU can be used: {0}")]
    Gpu(String),
    /// The engine returned a value that is not finite.
    #[error("the model returned a logit for `{0}` that is not a finite number; its weights are broken")]
    NotFinite(grice_model::Maxim),
    /// A model's chat template does not take a conversation.
    #[cfg(not(target_arch = "wasm32"))]
    #[error("the chat template refuses the messages: {0}")]
    ChatTemplate(String),
    /// A model that cannot be talked to.
    #[cfg(not(target_arch = "wasm32"))]
    #[error("{0}")]
    NoChat(String),
    /// No model wrote a response.
    #[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
    #[error("no response could be written; the model gave no text for this context")]
    NoAnswer,
    /// A text or a repair is asked for in a way that cannot be.
    #[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
    #[error("{0}")]
    Asked(String),
    /// More tries than are allowed.
    #[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
    #[error("`rounds` is {found}; it must be at most {most}")]
    Rounds {
        /// Those asked for.
        found: u32,
        /// The most.
        most: u32,
    },
    /// The next token of a text cannot be chosen.
    #[error(transparent)]
    Decode(DecodeError),
    /// The engine returned a vector with a value that is not finite.
    #[error("the model returned a vector with a number that is infinite or NaN; its weights are broken")]
    VectorNotFinite,
    /// A corpus was made with another embedder.
    #[cfg(not(target_arch = "wasm32"))]
    #[error(
        "{corpus}: its vectors were made by the embedder {expected}, and this is {found}; name that embedder, or make the corpus again with \
         `grice index`"
    )]
    OtherEmbedder {
        /// The folder of the corpus.
        corpus: String,
        /// Name and digest of its embedder.
        expected: String,
        /// Name and digest of the one at hand.
        found: String,
    },
    /// A vector does not fit a corpus.
    #[cfg(not(target_arch = "wasm32"))]
    #[error("the vector has {found} numbers, and those of the corpus have {expected}; it is of another embedder")]
    VectorLength {
        /// Its length.
        found: usize,
        /// The corpus's.
        expected: usize,
    },
    /// A minimum similarity that nothing can be compared with.
    #[cfg(not(target_arch = "wasm32"))]
    #[error("the minimum similarity must be a finite number, and is {0}")]
    MinimumSimilarity(f32),
    /// A prompt that an embedder does not take.
    #[cfg(not(target_arch = "wasm32"))]
    #[error(
        "{path}: prompts before texts are not supported for it, because their tokens do not count for the vector (`include_prompt`)"
    )]
    PromptNotPooled {
        /// The folder of the embedder.
        path: String,
    },
    /// A corpus cannot be written.
    #[cfg(not(target_arch = "wasm32"))]
    #[error("{path}: cannot be written: {cause}")]
    CorpusWrite {
        /// The file.
        path: String,
        /// Why.
        cause: String,
    },
    /// A server that holds a corpus cannot be used.
    #[cfg(not(target_arch = "wasm32"))]
    #[error("{place}: {cause}")]
    CorpusServer {
        /// Its URL, without the password.
        place: String,
        /// Why, and what to do.
        cause: String,
    },
    /// A batch could not be packed.
    #[error("the batch cannot be packed: {0}")]
    Batch(Box<grice_model::Error>),
}

impl Error {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::EmptyField { .. }
            | Error::NoTokens { .. }
            | Error::LongField { .. }
            | Error::NulInField { .. }
            | Error::LongText { .. }
            | Error::Threshold(_) => ErrorKind::BadInput,
            Error::BundleFile { .. }
            | Error::BundleDigest { .. }
            | Error::NoPrecision { .. }
            | Error::NeedsOnnx { .. }
            | Error::Compile(_)
            | Error::Model { .. }
            | Error::Tokenizer(_)
            | Error::NotFinite(_)
            | Error::VectorNotFinite => ErrorKind::BadModel,
            // Browsers have no code for these, and no bytes to spare for their messages.
            #[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
            Error::LongPrompt { .. } | Error::Asked(_) | Error::Rounds { .. } => ErrorKind::BadInput,
            #[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
            Error::NoAnswer => ErrorKind::BadModel,
            #[cfg(not(target_arch = "wasm32"))]
            Error::VectorLength { .. } | Error::MinimumSimilarity(_) | Error::ChatTemplate(_) | Error::NoChat(_) => {
                ErrorKind::BadInput
            }
            #[cfg(not(target_arch = "wasm32"))]
            Error::OtherEmbedder { .. }
            | Error::PromptNotPooled { .. }
            | Error::CorpusWrite { .. }
            | Error::CorpusServer { .. } => ErrorKind::BadModel,
            Error::Engine(EngineError::DeviceLost(_)) | Error::Gpu(_) => ErrorKind::Device,
            Error::Engine(_) => ErrorKind::BadModel,
            Error::Decode(DecodeError::NothingAllowed) => ErrorKind::BadInput,
            Error::Decode(DecodeError::NotFinite { .. }) => ErrorKind::BadModel,
            Error::Batch(_) | Error::Decode(_) => ErrorKind::Bug,
        }
    }

    /// Its name in the npm package: `bad_input`, `bad_model`, `unsupported` or `bug`; and `needs_onnx`, after which the package loads the
    /// module that reads ONNX.
    pub fn code(&self) -> &'static str {
        match self.kind() {
            _ if matches!(self, Error::NeedsOnnx { .. }) => "needs_onnx",
            ErrorKind::BadInput => "bad_input",
            ErrorKind::BadModel => "bad_model",
            ErrorKind::Device => "unsupported",
            ErrorKind::Bug => "bug",
        }
    }
}

/// Short for a result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
