//! NGINX, as configured in `deploy/nginx`, before two servers of which one dies: no client sees it.

use super::http::{self, Response};
use super::server::{Process, Server, free_address, wait};
use super::{deploy, program, read};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const CLIENTS: usize = 4;
const REQUESTS_EACH: usize = 40;

#[test]
fn a_server_that_is_killed_under_load_costs_no_request() {
    let Some(nginx) = program("nginx") else { return };
    let mut servers = [Server::start(&[]), Server::start(&[])];
    let front = Front::start(&nginx, &servers);
    let (address, done) = (front.address, &AtomicUsize::new(0));
    let answers = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || load(address, client, done))).collect();
        wait("a third of the requests", || done.load(Ordering::Relaxed) > CLIENTS * REQUESTS_EACH / 3);
        servers[0].process.signal("KILL");
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(!servers[0].process.wait().success());
    assert_all_served(&answers);
    let log = front.log();
    let retried = log.iter().filter(|line| line["upstream"].as_str().unwrap().contains(", ")).count();
    assert!(retried > 0, "nothing was in hand or sent to the server that was killed: the test shows nothing");
    assert!(retried < CLIENTS + 8, "{retried} requests were sent to a server that is known to be dead");
    let before = log.iter().take(CLIENTS * REQUESTS_EACH / 3);
    // Not the same for both: on a busy machine one is slower, and then gets less.
    for server in &servers {
        let address = server.address.to_string();
        let served = before.clone().filter(|line| line["upstream"] == address.as_str()).count();
        assert!(served > 2, "{address} got {served} requests while both were alive");
    }

    // One that comes back is found again.
    servers[0] = Server::start_at(servers[0].address, &[]);
    let address = servers[0].address.to_string();
    wait("the server to be used again", || {
        assert_eq!(judge(front.address, "Back again?").unwrap().status, 200);
        std::thread::sleep(Duration::from_millis(100));
        front.log().last().is_some_and(|line| line["upstream"] == address.as_str())
    });
}

/// Tokens of a stream: it takes far longer than its first event.
const STREAMED_TOKENS: usize = 400;

#[test]
fn a_server_that_is_killed_costs_only_its_own_streams() {
    let Some(nginx) = program("nginx") else { return };
    let mut servers = [Server::start(&[]), Server::start(&[])];
    let front = Front::start(&nginx, &servers);
    let (address, begun) = (front.address, &AtomicUsize::new(0));
    let texts = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..2 * CLIENTS).map(|client| scope.spawn(move || stream(address, client, begun))).collect();
        wait("an event of each stream", || begun.load(Ordering::Relaxed) == 2 * CLIENTS);
        servers[0].process.signal("KILL");
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<String>>()
    });
    assert!(!servers[0].process.wait().success());
    let is_whole = |text: &&String| text.contains("\"done\":true") && text.ends_with("0\r\n\r\n");
    let whole = texts.iter().filter(is_whole).count();
    let lines = || front.lines_of("/v1/generate");
    wait("a line of each stream", || lines().len() == 2 * CLIENTS);
    let other = servers[1].address.to_string();
    let of_the_other = lines().iter().filter(|line| line["upstream"] == other.as_str()).count();
    assert_eq!(whole, of_the_other, "{texts:?}");
    assert!(
        (1..2 * CLIENTS).contains(&whole),
        "{whole} of all streams were at the server that lives: the test shows nothing"
    );
    // A client that asks again is served.
    let begun = AtomicUsize::new(0);
    assert!(is_whole(&&stream(address, 0, &begun)));
}

