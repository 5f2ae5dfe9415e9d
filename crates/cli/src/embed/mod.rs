//! `embed`: texts from the command line; a file of rows goes to `files`.

mod files;
mod report;

use crate::args::{Common, Embed};
use crate::error::{CliError, Result};
use crate::model::{gpu_cache, quietly, tell_device, threads};
use crate::output::write_stdout;
use crate::terminal::Terminal;
use grice_core::task::Vector;
use grice_core::{Embedder, Options};
use report::{json_of, note_of_cut};
use std::io::Write;

/// Embeds what the arguments name.
///
/// # Errors
/// Errors of the model, the texts or the files.
pub(crate) fn run(args: &Embed, common: &Common) -> Result<()> {
    match &args.files.input {
        Some(input) => files::run(input, &args.files, common, || open(common)),
        None => embed_texts(&args.texts, &mut open(common)?, common),
    }
}

fn open(common: &Common) -> Result<Embedder> {
    let folder = common.model.as_ref().ok_or(CliError::NoEmbedder)?;
    let (precision, device, threads) = (common.precision, common.device, Some(threads(common)));
    let options = Options { precision, threads, device, gpu_cache: gpu_cache(), ..Options::default() };
    let embedder = quietly(|| Embedder::open(folder, &options))?.map_err(CliError::Core)?;
    tell_device(embedder.fallback_reason(), embedder.warnings(), common);
    Ok(embedder)
}

/// Prints a list for each text, or nothing if one has no vector.
fn embed_texts(texts: &[String], embedder: &mut Embedder, common: &Common) -> Result<()> {
    let vectors = quietly(|| embedder.embed_batch(texts))??;
    let vectors = vectors.into_iter().collect::<grice_core::Result<Vec<Vector>>>()?;
    let cut = vectors.iter().filter(|vector| vector.truncated).count();
    if let Some(note) = note_of_cut(cut, embedder.tokens_max()).filter(|_| !common.quiet) {
        let terminal = Terminal::of_stderr(common.color);
        // If stderr is closed, the message cannot be shown.
        _ = writeln!(std::io::stderr(), "{} {note}", terminal.paint(terminal.note(), "note:"));
    }
    let lines: String = vectors.iter().map(|vector| json_of(vector) + "\n").collect();
    write_stdout(lines.as_bytes())
}
