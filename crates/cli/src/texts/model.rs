//! The embedder in the options.

use crate::args::Common;
use crate::error::{CliError, Result};
use crate::model::{gpu_cache, quietly, tell_device, threads};
use crate::terminal::Terminal;
use grice_core::{Embedder, Options};
use std::io::Write;

/// Opens the model of `--model`.
///
/// # Errors
/// [`CliError::NoEmbedder`]; core's errors for the folder.
pub(crate) fn open(common: &Common) -> Result<Embedder> {
    let folder = common.model.as_ref().ok_or(CliError::NoEmbedder)?;
    let (precision, device, threads) = (common.precision, common.device, Some(threads(common)));
    let options = Options { precision, threads, device, gpu_cache: gpu_cache(), ..Options::default() };
    let embedder = quietly(|| Embedder::open(folder, &options))?.map_err(CliError::Core)?;
    tell_device(embedder.fallback_reason(), embedder.warnings(), common);
    Ok(embedder)
}

/// The prompt of an option: one that the model names, or the text itself. A note tells what the model names, if that is another.
pub(crate) fn prompt_of(asked: Option<&str>, embedder: &Embedder, common: &Common) -> String {
    let Some(asked) = asked else { return String::new() };
    let named = embedder.prompts();
    if let Some(prompt) = named.get(asked) {
        return prompt.clone();
    }
    if !named.is_empty() {
        let names: Vec<&str> = named.keys().map(String::as_str).collect();
        let names = names.join(", ");
        note(
            common,
            &format!("`{asked}` is none of the model's prompts ({names}), so it stands before texts as it is"),
        );
    }
    asked.to_owned()
}

/// Prints a note on stderr, unless `--quiet` says no.
pub(crate) fn note(common: &Common, text: &str) {
    if common.quiet {
        return;
    }
    let terminal = Terminal::of_stderr(common.color);
    // If stderr is closed, the message cannot be shown.
    _ = writeln!(std::io::stderr(), "{} {text}", terminal.paint(terminal.note(), "note:"));
}

/// How many texts were cut, if any.
pub(crate) fn note_of_cut(texts: usize, tokens_max: usize) -> Option<String> {
    let which = match texts {
        0 => return None,
        1 => "1 text was".to_owned(),
        texts => format!("{texts} texts were"),
    };
    Some(format!("{which} cut to the {tokens_max} tokens that the model reads"))
}
