//! An inference request from its bytes to its columns, for HTTP and gRPC.

use super::bounds::Bounds;
use super::outputs::{Column, Output, OutputKind};
use super::tensors::{InferRequest, Inputs};
use crate::app::App;
use crate::arrival::Arrival;
use crate::judging::{Finding, Judging, Question};
use crate::problem::Problem;
use crate::served::Served;
use crate::timing::Timing;
use grice_core::MASKED;
use grice_core::schedule::Caching;
use std::sync::Arc;
use std::time::Instant;

/// The answer to an inference request.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) id: Option<String>,
    pub(crate) outputs: Vec<Output>,
    /// One for each output.
    pub(crate) columns: Vec<Column>,
    pub(crate) timing: Timing,
}

/// A request that is ready to run.
struct Prepared {
    id: Option<String>,
    outputs: Vec<Output>,
    deadline: Instant,
    judging: Judging,
    /// One for each row.
    questions: Vec<Question>,
}

/// The limits of the model and the server.
pub(crate) fn bounds(app: &App, served: &Served) -> Bounds {
    let manifest = served.task().manifest();
    Bounds {
        rows_max: app.settings.limits.items_max,
        tokens_max: manifest.max_tokens,
        labels: manifest.labels.len(),
        keeps_padding: !served.hides_padding(),
    }
}

/// Reads a request of `bytes`, runs it and writes its columns.
///
/// # Errors
/// The errors of `read`; of rows that cannot be judged; of a server that cannot run them now.
pub(crate) async fn judge(
    app: &Arc<App>,
    served: &Arc<Served>,
    arrival: &Arrival,
    caching: Caching,
    bytes: usize,
    read: impl FnOnce(Bounds) -> Result<InferRequest, Problem> + Send + 'static,
) -> Result<Judged, Problem> {
    let judging = Judging::new(Arc::clone(served), arrival);
    let (bounds, arrived) = (bounds(app, served), *arrival);
    let work = move || prepare(judging, read(bounds)?, &arrived);
    let (prepared, _place) = app.lanes.run(bytes, arrival.deadline, work).await?;
    let Prepared { id, outputs, deadline, mut judging, questions } = prepared?;
    let questions: Vec<&Question> = questions.iter().collect();
    let found = judging.judge(&app.metrics, &questions, deadline, caching).await?;
    let found = found.into_iter().enumerate().map(|(row, found)| found.map_err(|problem| of_row(row, problem)));
    let found: Vec<Finding> = found.collect::<Result<_, _>>()?;
    let start = Instant::now();
    let columns = write_columns(served, &outputs, &found);
    judging.timing.output += start.elapsed();
    let timing = judging.timing;
    judging.succeed();
    Ok(Judged { id, outputs, columns, timing })
}

fn of_row(row: usize, problem: Problem) -> Problem {
    Problem { detail: format!("row {row}: {}", problem.detail), ..problem }
}

fn prepare(mut judging: Judging, request: InferRequest, arrival: &Arrival) -> Result<Prepared, Problem> {
    let InferRequest { id, inputs, outputs, timeout } = request;
    let deadline = timeout.map_or(arrival.deadline, |timeout| arrival.deadline.min(arrival.start + timeout));
    let questions = match inputs {
        Inputs::Tokens(rows) => {
            check_ids(judging.served(), &rows)?;
            rows.into_iter().map(|ids| judging.prepare_ids(ids)).collect()
        }
        Inputs::Texts(turns) => {
            let mut questions = Vec::with_capacity(turns.len());
            for (row, turn) in turns.iter().enumerate() {
                questions.push(judging.prepare(turn, None).map_err(|problem| of_row(row, problem))?);
                if Instant::now() >= deadline {
                    return Err(Problem::deadline());
                }
            }
            questions
        }
    };
    Ok(Prepared { id, outputs, deadline, judging, questions })
}

fn check_ids(served: &Served, rows: &[Vec<u32>]) -> Result<(), Problem> {
    let bound = served.id_bound().unwrap_or(usize::MAX);
    for (row, ids) in rows.iter().enumerate() {
        if let Some(id) = ids.iter().map(|id| id & !MASKED).find(|&id| id as usize >= bound) {
            let problem = Problem::unusable(format!("{id} is not a token of the model, which has {bound}"));
            return Err(of_row(row, problem));
        }
    }
    Ok(())
}

/// The values of each requested output, row by row, in the order of the manifest's labels.
fn write_columns(served: &Served, outputs: &[Output], found: &[Finding]) -> Vec<Column> {
    let labels = &served.task().manifest().labels;
    let columns = outputs.iter().map(|output| {
        let values = match output.kind {
            OutputKind::Logits => found.iter().flat_map(|found| found.row.iter().copied()).collect(),
            OutputKind::Probabilities => {
                let of = |found: &Finding, label| *found.verdict.probabilities.get(label);
                found.iter().flat_map(|found| labels.iter().map(move |&label| of(found, label))).collect()
            }
            OutputKind::UnknownShare => found.iter().map(|found| found.verdict.unknown_share).collect(),
        };
        output.column(found.len(), values, labels)
    });
    columns.collect()
}