/// All that a client gets of a stream, as it comes over the wire.
fn stream(front: SocketAddr, client: usize, begun: &AtomicUsize) -> String {
    let body = serde_json::json!({
        "prompt": format!("answer: [CONTEXT] Number {client}?"), "stream": true, "max_new_tokens": STREAMED_TOKENS, "min_new_tokens": STREAMED_TOKENS,
    });
    let body = body.to_string();
    let mut stream = TcpStream::connect(front).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let length = body.len();
    let head = format!(
        "POST /v1/generate HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let (mut all, mut piece, mut has_begun) = (Vec::new(), [0; 4096], false);
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        all.extend_from_slice(&piece[..read]);
        if !has_begun && all.windows(6).any(|bytes| bytes == b"data: ") {
            has_begun = true;
            begun.fetch_add(1, Ordering::Relaxed);
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn a_server_that_is_told_to_stop_answers_what_it_has_and_ends_well() {
    let Some(nginx) = program("nginx") else { return };
    let mut servers = [Server::start(&[]), Server::start(&[])];
    let front = Front::start(&nginx, &servers);
    let (address, done) = (front.address, &AtomicUsize::new(0));
    let answers = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || load(address, client, done))).collect();
        wait("a third of the requests", || done.load(Ordering::Relaxed) > CLIENTS * REQUESTS_EACH / 3);
        servers[1].process.signal("TERM");
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let status = servers[1].process.wait();
    assert!(status.success(), "it ended with {status}");
    assert_all_served(&answers);
}

#[test]
fn nginx_shows_neither_metrics_nor_admin_routes_and_keeps_the_id_of_a_request() {
    let Some(nginx) = program("nginx") else { return };
    let servers = [Server::start(&[])];
    let front = Front::start(&nginx, &servers);
    for path in ["/metrics", "/admin/reload", "/admin/"] {
        assert_eq!(http::get(front.address, path).unwrap().status, 404, "{path}");
    }
    let answer = judge(front.address, "Is my id still here?").unwrap();
    let head = answer.head.to_ascii_lowercase();
    let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("an id");
    // NGINX writes its line after the answer.
    wait("the id to be in NGINX's log", || front.log().iter().any(|line| line["request_id"] == id));
    // What a user wrote is in no log.
    assert!(!front.raw_log().contains("still here"));
    // A body that the server would refuse is refused at the door.
    let large = format!(r#"{{"response": "{}"}}"#, "a".repeat(3 << 20));
    assert!(http::ask(front.address, "POST", "/v1/detect", &large).is_ok_and(|answer| answer.status == 413));
}

#[test]
fn grpc_goes_through() {
    let Some(nginx) = program("nginx") else { return };
    let servers = [Server::start(&[])];
    let front = Front::start(&nginx, &servers);
    let answer = call(front.grpc, "ServerReady");
    // Connections to the server are kept; those of the other protocol are not mistaken for them.
    let other = judge(front.address, "By the other protocol.").unwrap();
    assert_eq!(other.status, 200, "{}", read(front.folder.path().join("error.log")));
    for answer in [answer, call(front.grpc, "ServerReady")] {
        // The frame of an answer whose only field is true.
        let is_there = answer.windows(7).any(|bytes| bytes == b"\0\0\0\0\x02\x08\x01");
        assert!(is_there, "{}", String::from_utf8_lossy(&answer));
    }
}

/// All that comes back on HTTP/2 for a call without content, spelled in frames: those of the client are few.
fn call(address: SocketAddr, method: &str) -> Vec<u8> {
    let path = format!("/inference.GRPCInferenceService/{method}");
    // Fields that are not to be indexed, each name and value after its length.
    let literal = |name: &str, value: &str| {
        [&[0, name.len() as u8][..], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    };
    let fields = [
        literal(":method", "POST"),
        literal(":scheme", "http"),
        literal(":path", &path),
        literal(":authority", "localhost"),
        literal("te", "trailers"),
        literal("content-type", "application/grpc"),
    ];
    let frame = |kind: u8, flags: u8, stream: u8, content: &[u8]| {
        [&[0, 0, content.len() as u8, kind, flags, 0, 0, 0, stream][..], content].concat()
    };
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).unwrap();
    stream.write_all(&frame(1, 4, 1, &fields.concat())).unwrap();
    stream.write_all(&frame(0, 1, 1, &[0; 5])).unwrap();
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    // Until the call is over: a frame of headers that ends the stream.
    while !all.windows(9).any(|head| head[3] == 1 && head[4] & 1 == 1 && head[5..] == [0, 0, 0, 1]) {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(read) => all.extend_from_slice(&piece[..read]),
        }
    }
    all
}

fn load(front: SocketAddr, client: usize, done: &AtomicUsize) -> Vec<std::io::Result<Response>> {
    let ask = |number: usize| {
        // Each text once, so that no cache answers.
        let answer = judge(front, &format!("Well, number {number} of {client} is what I would say, more or less."));
        done.fetch_add(1, Ordering::Relaxed);
        answer
    };
    (0..REQUESTS_EACH).map(ask).collect()
}

fn judge(front: SocketAddr, response: &str) -> std::io::Result<Response> {
    let turn = serde_json::json!({ "context": "How many were there?", "response": response });
    http::ask(front, "POST", "/v1/detect", &turn.to_string())
}

fn assert_all_served(answers: &[std::io::Result<Response>]) {
    assert_eq!(answers.len(), CLIENTS * REQUESTS_EACH);
    for answer in answers {
        match answer {
            Ok(answer) => {
                assert_eq!(answer.status, 200, "{}", answer.body);
                let verdict: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
                assert!(verdict["probabilities"]["quantity"].is_f64(), "{verdict}");
            }
            Err(error) => panic!("a client saw: {error}"),
        }
    }
}

/// NGINX with the shipped configuration, of which only addresses and places are another.
struct Front {
    address: SocketAddr,
    grpc: SocketAddr,
    folder: tempfile::TempDir,
    _process: Process,
}

impl Front {
    fn start(nginx: &Path, servers: &[Server]) -> Front {
        let folder = tempfile::tempdir().unwrap();
        let (address, grpc) = (free_address(), free_address());
        let place = folder.path().display().to_string();
        let mut config = read(deploy().join("nginx/nginx.conf"));
        let mut put = |from: &str, to: &str| {
            assert!(config.contains(from), "nginx.conf has no `{from}`");
            config = config.replace(from, to);
        };
        put("listen 8080;", &format!("listen {address};"));
        put("listen 8081 ", &format!("listen {grpc} "));
        put("/tmp/", &format!("{place}/"));
        put("/dev/stdout", &format!("{place}/access.log"));
        put("/dev/stderr", &format!("{place}/error.log"));
        for (number, server) in servers.iter().enumerate() {
            put(&format!("server grice-{}:8080 ", number + 1), &format!("server {} ", server.address));
        }
        if servers.len() == 1 {
            put("server grice-2:8080 ", "# ");
        }
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let command = || {
            let mut command = Command::new(nginx);
            command.arg("-p").arg(folder.path()).arg("-c").arg(&file).args(["-e", &format!("{place}/start.log")]);
            // Root's workers would become another user, who may not enter the folder.
            let user = if is_root() { " user root;" } else { "" };
            command.args(["-g", &format!("daemon off;{user}")]);
            command
        };
        let check = command().arg("-t").output().unwrap();
        assert!(check.status.success(), "nginx -t: {}", String::from_utf8_lossy(&check.stderr));
        let quiet = Stdio::null;
        let process = Process(command().stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn().unwrap());
        let front = Front { address, grpc, folder, _process: process };
        wait("NGINX", || http::get(address, "/v2/health/live").is_ok_and(|answer| answer.status == 200));
        front
    }

    fn raw_log(&self) -> String {
        read(self.folder.path().join("access.log"))
    }

    /// A line a judgement, oldest first.
    fn log(&self) -> Vec<serde_json::Value> {
        self.lines_of("/v1/detect")
    }

    fn lines_of(&self, path: &str) -> Vec<serde_json::Value> {
        let lines = self.raw_log();
        let lines =
            lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")));
        lines.filter(|line: &serde_json::Value| line["path"] == path).collect()
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
