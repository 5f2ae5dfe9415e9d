//! The command line: one file per command; `values` parses the values of options.

mod bench;
mod common;
mod compile;
mod detect;
mod doctor;
mod embed;
mod eval;
mod generate;
mod hardware;
mod index;
mod inspect;
mod profile;
mod quantize;
mod repair;
mod search;
mod serve;
mod texts;
mod tune;
mod values;

pub(crate) use crate::serve::options::{LogFormat, ServeOptions};
pub(crate) use bench::{Bench, BenchModel};
pub(crate) use common::{Color, Common, On};
pub(crate) use compile::Compile;
pub(crate) use detect::Detect;
pub(crate) use doctor::Doctor;
pub(crate) use embed::Embed;
pub(crate) use eval::Eval;
pub(crate) use generate::{Generate, How};
pub(crate) use hardware::Hardware;
pub(crate) use index::Index;
pub(crate) use inspect::Inspect;
pub(crate) use profile::{Profile, ProfileLatency, ProfileMemory, ProfileOps, ProfileText, ProfileWhat};
pub(crate) use quantize::{Quantize, QuantizeMethod, QuantizeMode, QuantizeTo};
pub(crate) use repair::{Pipeline, Repair, RepairFiles, RepairHow};
pub(crate) use search::Search;
pub(crate) use serve::Serve;
pub(crate) use texts::TextFiles;
pub(crate) use tune::Tune;
pub(crate) use values::{Delimiter, Format, SHAPE_TOKENS_MAX, Shape, Shard, THREADS_MAX, Threshold};

use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  grice detect --context \"What did you think of the film?\" --response \"Yes.\"
  grice detect --input turns.jsonl --output verdicts.jsonl
  grice repair --response \"I liked it. In other words, it was liked by me.\"
  grice eval --input labelled.jsonl
  grice quantize --model bundle --mode dynamic --data turns.jsonl --output smaller
  grice serve
  grice doctor

Exit status: 0 success, 1 failure (a row that cannot be judged, a broken model), 2 wrong usage.";

/// Detects which of Grice's four maxims of conversation a response violates.
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

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Judge one turn, or every row of a file
    Detect(Detect),
    /// Go on with a text, by a model that writes
    Generate(Generate),
    /// Repair a response, or those of a file
    Repair(Repair),
    /// Answer: write, judge and repair a response
    Pipeline(Pipeline),
    /// Turn texts into vectors
    Embed(Embed),
    /// Make a corpus: texts and their vectors, to search in
    Index(Index),
    /// Find the texts of a corpus that are nearest to a query
    Search(Search),
    /// Compare verdicts with labels
    Eval(Eval),
    /// Convert a model to fewer bits, and check its quality
    Quantize(Quantize),
    /// Prepare a model for the CPU or a GPU, so that later starts are fast
    Compile(Compile),
    /// Show the parts of a model
    Inspect(Inspect),
    /// Measure latency, memory or single steps
    Profile(Profile),
    /// Measure models at several batch sizes, write a report, and compare with earlier results
    Bench(Bench),
    /// Measure one model for `bench`, as a separate process
    #[command(hide = true)]
    BenchModel(BenchModel),
    /// Write a page about machines from the results of `bench`
    Hardware(Hardware),
    /// Find the best options of `serve` for this machine, and write them into grice.toml
    Tune(Tune),
    /// Judge turns over HTTP and gRPC
    Serve(Box<Serve>),
    /// Check this machine and this build
    Doctor(Doctor),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  source <(grice completions bash)
  grice completions fish > ~/.config/fish/completions/grice.fish";

/// Arguments of `completions`.
#[derive(Debug, ClapArgs)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct Completions {
    /// The shell to print the script for
    pub(crate) shell: Shell,
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
}
