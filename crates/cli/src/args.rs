//! What can be typed after `grice`.

use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use grice_core::{Device, Maxim, Precision};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

pub(crate) use crate::serve_options::{LogFormat, ServeOptions};

const EXAMPLES: &str = "\
Examples:
  grice detect --context \"What did you think of the film?\" --response \"Yes.\"
  grice detect --input turns.jsonl --output verdicts.jsonl
  grice eval --input labelled.jsonl
  grice quantize --model bundle --mode dynamic --data turns.jsonl --output smaller
  grice serve
  grice doctor

Exit status: 0 all went well, 1 something failed (a row that cannot be judged, a broken model), 2 wrong usage.";

const DETECT_EXAMPLES: &str = "\
Examples:
  One turn:
    grice detect --context \"What did you think of the film?\" --response \"Yes.\"
    grice detect --context \"Where is the station?\" --response \"Two streets on.\" --json

  A file, one row a line; the input's fields are kept and the verdict's are added:
    grice detect --input turns.jsonl --output verdicts.jsonl
    grice detect --input turns.csv --output verdicts.jsonl --thresholds quantity=0.6,manner=0.4

  Go on after an interruption, with the same options as before:
    grice detect --input turns.jsonl --output verdicts.jsonl --resume

  A third of the rows on each of three machines:
    grice detect --input turns.jsonl --output part1.jsonl --shard 1/3

  In a pipe, row by row as they come:
    tail -f turns.jsonl | grice detect --input - --batch-size 1

