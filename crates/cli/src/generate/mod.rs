//! `generate`: one text, written as it comes; a file of prompts goes to `files`.

mod files;
mod options;
mod report;

use crate::args::{Common, Generate};
use crate::error::{CliError, Result};
use crate::model::threads;
use crate::output::write_stdout;
use grice_core::Writer;
use grice_core::generate::Event;
use grice_core::text::Stream;
use report::{line_of, memory};
use std::io::IsTerminal;
use std::sync::Arc;

/// Writes what the arguments ask for.
///
/// # Errors
/// What the model, the prompt, the options or the files are at fault of.
pub(crate) fn run(args: &Generate, common: &Common) -> Result<()> {
    match (&args.files.input, &args.prompt) {
        (Some(input), _) => files::run(input, args, common, || open(common)),
        (None, prompt) => write_one(prompt.as_deref().unwrap_or_default(), args, common, &open(common)?),
    }
}

fn open(common: &Common) -> Result<Writer> {
    let folder = common.model.as_ref().ok_or(CliError::NoWriter)?;
    Ok(Writer::open(folder, common.precision)?)
}

fn write_one(prompt: &str, args: &Generate, common: &Common, writer: &Writer) -> Result<()> {
    let options = options::of(&args.how, writer)?;
    let (mut engine, mut courses) = writer.engine(threads(common), memory(args))?;
    let mut text = Stream::new(writer.speller(), &options.stop_strings);
    let streams = !args.json && std::io::stdout().is_terminal();
    let start = writer.start(&prompt.replace("\\n", "\n"))?;
    let prompt_tokens = start.source.as_ref().unwrap_or(&start.prompt).len();
    courses
        .add(Arc::new(options), start, Some(writer.speller()))
        .map_err(|error| CliError::Generate(error.to_string()))?;
    let mut whole = String::new();
    let mut outcome = Err(CliError::Generate("it ended without a text".to_owned()));
    writer.run(&mut engine, &mut courses, |event| match event {
        Event::Tokens(_, tokens) => {
            let piece: String = tokens.iter().map(|&token| text.push(token)).collect();
            if streams {
                // A terminal that is gone shows in the last write.
                _ = write_stdout(piece.as_bytes());
            }
            whole += &piece;
        }
        Event::Done(_, texts) => outcome = texts.into_iter().next().ok_or_else(none),
        Event::Failed(_, error) => outcome = Err(CliError::Generate(error.to_string())),
    })?;
    let generated = outcome?;
    let rest = text.finish();
    whole += &rest;
    match args.json {
        true => write_stdout((line_of(&whole, prompt_tokens, &generated).to_string() + "\n").as_bytes()),
        false if streams => write_stdout((rest + "\n").as_bytes()),
        false => write_stdout((whole + "\n").as_bytes()),
    }
}

fn none() -> CliError {
    CliError::Generate("it ended without a text".to_owned())
}
