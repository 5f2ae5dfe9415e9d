//! `eval`: compares verdicts with labels.

mod compare;
mod labels;
mod metrics;
mod questions;
mod report;

pub(crate) use labels::read_labels;

use crate::args::{Common, Eval};
use crate::error::{CliError, Result};
use crate::model::{load_detector, open_bundle};
use crate::output::write_stdout;
use crate::rows::RowReader;
use crate::terminal::Terminal;
use report::{build_report, compare_rows, show_report};

/// Evaluates a labelled file and prints the figures.
///
/// # Errors
/// [`CliError::BadRows`] after the results if some rows could not be judged; [`CliError::NoRows`]; errors of the model or the
/// file.
pub(crate) fn run(args: &Eval, common: &Common) -> Result<()> {
    if !args.compare.is_empty() {
        return compare::run(args, common);
    }
    let mut reader = RowReader::open_json(&args.input)?;
    let mut detector = load_detector(&open_bundle(common)?, common, &args.thresholds)?;
    let (compared, bad) = compare_rows(&mut reader, &mut detector, args.batch_size.get(), common.quiet)?;
    let rows = compared.len() + bad;
    if compared.is_empty() {
        return Err(CliError::NoRows(reader.place().to_owned()));
    }
    let report = build_report(&compared, bad, &detector);
    let text = if args.json {
        serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
    } else {
        show_report(&report, Terminal::of_stdout(common.color))
    };
    write_stdout(text.as_bytes())?;
    if bad == 0 { Ok(()) } else { Err(CliError::BadRows { bad, rows }) }
}
