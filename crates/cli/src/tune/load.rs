//! Measures a setting: the server's schedule, real engines, and clients that ask again as soon as they are answered.

use super::search::Cost;
use super::space::Chosen;
use crate::error::{CliError, Result};
use grice_core::schedule::{
    BatchId, Caching, Config, Failure, Pushed, Request, RequestId, Retry, Run, Schedule, Step, Time,
};
use grice_core::{AnyEngine, Engine, EngineError, Logits, Plan, Precision};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// The share of a measurement that is not counted, because queues and caches fill in it.
const WARM_UP: f64 = 0.2;

/// The clients' turns, and how long they ask.
pub(super) struct Clients {
    pub(super) count: usize,
    /// Token ids, asked for in turn.
    pub(super) turns: Vec<Arc<[u32]>>,
    pub(super) time: Duration,
}

/// Engines of the layout that was measured last.
pub(super) struct Engines {
    plan: Plan,
    layout: (usize, usize),
    engines: Vec<AnyEngine>,
}

impl Engines {
    pub(super) fn new(plan: Plan) -> Engines {
        Engines { plan, layout: (0, 0), engines: Vec::new() }
    }

    /// So many engines with so many threads each, that have run once.
    fn of(&mut self, chosen: Chosen, turns: &[Arc<[u32]>]) -> Result<&mut Vec<AnyEngine>> {
        let layout = (chosen.threads, chosen.replicas);
        if self.layout != layout {
            self.engines.clear();
            for _ in 0..chosen.replicas {
                let mut engine = self.plan.engine(chosen.threads)?;
                let batch = grice_core::Batch::pack(turns).map_err(|error| grice_core::Error::Batch(error.into()))?;
                engine.forward(&batch).map_err(grice_core::Error::from)?;
                self.engines.push(engine);
            }
            self.layout = layout;
        }
        Ok(&mut self.engines)
    }
}

/// What a batch led to.
type Done = (BatchId, std::result::Result<Logits, EngineError>);

/// Runs the clients against a setting.
///
/// # Errors
/// An engine that fails.
pub(super) fn measure(engines: &mut Engines, chosen: Chosen, clients: &Clients) -> Result<Cost> {
    let engines = engines.of(chosen, &clients.turns)?;
    let config = Config {
        engines: chosen.replicas,
        batch_rows_max: chosen.rows,
        batch_tokens_max: chosen.tokens,
        accumulate: chosen.accumulate,
        wait_max: Duration::from_secs_f64(chosen.wait_ms / 1e3),
        queue_rows_max: usize::MAX,
        queue_tokens_max: usize::MAX,
        requests_max: usize::MAX,
        cache_bytes_max: 0,
        ..Config::default()
    };
    std::thread::scope(|scope| {
        let (tell, done) = channel::<Done>();
        let work = engines.iter_mut().map(|engine| {
            let (send, runs) = channel::<Run>();
            let tell = tell.clone();
            scope.spawn(move || run_batches(engine, &runs, &tell));
            send
        });
        let work: Vec<Sender<Run>> = work.collect();
        // The schedule's cache is off, so the key of the model does not matter.
        let schedule = Schedule::new(config, "", Precision::Fp32);
        Test { schedule, clients, work, done, asked: HashMap::new(), next: 0, start: Instant::now() }.run()
    })
}

fn run_batches(engine: &mut AnyEngine, runs: &Receiver<Run>, tell: &Sender<Done>) {
    while let Ok(run) = runs.recv() {
        // The measurement ends when the receiver is gone.
        if tell.send((run.id, engine.forward(&run.batch))).is_err() {
            return;
        }
    }
}

/// One measurement.
struct Test<'t> {
    schedule: Schedule,
    clients: &'t Clients,
    /// The engines' threads; they end when this is dropped.
    work: Vec<Sender<Run>>,
    done: Receiver<Done>,
    asked: HashMap<RequestId, Time>,
    next: usize,
    start: Instant,
}

impl Test<'_> {
    fn now(&self) -> Time {
        Time::from(self.start.elapsed())
    }

    fn run(mut self) -> Result<Cost> {
        (0..self.clients.count).for_each(|_| self.ask());
        let counts_from = self.clients.time.mul_f64(WARM_UP);
        let mut latencies = Vec::new();
        loop {
            let elapsed = self.start.elapsed();
            // At least one answer counts.
            if elapsed >= self.clients.time && !latencies.is_empty() {
                return Ok(cost(latencies, elapsed - counts_from));
            }
            let now = self.now();
            match self.schedule.poll(now) {
                Step::Run(run) => self.send(run)?,
                Step::Answer(answer) => {
                    let since = self.asked.remove(&answer.request);
                    if let (Some(since), true) = (since, elapsed >= counts_from) {
                        latencies.push(now.since(since).as_secs_f64() * 1e3);
                    }
                    if let Err(rejection) = answer.outcome {
                        return Err(CliError::Tune(rejection.to_string()));
                    }
                    self.ask();
                }
                Step::WaitUntil(moment) => self.wait(moment.since(now))?,
                Step::Idle => self.wait(Duration::from_secs(60))?,
                Step::Tokens(..) | Step::Text(_) | Step::Courses(_) => {}
            }
        }
    }

    fn ask(&mut self) {
        let turns = &self.clients.turns;
        let request = Request { caching: Caching::Bypass, ..Request::new(Arc::clone(&turns[self.next % turns.len()])) };
        self.next += 1;
        let now = self.now();
        if let Pushed::Accepted(id) = self.schedule.push(request, now) {
            self.asked.insert(id, now);
        }
    }

    fn send(&self, run: Run) -> Result<()> {
        let lost = || CliError::Tune("an engine has ended".to_owned());
        self.work.get(run.engine.0).ok_or_else(lost)?.send(run).map_err(|_| lost())
    }

    /// Until a batch is done, at most so long.
    fn wait(&mut self, most: Duration) -> Result<()> {
        match self.done.recv_timeout(most) {
            Ok((batch, outcome)) => {
                let failed = |error: EngineError| Failure { error: Arc::new(error.into()), retry: Retry::Never };
                let now = self.now();
                self.schedule.complete(batch, outcome.map_err(failed), now);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(CliError::Tune("an engine has ended".to_owned())),
        }
    }
}

fn cost(mut latencies: Vec<f64>, time: Duration) -> Cost {
    latencies.sort_by(f64::total_cmp);
    let rank = (latencies.len() as f64 * 0.95).ceil() as usize;
    let p95_ms = latencies.get(rank.saturating_sub(1)).copied().unwrap_or(0.0);
    Cost { throughput: latencies.len() as f64 / time.as_secs_f64().max(1e-9), p95_ms }
}
