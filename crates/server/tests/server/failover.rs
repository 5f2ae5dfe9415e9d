//! Replicas that fail, and what clients notice of it: nothing, as long as there is another.

use crate::fake::{Failure, Plan};
use crate::started::{Started, faked, settings, wait_until};
use grice_core::task::Detect;
use grice_core::{Bounds, Bundle, Options, Turn};
use grice_testkit::fixtures::fixtures_folder;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn two_replicas(plan: &Arc<Plan>) -> Started {
    let mut settings = settings(vec![faked(plan)]);
    settings.pool.replicas = 2;
    Started::new(settings)
}

fn in_use(server: &Started) -> f64 {
    server.metric("grice_replicas{model=\"tiny-bert\",state=\"in_use\"}")
}

#[test]
fn both_replicas_work() {
    let plan = Plan::with_delay(Duration::from_millis(50));
    let server = two_replicas(&plan);
    let ask =
        |number: usize| server.client().post("/v1/detect", &json!({ "response": format!("{number}.") })).expect(200);
    std::thread::scope(|scope| (0..12).for_each(|number| _ = scope.spawn(move || ask(number))));
    let replicas: BTreeSet<usize> = plan.runs.lock().unwrap().iter().copied().collect();
    assert_eq!(replicas, BTreeSet::from([0, 1]));
}

#[test]
fn a_failed_replica_is_replaced_and_its_batch_tried_elsewhere() {
    // An error is of the engine only if it comes twice, and then on the sequence by which the engine is tried.
    for (failures, failure) in [(3, Failure::Error), (1, Failure::Panic)] {
        let plan = Arc::new(Plan::default());
        let server = two_replicas(&plan);
        plan.fail(failures, failure);
        server.client().post("/v1/detect", &json!({ "response": "a" })).expect(200);
        let runs = plan.runs.lock().unwrap().clone();
        assert_eq!(runs.len(), failures + 1);
        assert_ne!(runs[failures - 1], runs[failures]);
        assert_eq!(server.metric("grice_replica_failures_total{model=\"tiny-bert\"}"), 1.0);
        assert_eq!(server.metric("grice_retried_total{model=\"tiny-bert\"}"), 1.0);
        wait_until("the replica to be back", || in_use(&server) == 2.0);
        assert_eq!(plan.builds.load(Ordering::Relaxed), 3);
        server.client().get("/v2/health/ready").expect(200);
    }
}

#[test]
fn an_engine_that_failed_once_is_asked_again_and_stays() {
    let plan = Arc::new(Plan::default());
    let server = two_replicas(&plan);
    plan.fail(1, Failure::Error);
    server.client().post("/v1/detect", &json!({ "response": "a" })).expect(200);
    let runs = plan.runs.lock().unwrap().clone();
    assert!(runs.len() == 2 && runs[0] == runs[1], "{runs:?}");
    assert_eq!((plan.builds.load(Ordering::Relaxed), in_use(&server)), (2, 2.0));
}

#[test]
fn a_turn_on_which_the_model_fails_costs_no_other_and_no_replica() {
    let plan = Plan::with_delay(Duration::from_millis(20));
    let server = Started::new(settings(vec![faked(&plan)]));
    let client = server.client();
    let bad = "Perhaps, or not.";
    plan.fail_tokens(server_tokens(bad));
    let expected = client.post("/v1/detect", &json!({ "response": "Yes." })).expect(200).json();
    let items =
        json!([{ "response": "Yes." }, { "response": bad }, { "response": "\u{200b}" }, { "response": "No." }, 7]);
    let answers = client.post("/v1/detect", &items).expect(200).json();
    assert_eq!(answers[0], expected);
    assert!(answers[3]["probabilities"].is_object(), "{answers}");
    assert_eq!((&answers[1]["status"], &answers[1]["index"]), (&json!(500), &json!(1)));
    assert_eq!((&answers[2]["status"], &answers[2]["index"]), (&json!(422), &json!(2)));
    assert!(answers[2]["error"].as_str().unwrap().starts_with("`response` is empty"), "{answers}");
    assert_eq!((&answers[4]["status"], answers.as_array().unwrap().len()), (&json!(422), 5));
    client.post("/v1/detect", &json!({ "response": bad })).expect(500);
    assert!(client.post("/v1/detect", &json!([{ "response": bad }])).expect(500).detail().starts_with("item 0: "));
    // Those that ran in the same batch know nothing of it.
    let ask = |number: usize| {
        let response = if number.is_multiple_of(3) { bad.to_owned() } else { format!("Answer {number}.") };
        let headers = [("cache-control", "no-store")];
        let answer = server.client().post_with("/v1/detect", &headers, &json!({ "response": response }));
        answer.expect(if number.is_multiple_of(3) { 500 } else { 200 });
    };
    std::thread::scope(|scope| (0..24).for_each(|number| _ = scope.spawn(move || ask(number))));
    assert!(plan.batches().iter().any(|&rows| rows > 1));
    assert_eq!((plan.builds.load(Ordering::Relaxed), in_use(&server)), (1, 1.0));
    let tensors = |texts: [&str; 2]| json!({ "inputs": [{ "name": "response", "shape": [2, 1], "datatype": "BYTES", "data": texts }] });
    let refused = client.post("/v2/models/tiny-bert/infer", &tensors(["Yes.", bad])).expect(500);
    assert!(refused.detail().starts_with("row 1: "), "{}", refused.detail());
    let refused = client.post("/v2/models/tiny-bert/infer", &tensors(["Yes.", "\u{feff}"])).expect(422);
    assert!(refused.detail().starts_with("row 1: `response` is empty"), "{}", refused.detail());
}

