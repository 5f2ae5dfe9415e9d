//! `embed`.

use super::common::On;
use super::texts::TextFiles;
use clap::{ArgGroup, Args as ClapArgs};

const EMBED_EXAMPLES: &str = "\
Examples:
  One vector a line, as a JSON list:
    grice embed --model all-MiniLM-L6-v2 \"How was the film?\" \"The film was good.\"

  A file; each row keeps its fields and gets `embedding`:
    grice embed --model all-MiniLM-L6-v2 --input replies.jsonl --field response --output vectors.jsonl
    grice embed --model all-MiniLM-L6-v2 --precision int8 --input replies.csv --output vectors.jsonl
    grice embed --model all-MiniLM-L6-v2 --input replies.csv --shard 2/8 --output part2.jsonl --resume

  With a prompt that the model was trained with:
    grice embed --model e5-small-v2 --prompt \"query: \" \"How was the film?\"

The model is a sentence-transformers folder: modules.json, 1_Pooling/config.json, config.json, model.safetensors and tokenizer.json, of the \
families bert, roberta, xlm-roberta, camembert, distilbert and mpnet, with mean or CLS pooling. A text that is longer than the model reads is \
cut, and a note counts such texts. A row without a vector becomes a row with `line` and `error`, and the exit status is 1.";

/// Arguments of `embed`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EMBED_EXAMPLES)]
#[command(group = ArgGroup::new("what").required(true).args(["texts", "input"]))]
pub(crate) struct Embed {
    /// The texts
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    /// What stands before every text: the name of a prompt in the model's config_sentence_transformers.json, or the prompt itself
    #[arg(long, value_name = "NAME|TEXT", allow_hyphen_values = true)]
    pub(crate) prompt: Option<String>,
    /// Where to run.
    #[command(flatten)]
    pub(crate) on: On,

    /// Options for files.
    #[command(flatten)]
    pub(crate) files: TextFiles,
}
