//! A server in this process, stopped when it goes out of scope.

use crate::fake::Plan;
use crate::http::Client;
use grice_core::{Bundle, Options};
use grice_server::{BundleSource, EmbedderSource, Handle, ServeError, Server, Settings, WriterSource};
use grice_testkit::fixtures::{fixtures_folder, read};
use std::borrow::Cow;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

pub(crate) struct Started {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    runtime: Arc<Runtime>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

/// A tiny model with its own engine.
pub(crate) fn tiny(name: &str) -> BundleSource {
    let folder = fixtures_folder().join(name);
    BundleSource::new(None, Options::default(), Vec::new(), move || Bundle::open(&folder))
}

/// A tiny model that writes texts.
pub(crate) fn writer(name: &str) -> WriterSource {
    WriterSource::new(None, grice_testkit::generators::folder(name), None)
}

/// A tiny model that embeds texts, and its folder.
pub(crate) fn embedder(name: &str) -> (EmbedderSource, PathBuf) {
    let folder = fixtures_folder().join("embedders").join(name);
    (EmbedderSource::new(None, folder.clone(), Options::default()), folder)
}

/// A tiny graph that does not hide padding, with the tokenizer of the tiny BERT.
pub(crate) fn shown_padding() -> BundleSource {
    let load = || {
        let (bert, own) = (fixtures_folder().join("tiny-bert"), fixtures_folder().join("shown-padding"));
        let mut manifest: serde_json::Value = serde_json::from_slice(&read(&bert.join("grice.json"))).unwrap();
        manifest["name"] = "shown-padding".into();
        manifest["max_tokens"] = 16.into();
        manifest.as_object_mut().unwrap().remove("digests");
        let file = |name: &str, bytes: Vec<u8>| (name.to_owned(), Cow::from(bytes));
        let files = [
            file("grice.json", manifest.to_string().into_bytes()),
            file("config.json", read(&bert.join("config.json"))),
            file("tokenizer.json", read(&bert.join("tokenizer.json"))),
            file("onnx/model.onnx", read(&own.join("model.onnx"))),
        ];
        Bundle::from_held(files.into())
    };
    BundleSource::new(None, Options::default(), Vec::new(), load)
}

/// The tiny BERT with engines that do as the plan says.
pub(crate) fn faked(plan: &Arc<Plan>) -> BundleSource {
    let own = tiny("tiny-bert");
    let plan = Arc::clone(plan);
    let load = move || Ok(plan.replace((own.load)()?));
    BundleSource { name: None, load: Arc::new(load) }
}

/// Small and quick to stop.
pub(crate) fn settings(bundles: Vec<BundleSource>) -> Settings {
    let mut settings = Settings::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), bundles);
    settings.pool.threads = Some(1);
    settings.pool.warm_up = false;
    settings.pool.rebuild_pause = Duration::from_millis(20);
    settings.pool.rebuild_pause_max = Duration::from_millis(40);
    settings.drain_delay = Duration::ZERO;
    settings
}

impl Started {
    /// Ready to answer.
    pub(crate) fn new(settings: Settings) -> Started {
        let started = Started::early(settings);
        wait_until("the server to be ready", || started.client().get("/v2/health/ready").status == 200);
        started
    }

    /// Perhaps not ready yet.
    pub(crate) fn early(settings: Settings) -> Started {
        let runtime = Arc::new(Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
        let server = runtime.block_on(Server::start(settings)).unwrap();
        let (address, handle) = (server.address(), server.handle());
        let running = Arc::clone(&runtime);
        let thread = std::thread::spawn(move || running.block_on(server.run()));
        Started { address, handle, runtime, thread: Some(thread) }
    }

    /// Why a server with these settings ends.
    pub(crate) fn failing(settings: Settings) -> String {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(Server::start(settings)).unwrap();
        runtime.block_on(server.run()).unwrap_err().to_string()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    pub(crate) fn reload(&self) -> Result<(), ServeError> {
        self.runtime.block_on(self.handle.reload())
    }

    /// Pages that hold keys and values of a model.
    pub(crate) fn pages_used(&self, model: &str) -> f64 {
        self.metric(&format!("grice_kv_pages{{model=\"{model}\",state=\"used\"}}"))
    }

    /// The value of a metric, its labels included in the name; 0 if it is not there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.client().get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap().unwrap();
            }
        }
    }
}

#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Says that a test could not run; past the test runner, which keeps what passing tests print to itself.
pub(crate) fn skip(why: &str) {
    _ = writeln!(std::io::stderr(), "skipped: {why}");
}
