//! `generate`.

use super::values::{Delimiter, Format, Shard, parse_count};
use clap::{ArgGroup, Args as ClapArgs};
use std::num::NonZeroUsize;
use std::path::PathBuf;

const GENERATE_EXAMPLES: &str = "\
Examples:
  The likeliest continuation, as it is written:
    grice generate --model gpt2-medium --prompt \"Context: How was the film?\\nResponse:\"

  Drawn at random; the same seed draws the same text:
    grice generate --model gpt2-medium --prompt \"Context: Hi!\\nResponse:\" --temperature 0.85 --top-p 0.92 --seed 7

  A repair by GriceBench's T5, in 8 bits:
    grice generate --model repair --precision int8 --beams 4 --repetition-penalty 1.5 --no-repeat-ngram 3 \\
      --prompt \"fix quantity: [CONTEXT] How was the film? [RESPONSE] Good.\"

  A file; each row has a `prompt`, keeps its other fields and gets `generated`:
    grice generate --model gpt2-medium --input prompts.jsonl --output texts.jsonl
    grice generate --model gpt2-medium --input prompts.csv --shard 2/8 --output part2.jsonl --resume

The model is a Hugging Face folder: config.json, model.safetensors (or its shards) and tokenizer.json, of the families t5, gpt2, \
llama, qwen2 and mistral; or a GGUF file of llama, qwen2, gpt2 or t5. What its generation_config.json says holds where no option is given. In a prompt of the command line, \\n \
is a line break.";

/// Arguments of `generate`.
#[derive(Debug, ClapArgs)]
#[command(after_help = GENERATE_EXAMPLES)]
#[command(group = ArgGroup::new("what").required(true).args(["prompt", "input"]))]
pub(crate) struct Generate {
    /// The text to go on with; for a T5, the text to read
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,
    /// Print the text, its tokens and why it ended as one JSON object
    #[arg(long, conflicts_with = "input")]
    pub(crate) json: bool,
    /// How tokens are chosen.
    #[command(flatten)]
    pub(crate) how: How,
    /// Memory for keys and values, in MiB
    #[arg(long, value_name = "MIB", default_value = "512", value_parser = parse_count)]
    pub(crate) memory: NonZeroUsize,

    /// Options for files.
    #[command(flatten)]
    pub(crate) files: GenerateFiles,
}

/// Arguments of `generate` that concern files.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Files")]
pub(crate) struct GenerateFiles {
    /// Go on with the `prompt` of each row of this file; `-` is standard input
    #[arg(long, short, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Write the rows to this file; `-` is standard output
    #[arg(long, short, value_name = "FILE", default_value = "-", conflicts_with = "prompt")]
    pub(crate) output: PathBuf,
    /// Format of the input; `auto` uses the file's extension, and JSONL for standard input. `jsonl` also reads JSON arrays, and
    /// objects over several lines
    #[arg(long, default_value = "auto", conflicts_with = "prompt")]
    pub(crate) format: Format,
    /// Delimiter of the CSV file: one character, or `tab` [default: detected from the header: , ; tab or |]
    #[arg(long, value_name = "CHARACTER", conflicts_with = "prompt")]
    pub(crate) delimiter: Option<Delimiter>,
    /// Replace the output file if it exists
    #[arg(long, conflicts_with_all = ["prompt", "resume"])]
    pub(crate) overwrite: bool,
    /// Continue an interrupted run with the same output file
    #[arg(long, conflicts_with = "prompt")]
    pub(crate) resume: bool,
    /// Only part I of N: every N-th row, starting with row I. I may be K+1, for workers that are counted from 0
    #[arg(long, value_name = "I/N", conflicts_with = "prompt")]
    pub(crate) shard: Option<Shard>,
}

/// How tokens are chosen.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "How tokens are chosen")]
pub(crate) struct How {
    /// The most tokens to write [default: the model's, or 80]
    #[arg(long, value_name = "TOKENS", value_parser = parse_count)]
    pub(crate) max_new_tokens: Option<NonZeroUsize>,
    /// No end before so many new tokens
    #[arg(long, value_name = "TOKENS")]
    pub(crate) min_new_tokens: Option<usize>,
    /// Draw tokens at random, from logits divided by this; 0 takes the likeliest
    #[arg(long, value_name = "T", allow_negative_numbers = true, conflicts_with = "beams")]
    pub(crate) temperature: Option<f32>,
    /// Draw from so many of the likeliest tokens; 0 for all [default: the model's, or all]
    #[arg(long, value_name = "TOKENS", conflicts_with = "beams")]
    pub(crate) top_k: Option<usize>,
    /// Draw from the likeliest tokens whose probabilities sum to this [default: the model's, or 1]
    #[arg(long, value_name = "P", allow_negative_numbers = true, conflicts_with = "beams")]
    pub(crate) top_p: Option<f32>,
    /// What random draws depend on: a whole number [default: another one each time]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Keep so many texts at once and take the likeliest
    #[arg(long, value_name = "WIDTH", value_parser = parse_count)]
    pub(crate) beams: Option<NonZeroUsize>,
    /// Above 0, beams favour long texts
    #[arg(long, value_name = "POWER", requires = "beams", allow_hyphen_values = true)]
    pub(crate) length_penalty: Option<f32>,
    /// Above 1, tokens that are there already get less likely
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    pub(crate) repetition_penalty: Option<f32>,
    /// No sequence of so many tokens comes twice; 0 allows all
    #[arg(long, value_name = "TOKENS")]
    pub(crate) no_repeat_ngram: Option<usize>,
    /// End before this text; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) stop: Vec<String>,
    /// Guess so many tokens from the prompt and check them at once: faster where the text copies, and never another text
    #[arg(long, value_name = "TOKENS", conflicts_with = "beams")]
    pub(crate) draft: Option<usize>,
}
