//! The speed of the engines, measured with the finished batches.

use std::time::Duration;

/// The weight of the newest batch.
const NEWEST: f64 = 0.2;
/// The estimate for a client that is rejected before the first batch has ended.
const RETRY_UNKNOWN: Duration = Duration::from_secs(1);
const RETRY_LEAST: Duration = Duration::from_millis(10);
const RETRY_MOST: Duration = Duration::from_secs(60);

/// Moving averages over the batches of all engines. Passes of courses are apart: a token of a prompt costs much less than a new
/// token, which needs a pass.
#[derive(Debug, Default)]
pub(super) struct Pace {
    batch_seconds: Option<f64>,
    token_seconds: Option<f64>,
    /// A pass without prompts.
    step_seconds: Option<f64>,
    /// A new token of one course, while others run beside it.
    new_token_seconds: Option<f64>,
    /// A token of a prompt or source.
    prompt_token_seconds: Option<f64>,
}

/// Work of courses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Tokens of prompts and sources.
    pub(super) prompt: usize,
    /// New tokens.
    pub(super) new: usize,
}

impl Pace {
    pub(super) fn learn(&mut self, tokens: usize, ran: Duration) {
        let ran = ran.as_secs_f64();
        self.batch_seconds = blend(self.batch_seconds, ran);
        self.token_seconds = blend(self.token_seconds, ran / tokens.max(1) as f64);
    }

    /// Learns from a pass that took so many prompt tokens in, and so many courses one step further.
    pub(super) fn learn_pass(&mut self, load: Load, ran: Duration) {
        let ran = ran.as_secs_f64();
        if load.prompt == 0 {
            self.step_seconds = blend(self.step_seconds, ran);
            self.new_token_seconds = blend(self.new_token_seconds, ran / load.new.max(1) as f64);
            return;
        }
        // What the courses that have begun would have taken without the prompts.
        let others = if load.new == 0 { 0.0 } else { self.step_seconds.unwrap_or(0.0) };
        let own = (ran - others).max(0.0) / load.prompt as f64;
        self.prompt_token_seconds = blend(self.prompt_token_seconds, own);
    }

    /// How long a number of engines needs for courses; zero if no pass has ended.
    pub(super) fn run_courses(&self, load: Load, engines: usize) -> Duration {
        let prompt = load.prompt as f64 * self.prompt_token_seconds.unwrap_or(0.0);
        let new = load.new as f64 * self.new_token_seconds.unwrap_or(0.0);
        Duration::try_from_secs_f64((prompt + new) / engines.max(1) as f64).unwrap_or(Duration::MAX)
    }

    /// When half of the waiting courses should be done.
    pub(super) fn retry_after_courses(&self, waiting: Load, engines: usize) -> Duration {
        match self.new_token_seconds {
            Some(_) => (self.run_courses(waiting, engines) / 2).clamp(RETRY_LEAST, RETRY_MOST),
            None => RETRY_UNKNOWN,
        }
    }

    /// How long a batch takes; `None` if none has ended.
    pub(super) fn batch(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.batch_seconds?).ok()
    }

    /// How long a number of tokens keeps a number of engines busy; zero if no batch has ended.
    pub(super) fn run(&self, tokens: usize, engines: usize) -> Duration {
        let seconds = tokens as f64 * self.token_seconds.unwrap_or(0.0) / engines.max(1) as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// When half of the queue should be done.
    pub(super) fn retry_after(&self, queue_tokens: usize, engines: usize) -> Duration {
        match self.token_seconds {
            Some(_) => (self.run(queue_tokens, engines) / 2).clamp(RETRY_LEAST, RETRY_MOST),
            None => RETRY_UNKNOWN,
        }
    }
}

fn blend(average: Option<f64>, newest: f64) -> Option<f64> {
    Some(average.map_or(newest, |average| average + NEWEST * (newest - average)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_asks_for_the_time_that_half_of_it_takes() {
        let mut pace = Pace::default();
        let check = |pace: &Pace, queue_tokens, engines, expected: Duration| {
            let retry = pace.retry_after(queue_tokens, engines);
            assert!(retry.abs_diff(expected) < Duration::from_micros(10), "{retry:?} is not {expected:?}");
        };
        check(&pace, 1000, 1, RETRY_UNKNOWN);
        (0..100).for_each(|_| pace.learn(100, Duration::from_millis(50)));
        check(&pace, 1000, 1, Duration::from_millis(250));
        check(&pace, 1000, 2, Duration::from_millis(125));
        check(&pace, 0, 1, RETRY_LEAST);
        check(&pace, usize::MAX, 1, RETRY_MOST);
        assert!(pace.batch().unwrap().abs_diff(Duration::from_millis(50)) < Duration::from_micros(10));
    }

    #[test]
    fn a_clock_that_stands_still_gives_no_nonsense() {
        let mut pace = Pace::default();
        pace.learn(0, Duration::ZERO);
        assert_eq!(pace.batch(), Some(Duration::ZERO));
        assert_eq!(pace.retry_after(1000, 0), RETRY_LEAST);
    }

    #[test]
    fn prompts_and_new_tokens_are_told_apart() {
        let mut pace = Pace::default();
        let waiting = Load { prompt: 1000, new: 100 };
        assert_eq!(pace.retry_after_courses(waiting, 1), RETRY_UNKNOWN);
        for _ in 0..100 {
            pace.learn_pass(Load { prompt: 0, new: 4 }, Duration::from_millis(20));
            pace.learn_pass(Load { prompt: 100, new: 4 }, Duration::from_millis(30));
        }
        // A new token takes 5 ms with three others beside it, a prompt token 0.1 ms.
        let takes = pace.run_courses(waiting, 1);
        assert!(takes.abs_diff(Duration::from_millis(600)) < Duration::from_millis(1), "{takes:?}");
        assert!(pace.retry_after_courses(waiting, 2).abs_diff(Duration::from_millis(150)) < Duration::from_millis(1));
        assert!(!pace.run_courses(Load { prompt: usize::MAX, new: usize::MAX }, 1).is_zero());
        // Batches have a pace of their own.
        assert_eq!(pace.batch(), None);
    }
}
