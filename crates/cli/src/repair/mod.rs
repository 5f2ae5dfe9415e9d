//! `repair` and `pipeline`: one turn from the command line; a file of rows goes to `files`.

mod aim;
mod files;
mod named;
mod show;

use crate::args::{Common, Pipeline, Repair, RepairHow};
use crate::error::{CliError, Result};
use crate::model::{load_detector, open_bundle, open_embedded_writer, quietly, threads};
use crate::output::write_stdout;
use crate::terminal::Terminal;
use aim::{Aim, course};
use grice_core::{Context, Embedder, Memory, Options, PerMaxim, PipelineRunner, Retriever, Turn, Writer};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// Repairs the turn or file in the arguments.
///
/// # Errors
/// Errors of the models, the turn or the files.
pub(crate) fn run(args: &Repair, common: &Common) -> Result<()> {
    let how = &args.how;
    if let Some(input) = &args.files.input {
        return files::run(Aim::Repair, input, &args.files, how, common, || open(how, common));
    }
    let turn = turn(args.context.as_ref(), args.evidence.as_ref(), args.response.as_ref());
    turn.check()?;
    let is_named = |maxim| args.violations.iter().any(|named| named.0 == maxim);
    let named = (!args.violations.is_empty()).then(|| PerMaxim::from_fn(is_named));
    let runner = open(how, common)?;
    run_one(Aim::Repair, &turn, named, runner, how, common)
}

/// Answers the turn or file in the arguments.
///
/// # Errors
/// Errors of the models, the turn or the files.
pub(crate) fn run_pipeline(args: &Pipeline, common: &Common) -> Result<()> {
    let how = &args.how;
    let open = || {
        let runner = open(how, common)?;
        let Some(path) = &args.generator else {
            return match runner.skills().answer {
                Some(_) => Ok(runner),
                None => Err(CliError::NoRecipe { model: name_of(common), recipe: "answer" }),
            };
        };
        let generator = open_writer(path, common)?;
        if generator.recipes().answer.is_none() {
            return Err(CliError::NoRecipe { model: path.display().to_string(), recipe: "answer" });
        }
        Ok(runner.with_generator(generator, threads(common), memory(how))?)
    };
    if let Some(input) = &args.files.input {
        return files::run(Aim::Answer, input, &args.files, how, common, open);
    }
    let turn = turn(args.context.as_ref(), args.evidence.as_ref(), None);
    if turn.context.is_blank() {
        return Err(grice_core::Error::EmptyField { field: "context" }.into());
    }
    run_one(Aim::Answer, &turn, None, open()?, how, common)
}

fn run_one(
    aim: Aim,
    turn: &Turn,
    named: Option<PerMaxim<bool>>,
    mut runner: PipelineRunner,
    how: &RepairHow,
    common: &Common,
) -> Result<()> {
    let course = course(aim, turn.clone(), named, &runner, how.rounds);
    let outcome = quietly(|| runner.run(course))??;
    let terminal = Terminal::of_stderr(common.color);
    if outcome.is_fallback && !how.json && !common.quiet {
        let told = "no repair was good enough, so the response is as it was; see the steps with --json";
        // If stderr is closed, the message cannot be shown.
        _ = writeln!(std::io::stderr(), "{} {told}", terminal.paint(terminal.note(), "note:"));
    }
    let text = if how.json {
        show::line(aim, &outcome, true) + "\n"
    } else {
        show::text(aim, turn, &outcome, Terminal::of_stdout(common.color))
    };
    write_stdout(text.as_bytes())
}

fn turn(context: Option<&String>, evidence: Option<&String>, response: Option<&String>) -> Turn {
    Turn {
        context: Context::Text(context.cloned().unwrap_or_default()),
        evidence: evidence.cloned(),
        // The argument group requires one where it is needed; an empty response is refused.
        response: response.cloned().unwrap_or_default(),
    }
}

fn open(how: &RepairHow, common: &Common) -> Result<PipelineRunner> {
    let of_detector = Common {
        model: how.detector.clone(),
        // Each model has its own precision.
        precision: None,
        device: how.on.device,
        ..common.clone()
    };
    let detector = load_detector(&open_bundle(&of_detector)?, &of_detector, &how.thresholds)?;
    let repairer = match &common.model {
        Some(path) => open_writer(path, common)?,
        None => open_embedded_writer()?,
    };
    let recipes = repairer.recipes();
    if recipes.repair.iter().all(|(_, recipe)| recipe.is_none()) && recipes.answer.is_none() {
        return Err(CliError::NoRecipe { model: name_of(common), recipe: "quantity" });
    }
    let start = Instant::now();
    let runner = PipelineRunner::new(detector, repairer, threads(common), memory(how), move || start.elapsed())?;
    let runner = runner.with_seed(how.seed);
    let (Some(corpus), Some(embedder)) = (&how.corpus, &how.embedder) else { return Ok(runner) };
    let options = Options { threads: Some(threads(common)), ..Options::default() };
    let embedder = quietly(|| Embedder::open(embedder, &options))??;
    let retriever = Retriever::of(crate::corpus::open(corpus, threads(common))?, embedder)?;
    Ok(runner.with_retriever(retriever.with_minimum(how.min_similarity)))
}

/// The model that repairs, for messages.
fn name_of(common: &Common) -> String {
    common.model.as_ref().map_or("the built-in model".to_owned(), |path| path.display().to_string())
}

fn open_writer(path: &Path, common: &Common) -> Result<Writer> {
    Ok(quietly(|| Writer::open(path, common.precision))??)
}

fn memory(how: &RepairHow) -> Memory {
    Memory::Bytes(how.memory.get().saturating_mul(1 << 20))
}
