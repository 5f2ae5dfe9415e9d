//! Ten thousand invalid requests: refused without a 5xx, a panic, or growing memory.

use crate::fake::Plan;
use crate::memory::resident_bytes;
use crate::started::{Started, faked, settings};
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// SplitMix64, so that a failure can be reproduced.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides.max(1) as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.roll(256) as u8).collect()
    }
}

const DETECT: &str = "{\"context\": [\"a\", {\"speaker\": \"A\", \"text\": \"b\"}], \"evidence\": null, \"response\": \"Yes.\", \
                      \"thresholds\": {\"manner\": 0.25}, \"model\": \"tiny-bert\"}";
const INFER: &str = "{\"id\": \"1\", \"inputs\": [{\"name\": \"input_ids\", \"datatype\": \"INT64\", \"shape\": [1, 3], \"data\": [1, 2, 3]}], \
                     \"outputs\": [{\"name\": \"logits\", \"parameters\": {\"binary_data\": true}}]}";

/// Replacement values.
const WRONG: [&str; 14] = [
    "1e999",
    "-1",
    "18446744073709551616",
    "null",
    "true",
    "[]",
    "{}",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "1.5",
    "[[[[]]]]",
    "\"\"",
    "9223372036854775807",
    "\u{feff}",
];

/// A valid body with something wrong in it.
fn spoilt(dice: &mut Dice) -> (&'static str, Vec<u8>) {
    let (path, valid) = match dice.roll(4) {
        0 => ("/v2/models/tiny-bert/infer", INFER),
        1 => ("/detect", "{\"context\": \"c\", \"response\": \"r\", \"threshold\": 0.5}"),
        _ => ("/v1/detect", DETECT),
    };
    let mut body = valid.as_bytes().to_vec();
    match dice.roll(7) {
        0 => body.truncate(dice.roll(body.len())),
        1 => (0..=dice.roll(8)).for_each(|_| {
            let place = dice.roll(body.len());
            body[place] = dice.roll(256) as u8;
        }),
        2 => {
            let length = dice.roll(300);
            body = dice.bytes(length);
        }
        3 => {
            let depth = 1 + dice.roll(20_000);
            body = ["[", "{\"a\":", "{\"context\":["][dice.roll(3)].repeat(depth).into_bytes();
        }
        4 | 5 => {
            // A value, from its colon to the next comma, becomes another.
            let colons: Vec<usize> =
                body.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at).collect();
            let start = colons[dice.roll(colons.len())] + 1;
            let end = body[start..].iter().position(|byte| b",}]".contains(byte)).map_or(body.len(), |at| start + at);
            body.splice(start..end, WRONG[dice.roll(WRONG.len())].bytes());
        }
        _ => body = format!("[{}]", vec![valid; dice.roll(400)].join(",")).into_bytes(),
    }
    (path, body)
}

/// Sends bytes and reads whatever comes; the status, if it is HTTP.
fn exchange(address: SocketAddr, bytes: &[u8], half_close: bool) -> Option<u16> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // The server may close before everything is sent.
    _ = stream.write_all(bytes);
    if half_close {
        _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = [0; 512];
    match stream.read(&mut answer) {
        Ok(read) if read >= 12 => std::str::from_utf8(&answer[9..12]).ok()?.parse().ok(),
        Ok(_) => None,
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => None,
        Err(error) => panic!("no answer and no end: {error}"),
    }
}

fn check(status: Option<u16>, what: &str) {
    assert!(status.is_none_or(|status| status < 500), "{what}: {status:?}");
}

fn bodies(server: &Started, dice: &mut Dice, count: usize) -> usize {
    let client = server.client();
    let mut refused = 0;
    for _ in 0..count {
        let (path, body) = spoilt(dice);
        let head = [("content-type", "application/json"), ("inference-header-content-length", "40")];
        let head = &head[..1 + usize::from(dice.roll(8) == 0)];
        // On a machine that is busy a kept connection may reach its idle limit just as it is used again. Once is chance.
        let answer = client.send("POST", path, head, &body).or_else(|_| client.send("POST", path, head, &body));
        let answer = answer.unwrap_or_else(|error| panic!("no answer to {} bytes: {error}", body.len()));
        check(Some(answer.status), &String::from_utf8_lossy(&body));
        refused += usize::from(answer.status != 200);
    }
    refused
}

