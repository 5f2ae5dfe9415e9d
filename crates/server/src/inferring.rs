//! Rows of sequences: from a schedule, in order.

use crate::inferred::{Cached, Inferred};
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::runner::{Runner, Submitted};
use crate::texts::Tokenized;
use grice_core::schedule::{Answer, Caching, Rejection, Source};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The row of each sequence, in order, or the reason why it has none. `each` is shown every row that was run, as soon as it is there. `since`
/// is when the look-up in caches began.
///
/// # Errors
/// [`Problem`] of the whole request: a full queue, a passed deadline, or a server that stops.
pub(crate) async fn infer(
    runner: &Arc<Runner>,
    metrics: &Metrics,
    sequences: &[&Tokenized],
    deadline: Instant,
    caching: Caching,
    since: Instant,
    mut each: impl FnMut(&Tokenized, &Inferred),
) -> Result<Vec<Result<Inferred, Problem>>, Problem> {
    let deadline = runner.time_of(deadline);
    let submitted = runner.submit(sequences, deadline, caching);
    let submitted = submitted.map_err(|rejection| Problem::rejected(&rejection))?;
    let lookup = since.elapsed();
    let mut inferred = Vec::with_capacity(sequences.len());
    for (submitted, tokenized) in submitted.into_iter().zip(sequences) {
        let answer = match submitted {
            Submitted::Known(row) => {
                let none = Duration::ZERO;
                inferred.push(Ok(Inferred { row, cached: Cached::Hit, lookup, queued: none, ran: none }));
                continue;
            }
            Submitted::Waits(ticket) => ticket.answer().await,
        };
        let answer = answer.ok_or_else(|| Problem::rejected(&Rejection::ShuttingDown))?;
        metrics.queue.observe(answer.queued.as_secs_f64());
        let answered = read(answer, lookup);
        match &answered {
            Err(problem) if problem.is_of_the_moment() => return Err(problem.clone()),
            Err(_) => {}
            Ok(row) => each(tokenized, row),
        }
        inferred.push(answered);
    }
    Ok(inferred)
}

fn read(answer: Answer, lookup: Duration) -> Result<Inferred, Problem> {
    let row = answer.outcome.map_err(|rejection| Problem::rejected(&rejection))?;
    let cached = match answer.source {
        Source::Miss => Cached::Miss,
        Source::Coalesced => Cached::Coalesced,
        Source::Bypass => Cached::Bypass,
    };
    Ok(Inferred { row, cached, lookup, queued: answer.queued, ran: answer.ran })
}
