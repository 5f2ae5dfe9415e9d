//! Sixty-four concurrent texts of a megabyte that are slow to read: each is answered, and normal requests do not wait.
//!
//! A separate process, because it uses all cores and much memory for a while, which would disturb other tests.
#![allow(clippy::unwrap_used, dead_code)]

#[path = "../server/fake.rs"]
mod fake;
#[path = "../server/http.rs"]
mod http;
#[path = "../server/started.rs"]
mod started;

use grice_core::{Bundle, Device, Options};
use grice_server::BundleSource;
use serde_json::json;
use started::{Started, settings};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const HOSTILE: usize = 64;
const TEXT_BYTES: usize = 1 << 20;
/// What a request of usual size may wait longer.
const SLOWER_MAX: Duration = Duration::from_millis(100);

/// One word a byte; one word without end; letters with a thousand accents; words of no script that the model knows.
fn hostile(number: usize) -> String {
    let piece = [". a", "a", "e\u{301}\u{323}\u{307}", "\u{4e2d}\u{2003}\u{1f600}", "%$#@!"][number % 5];
    // Each another text, so that no cache knows it.
    format!("{number:02} {}", piece.repeat((TEXT_BYTES - 3) / piece.len()))
}

/// How long requests of usual size take, one after the other, until `is_over`; at least twenty.
fn usual(server: &Started, name: &str, is_over: impl Fn() -> bool) -> Vec<Duration> {
    let client = server.client();
    let mut took = Vec::new();
    while took.len() < 20 || !is_over() {
        let turn = json!({ "context": "How many were there?", "response": format!("{name} {}.", took.len()) });
        let start = Instant::now();
        client.post("/v1/detect", &turn).expect(200);
        took.push(start.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    took.sort_unstable();
    took
}

/// A request that has been sent but for its last byte: from then on only the server works.
struct Held(TcpStream);

impl Held {
    fn send(address: SocketAddr, body: &str) -> Held {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = "POST /v1/detect HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nconnection: close\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n{}", body.len(), &body[..body.len() - 1]).unwrap();
        Held(stream)
    }

    /// The answer, head and all.
    fn finish(mut self) -> String {
        self.0.write_all(b"}").unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn texts_made_to_be_slow_hold_up_nobody() {
    // The model that ships: it reads more tokens than the tiny ones, and runs for as long as models do.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/detector-mini");
    let open = move || Bundle::open(&folder);
    let mini = BundleSource::new(None, Options::default(), vec![Device::Cpu], open);
    let mut settings = settings(vec![mini]);
    settings.pool.threads = None;
    settings.limits.body_pause_max = Duration::from_secs(60);
    settings.limits.deadline = Duration::from_secs(60);
    let server = Started::new(settings);
    let bodies = (0..HOSTILE).map(|number| json!({ "response": hostile(number) }).to_string());
    let held: Vec<Held> = bodies.map(|body| Held::send(server.address, &body)).collect();
    let before = usual(&server, "Before", || true);
    let (ended, refused) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let start = Instant::now();
    let during = std::thread::scope(|scope| {
        for held in held {
            let (ended, refused) = (&ended, &refused);
            scope.spawn(move || {
                let answer = held.finish();
                if !answer.starts_with("HTTP/1.1 200") {
                    refused.lock().unwrap().push(answer);
                }
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
        usual(&server, "During", || ended.load(Ordering::Relaxed) == HOSTILE || start.elapsed().as_secs() > 60)
    });
    let took = start.elapsed();
    let of = |took: &[Duration], share: usize| took[(took.len() - 1) * share / 100];
    let (usual, slow, slowest) = (of(&before, 50), of(&during, 90), of(&during, 100));
    println!(
        "{HOSTILE} in {took:?}; {} others, usually in {usual:?}: 90 % in {slow:?}, all in {slowest:?}",
        during.len()
    );
    let refused = refused.into_inner().unwrap();
    assert!(refused.is_empty(), "{} of {HOSTILE} got no verdict: {}", refused.len(), refused[0]);
    // As long a deadline as the usual one is, with room to spare.
    assert!(took < Duration::from_secs(10), "{took:?}");
    // Of nine in ten: a shared machine has moments of its own.
    assert!(slow < usual + SLOWER_MAX, "{usual:?} became {slow:?}");
}
