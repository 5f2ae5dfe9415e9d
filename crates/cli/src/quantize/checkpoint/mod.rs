//! Checkpoints of models that write text: a Hugging Face folder in, another one out.
//!
//! ```text
//! --model ─► convert ─► unfinished folder ─► opened, judged ─► renamed
//! ```

mod folder;
mod judge;
mod report;
mod rows;

use crate::args::{Common, Quantize, QuantizeTo};
use crate::error::{CliError, Result};
use crate::model::threads;
use crate::output::write_stdout;
use crate::progress::Spinner;
use crate::terminal::Terminal;
use folder::{copy_others, create};
use grice_core::{DiskFolder, Writer};
use grice_quantize::Form;
use grice_quantize::checkpoint::convert;
use report::Outcome;
use std::path::Path;

/// The most bytes of tensors in a file, as Hugging Face's library splits them.
const FILE_BYTES_MAX: u64 = 5_000_000_000;
/// Weights that share a scale in 4 bits.
const GROUP: usize = 32;

/// Writes a checkpoint in another form.
///
/// # Errors
/// Errors of the folder, of the rows, of the output, and of the model that was written; [`CliError::BelowFloor`] if it is not good enough:
/// then nothing is written.
pub(super) fn run(form: QuantizeTo, args: &Quantize, common: &Common) -> Result<()> {
    let model = common.model.as_deref().ok_or(CliError::NoWriter)?;
    if !is_checkpoint(model) {
        let place = model.display();
        let problem = "--to takes a model that writes text, a folder with config.json and model.safetensors";
        return Err(CliError::QuantizeForm(format!("{place}: {problem}; for a bundle or an ONNX file use --mode")));
    }
    if !model.join("tokenizer.json").is_file() {
        return Err(CliError::QuantizeForm(format!(
            "{}: tokenizer.json is missing; add it to the folder",
            model.display()
        )));
    }
    let form = form_of(form, args.group)?;
    let unfinished = create(model, args)?;
    let spinner = Spinner::new(common.quiet);
    let before = match &args.data {
        Some(rows) => {
            spinner.say("reading rows");
            let writer = Writer::open(model, None)?;
            let texts = rows::read(rows, &writer, threads(common))?;
            Some((writer, texts))
        }
        None => None,
    };
    spinner.say("writing");
    let of_model = |source| CliError::Checkpoint { place: model.display().to_string(), source };
    let converted = convert(&DiskFolder(model.to_owned()), form, FILE_BYTES_MAX, &unfinished).map_err(of_model)?;
    copy_others(model, &unfinished)?;
    spinner.say("opening what was written");
    let after = Writer::open(unfinished.path(), None)?;
    let judgement = match &before {
        Some((before, texts)) => {
            let tell = |row| spinner.say(&format!("judging row {row} of {}", texts.len()));
            Some(judge::judge([before, &after], texts, threads(common), args, tell)?)
        }
        None => None,
    };
    drop((before, after, spinner));
    let outcome = Outcome { form, converted, judgement };
    let text = if args.json { outcome.json() } else { outcome.show(Terminal::of_stdout(common.color)) };
    write_stdout(text.as_bytes())?;
    if let Some(refusal) = outcome.refusal().filter(|_| !args.force) {
        return Err(CliError::BelowFloor(refusal));
    }
    unfinished.write("quantization_report.json", &outcome.json())?;
    unfinished.finish()
}

/// Refuses a folder of weights where a detector is expected.
///
/// # Errors
/// [`CliError::QuantizeForm`].
pub(super) fn refuse(common: &Common) -> Result<()> {
    match common.model.as_deref().filter(|model| is_checkpoint(model)) {
        Some(model) => {
            let place = model.display();
            let problem = "--mode takes a bundle or an ONNX file, and this folder has neither";
            Err(CliError::QuantizeForm(format!(
                "{place}: {problem}; for a model that writes text name a form with --to"
            )))
        }
        None => Ok(()),
    }
}

/// Whether a folder holds weights of Hugging Face's library and is no bundle.
fn is_checkpoint(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    has("config.json") && !has("grice.json") && (has("model.safetensors") || has("model.safetensors.index.json"))
}

fn form_of(to: QuantizeTo, group: Option<usize>) -> Result<Form> {
    match (to, group) {
        (QuantizeTo::Int4, group) => Ok(Form::Int4 { group: group.unwrap_or(GROUP) }),
        (_, Some(_)) => Err(CliError::QuantizeForm("--group is for --to int4".to_owned())),
        (QuantizeTo::Int8, None) => Ok(Form::Int8),
        (QuantizeTo::Fp16, None) => Ok(Form::Fp16),
        (QuantizeTo::Bf16, None) => Ok(Form::Bf16),
    }
}
