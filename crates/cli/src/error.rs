//! Everything that ends a command early, and the exit status for it.

use crate::rows::RowError;
use grice_server::ServeError;
use std::io;

/// Short for a result with [`CliError`].
pub(crate) type Result<T, E = CliError> = std::result::Result<T, E>;

/// An error whose text names the file, field or line at fault and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// There is no built-in model, and none was named.
    #[error("this build has no built-in model; name one with --model PATH (a bundle's folder or .tar file)")]
    #[cfg_attr(feature = "embedded-model", allow(dead_code))]
    NoModel,
    /// The model or the turn is at fault.
    #[error("{0}")]
    Core(#[from] grice_core::Error),
    /// `compile` without a specific device.
    #[error(
        "name the device to compile for: --device cpu, --device gpu, or --device gpu:N (adapter N of `grice doctor`)"
    )]
    CompileDevice,
    /// The model made the importer panic.
    #[error("the model cannot be loaded; loading it panicked: {0}")]
    LoadPanic(String),
    /// A file cannot be read.
    #[error("{place}: cannot be read: {source}")]
    Read {
        /// Path, or `standard input`.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// A text file in another encoding than UTF-8.
    #[error("{place}: {hint}")]
    Encoding {
        /// Path, or `standard input`.
        place: String,
        /// What it is and how to convert it.
        hint: String,
    },
    /// `eval` got a format that cannot hold labels.
    #[error("{0}: CSV cannot hold the object `labels`; use a JSON file (one row per line, or an array of rows)")]
    LabelsInCsv(String),
    /// A file cannot be written.
    #[error("{place}: cannot be written: {source}")]
    Write {
        /// Path, or `standard output`.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// Neither the name nor an option gives the format.
    #[error("{0}: unknown file extension (known: .jsonl, .ndjson, .json, .csv, .tsv); add --format jsonl, csv or tsv")]
    UnknownFormat(String),
    /// A CSV file without the one column that is needed.
    #[error("{place}: no column `{wanted}` in the header; found: {}", found.join(", "))]
    CsvNoColumn {
        /// The file.
        place: String,
        /// The column.
        wanted: String,
        /// Names of the columns.
        found: Vec<String>,
    },
    /// A CSV header that names a column twice, or not in UTF-8.
    #[error("{place}: the header cannot be used: {cause}")]
    CsvHeader {
        /// The file.
        place: String,
        /// Why.
        cause: String,
    },
    /// The system does not report the memory of a process.
    #[error("this system does not report the memory of a process; measuring it needs Linux's /proc/self/status")]
    NoMemoryBooks,
    /// A line that `profile latency --stdin` cannot answer.
    #[error("standard input:{line}: {cause}")]
    BadRequest {
        /// Its number.
        line: usize,
        /// Why.
        cause: String,
    },
    /// `bench --write-config` with several models.
    #[error("--write-config writes one batch size, but there are {0} models; name one with --models or --model")]
    ManyModels(usize),
    /// `bench --write-config` met a file that it cannot change.
    #[error("{place}: cannot be changed: {cause}")]
    ConfigFile {
        /// The file.
        place: String,
        /// Why.
        cause: String,
    },
    /// `eval --compare` reads its rows more than once.
    #[error("--compare reads the rows once per precision, but standard input can be read only once; use a file")]
    CompareStdin,
    /// A measurement in a separate process failed.
    #[error("`grice {what}` in a separate process failed: {cause}")]
    Child {
        /// The command.
        what: &'static str,
        /// Its error message.
        cause: String,
    },
    /// A report that cannot be written as JSON.
    #[error("the report cannot be written as JSON, which is a fault of grice: {0}")]
    Json(serde_json::Error),
    /// `hardware` got another number of prices than files.
    #[error(
        "--euros-per-hour has {prices} prices for {files} files; give one for all, or one for each file in their order"
    )]
    Prices {
        /// Of `--euros-per-hour`.
        prices: usize,
        /// Of results.
        files: usize,
    },
    /// `tune` cannot go on.
    #[error("{0}")]
    Tune(String),
    /// `bench --models embedder` without a path: none that embeds is compiled in.
    #[error("name the embedder to measure, as in --models embedder=PATH: a sentence-transformers folder")]
    NoBenchEmbedder,
    /// A model that cannot be measured, in the words of the process that measures it.
    #[error("{0}")]
    BenchModel(String),
    /// A file that is no result of `bench`.
    #[error("{place}: cannot be used as results: {cause}")]
    Results {
        /// The file.
        place: String,
        /// What is wrong with it.
        cause: String,
    },
    /// `bench --fail-on-regression` found something.
    #[error("{0} of {1} figures got worse beyond noise; see above")]
    Regressions(usize, usize),
    /// The output file already exists.
    #[error("{0}: already exists; add --resume to continue it, or --overwrite to replace it")]
    OutputExists(String),
    /// Input and output are the same file.
    #[error("{0}: is both the input and the output; choose another output file")]
    SameFile(String),
    /// There is no file to resume.
    #[error("--resume needs an --output FILE to continue; standard output cannot be read back")]
    ResumeStdout,
    /// The output file is from another run.
    #[error("{place}: cannot be resumed: {cause}; nothing was changed")]
    Resume {
        /// The output file.
        place: String,
        /// What does not match.
        cause: String,
    },
    /// `--strict` met a row that cannot be judged.
    #[error("{place}:{line}: {cause} (stopped here because of --strict)")]
    Strict {
        /// The input.
        place: String,
        /// Line number in it.
        line: u64,
        /// Why.
        cause: RowError,
    },
    /// The run is complete, but some rows could not be judged.
    #[error("{bad} of {rows} rows could not be judged")]
    BadRows {
        /// How many.
        bad: usize,
        /// Of how many.
        rows: usize,
    },
    /// `generate` without a model: none that writes is compiled in.
    #[error(
        "name a model that writes text with --model PATH: a Hugging Face folder or a GGUF file of a T5, GPT-2 or LLaMA-style model"
    )]
    NoWriter,
    /// A model without the recipe that is needed.
    #[error(
        "{model}: has no recipe `{recipe}`; a model that repairs or answers has recipes in its grice.json (docs/bundle.md)"
    )]
    NoRecipe {
        /// The model.
        model: String,
        /// The recipe's name.
        recipe: &'static str,
    },
    /// `embed` without a model: none that embeds is compiled in.
    #[error("name a model that embeds texts with --model PATH: a sentence-transformers folder of a BERT-like model")]
    NoEmbedder,
    /// An option of `generate` breaks a rule.
    #[error("{0}")]
    GenerateOption(String),
    /// A text cannot be generated.
    #[error("the text cannot be generated: {0}")]
    Generate(String),
    /// `eval` has nothing to evaluate.
    #[error("{0}: has no labelled rows")]
    NoRows(String),
    /// The model cannot be quantized.
    #[error("{place}: {source}")]
    Quantize {
        /// The ONNX file.
        place: String,
        /// Why.
        source: grice_quantize::Error,
    },
    /// `quantize` got a model that its options are not for.
    #[error("{0}")]
    QuantizeForm(String),
    /// A checkpoint cannot be quantized.
    #[error("{place}: {source}")]
    Checkpoint {
        /// Its folder.
        place: String,
        /// Why.
        source: grice_quantize::Error,
    },
    /// The texts of a model cannot be compared.
    #[error("{source}")]
    Judge {
        /// Why.
        source: grice_quantize::Error,
    },
    /// A row that `quantize` cannot use.
    #[error("{place}:{line}: {cause}")]
    BadSample {
        /// The file.
        place: String,
        /// Line number in it.
        line: u64,
        /// Why.
        cause: RowError,
    },
    /// Text rows, but no tokenizer.
    #[error(
        "{place}:{line}: no field `input_ids`; an ONNX file without a bundle has no tokenizer, so its rows must be token ids"
    )]
    NoTokenizer {
        /// The file.
        place: String,
        /// Line number in it.
        line: u64,
    },
    /// `quantize` got a file without a row.
    #[error("{0}: has no rows")]
    NoSamples(String),
    /// `index` got a file without a text.
    #[error("{0}: has no texts")]
    NoTexts(String),
    /// `quantize` has nothing to calibrate with.
    #[error("--mode static needs --calibration FILE: rows to measure the range of the activations")]
    NoCalibration,
    /// `quantize` has no rows to measure the quality.
    #[error(
        "the quality cannot be measured: add --data FILE (or --calibration FILE), or --force to write without a check"
    )]
    NoQualityData,
    /// The output already exists.
    #[error("{0}: already exists; add --overwrite to replace it, or choose another --output")]
    TargetExists(String),
    /// An output of the wrong kind.
    #[error("{place}: --output must be {expected}")]
    TargetKind {
        /// The output.
        place: String,
        /// A file or a folder.
        expected: &'static str,
    },
    /// `inspect --prove` has no manifest to write into.
    #[error(
        "{0}: --prove writes into a bundle's grice.json; name a bundle's folder with --model (unpack a .tar first)"
    )]
    ProofPlace(String),
    /// The new manifest cannot be made from the old one.
    #[error("grice.json: {0}")]
    Manifest(String),
    /// The quantized model is not good enough.
    #[error("{0}")]
    BelowFloor(String),
    /// `grice.toml` cannot be used.
    #[error("{place}: {cause}")]
    Config {
        /// The file.
        place: String,
        /// What is wrong in it.
        cause: String,
    },
    /// Invalid options of `serve`, alone or together.
    #[error("{0}")]
    ServeOption(String),
    /// The server cannot start, or ended with an error.
    #[error("{0}")]
    Serve(#[from] grice_server::ServeError),
    /// `doctor --health` found a server that is not ready.
    #[error("{0}")]
    NotReady(String),
    /// `doctor` found a model that does not work.
    #[error("the model does not work; see above")]
    Unhealthy,
}

