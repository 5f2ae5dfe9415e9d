//! Streams of every interface: clients that leave, a server that stops, and more than it can do.

use crate::chatty::{Chatty, messages};
use crate::grpc_client::{Grpc, frame};
use crate::memory::resident_bytes;
use crate::started::{Started, wait_until};
use crate::texts::{open_at, serving};
use crate::triton_texts::text;
use grice_core::Writer;
use serde_json::{Value, json};
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Texts that take longer than any test, on every route that streams.
fn endless() -> Vec<(&'static str, Value)> {
    let prompt = "w11";
    let long = json!({ "stream": true, "max_tokens": 40_000, "min_tokens": 40_000 });
    let with = |more: Value| {
        let mut body = long.clone();
        more.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        body
    };
    vec![
        ("/v1/chat/completions", with(json!({ "model": "chatty", "messages": messages(&[prompt]) }))),
        ("/v1/completions", with(json!({ "model": "chatty", "prompt": prompt }))),
        ("/v1/completions", with(json!({ "model": "chatty", "prompt": [prompt, "w7"], "n": 2, "temperature": 1 }))),
        ("/v2/models/chatty/generate_stream", with(json!({ "text_input": prompt }))),
    ]
}

/// A model whose texts may be of any length: T5 has no positions to run out of.
fn long_winded() -> (Chatty, Started) {
    let model = Chatty::new("t5");
    let mut settings = serving(&[]);
    settings.writers = vec![model.source()];
    settings.writer_memory_bytes = 512 << 20;
    settings.limits.deadline = Duration::from_secs(60);
    (model, Started::new(settings))
}

fn running(server: &Started) -> f64 {
    server.metric("grice_courses_running{model=\"chatty\"}")
}

#[test]
fn clients_that_leave_a_stream_free_its_pages() {
    let (_model, server) = long_winded();
    let of = |route: &str, outcome: &str| {
        server.metric(&format!("grice_requests_total{{route=\"{route}\",outcome=\"{outcome}\"}}"))
    };
    for (path, body) in endless() {
        let route = path.replace("chatty", "{model}");
        let before = of(&route, "cancelled");
        let stream = open_at(&server, path, &body, "w");
        wait_until("the text to begin", || server.pages_used("chatty") > 0.0);
        let texts = running(&server);
        assert!(texts >= 1.0, "{path}: {texts}");
        drop(stream);
        wait_until("its pages to be free", || server.pages_used("chatty") == 0.0 && running(&server) == 0.0);
        // Not even one more pass runs.
        let made = || server.metric("grice_tokens_total{model=\"chatty\",kind=\"generated\"}");
        let at_once = made();
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(made(), at_once, "{path}");
        wait_until("the request to be counted", || of(&route, "cancelled") == before + 1.0);
    }
}