fn server_tokens(response: &str) -> Vec<u32> {
    let bundle = Bundle::open(fixtures_folder().join("tiny-bert")).unwrap();
    Detect::read(&bundle, &Options::default(), Bounds::default()).unwrap().encode(&Turn::new("", response)).unwrap().ids
}

#[test]
fn a_batch_that_fails_everywhere_is_an_error_and_the_server_goes_on() {
    let plan = Arc::new(Plan::default());
    let server = two_replicas(&plan);
    plan.fail(2, Failure::Panic);
    let answer = server.client().post("/v1/detect", &json!({ "response": "a" })).expect(500);
    // What went wrong inside is for the log.
    assert!(!answer.detail().contains("told to panic"));
    wait_until("the replicas to be back", || in_use(&server) == 2.0);
    server.client().post("/v1/detect", &json!({ "response": "a" })).expect(200);
}

#[test]
fn logits_that_are_no_numbers_are_an_error_and_not_cached() {
    let plan = Arc::new(Plan::default());
    let server = two_replicas(&plan);
    plan.fail(1, Failure::NotFinite);
    server.client().post("/v1/detect", &json!({ "response": "a" })).expect(500);
    let answer = server.client().post("/v1/detect", &json!({ "response": "a" })).expect(200);
    assert_eq!(answer.header("x-grice-cache"), "miss");
}

#[test]
fn a_lone_replica_that_fails_is_waited_for() {
    let plan = Arc::new(Plan::default());
    let server = Started::new(settings(vec![faked(&plan)]));
    plan.fail(1, Failure::Panic);
    // Retried by the same replica after it is rebuilt.
    server.client().post("/v1/detect", &json!({ "response": "a" })).expect(200);
    assert_eq!(plan.builds.load(Ordering::Relaxed), 2);
}

#[test]
fn a_replica_that_is_long_in_coming_back_is_waited_for() {
    let plan = Arc::new(Plan::default());
    let server = Started::new(settings(vec![faked(&plan)]));
    plan.rebuild_millis.store(2_000, Ordering::Relaxed);
    plan.fail(1, Failure::Panic);
    let ask = |response: &str| server.client().post("/v1/detect", &json!({ "response": response })).expect(200);
    std::thread::scope(|scope| {
        scope.spawn(|| ask("a"));
        wait_until("the replica to fail", || in_use(&server) == 0.0);
        std::thread::sleep(Duration::from_millis(1_500));
        ask("b");
    });
    assert_eq!(plan.builds.load(Ordering::Relaxed), 2);
}

#[test]
fn readiness_tells_the_truth() {
    let plan = Arc::new(Plan::default());
    let server = Started::new(settings(vec![faked(&plan)]));
    let client = server.client();
    plan.build_failures.store(usize::MAX, Ordering::Relaxed);
    plan.fail(1, Failure::Panic);
    client.post_with("/v1/detect", &[("x-deadline-ms", "200")], &json!({ "response": "a" })).expect(504);
    assert_eq!(client.get("/v2/health/ready").expect(503).json()["models"]["tiny-bert"]["in_use"], 0);
    client.get("/v2/models/tiny-bert/ready").expect(503);
    client.get("/v2/health/live").expect(200);
    // Nobody queues for long for what is not there.
    wait_until("requests to be refused", || client.post("/v1/detect", &json!({ "response": "b" })).status == 503);
    assert_eq!(client.post("/v1/detect", &json!({ "response": "b" })).expect(503).header("retry-after"), "1");
    plan.build_failures.store(0, Ordering::Relaxed);
    wait_until("the replica to be back", || client.get("/v2/health/ready").status == 200);
    client.post("/v1/detect", &json!({ "response": "a" })).expect(200);
}