Rows: `response` (text), and optionally `context` (text, or a list of texts or of {\"speaker\", \"text\"}, oldest first) and
`evidence` (text). Output rows add `probabilities`, `violations`, `cooperative` and `truncated`. A row that cannot be judged
is reported with its line number and becomes a row with `line` and `error`; the rest is judged, and the exit status is 1.";

const EVAL_EXAMPLES: &str = "\
Examples:
  grice eval --input labelled.jsonl
  grice eval --input labelled.jsonl --json > figures.json
  grice eval --input labelled.jsonl --model BUNDLE --compare fp32,fp16,int8

Rows are those of `grice detect` plus `labels` {\"quantity\", \"quality\", \"relation\", \"manner\"}, each 0, 1, true or false,
and optionally `violation_type`, a name to group rows by.";

const PROFILE_EXAMPLES: &str = "\
Examples:
  grice profile latency --shapes 1x32,1x128 --runs 50
  grice profile latency --model model.onnx --precision int8 --threads 2 --json
  grice profile memory --shapes 1x128,64x128
  grice profile ops --shape 8x128 --trace trace.json

Measures the model compiled in, a bundle, or a bare ONNX file, on synthetic tokens.";

const BENCH_EXAMPLES: &str = "\
Examples:
  grice bench
  grice bench --models mini.tar,detector.onnx --batch-sizes 1,8,64 --output report
  grice bench --model mini.tar --write-config grice.toml

For each model the optimal batch size is named: the smallest one within 3 % of the highest throughput, on a quiet machine the one to
serve with.";

const QUANTIZE_EXAMPLES: &str = "\
Examples:
  int8 weights, activations scaled by each run; judged by labelled or unlabelled turns:
    grice quantize --model bundle --mode dynamic --data turns.jsonl --output smaller

  int8 with activation ranges found by 500 samples:
    grice quantize --model bundle --mode static --calibration turns.jsonl --method entropy --output smaller

  fp16 weights, into the bundle itself:
    grice quantize --model bundle --mode fp16 --data turns.jsonl --output bundle

  An ONNX file without a bundle; rows give `input_ids`, a list of token ids:
    grice quantize --model model.onnx --mode dynamic --data ids.jsonl --output model_int8.onnx

The result is judged by --data, or by the calibration rows: rows as for `grice eval` if they have `labels` (macro F1 before and
after), else as for `grice detect` (decisions that stay the same). Below --floor the layers that hurt most are kept in fp32; if
that does not help, nothing is written and the exit status is 1, unless --force is given.";

const COMPILE_EXAMPLES: &str = "\
Examples:
  grice compile --device gpu --model bundle
  grice compile --device gpu:1 --model bundle --precision int8 --json
  grice detect --device gpu --model bundle --response \"Yes.\"

Writes one file beside the ONNX file in the bundle's folder, onnx/model_int8.gpu say (beside a .tar bundle; in GRICE_CACHE_DIR for the
model compiled in): the weights as this GPU holds them, the tiles chosen for it, its compiled shaders, and the CPU's answers to a few
sequences, by which every start is checked. Commands with --device gpu or auto use it from then on. On another adapter, driver or
release of grice, for another model, or if a byte of it changed, it is left aside with a note and the ONNX file is used; compile
again then. docs/gpu.md says more.";

const SERVE_EXAMPLES: &str = "\
Examples:
  grice serve
  grice serve --listen 0.0.0.0:8080 --replicas 2 --access-log
  grice serve --bundle mini=models/detector-mini --bundle full=/models/detector --device cpu,cpu
  GRICE_API_KEYS=first-key,second-key grice serve --tls-certificate cert.pem --tls-key key.pem

Every option may be set as GRICE_… in the environment, and as its long name in the section [serve] of grice.toml. SIGTERM and
SIGINT end the server once every accepted request is answered; SIGHUP reads the models anew. docs/serving.md has the rest.";

/// Says which of Grice's four maxims of conversation a response violates.
#[derive(Debug, Parser)]
#[command(name = "grice", version, about, after_help = EXAMPLES, max_term_width = 100, subcommand_required = true)]
pub(crate) struct Args {
    /// Options of every command.
    #[command(flatten)]
    pub(crate) common: Common,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Common {
    /// The model: a bundle's folder, or a .tar of one [default: the one compiled in]
    #[arg(long, global = true, value_name = "PATH", env = "GRICE_MODEL", hide_env_values = true)]
    pub(crate) model: Option<PathBuf>,
    /// Precision of the weights: fp32, fp16 or int8 [default: the most exact one the bundle has]
    #[arg(long, global = true, env = "GRICE_PRECISION", hide_env_values = true)]
    pub(crate) precision: Option<Precision>,
    /// Threads to run the model on [default: all that are available]
    #[arg(long, global = true, value_name = "N", env = "GRICE_THREADS", hide_env_values = true)]
    #[arg(value_parser = parse_threads)]
    pub(crate) threads: Option<usize>,
    /// Where to run it: copied from [`On`] by those commands that have one.
    #[arg(skip)]
    pub(crate) device: Device,
    /// Colours in the output; `auto` honours NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// No progress bar, no warnings, no report of single rows
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// Where to run, of commands that run one model. `serve` has a list of its own.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct On {
    /// Where to run: cpu, gpu, gpu:N for adapter N of `grice doctor`, or auto
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: Device,
}

/// When to use colours. Comments on the variants would only make the help text longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Judge one turn, or every row of a file
    Detect(Detect),
    /// Compare verdicts with labels
    Eval(Eval),
    /// Make a smaller model of an fp32 one, within a floor of quality
    Quantize(Quantize),
    /// Prepare a model for the GPU, so that later starts are fast
    Compile(Compile),
    /// Show what a model is made of
    Inspect(Inspect),
    /// Measure time, memory or single steps
    Profile(Profile),
    /// Measure a model over batch sizes and write a report
    Bench(Bench),
    /// Judge over HTTP
    Serve(Box<Serve>),
    /// Check this machine and this build
    Doctor(Doctor),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

/// Arguments of `detect`.
#[derive(Debug, ClapArgs)]
#[command(after_help = DETECT_EXAMPLES)]
#[command(group = ArgGroup::new("what").required(true).args(["response", "input"]))]
pub(crate) struct Detect {
    /// The response to judge
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, help_heading = "One turn")]
    pub(crate) response: Option<String>,
    /// What was said before it
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, requires = "response", conflicts_with = "input")]
    #[arg(help_heading = "One turn")]
    pub(crate) context: Option<String>,
    /// Knowledge that the response may rest on
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, requires = "response", conflicts_with = "input")]
    #[arg(help_heading = "One turn")]
    pub(crate) evidence: Option<String>,
    /// Print the verdict as one JSON object
    #[arg(long, conflicts_with = "input", help_heading = "One turn")]
    pub(crate) json: bool,

    /// Options for files.
    #[command(flatten)]
    pub(crate) files: DetectFiles,

    /// Thresholds in place of the model's: quantity=0.6,manner=0.4
    #[arg(long, value_name = "MAXIM=P,…", value_delimiter = ',')]
    pub(crate) thresholds: Vec<Threshold>,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
}

