//! What the server costs and what batching gains, measured on one machine over loopback. Prints the tables of
//! `docs/benchmarks.md`.
//!
//!     cargo build --release && cargo bench --package grice-server --bench load -- [MODEL]
//!
//! MODEL is a bundle's folder [default: models/detector-mini]. Takes about a minute and a half. Servers are processes of their own
//! (`grice` beside this program, or what `GRICE_BIN` names); the load comes from this one, so both share the cores. Each ratio
//! compares runs that alternate within the same minute.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use grice_core::{Batch, Bundle, Engine, Model, Options, Turn};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const CLIENTS: usize = 64;
const PHASE: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
const NO_CACHE: &[&str] = &["--cache-bytes-max", "0", "--text-cache-bytes-max", "0"];

fn main() {
    let model = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let model = model.map_or_else(|| root.join("models/detector-mini"), PathBuf::from);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("model {}, {cores} cores, {CLIENTS} clients, load and server on the same cores\n", model.display());
    engine_alone(&model, cores);
    overhead(&runtime, &model);
    let sustainable = throughput(&runtime, &model, cores);
    open_loop(&runtime, &model, sustainable);
    cache_hits(&runtime, &model);
}

/// What batching can gain at all: the engine called directly.
fn engine_alone(model: &Path, cores: usize) {
    let loaded = Model::load(&Bundle::open(model).unwrap(), &Options::default()).unwrap();
    let mut engine = loaded.build_engine(cores).unwrap();
    let sizes = [1, 4, 16, 64];
    let mut rates = sizes.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (rows, rates) in sizes.iter().zip(&mut rates) {
            rates.push(direct_rate(&mut engine, &loaded, &Turns::distinct(), *rows, PHASE / 4));
        }
    }
    println!("| engine called directly, turns a batch | turns/s | against batches of one |\n|---|---|---|");
    for (rows, rates_here) in sizes.iter().zip(&rates) {
        let gains: Vec<f64> = rates_here.iter().zip(&rates[0]).map(|(here, one)| here / one).collect();
        println!("| {rows} | {:.0} | {:.2} |", median(rates_here), median(&gains));
    }
    println!();
}

/// Batch 1: what a client waits beyond the engine's own time.
fn overhead(runtime: &tokio::runtime::Runtime, model: &Path) {
    let server = Server::start(model, NO_CACHE);
    let turns = Turns::distinct();
    let replies = runtime.block_on(closed_loop(server.address, 1, PHASE, &turns));
    let mut over: Vec<f64> = replies.iter().map(|reply| reply.took_ms - reply.infer_ms).collect();
    let mut engine: Vec<f64> = replies.iter().map(|reply| reply.infer_ms).collect();
    println!("| one client, cache off | P50 | P95 | P99 |\n|---|---|---|---|");
    println!("| engine, ms | {} |", quantiles(&mut engine));
    println!("| waited beyond it, ms | {} |\n", quantiles(&mut over));
}

/// 64 closed-loop clients against the engine called directly, and against a server that does not batch. Turns a second.
fn throughput(runtime: &tokio::runtime::Runtime, model: &Path, cores: usize) -> f64 {
    let turns = Turns::distinct();
    let loaded = Model::load(&Bundle::open(model).unwrap(), &Options::default()).unwrap();
    let mut engine = loaded.build_engine(cores).unwrap();
    let single = [NO_CACHE, &["--batch-rows-max", "1"]].concat();
    let (mut served, mut direct, mut unbatched, mut rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let server = Server::start(model, NO_CACHE);
        served.push(rate(&runtime.block_on(closed_loop(server.address, CLIENTS, PHASE, &turns))));
        let mean = server.metric("grice_batch_size_sum") / server.metric("grice_batch_size_count");
        drop(server);
        rows.push(mean);
        direct.push(direct_rate(&mut engine, &loaded, &turns, mean.round() as usize, PHASE));
        let server = Server::start(model, &single);
        unbatched.push(rate(&runtime.block_on(closed_loop(server.address, CLIENTS, PHASE, &turns))));
    }
    let ratios =
        |others: &[f64]| median(&served.iter().zip(others).map(|(served, other)| served / other).collect::<Vec<_>>());
    println!(
        "| {CLIENTS} closed-loop clients, cache off; medians of {ROUNDS} | turns/s | server against it |\n|---|---|---|"
    );
    println!("| server | {:.0} | |", median(&served));
    println!(
        "| engine called directly, batches of {:.0} | {:.0} | {:.2} |",
        median(&rows),
        median(&direct),
        ratios(&direct)
    );
    println!("| server that does not batch | {:.0} | {:.2} |\n", median(&unbatched), ratios(&unbatched));
    median(&served)
}

