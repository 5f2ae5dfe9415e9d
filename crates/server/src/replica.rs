//! One engine on its own thread; after a failure it is rebuilt with growing pauses.

use crate::loaded::Replica;
use crate::runner::{Order, Runner};
use crate::settings::{Pool, ServeError};
use crate::turns::{Member, Turns};
use grice_core::schedule::{CourseRun, Retry, Run};
use grice_core::{
    Batch, BetweenSteps, Engine, EngineError, Error, GeneratorEngine, Logits, retry_after, run_each, run_guarded,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// The engine of a replica.
pub(crate) enum AnyEngine {
    /// Runs batches.
    Once(Box<dyn Engine + Send>),
    /// Runs passes of courses.
    Courses(Box<dyn GeneratorEngine + Send>),
}

impl AnyEngine {
    fn set_between_steps(&mut self, between: BetweenSteps) {
        match self {
            AnyEngine::Once(engine) => engine.set_between_steps(between),
            AnyEngine::Courses(engine) => engine.set_between_steps(between),
        }
    }
}

/// Builds the engine of one replica.
pub(crate) type Build = Arc<dyn Fn(&Replica) -> Result<AnyEngine, Error> + Send + Sync>;

/// The state of a replica's thread.
struct Worker {
    place: Replica,
    runner: Arc<Runner>,
    inbox: Receiver<Order>,
    build: Build,
    pool: Pool,
    /// For a replica that shares its cores.
    turns: Option<Arc<Member>>,
    /// Sequences to run once before the replica is used.
    warm_up: Arc<Vec<Batch>>,
    model: String,
}

/// Starts the thread. The channel reports whether the first engine was built; after a failure, the thread has ended.
///
/// # Errors
/// If the system cannot start a thread.
fn start(worker: Worker) -> std::io::Result<Receiver<Result<(), Error>>> {
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
        while let Ok(order) = self.inbox.recv() {
            if self.carry_out(&mut engine, order) {
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

    /// Runs what the schedule orders. Returns whether the engine can still be used.
    fn carry_out(&self, engine: &mut AnyEngine, order: Order) -> bool {
        match (engine, order) {
            (AnyEngine::Once(engine), Order::Batch(run)) => self.run(engine.as_mut(), &run),
            (AnyEngine::Courses(engine), Order::Pass(run)) => self.run_pass(engine.as_mut(), run),
            // A schedule orders only what its model does.
            (AnyEngine::Once(_), Order::Pass(run)) => {
                self.runner.complete_courses(run, Err(misplaced()), Duration::ZERO);
                true
            }
            (AnyEngine::Courses(_), Order::Batch(run)) => {
                self.runner.complete(&run, Err(misplaced()), Duration::ZERO);
                true
            }
        }
    }

    /// Runs a batch and reports the outcome. Returns whether the engine can still be used.
    fn run(&self, engine: &mut (dyn Engine + Send), run: &Run) -> bool {
        let (outcome, took) = self.in_turn(|| run_each(engine, &run.batch));
        let fit = outcome.is_ok();
        if let Err(error) = &outcome {
            self.note_failure(error);
        }
        self.runner.complete(run, outcome, took);
        fit
    }

    /// Runs a pass, tokens chosen, and reports the outcome. After any failure the engine is built again: what its pages hold is unknown.
    fn run_pass(&self, engine: &mut (dyn GeneratorEngine + Send), mut run: CourseRun) -> bool {
        let guarded = || catch_unwind(AssertUnwindSafe(|| run.run(engine))).unwrap_or(Err(EngineError::Panicked));
        let (outcome, took) = self.in_turn(guarded);
        let fit = outcome.is_ok();
        if let Err(error) = &outcome {
            self.note_failure(error);
        }
        self.runner.complete_courses(run, outcome, took);
        fit
    }

    /// Works when it is the replica's turn, and tells how long it worked.
    fn in_turn<T>(&self, work: impl FnOnce() -> T) -> (T, Duration) {
        match &self.turns {
            Some(turns) => turns.work(work),
            None => {
                let start = Instant::now();
                (work(), start.elapsed())
            }
        }
    }

    /// Takes the replica out of use, before its work is reported, so that a retry uses another replica.
    fn note_failure(&self, error: &EngineError) {
        tracing::error!(model = self.model, replica = self.place.index, %error, "replica failed; it is taken out of use");
        if retry_after(error) == Retry::OnceAnEngine {
            self.runner.count_device_loss();
        }
        self.runner.set_replica(self.place.index, false);
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
        if let AnyEngine::Once(engine) = &mut engine {
            for batch in self.warm_up.iter() {
                let logits: Logits = run_guarded(engine.as_mut(), batch)?;
                debug_assert_eq!(logits.rows(), batch.rows());
            }
        }
        if let Some(turns) = self.turns.clone() {
            engine.set_between_steps(Arc::new(move || turns.make_way()));
        }
        Ok(engine)
    }
}

fn misplaced() -> EngineError {
    EngineError::Run("the engine runs another kind of model".to_owned())
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
fn threads_each(pool: &Pool) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    pool.threads.unwrap_or(cores / pool.replicas.max(1)).max(1)
}

/// Starts the replicas of a model, and waits until each has an engine. `turns` tells what a replica shares with those of other models.
///
/// # Errors
/// [`ServeError`] if one cannot be built.
pub(crate) fn start_all(
    runner: &Arc<Runner>,
    inboxes: Vec<Receiver<Order>>,
    build: &Build,
    pool: &Pool,
    warm_up: Vec<Batch>,
    turns: impl Fn(usize) -> Option<Turns>,
    model: &str,
) -> Result<(), ServeError> {
    let (threads, warm_up) = (threads_each(pool), Arc::new(warm_up));
    let mut fates = Vec::new();
    for (index, inbox) in inboxes.into_iter().enumerate() {
        let worker = Worker {
            place: Replica { index, threads },
            runner: Arc::clone(runner),
            inbox,
            build: Arc::clone(build),
            pool: pool.clone(),
            turns: turns(index).map(|turns| turns.member()),
            warm_up: Arc::clone(&warm_up),
            model: model.to_owned(),
        };
        fates.push(start(worker).map_err(ServeError::Runtime)?);
    }
    for fate in fates {
        let failed = |source| ServeError::Bundle { name: model.to_owned(), source };
        let slow = || Error::Engine(EngineError::Plan(format!("not ready after {} s", BUILD_MAX.as_secs())));
        fate.recv_timeout(BUILD_MAX).unwrap_or_else(|_| Err(slow())).map_err(failed)?;
    }
    tokio::spawn(Runner::keep_time(Arc::downgrade(runner)));
    Ok(())
}

/// How long a first engine may take to build, warm-up included.
const BUILD_MAX: Duration = Duration::from_secs(600);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::listener::Said;
    use crate::metrics::Metrics;
    use crate::runner::SubmittedText;
    use grice_core::generate::{DecodeOptions, Decoding, Event, Search};
    use grice_core::schedule::{Config, CourseRequest};
    use grice_core::{CpuGenerator, Memory, Precision, Writer};
    use grice_testkit::generators::folder;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// An engine that is lost, or panics, every few passes.
    struct Shaky {
        engine: CpuGenerator,
        passes: Arc<AtomicUsize>,
    }

    impl GeneratorEngine for Shaky {
        fn read(&mut self, sources: &[grice_core::NewSource]) -> Result<(), EngineError> {
            self.engine.read(sources)
        }

        fn step(&mut self, pass: &grice_core::Pass) -> Result<&mut [f32], EngineError> {
            // Often, but no text meets two in a row without a new token in between: that would be its end.
            match self.passes.fetch_add(1, Ordering::Relaxed) % 40 {
                20 => Err(EngineError::DeviceLost("unplugged".to_owned())),
                39 => panic!("told to panic"),
                _ => self.engine.step(pass),
            }
        }

        fn pages(&self) -> usize {
            self.engine.pages()
        }
    }

    fn alone(writer: &Writer, options: &Arc<DecodeOptions>, prompt: &str) -> Vec<u32> {
        let (mut engine, mut courses) = writer.engine(1, Memory::Tokens(1000)).unwrap();
        courses.add(Arc::clone(options), writer.start(prompt).unwrap(), None).unwrap();
        let mut tokens = Vec::new();
        let tell = |event: Event<'_>| {
            if let Event::Done(_, texts) = event {
                tokens.clone_from(&texts[0].tokens);
            }
        };
        writer.run(&mut engine, &mut courses, tell).unwrap();
        tokens
    }

    #[test]
    fn texts_survive_replicas_that_fail() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _entered = runtime.enter();
        let writer = Arc::new(Writer::open(&folder("gpt2"), None).unwrap());
        let bounds = writer.bounds(Memory::Tokens(2000));
        let (config, wait) = (Config { engines: 2, ..Config::default() }, Duration::from_secs(60));
        let metrics = Arc::new(Metrics::new());
        let (runner, inboxes) = Runner::new("gpt2", config, "gpt2", Precision::Fp32, Some(bounds), wait, metrics);
        let (passes, builds) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (own, built, counted) = (Arc::clone(&writer), Arc::clone(&builds), Arc::clone(&passes));
        let build: Build = Arc::new(move |place| {
            built.fetch_add(1, Ordering::Relaxed);
            let engine = own.build_engine(place.threads, &bounds)?;
            Ok(AnyEngine::Courses(Box::new(Shaky { engine, passes: Arc::clone(&counted) })))
        });
        let pool = Pool { replicas: 2, threads: Some(1), rebuild_pause: Duration::from_millis(1), ..Pool::default() };
        start_all(&runner, inboxes, &build, &pool, Vec::new(), |_| None, "gpt2").unwrap();
        let search = Search::Sample { temperature: 1.2, top_k: 0, top_p: 0.95 };
        let options = Arc::new(DecodeOptions { search, seed: Some(5), max_new_tokens: 60, ..DecodeOptions::default() });
        let prompts: Vec<String> = (7..15).map(|word| format!("w{word} w{}", word + 1)).collect();
        let begin = |prompt: &String| {
            let decoding = Decoding::new(Arc::clone(&options), writer.start(prompt).unwrap()).unwrap();
            match runner.submit_course(CourseRequest::new(decoding)).unwrap() {
                SubmittedText::Waits(listener) => listener,
                SubmittedText::Known(_) => panic!("nobody asked before"),
            }
        };
        let listeners: Vec<_> = prompts.iter().map(begin).collect();
        for (mut listener, prompt) in listeners.into_iter().zip(&prompts) {
            let expected = alone(&writer, &options, prompt);
            let mut told = Vec::new();
            loop {
                match runtime.block_on(listener.hear()).unwrap() {
                    Said::Tokens(tokens) => told.extend_from_slice(&tokens),
                    Said::End(answer) => {
                        assert_eq!(answer.outcome.unwrap()[0].tokens, expected);
                        assert_eq!(told, expected);
                        break;
                    }
                }
            }
        }
        assert!(builds.load(Ordering::Relaxed) >= 4, "too few failures");
        runner.close();
    }
}