/// Arguments of `detect` that concern files.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Files")]
pub(crate) struct DetectFiles {
    /// Judge the rows of this file; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Write to this file; `-` is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-", conflicts_with = "response")]
    pub(crate) output: PathBuf,
    /// Format of the input; `auto` goes by the file's name, and standard input is JSONL
    #[arg(long, default_value = "auto", conflicts_with = "response")]
    pub(crate) format: Format,
    /// Replace the output file if it exists
    #[arg(long, conflicts_with_all = ["response", "resume"])]
    pub(crate) overwrite: bool,
    /// Go on where an interrupted run into the same output file stopped
    #[arg(long, conflicts_with = "response")]
    pub(crate) resume: bool,
    /// Only every n-th row, starting with the i-th
    #[arg(long, value_name = "I/N", conflicts_with = "response")]
    pub(crate) shard: Option<Shard>,
    /// Stop at the first row that cannot be judged
    #[arg(long, conflicts_with = "response")]
    pub(crate) strict: bool,
    /// Rows that are judged and written together
    #[arg(long, value_name = "ROWS", default_value = "64", conflicts_with = "response", value_parser = parse_count)]
    pub(crate) batch_size: NonZeroUsize,
}

/// Format of a file of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Auto,
    Jsonl,
    Csv,
}

/// Arguments of `eval`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EVAL_EXAMPLES)]
pub(crate) struct Eval {
    /// Labelled rows, one JSON object a line; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Print the figures as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// One table over several precisions: quality, latency and memory of each, measured on this machine
    #[arg(long, value_name = "PRECISION,…", value_delimiter = ',')]
    pub(crate) compare: Vec<Precision>,
    /// Thresholds in place of the model's: quantity=0.6,manner=0.4
    #[arg(long, value_name = "MAXIM=P,…", value_delimiter = ',')]
    pub(crate) thresholds: Vec<Threshold>,
    /// Rows that are judged together
    #[arg(long, value_name = "ROWS", default_value = "64", value_parser = parse_count)]
    pub(crate) batch_size: NonZeroUsize,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
}

/// Arguments of `quantize`.
#[derive(Debug, ClapArgs)]
#[command(after_help = QUANTIZE_EXAMPLES)]
pub(crate) struct Quantize {
    /// How: int8 weights with activations scaled by each run (dynamic) or by calibration (static), or fp16 weights
    #[arg(long)]
    pub(crate) mode: QuantizeMode,
    /// Where to: a bundle's folder, new or the model's own; for an ONNX file a file
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: PathBuf,
    /// Replace what is there
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    /// Rows to calibrate with, one JSON object a line; needed for static
    #[arg(long, value_name = "FILE", help_heading = "Calibration")]
    pub(crate) calibration: Option<PathBuf>,
    /// At most so many of them, spread over the file
    #[arg(long, value_name = "ROWS", default_value = "500", help_heading = "Calibration", value_parser = parse_count)]
    pub(crate) samples: NonZeroUsize,
    /// How ranges are chosen: all values, the least divergence, or 99.99 % of the values
    #[arg(long, default_value = "minmax", help_heading = "Calibration")]
    pub(crate) method: QuantizeMethod,

    /// Rows to judge the result by, labelled or not [default: the calibration rows]
    #[arg(long, value_name = "FILE", help_heading = "Quality")]
    pub(crate) data: Option<PathBuf>,
    /// The share of macro F1, or without labels of decisions, that must be left
    #[arg(long, value_name = "SHARE", default_value = "0.99", value_parser = parse_share, help_heading = "Quality")]
    pub(crate) floor: f64,
    /// Write the model even if it is below the floor, or not judged at all
    #[arg(long, help_heading = "Quality")]
    pub(crate) force: bool,
}

/// Modes of `quantize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuantizeMode {
    Dynamic,
    Static,
    Fp16,
}

/// Calibration methods of `quantize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuantizeMethod {
    Minmax,
    Entropy,
    Percentile,
}

