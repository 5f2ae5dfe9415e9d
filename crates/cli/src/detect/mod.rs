//! `detect`: one turn from the command line; a file of rows goes to `files`.

mod explanation;
mod files;
mod judge;

pub(crate) use judge::judge_rows;

use crate::args::{Common, Detect};
use crate::error::Result;
use crate::model::{load_detector, open_bundle, quietly};
use crate::output::write_stdout;
use crate::present::{show_verdict, unknown_warning};
use crate::rows::{Fields, row_line};
use crate::terminal::Terminal;
use explanation::show_explanation;
use grice_core::task::{EXPLAIN_RUNS, Explanation};
use grice_core::{Context, Detector, Turn, Verdict};
use std::io::Write;

/// Judges the turn or file in the arguments.
///
/// # Errors
/// Errors of the model, the turn or the files.
pub(crate) fn run(args: &Detect, common: &Common) -> Result<()> {
    match (&args.files.input, &args.response) {
        (Some(input), _) => files::run(input, args, common),
        (None, response) => {
            let turn = Turn {
                context: Context::Text(args.context.clone().unwrap_or_default()),
                evidence: args.evidence.clone(),
                // The argument group requires one of them; an empty response would be refused.
                response: response.clone().unwrap_or_default(),
            };
            detect_turn(&turn, args, common)
        }
    }
}

fn detect_turn(turn: &Turn, args: &Detect, common: &Common) -> Result<()> {
    turn.check()?;
    let mut detector = load_detector(&open_bundle(common)?, common, &args.thresholds)?;
    let verdict = quietly(|| detector.detect(turn))??;
    if let Some(warning) = unknown_warning(&verdict).filter(|_| !common.quiet) {
        let terminal = Terminal::of_stderr(common.color);
        // If stderr is closed, the message cannot be shown.
        _ = writeln!(std::io::stderr(), "{} {warning}", terminal.paint(terminal.note(), "warning:"));
    }
    let explanation = if args.explain { Some(explain(&mut detector, turn, &verdict)?) } else { None };
    let text = if args.json {
        row_line(0, &Fields::default(), &Ok(verdict), explanation.as_ref()) + "\n"
    } else {
        let terminal = Terminal::of_stdout(common.color);
        let shown = show_verdict(&verdict, detector.thresholds(), detector.manifest(), terminal);
        shown + &explanation.map_or_else(String::new, |explanation| show_explanation(&explanation, turn, terminal))
    };
    write_stdout(text.as_bytes())
}

fn explain(detector: &mut Detector, turn: &Turn, verdict: &Verdict) -> Result<Explanation> {
    let explained = quietly(|| detector.explain_batch(&[(turn, verdict)], EXPLAIN_RUNS))??.pop();
    Ok(explained.transpose()?.unwrap_or_default())
}
