//! Fake engines with the delays and failures that a test sets.

use grice_core::{Batch, Engine, EngineError, EngineInfo, Error, Logits, Precision};
use grice_server::Loaded;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The plan for all engines of a model, and a record of their runs.
#[derive(Default)]
pub(crate) struct Plan {
    /// Of each batch.
    pub(crate) delay_micros: AtomicU64,
    /// This number of next runs end in this way.
    pub(crate) failures: Mutex<(usize, Failure)>,
    /// Every batch with this sequence fails; none if it is empty.
    bad_tokens: Mutex<Vec<u32>>,
    /// This number of next builds fail.
    pub(crate) build_failures: AtomicUsize,
    pub(crate) builds: AtomicUsize,
    /// Of each engine but the first.
    pub(crate) rebuild_millis: AtomicU64,
    /// Rows of each batch that was run.
    pub(crate) batches: Mutex<Vec<usize>>,
    /// Which replica ran it, or failed to.
    pub(crate) runs: Mutex<Vec<usize>>,
}

#[derive(Clone, Copy, Default)]
pub(crate) enum Failure {
    #[default]
    Error,
    Panic,
    NotFinite,
}

struct Fake {
    plan: Arc<Plan>,
    replica: usize,
}

impl Plan {
    pub(crate) fn with_delay(delay: Duration) -> Arc<Plan> {
        let plan = Plan::default();
        plan.set_delay(delay);
        Arc::new(plan)
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        self.delay_micros.store(delay.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn fail(&self, times: usize, how: Failure) {
        *self.failures.lock().unwrap() = (times, how);
    }

    pub(crate) fn fail_tokens(&self, tokens: Vec<u32>) {
        *self.bad_tokens.lock().unwrap() = tokens;
    }

    pub(crate) fn batches(&self) -> Vec<usize> {
        self.batches.lock().unwrap().clone()
    }

    /// The model with these engines instead of its own.
    pub(crate) fn replace(self: &Arc<Plan>, own: Loaded) -> Loaded {
        let plan = Arc::clone(self);
        let build = move |replica: &grice_server::Replica| {
            if plan.builds.fetch_add(1, Ordering::Relaxed) > 0 {
                std::thread::sleep(Duration::from_millis(plan.rebuild_millis.load(Ordering::Relaxed)));
            }
            let left = plan.build_failures.load(Ordering::Relaxed);
            if left > 0 {
                plan.build_failures.store(left - 1, Ordering::Relaxed);
                return Err(Error::Engine(EngineError::Plan("told not to".to_owned())));
            }
            let engine: Box<dyn Engine + Send> = Box::new(Fake { plan: Arc::clone(&plan), replica: replica.index });
            Ok(engine)
        };
        Loaded { build: Arc::new(build), ..own }
    }
}

impl Engine for Fake {
    fn forward(&mut self, batch: &Batch) -> Result<Logits, EngineError> {
        self.plan.runs.lock().unwrap().push(self.replica);
        std::thread::sleep(Duration::from_micros(self.plan.delay_micros.load(Ordering::Relaxed)));
        let mut logits = Logits::zeros(batch.rows(), 4);
        for row in 0..batch.rows() {
            logits.row_mut(row).copy_from_slice(&logits_of(batch.sequence(row)));
        }
        let bad = self.plan.bad_tokens.lock().unwrap().clone();
        if (0..batch.rows()).any(|row| batch.sequence(row) == bad) {
            return Err(EngineError::Run("told to fail on it".to_owned()));
        }
        let mut failures = self.plan.failures.lock().unwrap();
        if failures.0 > 0 {
            failures.0 -= 1;
            match failures.1 {
                Failure::Error => return Err(EngineError::Run("told to fail".to_owned())),
                Failure::NotFinite => logits.row_mut(0)[2] = f32::NAN,
                Failure::Panic => {
                    drop(failures);
                    panic!("told to panic");
                }
            }
        }
        self.plan.batches.lock().unwrap().push(batch.rows());
        Ok(logits)
    }

    fn info(&self) -> EngineInfo {
        EngineInfo { device: "cpu", precision: Precision::Fp32, threads: 1, kernels: "fake" }
    }
}

/// Different for each sequence, so that answers cannot be mixed up unnoticed.
pub(crate) fn logits_of(ids: &[u32]) -> [f32; 4] {
    let sum = ids.iter().enumerate().map(|(place, &id)| (place as u32 + 1).wrapping_mul(id)).fold(0, u32::wrapping_add);
    [0, 8, 16, 24].map(|shift| (sum.wrapping_mul(2_654_435_761) >> shift & 0xff) as f32 / 64.0 - 2.0)
}
