//! Servers with the real schedule, in simulated time.

use super::day::{DAY, Dice, TURN_TOKENS};
use super::rule::SYNC_S;
use grice_core::schedule::{BatchId, Caching, Config, Pushed, Request, Schedule, Step, Time};
use grice_core::{Logits, Precision};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What a batch costs on two cores: the full-size detector in 8 bits, by `docs/benchmarks.md` (18.4 ms for 128 tokens, 133 ms for 1024).
const BATCH_MS: f64 = 2.0;
const TOKEN_MS: f64 = 0.13;
/// From the decision to a server that is ready: scheduling, start of the container, loading, and the probe.
pub(crate) const START_S: f64 = 20.0;
/// As in `prometheus.yml`.
const SCRAPE_S: f64 = 5.0;
/// A request that is refused counts as one that takes this long.
const REFUSED_MS: f32 = 10_000.0;

/// One server: a schedule and its engine.
struct Server {
    schedule: Schedule,
    /// The running batch, and its sequences.
    running: Option<(BatchId, usize)>,
    ready_at: f64,
    /// Whether it gets no more requests.
    leaves: bool,
    /// What waited at the last scrapes.
    scraped: VecDeque<f64>,
}

impl Server {
    fn new(ready_at: f64) -> Server {
        let tokens = Config::batch_tokens_for("cpu");
        let config = Config { batch_tokens_max: tokens, cache_bytes_max: 0, ..Config::default() };
        let schedule = Schedule::new(config, "", Precision::Int8);
        Server { schedule, running: None, ready_at, leaves: false, scraped: VecDeque::new() }
    }
}

/// What happens, and when, in microseconds; the number of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Finished(usize),
    Scrape,
    Decide,
}

/// Servers of a day.
pub(crate) struct Fleet {
    servers: Vec<Server>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    turns: Vec<Arc<[u32]>>,
    dice: Dice,
    mean_scrapes: usize,
    /// Milliseconds of each answer, and the second in which it was asked for.
    pub(crate) answers: Vec<(f32, u32)>,
    /// Seconds of all servers, from the decision to start them to the one to end them.
    pub(crate) server_seconds: f64,
    /// The number of servers at each decision, and what waited.
    pub(crate) history: Vec<(f64, usize, f64)>,
}

impl Fleet {
    pub(crate) fn new(servers: usize, mean_s: f64) -> Fleet {
        let turn = |tokens: &usize| -> Arc<[u32]> { vec![1; *tokens].into() };
        Fleet {
            servers: (0..servers).map(|_| Server::new(0.0)).collect(),
            events: BinaryHeap::new(),
            turns: TURN_TOKENS.iter().map(turn).collect(),
            dice: Dice(17),
            mean_scrapes: ((mean_s / SCRAPE_S) as usize).max(1),
            answers: Vec::new(),
            server_seconds: 0.0,
            history: Vec::new(),
        }
    }

    /// Lives through the time until `end`; `decide` says how many servers there should be, from the time, their number and what waits.
    pub(crate) fn run(
        mut self,
        arrivals: impl Iterator<Item = (f64, usize)>,
        end: f64,
        mut decide: impl FnMut(f64, usize, f64) -> usize,
    ) -> Fleet {
        self.at(SCRAPE_S, Event::Scrape);
        self.at(SYNC_S, Event::Decide);
        for (second, turn) in arrivals.take_while(|(second, _)| *second < end) {
            let until = (second * 1e6) as u64;
            while let Some(Reverse((micros, event))) = self.events.peek().copied().filter(|next| next.0.0 <= until) {
                self.events.pop();
                self.happen(micros, event, &mut decide);
            }
            self.ask(until, turn);
        }
        self
    }

    fn at(&mut self, second: f64, event: Event) {
        self.events.push(Reverse(((second * 1e6) as u64, event)));
    }

    fn happen(&mut self, micros: u64, event: Event, decide: &mut impl FnMut(f64, usize, f64) -> usize) {
        let now = micros as f64 / 1e6;
        match event {
            Event::Finished(server) => self.finish(micros, server),
            Event::Scrape => {
                for server in self.servers.iter_mut().filter(|server| server.ready_at <= now) {
                    server.scraped.push_back(server.schedule.counters().queue_rows as f64);
                    if server.scraped.len() > self.mean_scrapes {
                        server.scraped.pop_front();
                    }
                }
                self.at(now + SCRAPE_S, Event::Scrape);
            }
            Event::Decide => {
                let waiting = self.waiting();
                let current = self.servers.iter().filter(|server| !server.leaves).count();
                self.history.push((now, current, waiting));
                self.server_seconds += current as f64 * SYNC_S;
                let next = decide(now, current, waiting);
                self.scale(now, current, next);
                self.at(now + SYNC_S, Event::Decide);
            }
        }
    }

