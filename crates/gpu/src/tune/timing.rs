//! The fastest of several choices, by trying them for a bounded time.

use crate::gemm::Choice;
use std::time::Duration;

/// What times a choice: runs it so many times and says how long all of them took together, or `None` if it does not run here.
pub(crate) trait Timer {
    fn time(&mut self, choice: &Choice, repeats: u32) -> Option<Duration>;

    /// What it has spent so far, with all that goes on beside the runs: compiling, above all.
    fn spent(&self) -> Duration;
}

/// Runs of a choice in one turn, at most.
const REPEATS_MAX: u32 = 64;
/// What a turn should take, so that starting it does not count.
const TURN: Duration = Duration::from_millis(4);
/// Turns of each choice; the fastest one counts.
const TURNS: usize = 3;

/// The fastest choice and the time of one run of it, within about `budget`: candidates are tried in their order, those that there is no time for
/// are not. `None` if none of those tried runs.
pub(crate) fn fastest(candidates: &[Choice], budget: Duration, timer: &mut impl Timer) -> Option<(Choice, Duration)> {
    let end = timer.spent() + budget;
    let mut best: Option<(Choice, Duration)> = None;
    // The shortest single run, with what starting one takes.
    let mut single = Duration::MAX;
    for choice in candidates {
        if best.is_some() && timer.spent() >= end {
            break;
        }
        // The first run of a pipeline pays for what it sets up.
        if timer.time(choice, 1).is_none() {
            continue;
        }
        let Some(second) = timer.time(choice, 1) else { continue };
        let mut fastest = second;
        let hopeless = second / 4 > single;
        single = single.min(second);
        let repeats = (TURN.as_nanos() / second.as_nanos().max(1)).clamp(1, u128::from(REPEATS_MAX)) as u32;
        for _ in 0..if hopeless { 0 } else { TURNS } {
            if timer.spent() >= end {
                break;
            }
            let Some(taken) = timer.time(choice, repeats) else { break };
            fastest = fastest.min(taken / repeats);
        }
        if best.is_none_or(|(_, time)| fastest < time) {
            best = Some((*choice, fastest));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::{Form, Method, RowsSize};

    fn choice(shares: u32) -> Choice {
        let size = RowsSize { rows: 1, column_threads: 32, k_threads: 4 };
        Choice { method: Method::Rows { form: Form::F32, size }, shares }
    }

    /// Takes so many microseconds a run for the choice with that many shares; 0 means that it does not run.
    struct Fake {
        micros: Vec<u64>,
        runs: Vec<u32>,
        spent: Duration,
    }

    impl Timer for Fake {
        fn time(&mut self, choice: &Choice, repeats: u32) -> Option<Duration> {
            let index = choice.shares as usize;
            self.runs[index] += repeats;
            // What starting a turn takes.
            let start = 200;
            let taken = Duration::from_micros(start + self.micros[index] * u64::from(repeats));
            self.spent += taken;
            (self.micros[index] > 0).then_some(taken)
        }

        fn spent(&self) -> Duration {
            self.spent
        }
    }

    fn check(micros: &[u64], budget_ms: u64, expected: Option<u32>) -> Fake {
        let candidates: Vec<Choice> = (0..micros.len() as u32).map(choice).collect();
        let mut timer = Fake { micros: micros.to_vec(), runs: vec![0; micros.len()], spent: Duration::ZERO };
        let best = fastest(&candidates, Duration::from_millis(budget_ms), &mut timer);
        assert_eq!(best.map(|(choice, _)| choice.shares), expected, "{micros:?}");
        timer
    }

    #[test]
    fn the_fastest_wins() {
        check(&[30, 20, 25], 300, Some(1));
        check(&[20], 300, Some(0));
        // So close that a turn's start would hide it.
        check(&[1000, 990, 1010], 300, Some(1));
    }

    #[test]
    fn what_does_not_run_is_passed_over() {
        check(&[0, 20, 0, 10], 300, Some(3));
        check(&[0, 0], 300, None);
        check(&[], 300, None);
    }

    #[test]
    fn time_is_bounded() {
        // The last would be the fastest, but the budget is gone.
        let timer = check(&[100_000, 90_000, 1], 300, Some(0));
        assert_eq!(timer.runs[2], 0);
        // What is far behind gets no turns.
        let timer = check(&[100, 50_000, 100], 300, Some(0));
        assert_eq!(timer.runs[1], 2);
        // One choice is tried however little time there is.
        check(&[1_000_000], 0, Some(0));
    }
}
