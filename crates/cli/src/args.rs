//! What can be typed after `grice`.

use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use grice_core::{Maxim, Precision};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

pub(crate) use crate::serve_options::{LogFormat, ServeOptions};

const EXAMPLES: &str = "\
Examples:
  grice detect --context \"What did you think of the film?\" --response \"Yes.\"
  grice detect --input turns.jsonl --output verdicts.jsonl
  grice eval --input labelled.jsonl
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

Rows are those of `grice detect` plus `labels` {\"quantity\", \"quality\", \"relation\", \"manner\"}, each 0, 1, true or false,
and optionally `violation_type`, a name to group rows by.";

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
#[derive(Debug, ClapArgs)]
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
    /// Colours in the output; `auto` honours NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
    /// No progress bar, no warnings, no report of single rows
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
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
    /// Show what a model is made of
    Inspect(Inspect),
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
    #[arg(long, value_name = "ROWS", default_value = "64", conflicts_with = "response")]
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
    /// Thresholds in place of the model's: quantity=0.6,manner=0.4
    #[arg(long, value_name = "MAXIM=P,…", value_delimiter = ',')]
    pub(crate) thresholds: Vec<Threshold>,
    /// Rows that are judged together
    #[arg(long, value_name = "ROWS", default_value = "64")]
    pub(crate) batch_size: NonZeroUsize,
}

/// Arguments of `inspect`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Inspect {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `doctor`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
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
    fn thresholds_name_a_maxim_and_lie_between_0_and_1() {
        let parsed: Threshold = "manner=0.25".parse().unwrap();
        assert_eq!(parsed, Threshold { maxim: Maxim::Manner, value: 0.25 });
        for bad in ["manner", "manners=0.5", "manner=0", "manner=1", "manner=NaN", "manner=inf", "=0.5", "manner="] {
            assert!(bad.parse::<Threshold>().is_err(), "{bad}");
        }
    }
}
