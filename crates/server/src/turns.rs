//! Models that share the cores of a replica take turns: two engines that both use all cores are slower than one after the other.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an engine computes at least before it makes way for others in the middle of a run. Most batches of turns take less, so
/// that they run through.
const SLICE: Duration = Duration::from_millis(4);

/// The right to compute. Who asks first is first, and each engine asks once for each batch or pass; long ones make way between two steps
/// ([`Member::make_way`]). So an engine waits for a slice of each of the others, not for a whole run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    line: Mutex<Line>,
    moved: Condvar,
    /// Engines that wait, to be read without the lock.
    waiting: AtomicUsize,
}

/// Who has the number `serving` computes.
#[derive(Debug, Default)]
struct Line {
    next: u64,
    serving: u64,
    /// When the engine that computes may make way.
    until: Option<Instant>,
}

/// One of the engines that take turns.
#[derive(Debug)]
pub(crate) struct Member {
    shared: Arc<Shared>,
    is_computing: AtomicBool,
    /// How long others computed during its run.
    away_nanos: AtomicU64,
}

impl Turns {
    /// One more engine.
    pub(crate) fn member(&self) -> Arc<Member> {
        let (is_computing, away_nanos) = (AtomicBool::new(false), AtomicU64::new(0));
        Arc::new(Member { shared: Arc::clone(&self.0), is_computing, away_nanos })
    }
}

impl Member {
    /// Works when it is its turn, and tells how long that took without the time that others had meanwhile. Blocks the thread, which
    /// must not be one of the runtime's.
    pub(crate) fn work<T>(&self, work: impl FnOnce() -> T) -> (T, Duration) {
        self.shared.wait(SLICE);
        let computing = Computing::begin(self);
        let start = Instant::now();
        let result = work();
        let took = start.elapsed().saturating_sub(Duration::from_nanos(self.away_nanos.load(Ordering::Relaxed)));
        drop(computing);
        (result, took)
    }

    /// Lets those that wait compute first, if its slice is over. The next slice is as long as they took, so that each engine has its
    /// share of the time. Does nothing outside of [`Member::work`].
    pub(crate) fn make_way(&self) {
        if self.shared.waiting.load(Ordering::Relaxed) == 0 || !self.is_computing.load(Ordering::Relaxed) {
            return;
        }
        let left = Instant::now();
        if !self.shared.is_over(left) {
            return;
        }
        self.shared.pass_on();
        self.shared.wait(SLICE);
        let away = left.elapsed();
        self.shared.extend(away);
        self.away_nanos.fetch_add(u64::try_from(away.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Passes the right on at the end, also after a panic.
struct Computing<'m>(&'m Member);

impl<'m> Computing<'m> {
    fn begin(member: &'m Member) -> Computing<'m> {
        member.away_nanos.store(0, Ordering::Relaxed);
        member.is_computing.store(true, Ordering::Relaxed);
        Computing(member)
    }
}

impl Drop for Computing<'_> {
    fn drop(&mut self) {
        self.0.is_computing.store(false, Ordering::Relaxed);
        self.0.shared.pass_on();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn, and begins a slice.
    fn wait(&self, slice: Duration) {
        let mut line = self.lock();
        let number = line.next;
        line.next += 1;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        while line.serving != number {
            line = self.moved.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        line.until = Instant::now().checked_add(slice);
    }

    fn pass_on(&self) {
        self.lock().serving += 1;
        self.moved.notify_all();
    }

    /// Whether the slice of the one that computes is over.
    fn is_over(&self, now: Instant) -> bool {
        self.lock().until.is_some_and(|until| now >= until)
    }

    /// Makes the slice that has just begun at least so long.
    fn extend(&self, slice: Duration) {
        let until = Instant::now().checked_add(slice);
        let mut line = self.lock();
        line.until = line.until.max(until);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::thread::{scope, sleep};

    const LONG: Duration = Duration::from_millis(200);

    #[test]
    fn who_asks_waits_for_one_run_of_each_other_at_most() {
        let (turns, runs, is_over) = (Turns::default(), AtomicUsize::new(0), AtomicBool::new(false));
        scope(|scope| {
            // It asks again as soon as it is done.
            scope.spawn(|| {
                let member = turns.member();
                while !is_over.load(Ordering::Relaxed) {
                    member.work(|| {
                        runs.fetch_add(1, Ordering::Relaxed);
                        sleep(Duration::from_millis(2));
                    });
                }
            });
            let member = turns.member();
            let waited = (0..50).map(|_| {
                sleep(Duration::from_millis(1));
                let before = runs.load(Ordering::Relaxed);
                member.work(|| runs.load(Ordering::Relaxed) - before).0
            });
            let waited: Vec<usize> = waited.collect();
            is_over.store(true, Ordering::Relaxed);
            // The run before it, and one more that may begin between the look at the counter and the question.
            assert!(waited.iter().all(|&runs| runs <= 1 + 1), "{waited:?}");
        });
        assert!(runs.load(Ordering::Relaxed) > 20);
    }

    /// A run that makes way is overtaken by a short one, goes on alone afterwards, and does not count the time of the other.
    #[test]
    fn a_long_run_makes_way() {
        let turns = Turns::default();
        let (long, short) = (turns.member(), turns.member());
        let (steps, at_work) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let alone = || assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0);
        let leave = || at_work.fetch_sub(1, Ordering::SeqCst);
        scope(|scope| {
            let other = scope.spawn(|| {
                while steps.load(Ordering::Relaxed) < 5 {
                    sleep(Duration::from_millis(1));
                }
                let (after, took) = short.work(|| {
                    alone();
                    sleep(LONG);
                    leave();
                    steps.load(Ordering::Relaxed)
                });
                assert!(took >= LONG, "{took:?}");
                after
            });
            let start = Instant::now();
            let ((), took) = long.work(|| {
                for _ in 0..100 {
                    alone();
                    sleep(Duration::from_millis(1));
                    steps.fetch_add(1, Ordering::Relaxed);
                    leave();
                    long.make_way();
                }
            });
            assert!(start.elapsed().saturating_sub(took) >= LONG, "{took:?}");
            let after = other.join().unwrap();
            assert!((5..100).contains(&after), "it was let in after {after} steps");
        });
    }

    #[test]
    fn a_run_that_panics_passes_the_right_on_and_nobody_makes_way_outside_of_a_run() {
        let turns = Turns::default();
        let (one, two) = (turns.member(), turns.member());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one.work(|| panic!("an operator"))));
        assert!(panicked.is_err());
        scope(|scope| {
            let waits = scope.spawn(|| two.work(|| sleep(Duration::from_millis(20))));
            (0..20).for_each(|_| one.make_way());
            waits.join().unwrap();
        });
        assert_eq!(one.work(|| 7).0, 7);
    }
}