fn direct_rate(engine: &mut impl Engine, model: &Model, turns: &Turns, rows: usize, phase: Duration) -> f64 {
    let (start, mut done, mut running) = (Instant::now(), 0, Duration::ZERO);
    while start.elapsed() < phase {
        let batch: Vec<Vec<u32>> =
            (0..rows.max(1)).map(|_| model.task().encode(&turns.next_turn()).unwrap().ids).collect();
        let batch = Batch::pack(&batch).unwrap();
        // Tokenizing is left out: this is the engine alone.
        let start = Instant::now();
        done += engine.forward(&batch).unwrap().rows();
        running += start.elapsed();
    }
    done as f64 / running.as_secs_f64()
}

/// Fixed rates, whatever the answers do: latency, what is turned away, and what overload leaves behind.
fn open_loop(runtime: &tokio::runtime::Runtime, model: &Path, sustainable: f64) {
    let server = Server::start(model, NO_CACHE);
    println!(
        "| open loop, of {sustainable:.0}/s | sent/s | answered | 429 | other | P50 ms | P95 ms | P99 ms | resident MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for share in [0.5, 0.8, 3.0, 0.5] {
        let rate = sustainable * share;
        let replies = runtime.block_on(fixed_rate(server.address, rate, PHASE, &Turns::distinct()));
        let count = |status: u16| replies.iter().filter(|reply| reply.status == status).count();
        let (answered, refused) = (count(200), count(429));
        let mut took: Vec<f64> =
            replies.iter().filter(|reply| reply.status == 200).map(|reply| reply.took_ms).collect();
        let sent = replies.len() as f64 / PHASE.as_secs_f64();
        let other = replies.len() - answered - refused;
        println!(
            "| {share} × | {sent:.0} | {answered} | {refused} | {other} | {} | {} |",
            quantiles(&mut took),
            server.resident_mb()
        );
    }
    // The last row began where the overload ended: its first second shows whether that has passed.
    println!();
}

/// The same hundred turns over and over.
fn cache_hits(runtime: &tokio::runtime::Runtime, model: &Path) {
    let server = Server::start(model, &[]);
    let turns = Turns::recurring(100);
    runtime.block_on(closed_loop(server.address, 4, PHASE / 2, &turns));
    println!("| cache hits, {CLIENTS} clients | requests/s | P50 ms | P95 ms | P99 ms |\n|---|---|---|---|---|");
    for round in 1..=ROUNDS {
        let replies = runtime.block_on(closed_loop(server.address, CLIENTS, PHASE, &turns));
        let mut took: Vec<f64> = replies.iter().map(|reply| reply.took_ms).collect();
        println!("| round {round} | {:.0} | {} |", rate(&replies), quantiles(&mut took));
    }
    let hits = server.metric("grice_cache_hits_total");
    let misses = server.metric("grice_cache_misses_total");
    println!("\n{:.3} % of look-ups hit", 100.0 * hits / (hits + misses));
}

/// Bodies to send, one after another.
struct Turns {
    next: AtomicUsize,
    recur_after: usize,
}

impl Turns {
    fn distinct() -> Arc<Turns> {
        Turns::recurring(usize::MAX)
    }

    fn recurring(recur_after: usize) -> Arc<Turns> {
        Arc::new(Turns { next: AtomicUsize::new(0), recur_after })
    }

    /// Of the lengths that dialogues have: 20 to 60 words.
    fn next_turn(&self) -> Turn {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.recur_after;
        let more =
            ["", " The music made up for some of it.", " The music made up for it, and the second half was better."];
        let context =
            format!("[agent_1]: What did you think of film number {number}? [agent_2]: I liked the first half a lot.");
        let response =
            format!("The ending of number {number} was a little slow.{}", more[number % 3].repeat(1 + number % 2));
        Turn::new(context, response)
    }

    fn next_request(&self) -> Vec<u8> {
        let body = serde_json::to_vec(&self.next_turn()).unwrap();
        let head = format!(
            "POST /v1/detect HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body].concat()
    }
}

struct Reply {
    status: u16,
    took_ms: f64,
    infer_ms: f64,
    ended: Instant,
}

/// One connection.
struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    async fn open(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Wire { stream, buffer: Vec::with_capacity(4096) }
    }