/// A call that is reset, and a connection that is dropped.
#[test]
fn grpc_clients_that_leave_free_their_pages() {
    let (_model, server) = long_winded();
    let work = async {
        for drops_connection in [false, true] {
            let client = Grpc::connect(server.address).await;
            let (answer, mut stream) = client.open("ModelStreamInfer", &[]).await;
            let asked = text("chatty", "endless", "w7", &[("max_tokens", 40_000), ("min_tokens", 40_000)]);
            stream.send_data(frame(&asked).into(), false).unwrap();
            let mut body = answer.await.unwrap().into_body();
            body.data().await.unwrap().unwrap();
            assert!(server.pages_used("chatty") > 0.0);
            if drops_connection {
                drop((client, stream, body));
            } else {
                stream.send_reset(h2::Reason::CANCEL);
            }
            let free = || server.pages_used("chatty") == 0.0 && running(&server) == 0.0;
            let start = Instant::now();
            while !free() {
                assert!(start.elapsed() < Duration::from_secs(20), "its pages stay taken");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

/// Two hundred streams of one connection, cancelled one after the other; then an answer.
#[test]
fn streams_that_are_reset_leave_their_places() {
    let (_model, server) = long_winded();
    let work = async {
        let client = Grpc::connect(server.address).await;
        for number in 0..200 {
            let (answer, mut stream) = client.open("ModelStreamInfer", &[]).await;
            let prompt = format!("w{}", 10 + number % 50);
            // Beams say nothing before their end, so this client need not read.
            let asked = text("chatty", "", &prompt, &[("max_tokens", 9_000), ("min_tokens", 9_000), ("beams", 2)]);
            stream.send_data(frame(&asked).into(), false).unwrap();
            // Its head comes at once.
            let _body = answer.await.unwrap();
            stream.send_reset(h2::Reason::CANCEL);
        }
        let reply = client.send("ModelInfer", &[], &frame(&text("chatty", "last", "w7", &[("max_tokens", 3)]))).await;
        reply.expect(0, "");
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    wait_until("all pages to be free", || server.pages_used("chatty") == 0.0);
}

/// A server that may not wait for its texts tells each client so, and ends well.
#[test]
fn a_server_that_stops_ends_each_stream_with_its_reason() {
    let model = Chatty::new("t5");
    let mut settings = serving(&[]);
    settings.writers = vec![model.source()];
    settings.writer_memory_bytes = 512 << 20;
    settings.limits.deadline = Duration::from_secs(60);
    settings.drain_max = Duration::from_millis(200);
    let server = Started::new(settings);
    let streams: Vec<_> = endless().iter().map(|(path, body)| (*path, open_at(&server, path, body, "w"))).collect();
    // Its end is checked: it must have no open connection left.
    drop(server);
    for (path, mut stream) in streams {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("\"error\"") && rest.contains("the server is shutting down"), "{path}: {rest}");
        assert!(!rest.contains("[DONE]"), "{path}: {rest}");
        // The body ends as it should: the last chunk of HTTP/1.1.
        assert!(rest.ends_with("0\r\n\r\n"), "{path}: {rest}");
    }
}

/// Three times as many texts as fit: each is written whole, or refused at once with the time of another try.
#[test]
fn more_texts_than_it_can_write_are_turned_away() {
    let model = Chatty::new("t5");
    let tokens = 300;
    let mut settings = serving(&[]);
    settings.writers = vec![model.source()];
    // Room for four texts, and four more may wait.
    let bytes = Writer::open(model.path(), None).unwrap().token_bytes();
    settings.writer_memory_bytes = 4 * (tokens + 3 * 32) * bytes;
    settings.schedule.queue_rows_max = 4;
    settings.queue_wait_max = Duration::from_secs(60);
    settings.limits.deadline = Duration::from_secs(60);
    let server = Started::new(settings);
    let before = resident_bytes();
    let (outcomes, number, start) = (Mutex::new(Vec::new()), AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..24 {
            let (server, outcomes, number) = (&server, &outcomes, &number);
            scope.spawn(move || {
                let client = server.client();
                while start.elapsed() < Duration::from_secs(2) {
                    let seed = number.fetch_add(1, Ordering::Relaxed);
                    let body = json!({ "model": "chatty", "messages": messages(&["w7"]), "max_tokens": tokens, "min_tokens": tokens,
                                       "temperature": 1, "seed": seed, "stream": true });
                    let answer = client.post("/v1/chat/completions", &body);
                    let text = answer.text();
                    match answer.status {
                        200 => assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("\"error\""), "{text}"),
                        429 => {
                            assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
                            assert_eq!(answer.json()["error"]["type"], "rate_limit_error", "{text}");
                            std::thread::sleep(Duration::from_millis(10));
                        }
                        other => panic!("{other}: {text}"),
                    }
                    outcomes.lock().unwrap().push(answer.status);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let count = |status: u16| outcomes.iter().filter(|found| **found == status).count();
    assert!(count(200) >= 8 && count(429) > count(200), "{} written, {} refused", count(200), count(429));
    assert_eq!((server.pages_used("chatty"), running(&server)), (0.0, 0.0));
    assert_eq!(server.metric("grice_rejected_total{reason=\"queue-full\"}"), count(429) as f64);
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        assert!(after < before + (64 << 20), "{before} → {after} bytes");
    }
}