fn raw_requests(address: SocketAddr, dice: &mut Dice, count: usize) {
    for number in 0..count {
        let half_close = dice.roll(2) == 0;
        let bytes = match number % 8 {
            0 => {
                let length = 1 + dice.roll(400);
                [dice.bytes(length), b"\r\n\r\n".to_vec()].concat()
            }
            1 => format!("GET /{} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "x".repeat(dice.roll(60_000))).into_bytes(),
            2 => {
                let flood: String = (0..dice.roll(2000)).map(|place| format!("x-{place}: y\r\n")).collect();
                format!("GET /v1/models HTTP/1.1\r\nhost: a\r\n{flood}connection: close\r\n\r\n").into_bytes()
            }
            3 => format!("POST /v1/detect HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", u64::MAX - dice.roll(9) as u64).into_bytes(),
            4 => b"POST /v1/detect HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nzz\r\nhello".to_vec(),
            5 => b"POST /v1/detect HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 9\r\nconnection: close\r\n\r\n{}{}{".to_vec(),
            6 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\xff\x04\x00\x00\x00\x00\x01garbage".to_vec(),
            // A head or a body that stops in the middle, and then the sending side with it.
            _ => {
                let whole = format!("POST /v1/detect HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{DETECT}", DETECT.len());
                let cut = dice.roll(whole.len() - 1);
                check(exchange(address, &whole.as_bytes()[..cut], true), "cut off");
                continue;
            }
        };
        // Those that promise more than they send are ended by us.
        let half_close = half_close || matches!(number % 8, 0 | 3 | 4 | 6);
        check(exchange(address, &bytes, half_close), &format!("raw request {number}"));
    }
}

/// Clients that send a byte now and then, all at once.
fn slow_clients(address: SocketAddr, count: usize) {
    std::thread::scope(|scope| {
        for number in 0..count {
            scope.spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let start: &[u8] = match number % 2 {
                    0 => b"POST /v1/detect HTTP/1.1\r\nhos",
                    _ => b"POST /v1/detect HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{\"res",
                };
                stream.write_all(start).unwrap();
                let mut answer = Vec::new();
                _ = stream.read_to_end(&mut answer);
                let text = String::from_utf8_lossy(&answer);
                assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
                assert!(number % 2 == 0 || text.contains("slow-body"), "{text}");
            });
        }
    });
}

#[test]
fn ten_thousand_requests_that_make_no_sense() {
    let mut settings = settings(vec![faked(&Arc::new(Plan::default()))]);
    settings.limits.head_max = Duration::from_millis(600);
    settings.limits.body_pause_max = Duration::from_millis(300);
    settings.limits.body_bytes_max = 64 << 10;
    let server = Started::new(settings);
    // Once for the allocator to have what it needs, then all of it.
    let run = |seed: u64, rounds: usize| {
        let refused = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for part in 0..2 {
                let (server, refused) = (&server, &refused);
                scope.spawn(move || {
                    let mut dice = Dice(seed + part);
                    refused.fetch_add(bodies(server, &mut dice, rounds * 7 / 2), Ordering::Relaxed);
                    raw_requests(server.address, &mut dice, rounds * 3 / 2);
                });
            }
        });
        refused.into_inner()
    };
    run(1, 100);
    slow_clients(server.address, 20);
    let before = resident_bytes();
    let refused = run(1000, 1000);
    assert!(refused > 4000, "only {refused} of 7000 bodies made no sense");
    let big = vec![b'['; (64 << 10) + 1];
    server.client().send("POST", "/v1/detect", &[("content-type", "application/json")], &big).unwrap().expect(413);
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        assert!(after < before + (24 << 20), "{before} → {after} bytes");
    }
    server.client().post("/v1/detect", &json!({ "response": "Still there." })).expect(200);
    let text = server.client().get("/metrics").text();
    let requests = text.lines().filter(|line| line.starts_with("grice_requests_total"));
    let failed: Vec<&str> = requests.filter(|line| line.contains("outcome=\"failed\"")).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(server.metric("grice_replica_failures_total{model=\"tiny-bert\"}"), 0.0);
    crate::started::wait_until("connections to end", || server.metric("grice_connections") <= 3.0);
}
