//! Selects the thread for reading a request. Small requests are read at once; large ones are read on separate threads, a few
//! at a time, so that normal requests never wait for them.

use crate::problem::Problem;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

/// Up to this size, reading takes less than a millisecond.
pub(crate) const SMALL_BYTES: usize = 16 << 10;
/// Up to this size, a request does not wait for the largest ones.
const MEDIUM_BYTES: usize = 256 << 10;

/// The slot of a large request, held until its answer, so that its rows do not fill the queue before those of small requests.
pub(crate) struct Place {
    _held: Option<OwnedSemaphorePermit>,
}

/// The slots for large requests.
pub(crate) struct Lanes {
    medium: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Lanes {
    pub(crate) fn new() -> Lanes {
        // One core stays free for small requests and for the engine.
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let places = || Arc::new(Semaphore::new((cores / 2).max(1)));
        Lanes { medium: places(), large: places() }
    }

    /// Runs work whose time is proportional to `bytes`. The next work of that size may begin after the slot is dropped.
    ///
    /// # Errors
    /// 429 if no slot is free within half of the remaining time; 500 if the work panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Place), Problem> {
        if bytes <= SMALL_BYTES {
            return Ok((work(), Place { _held: None }));
        }
        let lane = if bytes <= MEDIUM_BYTES { &self.medium } else { &self.large };
        // The other half is for the work itself.
        let now = Instant::now();
        let until = now + deadline.saturating_duration_since(now) / 2;
        let place = timeout_at(until.into(), Arc::clone(lane).acquire_owned()).await;
        let place = place.map_err(|_| Problem::crowded())?.map_err(Problem::internal)?;
        let done = tokio::task::spawn_blocking(move || (work(), Place { _held: Some(place) }));
        done.await.map_err(|error| Problem::internal(format!("reading a request: {error}")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::thread::{current, sleep};
    use std::time::Duration;

    #[test]
    fn large_work_leaves_small_work_alone() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let lanes = Arc::new(Lanes::new());
            let deadline = Instant::now() + Duration::from_secs(20);
            let here = current().id();
            let large = (0..32).map(|_| {
                let lanes = Arc::clone(&lanes);
                tokio::spawn(async move {
                    lanes.run(1 << 20, deadline, || (current().id(), sleep(Duration::from_millis(20)))).await
                })
            });
            let large: Vec<_> = large.collect();
            tokio::time::sleep(Duration::from_millis(10)).await;
            let start = Instant::now();
            assert_eq!(lanes.run(SMALL_BYTES, deadline, || current().id()).await.unwrap().0, here);
            assert_ne!(lanes.run(MEDIUM_BYTES, deadline, || current().id()).await.unwrap().0, here);
            assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
            let late = lanes.run(1 << 20, Instant::now(), || ()).await.err().unwrap();
            assert_eq!((late.status.as_u16(), late.retry_after.is_some()), (429, true));
            let fell = lanes.run(MEDIUM_BYTES, deadline, || panic!("told to")).await;
            assert_eq!(fell.map(|((), _)| ()).unwrap_err().status.as_u16(), 500);
            // After a panic the slot is free again; a slot that is held is not.
            let kept = std::iter::repeat_with(|| lanes.run(MEDIUM_BYTES, deadline, || ()));
            let mut places = Vec::new();
            for run in kept.take(lanes.medium.available_permits()) {
                places.push(run.await.unwrap().1);
            }
            let soon = Instant::now() + Duration::from_millis(40);
            assert!(lanes.run(MEDIUM_BYTES, soon, || ()).await.is_err());
            places.clear();
            lanes.run(MEDIUM_BYTES, deadline, || ()).await.unwrap();
            for task in large {
                assert_ne!(task.await.unwrap().unwrap().0.0, here);
            }
        });
    }
}