/// Arguments of `compile`.
#[derive(Debug, ClapArgs)]
#[command(after_help = COMPILE_EXAMPLES)]
pub(crate) struct Compile {
    /// The GPU: gpu, or gpu:N for adapter N of `grice doctor`
    #[arg(long, value_name = "DEVICE", default_value = "gpu")]
    pub(crate) device: Device,
    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `inspect`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Inspect {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
}

/// Arguments of `profile`.
#[derive(Debug, ClapArgs)]
#[command(after_help = PROFILE_EXAMPLES)]
pub(crate) struct Profile {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) what: ProfileWhat,
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum ProfileWhat {
    /// Times of whole batches: mean, deviation, P50, P95, P99, throughput
    Latency(ProfileLatency),
    /// What the process holds after loading and after each batch
    Memory(ProfileMemory),
    /// The time of each step, as a table and as a trace
    Ops(ProfileOps),
}

impl ProfileWhat {
    /// Where to run.
    pub(crate) fn on(&self) -> &On {
        match self {
            ProfileWhat::Latency(latency) => &latency.on,
            ProfileWhat::Memory(memory) => &memory.on,
            ProfileWhat::Ops(ops) => &ops.on,
        }
    }
}

/// Arguments of `profile latency`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ProfileLatency {
    /// Batches to run, as rows x tokens
    #[arg(long, value_name = "ROWSxTOKENS,…", value_delimiter = ',', default_value = "1x32,1x128,8x128")]
    pub(crate) shapes: Vec<Shape>,
    /// Runs of each shape that count
    #[arg(long, value_name = "N", default_value = "20", value_parser = parse_count)]
    pub(crate) runs: NonZeroUsize,
    /// Runs before them that do not
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) warmup: usize,
    /// For scripts: read batches from standard input, one a line as `8x128 5` or `31,17,90 5` (lengths, and how often to
    /// run), and answer each with its times as one JSON line
    #[arg(long, conflicts_with_all = ["shapes", "runs", "warmup", "json", "output"])]
    pub(crate) stdin: bool,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the JSON object to this file as well
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Arguments of `profile memory`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ProfileMemory {
    /// Batches to run, as rows x tokens, one after the other
    #[arg(long, value_name = "ROWSxTOKENS,…", value_delimiter = ',', default_value = "1x32,1x128,8x128,64x128")]
    pub(crate) shapes: Vec<Shape>,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the JSON object to this file as well
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Arguments of `profile ops`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ProfileOps {
    /// The batch to run, as rows x tokens
    #[arg(long, value_name = "ROWSxTOKENS", default_value = "1x128")]
    pub(crate) shape: Shape,
    /// Runs that count
    #[arg(long, value_name = "N", default_value = "10", value_parser = parse_count)]
    pub(crate) runs: NonZeroUsize,
    /// Runs before them that do not
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) warmup: usize,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
    /// Write the steps of the last run to this file, for chrome://tracing or Perfetto
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `bench`.
#[derive(Debug, ClapArgs)]
#[command(after_help = BENCH_EXAMPLES)]
pub(crate) struct Bench {
    /// Models to measure: bundles or ONNX files [default: the one of --model]
    #[arg(long, value_name = "PATH,…", value_delimiter = ',')]
    pub(crate) models: Vec<PathBuf>,
    /// Sequences in a batch
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,4,8,16,32,64", value_parser = parse_count)]
    pub(crate) batch_sizes: Vec<NonZeroUsize>,
    /// Tokens in a sequence
    #[arg(long, value_name = "N", default_value = "128", value_parser = parse_count)]
    pub(crate) tokens: NonZeroUsize,
    /// Runs of each batch size that count
    #[arg(long, value_name = "N", default_value = "5", value_parser = parse_count)]
    pub(crate) runs: NonZeroUsize,
    /// Write the optimal batch size of the one model into this file, as `batch-rows-max` of its section [serve]; all else in
    /// it stays as it is
    #[arg(long, value_name = "FILE")]
    pub(crate) write_config: Option<PathBuf>,
    /// Write results.json, report.md and its plot into this folder
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
}

/// Rows and tokens of a batch, as in `8x128`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// At least 1.
    pub(crate) rows: usize,
    /// At least 1.
    pub(crate) tokens: usize,
}

/// More tokens in one batch than any machine should be asked for by a slip of the finger.
pub(crate) const SHAPE_TOKENS_MAX: usize = 1 << 20;

impl Shape {
    /// Of each sequence.
    pub(crate) fn lengths(self) -> Vec<usize> {
        vec![self.tokens; self.rows]
    }
}

impl FromStr for Shape {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = |(rows, tokens): (&str, &str)| -> Option<(usize, usize)> {
            Some((rows.parse().ok()?, tokens.parse().ok()?))
        };
        match text.split_once('x').and_then(numbers) {
            Some((rows @ 1.., tokens @ 1..)) if rows.saturating_mul(tokens) <= SHAPE_TOKENS_MAX => {
                Ok(Shape { rows, tokens })
            }
            Some(_) => Err(format!("it must have from 1 to {SHAPE_TOKENS_MAX} tokens in all")),
            None => Err("write it as 8x128, rows and tokens".to_owned()),
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.rows, self.tokens)
    }
}

