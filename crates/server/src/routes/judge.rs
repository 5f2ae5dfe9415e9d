//! An inference request from its bytes to its columns, whichever way it came.

use super::outputs::{Column, Output, OutputKind};
use super::tensors::{Bounds, InferRequest, Inputs};
use crate::envelope::Arrival;
use crate::problem::Problem;
use crate::served::{Inferred, Served};
use crate::server::App;
use crate::statistics::Attempt;
use crate::timing::Timing;
use grice_core::schedule::Caching;
use grice_core::{MASKED, Reading};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What an inference request is answered with.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) id: Option<String>,
    pub(crate) outputs: Vec<Output>,
    /// One for each output.
    pub(crate) columns: Vec<Column>,
    pub(crate) timing: Timing,
}

/// A request made ready to run.
struct Prepared {
    id: Option<String>,
    outputs: Vec<Output>,
    deadline: Instant,
    /// Token ids of each row.
    sequences: Vec<Arc<[u32]>>,
    /// What its verdict is to say of it.
    readings: Vec<Reading>,
    tokenize: Duration,
}

/// What a model and the server allow.
pub(crate) fn bounds(app: &App, served: &Served) -> Bounds {
    let manifest = served.reader().manifest();
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
/// What `read` says; else of rows that cannot be judged, or of a server that cannot do so now.
pub(crate) async fn judge(
    app: &Arc<App>,
    served: &Arc<Served>,
    arrival: &Arrival,
    caching: Caching,
    bytes: usize,
    read: impl FnOnce(Bounds) -> Result<InferRequest, Problem> + Send + 'static,
) -> Result<Judged, Problem> {
    let attempt = Attempt::new(served, arrival.start);
    let (reader, bounds, arrived) = (Arc::clone(served), bounds(app, served), *arrival);
    let work = move || prepare(&reader, read(bounds)?, &arrived);
    let (prepared, _place) = app.lanes.run(bytes, arrival.deadline, work).await?;
    let prepared = prepared?;
    let mut timing = Timing::new(prepared.tokenize);
    let inferred = served.infer(&prepared.sequences, prepared.deadline, caching).await?;
    let inferred =
        inferred.into_iter().enumerate().map(|(row, inferred)| inferred.map_err(|problem| of_row(row, problem)));
    let inferred: Vec<Inferred> = inferred.collect::<Result<_, _>>()?;
    inferred.iter().for_each(|inferred| timing.add(inferred));
    let start = Instant::now();
    let columns = read_outputs(app, served, &prepared.outputs, &inferred, &prepared.readings)?;
    timing.output = start.elapsed();
    attempt.succeed(&timing);
    Ok(Judged { id: prepared.id, outputs: prepared.outputs, columns, timing })
}

fn of_row(row: usize, problem: Problem) -> Problem {
    Problem { detail: format!("row {row}: {}", problem.detail), ..problem }
}

fn prepare(served: &Served, request: InferRequest, arrival: &Arrival) -> Result<Prepared, Problem> {
    let InferRequest { id, inputs, outputs, timeout } = request;
    let deadline = timeout.map_or(arrival.deadline, |timeout| arrival.deadline.min(arrival.start + timeout));
    let start = Instant::now();
    let (sequences, readings) = match inputs {
        Inputs::Tokens(rows) => {
            check_ids(served, &rows)?;
            let readings = vec![Reading::default(); rows.len()];
            (rows.into_iter().map(Into::into).collect(), readings)
        }
        Inputs::Texts(turns) => {
            let (mut sequences, mut readings) = (Vec::with_capacity(turns.len()), Vec::with_capacity(turns.len()));
            for (row, turn) in turns.iter().enumerate() {
                let tokenized = served.tokenize(turn).map_err(|problem| of_row(row, problem))?;
                sequences.push(tokenized.ids);
                readings.push(tokenized.reading);
                if Instant::now() >= deadline {
                    return Err(Problem::deadline());
                }
            }
            (sequences, readings)
        }
    };
    Ok(Prepared { id, outputs, deadline, sequences, readings, tokenize: start.elapsed() })
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

/// The values of each output asked for, row by row, in the order of the manifest's labels.
fn read_outputs(
    app: &App,
    served: &Served,
    outputs: &[Output],
    inferred: &[Inferred],
    readings: &[Reading],
) -> Result<Vec<Column>, Problem> {
    let labels = &served.reader().manifest().labels;
    let mut probabilities = Vec::with_capacity(inferred.len() * labels.len());
    for (row, (inferred, &reading)) in inferred.iter().zip(readings).enumerate() {
        let verdict = served.reader().verdict(&inferred.row, reading);
        let verdict = verdict.map_err(|error| of_row(row, Problem::from(&error)))?;
        app.metrics.count_verdict(&verdict);
        probabilities.extend(labels.iter().map(|&label| *verdict.probabilities.get(label)));
    }
    let columns = outputs.iter().map(|output| {
        let values = match output.kind {
            OutputKind::Logits => inferred.iter().flat_map(|inferred| inferred.row.iter().copied()).collect(),
            OutputKind::Probabilities => probabilities.clone(),
            OutputKind::UnknownShare => readings.iter().map(|reading| reading.unknown_share).collect(),
        };
        output.column(inferred.len(), values, labels)
    });
    Ok(columns.collect())
}
