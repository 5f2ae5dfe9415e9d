//! Sixty-four texts of a megabyte at once, made to be slow to read: each is answered, and requests of usual size do not wait.
//!
//! A process of its own: it fills this machine and its memory for a while, which other tests would notice.
#![allow(clippy::unwrap_used, dead_code)]

#[path = "../server/fake.rs"]
mod fake;
#[path = "../server/http.rs"]
mod http;
#[path = "../server/started.rs"]
mod started;

use serde_json::json;
use started::{Started, settings, tiny};
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

#[test]
fn texts_made_to_be_slow_hold_up_nobody() {
    let mut settings = settings(vec![tiny("tiny-bert")]);
    settings.limits.deadline = Duration::from_secs(20);
    let server = Started::new(settings);
    let bodies: Vec<String> = (0..HOSTILE).map(|number| json!({ "response": hostile(number) }).to_string()).collect();
    let before = usual(&server, "Before", || true);
    let (ended, refused) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let start = Instant::now();
    let during = std::thread::scope(|scope| {
        for body in &bodies {
            let (server, ended, refused) = (&server, &ended, &refused);
            scope.spawn(move || {
                let headers = [("content-type", "application/json")];
                let answer = server.client().send("POST", "/v1/detect", &headers, body.as_bytes()).unwrap();
                if answer.status != 200 {
                    refused.lock().unwrap().push(answer.text());
                }
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
        usual(&server, "During", || ended.load(Ordering::Relaxed) == HOSTILE || start.elapsed().as_secs() > 60)
    });
    let of = |took: &[Duration], share: usize| took[(took.len() - 1) * share / 100];
    let (usual, slow) = (of(&before, 50), of(&during, 90));
    println!(
        "{HOSTILE} in {:?}; of the others {} from {:?} to {slow:?} (90 %) and {:?}",
        start.elapsed(),
        during.len(),
        usual,
        of(&during, 100)
    );
    let refused = refused.into_inner().unwrap();
    assert!(refused.is_empty(), "{} of {HOSTILE} got no verdict: {}", refused.len(), refused[0]);
    // Of nine in ten: a shared machine has moments of its own.
    assert!(slow < usual + SLOWER_MAX, "{usual:?} became {slow:?}");
}
