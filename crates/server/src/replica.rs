//! One engine on its own thread; after a failure it is rebuilt with growing pauses.

use crate::loaded::{BuildEngine, Replica};
use crate::runner::Runner;
use crate::settings::Pool;
use grice_core::schedule::{Retry, Run};
use grice_core::{Batch, Engine, EngineError, Error, Logits, retry_after, run_each, run_guarded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

type AnyEngine = Box<dyn Engine + Send>;

/// The state of a replica's thread.
pub(crate) struct Worker {
    pub(crate) place: Replica,
    pub(crate) runner: Arc<Runner>,
    pub(crate) inbox: Receiver<Run>,
    pub(crate) build: BuildEngine,
    pub(crate) pool: Pool,
    /// Sequences to run once before the replica is used.
    pub(crate) warm_up: Arc<Vec<Batch>>,
    pub(crate) model: String,
}

/// Starts the thread. The channel reports whether the first engine was built; after a failure, the thread has ended.
///
/// # Errors
/// If the system cannot start a thread.
pub(crate) fn start(worker: Worker) -> std::io::Result<Receiver<Result<(), Error>>> {
    let (first, fate) = mpsc::channel();
    let name = format!("replica {}/{}", worker.model, worker.place.index);
    std::thread::Builder::new().name(name).spawn(move || worker.work(&first))?;
    Ok(fate)
}

impl Worker {
    fn work(self, first: &Sender<Result<(), Error>>) {
        let mut engine = match self.build_engine() {
            Ok(engine) => engine,
            Err(error) => {
                // The caller may have stopped waiting.
                _ = first.send(Err(error));
                return;
            }
        };
        self.runner.set_replica(self.place.index, true);
        _ = first.send(Ok(()));
        while let Ok(run) = self.inbox.recv() {
            if self.run(&mut engine, &run) {
                continue;
            }
            // The destructor of a broken engine may panic too.
            _ = catch_unwind(AssertUnwindSafe(move || drop(engine)));
            match self.rebuild() {
                Some(built) => engine = built,
                None => return,
            }
            self.runner.set_replica(self.place.index, true);
        }
    }

    /// Runs a batch and reports the outcome. Returns whether the engine can still be used.
    fn run(&self, engine: &mut AnyEngine, run: &Run) -> bool {
        let start = Instant::now();
        let outcome = run_each(engine.as_mut(), &run.batch);
        let took = start.elapsed();
        let fit = outcome.is_ok();
        if let Err(error) = &outcome {
            tracing::error!(model = self.model, replica = self.place.index, %error, "replica failed; it is taken out of use");
            if retry_after(error) == Retry::OnceAnEngine {
                self.runner.count_device_loss();
            }
            // Before the batch is reported, so that the retry uses another replica.
            self.runner.set_replica(self.place.index, false);
        }
        self.runner.complete(run, outcome, took);
        fit
    }

    /// Tries until it works; `None` if the runner is closed meanwhile.
    fn rebuild(&self) -> Option<AnyEngine> {
        let mut pause = self.pool.rebuild_pause;
        loop {
            // Nothing is sent to a replica that is out of use, so only the end of the channel can arrive.
            match self.inbox.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return None,
            }
            match self.build_engine() {
                Ok(engine) => {
                    tracing::info!(model = self.model, replica = self.place.index, "replica is back");
                    return Some(engine);
                }
                Err(error) => {
                    self.runner.note_failed_build();
                    pause = (pause * 2).min(self.pool.rebuild_pause_max);
                    let again_ms = pause.as_millis() as u64;
                    tracing::error!(model = self.model, replica = self.place.index, %error, again_ms, "replica cannot be rebuilt");
                }
            }
        }
    }

    fn build_engine(&self) -> Result<AnyEngine, Error> {
        let mut engine = guarded(|| (self.build)(&self.place))?;
        for batch in self.warm_up.iter() {
            let logits: Logits = run_guarded(engine.as_mut(), batch)?;
            debug_assert_eq!(logits.rows(), batch.rows());
        }
        Ok(engine)
    }
}

/// A panic becomes a normal error.
fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Error::Engine(EngineError::Panicked)))
}

/// One sequence of each length up to the model's longest, and one full batch.
pub(crate) fn warm_up_batches(tokens_max: usize, rows_max: usize, batch_tokens_max: usize) -> Vec<Batch> {
    let lengths = (3..).map(|power| 1usize << power).take_while(|&length| length < tokens_max).chain([tokens_max]);
    let mut batches: Vec<Vec<Vec<u32>>> = lengths.map(|length| vec![vec![0; length]]).collect();
    let length = tokens_max.min(32);
    batches.push(vec![vec![0; length]; rows_max.min(batch_tokens_max / length.max(1)).max(1)]);
    // Packing fails only for sequences without tokens.
    batches.iter().filter_map(|sequences| Batch::pack(sequences).ok()).collect()
}

/// The number of threads of each replica.
pub(crate) fn threads_each(pool: &Pool) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    pool.threads.unwrap_or(cores / pool.replicas.max(1)).max(1)
}

/// How long a first engine may take to build, warm-up included.
pub(crate) const BUILD_MAX: Duration = Duration::from_secs(600);