/// Arguments of `doctor`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,
    /// Only ask the server at this address whether it is ready: exit status 0 if it is, for a container's health check
    #[arg(long, value_name = "URL", conflicts_with = "json")]
    pub(crate) health: Option<String>,
}

/// Arguments of `serve`.
#[derive(Debug, ClapArgs)]
#[command(after_help = SERVE_EXAMPLES)]
pub(crate) struct Serve {
    /// A file of defaults for these options, in its section [serve] [default: grice.toml if there is one]
    #[arg(long, value_name = "FILE", env = "GRICE_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Options that may also stand in the file.
    #[command(flatten)]
    pub(crate) options: ServeOptions,
    /// Thresholds in place of the models' own: quantity=0.6,manner=0.4
    #[arg(long, value_name = "MAXIM=P,…", value_delimiter = ',')]
    pub(crate) thresholds: Vec<Threshold>,
}

/// Arguments of `completions`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}

/// One maxim's threshold, as in `quantity=0.6`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Threshold {
    /// Which maxim.
    pub(crate) maxim: Maxim,
    /// Between 0 and 1, both excluded.
    pub(crate) value: f32,
}

impl FromStr for Threshold {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("write it as quantity=0.6")?;
        let maxim = Maxim::ALL.into_iter().find(|maxim| maxim.name() == name.trim());
        let maxim = maxim.ok_or_else(|| format!("`{name}` is not one of quantity, quality, relation and manner"))?;
        match value.trim().parse::<f32>() {
            Ok(value) if value > 0.0 && value < 1.0 => Ok(Threshold { maxim, value }),
            _ => Err(format!("`{value}` is not a number between 0 and 1")),
        }
    }
}

/// Which part of the rows: the `index`-th of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// From 1 to `count`.
    index: usize,
    count: usize,
}

impl Shard {
    /// All rows.
    pub(crate) const WHOLE: Shard = Shard { index: 1, count: 1 };

    /// Whether the row with this number, counted from 0, belongs to it.
    pub(crate) fn holds(self, row: usize) -> bool {
        row % self.count == self.index - 1
    }
}

impl FromStr for Shard {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parsed {
            Some((index, count)) if index >= 1 && index <= count => Ok(Shard { index, count }),
            _ => Err("write it as 2/3, from 1/3 to 3/3".to_owned()),
        }
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("it must be a number from 0 to 1".to_owned()),
    }
}

/// In place of the standard library's message, which speaks of types.
fn parse_count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "it must be a whole number, at least 1".to_owned())
}

/// More threads than any machine has cores would only exhaust its memory.
const THREADS_MAX: usize = 1024;

fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads) if (1..=THREADS_MAX).contains(&threads) => Ok(threads),
        _ => Err(format!("it must be a number from 1 to {THREADS_MAX}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn shards_are_parsed_and_cover_each_row_once() {
        for bad in ["", "1", "0/3", "4/3", "a/b", "1/0", "-1/2", "1/2/3"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
        let shards: Vec<Shard> = ["1/3", "2/3", "3/3"].iter().map(|text| text.parse().unwrap()).collect();
        for row in 0..100 {
            assert_eq!(shards.iter().filter(|shard| shard.holds(row)).count(), 1);
        }
    }

    #[test]
    fn shapes_have_rows_and_tokens() {
        assert_eq!("8x128".parse(), Ok(Shape { rows: 8, tokens: 128 }));
        assert_eq!(Shape { rows: 8, tokens: 128 }.to_string(), "8x128");
        for bad in ["", "8", "x", "0x8", "8x0", "8X128", "-1x2", "2x99999999", "99999999999999999999x1"] {
            assert!(bad.parse::<Shape>().is_err(), "{bad}");
        }
    }

    #[test]
    fn thresholds_name_a_maxim_and_lie_between_0_and_1() {
        let parsed: Threshold = "manner=0.25".parse().unwrap();
        assert_eq!(parsed, Threshold { maxim: Maxim::Manner, value: 0.25 });
        for bad in ["manner", "manners=0.5", "manner=0", "manner=1", "manner=NaN", "manner=inf", "=0.5", "manner="] {
            assert!(bad.parse::<Threshold>().is_err(), "{bad}");
        }
    }
}
