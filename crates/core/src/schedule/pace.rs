//! The speed of the engines, measured with the finished batches.

use std::time::Duration;

/// The weight of the newest batch.
const NEWEST: f64 = 0.2;
/// The estimate for a client that is rejected before the first batch has ended.
const RETRY_UNKNOWN: Duration = Duration::from_secs(1);
const RETRY_LEAST: Duration = Duration::from_millis(10);
const RETRY_MOST: Duration = Duration::from_secs(60);

/// Moving averages over the batches of all engines.
#[derive(Debug, Default)]
pub(super) struct Pace {
    batch_seconds: Option<f64>,
    token_seconds: Option<f64>,
}

impl Pace {
    pub(super) fn learn(&mut self, tokens: usize, ran: Duration) {
        let ran = ran.as_secs_f64();
        let blend = |average: Option<f64>, newest: f64| match average {
            Some(average) => Some(average + NEWEST * (newest - average)),
            None => Some(newest),
        };
        self.batch_seconds = blend(self.batch_seconds, ran);
        self.token_seconds = blend(self.token_seconds, ran / tokens.max(1) as f64);
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
}
