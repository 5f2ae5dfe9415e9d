//! Replacement of models while requests run.

use crate::fake::Plan;
use crate::started::{Started, faked, settings, tiny};
use grice_core::{Bundle, Options};
use grice_server::BundleSource;
use grice_testkit::fixtures::fixtures_folder;
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, atomic::AtomicU64};
use std::time::Duration;

#[test]
fn no_request_is_dropped() {
    let plan = Plan::with_delay(Duration::from_millis(5));
    let server = Started::new(settings(vec![faked(&plan)]));
    let (is_over, answered, number) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let client = server.client();
                while !is_over.load(Ordering::Relaxed) {
                    let number = number.fetch_add(1, Ordering::Relaxed);
                    client.post("/v1/detect", &json!({ "response": format!("{number}.") })).expect(200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(50));
            server.reload().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(answered.load(Ordering::Relaxed) > 50);
    assert_eq!(plan.builds.load(Ordering::Relaxed), 6);
    assert_eq!(server.metric("grice_reloads_total{outcome=\"ok\"}"), 6.0);
}

#[test]
fn a_changed_folder_is_reloaded_and_a_broken_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |from: &str| copy_bundle(&fixtures_folder().join(from), folder.path());
    copy("tiny-bert");
    let place = folder.path().to_owned();
    let source = BundleSource::new(Some("m".to_owned()), Options::default(), Vec::new(), move || Bundle::open(&place));
    let mut settings = settings(vec![source, tiny("tiny-bert")]);
    settings.access.admin_key = Some("the-admin-key".to_owned());
    let server = Started::new(settings);
    let client = server.client();
    let ask = || client.post("/v1/detect", &json!({ "response": "a", "model": "m" })).expect(200).json();
    let reload = || client.post_with("/admin/reload", &[("x-api-key", "the-admin-key")], &json!({}));
    let before = ask();
    std::fs::write(folder.path().join("grice.json"), "{").unwrap();
    assert!(reload().expect(409).detail().contains("grice.json"));
    assert_eq!(ask(), before);
    copy("tiny-deberta");
    assert_eq!(reload().expect(200).json(), json!({ "reloaded": ["m", "tiny-bert"] }));
    assert_ne!(ask()["probabilities"], before["probabilities"]);
    client.post("/admin/reload", &json!({})).expect(401);
    let text = client.get("/metrics").text();
    assert_eq!(text.lines().filter(|line| line.starts_with("grice_model_info{model=\"m\"")).count(), 1, "{text}");
}

pub(crate) fn copy_bundle(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("onnx")).unwrap();
    for file in ["grice.json", "config.json", "tokenizer.json", "onnx/model.onnx"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

#[test]
fn threads_of_old_models_end() {
    let plan = Arc::new(Plan::default());
    let server = Started::new(settings(vec![faked(&plan)]));
    let Some(before) = threads() else {
        return crate::started::skip("threads are counted in /proc, which is not here");
    };
    for _ in 0..20 {
        server.reload().unwrap();
    }
    crate::started::wait_until("old replicas to end", || threads().unwrap() < before + 10);
}

/// Threads of replicas in this process; other tests have some too.
fn threads() -> Option<usize> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    Some(names.filter(|name| name.starts_with("replica")).count())
}
