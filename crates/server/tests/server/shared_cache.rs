//! The shared cache, with a real Redis server: up, down, up again, and hanging.

use crate::fake::Plan;
use crate::started::{Started, faked, settings, wait_until};
use serde_json::json;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    fn start(port: u16) -> Option<Redis> {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        Some(Redis { process, port })
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn with_cache(plan: &Arc<Plan>, url: String) -> Started {
    let mut settings = settings(vec![faked(plan)]);
    settings.shared_cache = Some(url);
    Started::new(settings)
}

fn is_up(server: &Started) -> bool {
    server.metric("grice_shared_cache_up") == 1.0
}

#[test]
fn servers_share_what_they_know_and_go_on_without() {
    let Some(redis) = Redis::start(free_port()) else { return crate::started::skip("redis-server is not installed") };
    let (plan_a, plan_b) = (Arc::new(Plan::default()), Arc::new(Plan::default()));
    let (a, b) = (with_cache(&plan_a, redis.url()), with_cache(&plan_b, redis.url()));
    wait_until("the cache to be up", || is_up(&a) && is_up(&b));
    let ask = |server: &Started, response: &str| {
        server.client().post("/v1/detect", &json!({ "response": response })).expect(200)
    };
    let cached = |server: &Started, response: &str| ask(server, response).header("x-grice-cache").to_owned();

    let first = ask(&a, "One.");
    assert_eq!(first.header("x-grice-cache"), "miss");
    wait_until("it to be stored", || a.metric("grice_shared_cache_total{outcome=\"stored\"}") == 1.0);
    let second = ask(&b, "One.");
    assert_eq!((second.header("x-grice-cache"), second.text()), ("hit", first.text()));
    assert!(plan_b.batches().is_empty());
    let many: Vec<_> = ["One.", "Two.", "Three."].map(|response| json!({ "response": response })).into();
    b.client().post("/v1/detect", &json!(many)).expect(200);
    assert_eq!(plan_b.batches(), [2]);

    // A server that hangs costs one short wait, and then nothing.
    redis.signal("STOP");
    assert_eq!(cached(&a, "While it hangs."), "miss");
    assert!(!is_up(&a));
    let start = Instant::now();
    assert_eq!(cached(&a, "Still hanging."), "miss");
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    redis.signal("CONT");
    wait_until("the cache to be back", || is_up(&a));

    let port = redis.port;
    drop(redis);
    assert_eq!(cached(&a, "While it is down."), "miss");
    wait_until("the loss to be noticed", || !is_up(&a) && !is_up(&b));
    assert_eq!(cached(&a, "One."), "hit");
    a.client().get("/v2/health/ready").expect(200);
    let redis = Redis::start(port).unwrap();
    wait_until("the cache to be back", || is_up(&a) && is_up(&b));
    assert_eq!(cached(&a, "After."), "miss");
    wait_until("it to be stored", || {
        b.metric("grice_shared_cache_total{outcome=\"hit\"}") > 0.0 && cached(&b, "After.") == "hit"
    });
    drop(redis);
}

#[test]
fn a_cache_that_was_never_there_hurts_nobody() {
    let plan = Arc::new(Plan::default());
    let server = with_cache(&plan, format!("redis://127.0.0.1:{}/0", free_port()));
    server.client().post("/v1/detect", &json!({ "response": "a" })).expect(200);
    assert!(!is_up(&server));
    assert!(server.metric("grice_shared_cache_total{outcome=\"unavailable\"}") >= 1.0);
}

#[test]
fn an_address_that_is_none_is_refused_without_showing_it() {
    let mut settings = settings(Vec::new());
    settings.shared_cache = Some("nonsense://secret@host".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(grice_server::Server::start(settings)).err().unwrap().to_string();
    assert!(error.contains("redis://host:port") && !error.contains("secret"), "{error}");
}
