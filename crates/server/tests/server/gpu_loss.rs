//! A GPU that goes away under a server, on whatever adapter there is: clients notice nothing, and a new device takes over.

use crate::reload::copy_bundle;
use crate::started::{Started, settings, skip, wait_until};
use grice_core::{Batch, Bundle, Detector, Device, Engine, Error, Options, Turn, Verdict, find_adapters};
use grice_server::{BundleSource, Loaded, Plans, Replica};
use grice_testkit::fixtures::fixtures_folder;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

const CLIENTS: usize = 4;
/// Devices lost in a test, one after the other.
const LOSSES: usize = 3;
/// Between two engines that compute alike, in probabilities.
const TOLERANCE: f32 = 1e-4;

#[test]
fn a_lone_replica_loses_its_device_and_no_client_notices() {
    check("gpu-lone", 1);
}

#[test]
fn replicas_that_share_a_lost_device_share_the_new_one() {
    check("gpu-shared", 2);
}

fn check(model: &str, replicas: usize) {
    if find_adapters().iter().all(|adapter| adapter.unfit.is_some()) {
        return skip("no adapter");
    }
    let log = Shown(Log::start());
    let plans = Arc::new(Mutex::new(None));
    let mut settings = settings(vec![on_gpu(model, &plans)]);
    settings.pool.replicas = replicas;
    settings.access.rate_per_minute = 0;
    let server = Started::new(settings);
    let plans: Arc<Plans> = plans.lock().unwrap().clone().unwrap();
    let metric = |name: &str| server.metric(&format!("grice_{name}{{model=\"{model}\"}}"));
    let in_use = || server.metric(&format!("grice_replicas{{model=\"{model}\",state=\"in_use\"}}"));

    let (cases, asked, is_over) = (cases(), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (server, cases, asked, is_over) = (&server, &cases, &asked, &is_over);
            scope.spawn(move || {
                // A panic must end the test, so that it does not wait forever.
                let _over = Over(is_over);
                ask_on(server, cases, client, asked, is_over);
            });
        }
        let over = Over(&is_over);
        let wait_for_answers = || {
            let goal = asked.load(Ordering::Relaxed) + 10 * CLIENTS;
            wait_until("answers", || asked.load(Ordering::Relaxed) >= goal || is_over.load(Ordering::Relaxed));
        };
        for loss in 1..=LOSSES {
            wait_for_answers();
            let lost = plans.of_replica(0);
            assert!(!lost.is_lost());
            lost.gpu().unwrap().destroy();
            wait_until("every replica to find out and be back", || {
                let all_told = metric("device_losses_total") >= (loss * replicas) as f64;
                is_over.load(Ordering::Relaxed) || all_told && in_use() == replicas as f64
            });
            wait_for_answers();
            assert!(lost.is_lost());
        }
        drop(over);
    });

    let now = plans.of_replica(replicas - 1);
    assert_eq!((now.device(), now.is_lost()), ("gpu", false));
    let about = server.client().get("/v1/models").expect(200).json();
    assert_eq!((&about["models"][0]["device"], &about["models"][0]["fallback_reason"]), (&json!("gpu"), &Value::Null));
    assert_eq!(server.client().get("/health").expect(200).json()["gpu_available"], true);
    assert_eq!(metric("device_losses_total"), (LOSSES * replicas) as f64);
    assert_eq!(metric("replica_failures_total"), (LOSSES * replicas) as f64);
    assert!(metric("retried_total") >= (LOSSES * replicas) as f64);
    drop(server);
    let failures = log.0.lines(&["replica failed", "the device was lost", model]);
    assert_eq!(failures.len(), LOSSES * replicas, "{failures:?}");
}