    async fn ask(&mut self, request: &[u8]) -> Reply {
        let start = Instant::now();
        self.stream.write_all(request).await.unwrap();
        self.buffer.clear();
        let (head, length) = loop {
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the connection was closed");
            let Some(head) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&self.buffer[..head]).unwrap();
            break (head, field(text, "content-length: ").unwrap() as usize);
        };
        while self.buffer.len() < head + 4 + length {
            self.stream.read_buf(&mut self.buffer).await.unwrap();
        }
        let ended = Instant::now();
        let text = std::str::from_utf8(&self.buffer[..head]).unwrap();
        Reply {
            status: text[9..12].parse().unwrap(),
            took_ms: (ended - start).as_secs_f64() * 1e3,
            infer_ms: field(text, "infer;dur=").unwrap_or(0.0),
            ended,
        }
    }
}

/// The number after a name.
fn field(text: &str, name: &str) -> Option<f64> {
    let rest = &text[text.find(name)? + name.len()..];
    rest[..rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len())].parse().ok()
}

async fn closed_loop(address: SocketAddr, clients: usize, phase: Duration, turns: &Arc<Turns>) -> Vec<Reply> {
    let until = Instant::now() + phase;
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let turns = Arc::clone(turns);
        running.spawn(async move {
            let mut wire = Wire::open(address).await;
            let mut replies = Vec::new();
            while Instant::now() < until {
                replies.push(wire.ask(&turns.next_request()).await);
            }
            replies
        });
    }
    let replies: Vec<Reply> = running.join_all().await.into_iter().flatten().collect();
    let other = replies.iter().find(|reply| reply.status != 200).map(|reply| reply.status);
    assert_eq!(other, None, "a closed loop is no overload");
    replies
}

/// Sends at a fixed rate on as many connections as that takes.
async fn fixed_rate(address: SocketAddr, rate: f64, phase: Duration, turns: &Arc<Turns>) -> Vec<Reply> {
    let (start, idle) = (Instant::now(), Arc::new(tokio::sync::Mutex::new(Vec::<Wire>::new())));
    let mut sent = JoinSet::new();
    let mut number = 0.0;
    while start.elapsed() < phase {
        tokio::time::sleep_until((start + Duration::from_secs_f64(number / rate)).into()).await;
        number += 1.0;
        let (idle, request) = (Arc::clone(&idle), turns.next_request());
        sent.spawn(async move {
            let free = idle.lock().await.pop();
            let mut wire = match free {
                Some(wire) => wire,
                None => Wire::open(address).await,
            };
            let reply = wire.ask(&request).await;
            idle.lock().await.push(wire);
            reply
        });
    }
    sent.join_all().await
}

fn rate(replies: &[Reply]) -> f64 {
    let last = replies.iter().map(|reply| reply.ended).max().unwrap();
    let first = replies.iter().map(|reply| reply.ended - Duration::from_secs_f64(reply.took_ms / 1e3)).min().unwrap();
    replies.len() as f64 / (last - first).as_secs_f64()
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// P50, P95 and P99, as cells.
fn quantiles(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get(((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1)));
    [0.5, 0.95, 0.99].map(|share| at(share).map_or("–".to_owned(), |value| format!("{value:.2}"))).join(" | ")
}

/// A server process, ready to answer.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(model: &Path, more: &[&str]) -> Server {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let beside = || std::env::current_exe().unwrap().parent().unwrap().join("../grice");
        let binary = std::env::var_os("GRICE_BIN").map_or_else(beside, PathBuf::from);
        let mut command = Command::new(&binary);
        command.args(["serve", "--listen", &address.to_string(), "--log", "warn"]).args(more).arg("--model").arg(model);
        let process = command.stdin(Stdio::null()).spawn();
        let process =
            process.unwrap_or_else(|error| panic!("{}: {error}; cargo build --release makes it", binary.display()));
        let server = Server { process, address };
        let start = Instant::now();
        while grice_server::check_health(&format!("http://{address}"), Duration::from_secs(1)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "the server does not get ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// The sum over a metric's series.
    fn metric(&self, name: &str) -> f64 {
        let mut answer = ureq::get(format!("http://{}/metrics", self.address)).call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    fn resident_mb(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let kilobytes = field(&status, "VmRSS:\t").or_else(|| {
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().split(' ').next()?.parse().ok()
        });
        kilobytes.map_or("–".to_owned(), |kilobytes| format!("{:.0}", kilobytes / 1024.0))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