    /// As Prometheus tells.
    fn waiting(&self) -> f64 {
        let mean = |server: &Server| server.scraped.iter().sum::<f64>() / server.scraped.len().max(1) as f64;
        self.servers.iter().filter(|server| !server.leaves).map(mean).sum()
    }

    /// New servers take time to start; the newest one ends first, after its requests.
    fn scale(&mut self, now: f64, current: usize, next: usize) {
        for _ in current..next {
            self.servers.push(Server::new(now + START_S));
        }
        for _ in next..current {
            if let Some(server) = self.servers.iter_mut().rev().find(|server| !server.leaves) {
                server.leaves = true;
            }
        }
    }

    /// Kubernetes' services send a request to any server that is ready, without looking at queues.
    fn ask(&mut self, micros: u64, turn: usize) {
        let now = micros as f64 / 1e6;
        let is_open = |server: &Server| server.ready_at <= now && !server.leaves;
        let count = self.servers.iter().filter(|server| is_open(server)).count();
        let chosen = self.dice.below(count);
        let found = self.servers.iter().enumerate().filter(|(_, server)| is_open(server)).nth(chosen);
        let place = found.expect("a server").0;
        let request = Request { caching: Caching::Bypass, ..Request::new(Arc::clone(&self.turns[turn])) };
        match self.servers[place].schedule.push(request, Time::from_micros(micros)) {
            Pushed::Accepted(_) => self.poll(micros, place),
            _ => self.answers.push((REFUSED_MS, now as u32)),
        }
    }

    fn finish(&mut self, micros: u64, place: usize) {
        let server = &mut self.servers[place];
        if let Some((batch, rows)) = server.running.take() {
            server.schedule.complete(batch, Ok(Logits::zeros(rows, 4)), Time::from_micros(micros));
        }
        self.poll(micros, place);
    }

    fn poll(&mut self, micros: u64, place: usize) {
        loop {
            match self.servers[place].schedule.poll(Time::from_micros(micros)) {
                Step::Run(run) => {
                    let cost_ms = BATCH_MS + TOKEN_MS * run.batch.tokens() as f64;
                    self.servers[place].running = Some((run.id, run.batch.rows()));
                    self.events.push(Reverse((micros + (cost_ms * 1e3) as u64, Event::Finished(place))));
                }
                Step::Answer(answer) => {
                    let took: Duration = answer.queued + answer.ran;
                    let asked = (micros as f64 / 1e6 - took.as_secs_f64()).max(0.0);
                    self.answers.push((took.as_secs_f32() * 1e3, asked as u32));
                }
                _ => return,
            }
        }
    }

    /// The latency that 99 % of the answers between two moments do not exceed, in milliseconds.
    pub(crate) fn p99_ms(&self, from: f64, to: f64) -> f32 {
        let within = |(_, second): &&(f32, u32)| (from..to).contains(&f64::from(*second));
        let mut times: Vec<f32> = self.answers.iter().filter(within).map(|(ms, _)| *ms).collect();
        let rank = (times.len() as f64 * 0.99).ceil() as usize;
        assert!(rank > 0, "no answers");
        *times.select_nth_unstable_by(rank - 1, f32::total_cmp).1
    }

    /// The same for each part of the day that is so many seconds long.
    pub(crate) fn p99_by(&self, seconds: u32) -> Vec<f32> {
        let mut parts = vec![Vec::new(); (DAY as u32).div_ceil(seconds) as usize];
        self.answers.iter().for_each(|(ms, second)| parts[(second / seconds) as usize].push(*ms));
        let p99 = |times: &mut Vec<f32>| {
            let rank = (times.len() as f64 * 0.99).ceil() as usize;
            if rank == 0 { 0.0 } else { *times.select_nth_unstable_by(rank - 1, f32::total_cmp).1 }
        };
        parts.iter_mut().map(p99).collect()
    }

    /// The share of the day's answers that took longer.
    pub(crate) fn slower_than(&self, ms: f32) -> f64 {
        self.answers.iter().filter(|(took, _)| *took > ms).count() as f64 / self.answers.len() as f64
    }

    /// Its mean over the day.
    pub(crate) fn mean_servers(&self) -> f64 {
        self.server_seconds / DAY
    }
}