/// A lost plan is rebuilt from the disk: from the compiled engine, without the ONNX file, but not from a model that replaced it.
#[test]
fn a_lost_plan_comes_from_the_same_bundle() {
    if find_adapters().iter().all(|adapter| adapter.unfit.is_some()) {
        return skip("no adapter");
    }
    let folder = tempfile::tempdir().unwrap();
    copy_bundle(&fixtures_folder().join("tiny-bert"), folder.path());
    let bundle = Bundle::open(folder.path()).unwrap();
    let on_gpu = Options { device: Device::Gpu(None), ..Options::default() };
    grice_core::compile(&bundle, &on_gpu, || Duration::ZERO).unwrap();
    let onnx = folder.path().join("onnx/model.onnx");
    std::fs::remove_file(&onnx).unwrap();
    let loaded = Loaded::open(&bundle, &Options::default(), &[Device::Gpu(None)]).unwrap();
    let batch = Batch::pack(&[vec![1, 2, 3]]).unwrap();
    let lose = || loaded.plans.of_replica(0).gpu().unwrap().destroy();
    let answer = || (loaded.build)(&Replica { index: 0, threads: 1 })?.forward(&batch).map_err(Error::Engine);
    let expected = answer().unwrap();
    lose();
    assert!(answer().is_err(), "nobody asked the device yet");
    assert_eq!(answer().unwrap(), expected);
    assert!(loaded.plans.of_replica(0).compiled().is_some());

    // Without its digest in the manifest, the file itself is compared.
    let manifest = folder.path().join("grice.json");
    let mut about: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    about.as_object_mut().unwrap().remove("digests");
    std::fs::write(&manifest, about.to_string()).unwrap();
    std::fs::copy(fixtures_folder().join("tiny-bert/onnx/model.onnx"), &onnx).unwrap();
    let loaded =
        Loaded::open(&Bundle::open(folder.path()).unwrap(), &Options::default(), &[Device::Gpu(None)]).unwrap();
    std::fs::copy(fixtures_folder().join("tiny-deberta/onnx/model.onnx"), &onnx).unwrap();
    let lost = loaded.plans.of_replica(0);
    lost.gpu().unwrap().destroy();
    wait_until("the loss", || {
        lost.engine(1).and_then(|mut engine| Ok(engine.forward(&batch)?)).is_err() && lost.is_lost()
    });
    match (loaded.build)(&Replica { index: 0, threads: 1 }) {
        Err(Error::BundleDigest { path, .. }) => assert_eq!(path, "onnx/model.onnx"),
        other => panic!("{:?}", other.err()),
    }
}

/// A tiny model on the best adapter, and where its plans can be had.
fn on_gpu(name: &str, plans: &Arc<Mutex<Option<Arc<Plans>>>>) -> BundleSource {
    let plans = Arc::clone(plans);
    let load = move || {
        let bundle = Bundle::open(fixtures_folder().join("tiny-bert"))?;
        let loaded = Loaded::open(&bundle, &Options::default(), &[Device::Gpu(None)])?;
        *plans.lock().unwrap() = Some(Arc::clone(&loaded.plans));
        Ok(loaded)
    };
    BundleSource { name: Some(name.to_owned()), load: Arc::new(load) }
}

/// Turns of many lengths, with the processor's answers.
fn cases() -> Vec<(Value, Verdict)> {
    let bundle = Bundle::open(fixtures_folder().join("tiny-bert")).unwrap();
    let mut detector = Detector::load(&bundle, &Options::default()).unwrap();
    let turns = (0..24).map(|number| json!({ "response": format!("It is number {number}. ").repeat(1 + number % 7) }));
    let judged = turns.map(|turn| {
        let verdict = detector.detect(&serde_json::from_value::<Turn>(turn.clone()).unwrap()).unwrap();
        (turn, verdict)
    });
    judged.collect()
}

/// Sends requests on one connection until the end, without caches, and compares each answer with the processor's.
fn ask_on(server: &Started, cases: &[(Value, Verdict)], first: usize, asked: &AtomicUsize, is_over: &AtomicBool) {
    let client = server.client();
    for (turn, expected) in cases.iter().cycle().skip(first) {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let answer = client.post_with("/v1/detect", &[("cache-control", "no-store")], turn).expect(200);
        assert_eq!(answer.header("x-grice-cache"), "bypass");
        let found: Verdict = serde_json::from_value(without_model(answer.json())).unwrap();
        for (maxim, probability) in expected.probabilities.iter() {
            let difference = (probability - found.probabilities.get(maxim)).abs();
            assert!(difference < TOLERANCE, "{maxim}: {difference}");
        }
        assert_eq!(found.violations, expected.violations);
        asked.fetch_add(1, Ordering::Relaxed);
    }
}

fn without_model(mut answer: Value) -> Value {
    answer.as_object_mut().unwrap().remove("model");
    answer
}

/// Signals the end when it goes out of scope.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The log of all tests of this program, because a process has one log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> Log {
        static LOG: LazyLock<Log> = LazyLock::new(|| {
            let log = Log::default();
            let writer = log.clone();
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
            log
        });
        LOG.clone()
    }

    /// Lines with all of these words.
    fn lines(&self, words: &[&str]) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Shows the log if a test fails.
struct Shown(Log);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lines(&[]).iter().for_each(|line| eprintln!("{line}"));
        }
    }
}
