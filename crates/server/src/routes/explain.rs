//! `explain` of `/v1/detect`: the turns without their words run like the turns of any request, within the same limits.

use crate::app::App;
use crate::arrival::Arrival;
use crate::judging::{Judging, Question};
use crate::problem::Problem;
use axum::http::StatusCode;
use grice_core::schedule::Caching;
use grice_core::task::{EXPLAIN_RUNS, Explain, Explanation};
use grice_core::{PerMaxim, Turn};
use std::sync::Arc;
use std::time::Instant;

/// Further runs that the explanation of a turn may take. With its own run it fits into a request.
///
/// # Errors
/// 422 if a request may have one turn only.
pub(super) fn runs_of(items_max: usize) -> Result<usize, Problem> {
    match items_max.saturating_sub(1).min(EXPLAIN_RUNS) {
        0 => Err(Problem::unusable("this server takes one turn in a request, which leaves no runs to `explain` it")),
        runs => Ok(runs),
    }
}

/// Refuses a request whose explanations could take more runs than it may have turns.
///
/// # Errors
/// 413.
pub(super) fn check_runs(turns: usize, explained: usize, items_max: usize) -> Result<(), Problem> {
    if explained == 0 {
        return Ok(());
    }
    let runs = runs_of(items_max)?;
    let whole = turns.saturating_add(explained.saturating_mul(runs));
    if whole <= items_max {
        return Ok(());
    }
    let most = items_max / (runs + 1);
    Err(Problem::too_large(format!(
        "{turns} turns, {explained} of them with `explain`, can take {whole} runs, more than the {items_max} allowed in one request; an explained turn counts as \
         {}, so explain at most {most} in one request",
        runs + 1
    )))
}

/// Runs explanations to their end, in rounds. All turns of a round run together.
///
/// # Errors
/// [`Problem`] of the whole request: a full queue, a passed deadline, or a server that stops.
pub(super) async fn run_explanations(
    app: &Arc<App>,
    judging: &mut Judging,
    mut explains: Vec<Explain>,
    arrival: &Arrival,
    caching: Caching,
) -> Result<Vec<Result<Explanation, Problem>>, Problem> {
    let mut failed: Vec<Option<Problem>> = explains.iter().map(|_| None).collect();
    loop {
        let asked: Vec<Vec<Turn>> = explains.iter_mut().map(Explain::asks).collect();
        let counts: Vec<usize> = asked.iter().map(Vec::len).collect();
        let turns: Vec<Turn> = asked.into_iter().flatten().collect();
        if turns.is_empty() {
            let ended = explains.into_iter().zip(failed);
            return Ok(ended.map(|(explain, problem)| problem.map_or_else(|| Ok(explain.finish()), Err)).collect());
        }
        let mut answers = run_round(app, judging, turns, arrival, caching).await?.into_iter();
        for ((explain, failed), count) in explains.iter_mut().zip(&mut failed).zip(counts) {
            let found: Vec<_> = answers.by_ref().take(count).collect();
            match found.into_iter().collect::<Result<Vec<_>, _>>() {
                Ok(found) => explain.tell(&found),
                // Told nothing, it asks no more.
                Err(problem) => *failed = Some(problem),
            }
        }
    }
}

/// The probabilities of each turn; `None` for one that cannot be judged without its words.
async fn run_round(
    app: &Arc<App>,
    judging: &mut Judging,
    turns: Vec<Turn>,
    arrival: &Arrival,
    caching: Caching,
) -> Result<Vec<Result<Option<PerMaxim<f32>>, Problem>>, Problem> {
    let bytes = turns.iter().map(Turn::bytes).sum();
    let (served, deadline) = (Arc::clone(judging.served()), arrival.deadline);
    let work = move || {
        let mut tokenized = Vec::with_capacity(turns.len());
        for turn in &turns {
            tokenized.push(served.tokenize(turn));
            if Instant::now() >= deadline {
                return Err(Problem::deadline());
            }
        }
        Ok(tokenized)
    };
    let start = Instant::now();
    let (tokenized, _place) = app.lanes.run(bytes, deadline, work).await?;
    judging.timing.tokenize += start.elapsed();
    let prepared: Vec<Result<Question, Problem>> =
        tokenized?.into_iter().map(|tokenized| tokenized.map(|tokenized| judging.question(tokenized, None))).collect();
    let questions: Vec<&Question> = prepared.iter().flatten().collect();
    let mut found = judging.probe(&questions, deadline, caching).await?.into_iter();
    let answers = prepared.iter().map(|question| match question {
        Ok(_) => found.next().unwrap_or_else(|| Err(Problem::internal("a turn without an outcome"))).map(Some),
        Err(problem) if problem.status == StatusCode::UNPROCESSABLE_ENTITY => Ok(None),
        Err(problem) => Err(problem.clone()),
    });
    Ok(answers.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_explained_turn_counts_as_its_runs() {
        for (turns, explained, items_max, status) in [
            (256, 0, 256, None),
            (1, 1, 256, None),
            (2, 2, 256, None),
            (64, 2, 256, None),
            (65, 2, 256, Some(413)),
            (3, 3, 256, Some(413)),
            (1, 1, 10, None),
            (2, 1, 10, Some(413)),
            (1, 1, 1, Some(422)),
        ] {
            let refused = check_runs(turns, explained, items_max).err().map(|problem| problem.status.as_u16());
            assert_eq!(refused, status, "{explained} of {turns} turns, {items_max} allowed");
        }
        assert!(check_runs(3, 3, 256).unwrap_err().detail.contains("at most 2 in one request"));
    }
}
