//! Models that share the cores of a replica take turns: two engines that both use all cores are slower than one after the other.

use std::sync::Arc;
use tokio::sync::Mutex;

/// The right to compute. Who asks first is first, and each engine asks once for each batch or pass. So an engine waits for one run of each of the
/// others at most: a turn that is to be judged, for one step of the texts that are being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<Mutex<()>>);

impl Turns {
    /// Works when it is its turn. Blocks the thread, which must not be one of the runtime's.
    pub(crate) fn work<T>(&self, work: impl FnOnce() -> T) -> T {
        let _held = self.0.blocking_lock();
        work()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn who_asks_waits_for_one_run_of_each_other_at_most() {
        let (turns, runs, is_over) = (Turns::default(), AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            // It asks again as soon as it is done.
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    turns.work(|| {
                        runs.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(2));
                    });
                }
            });
            let waited = (0..50).map(|_| {
                std::thread::sleep(Duration::from_millis(1));
                let before = runs.load(Ordering::Relaxed);
                turns.work(|| runs.load(Ordering::Relaxed) - before)
            });
            let waited: Vec<usize> = waited.collect();
            is_over.store(true, Ordering::Relaxed);
            // The run before it, and one more that may begin between the look at the counter and the question.
            assert!(waited.iter().all(|&runs| runs <= 1 + 1), "{waited:?}");
        });
        assert!(runs.load(Ordering::Relaxed) > 20);
    }
}