impl CliError {
    /// 1 for a failure, 2 for wrong usage.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            CliError::NoModel
            | CliError::NoWriter
            | CliError::NoRecipe { .. }
            | CliError::NoEmbedder
            | CliError::NoBenchEmbedder
            | CliError::Prices { .. }
            | CliError::GenerateOption(_)
            | CliError::CompileDevice
            | CliError::UnknownFormat(_)
            | CliError::Encoding { .. }
            | CliError::LabelsInCsv(_)
            | CliError::CsvNoColumn { .. }
            | CliError::CsvHeader { .. }
            | CliError::OutputExists(_)
            | CliError::SameFile(_)
            | CliError::NoCalibration
            | CliError::CompareStdin
            | CliError::ManyModels(_)
            | CliError::NoQualityData
            | CliError::QuantizeForm(_)
            | CliError::TargetExists(_)
            | CliError::TargetKind { .. }
            | CliError::ProofPlace(_)
            | CliError::ResumeStdout
            | CliError::Config { .. }
            | CliError::ServeOption(_)
            | CliError::Serve(ServeError::Setting { .. } | ServeError::SameName(_) | ServeError::BadName(_)) => 2,
            CliError::Core(_)
            | CliError::LoadPanic(_)
            | CliError::Read { .. }
            | CliError::Write { .. }
            | CliError::Resume { .. }
            | CliError::Strict { .. }
            | CliError::BadRows { .. }
            | CliError::NoRows(_)
            | CliError::Generate(_)
            | CliError::NoMemoryBooks
            | CliError::BadRequest { .. }
            | CliError::ConfigFile { .. }
            | CliError::Child { .. }
            | CliError::BenchModel(_)
            | CliError::Json(_)
            | CliError::Tune(_)
            | CliError::Results { .. }
            | CliError::Regressions(..)
            | CliError::NoSamples(_)
            | CliError::NoTexts(_)
            | CliError::Quantize { .. }
            | CliError::Checkpoint { .. }
            | CliError::Judge { .. }
            | CliError::BadSample { .. }
            | CliError::NoTokenizer { .. }
            | CliError::Manifest(_)
            | CliError::BelowFloor(_)
            | CliError::Serve(_)
            | CliError::NotReady(_)
            | CliError::Unhealthy => 1,
        }
    }

    /// Whether the reader of the output went away.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, CliError::Write { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}
