//! The statistics extension against what was really asked.

use crate::fake::{Failure, Plan};
use crate::started::{Started, faked, settings, tiny};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn stats(server: &Started, path: &str) -> Value {
    server.client().get(path).expect(200).json()["model_stats"][0].clone()
}

/// Count and milliseconds of a sum.
fn of(stats: &Value, name: &str) -> (u64, f64) {
    let sum = &stats["inference_stats"][name];
    (sum["count"].as_u64().unwrap(), sum["ns"].as_u64().unwrap() as f64 / 1e6)
}

#[test]
fn the_counts_are_those_of_what_was_asked() {
    let plan = Plan::with_delay(Duration::from_millis(20));
    let server = Started::new(settings(vec![faked(&plan)]));
    let client = server.client();
    let fresh = stats(&server, "/v2/models/tiny-bert/stats");
    assert_eq!((&fresh["name"], &fresh["version"]), (&json!("tiny-bert"), &json!("1.0.0")));
    assert_eq!((&fresh["inference_count"], &fresh["last_inference"]), (&json!(0), &json!(0)));
    let infer = |texts: &[&str], headers: &[(&str, &str)], status: u16| {
        let input = json!({ "name": "response", "datatype": "BYTES", "shape": [texts.len()], "data": texts });
        client.post_with("/v2/models/tiny-bert/infer", headers, &json!({ "inputs": [input] })).expect(status)
    };
    let before = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    infer(&["One."], &[], 200);
    infer(&["Two.", "Three.", "Four."], &[], 200);
    // The cache knows these; and of those it knows one.
    infer(&["One."], &[], 200);
    infer(&["Two.", "Four."], &[], 200);
    infer(&["One.", "Five."], &[], 200);
    infer(&["One."], &[("cache-control", "no-store")], 200);
    client.post("/v1/detect", &json!([{ "response": "Six." }, { "response": "Seven." }])).expect(200);
    client.post("/detect", &json!({ "response": "Eight." })).expect(200);
    infer(&[" "], &[], 422);
    client.post("/v1/detect", &json!([{ "response": "" }])).expect(422);
    client.post("/v1/detect", &json!([{ "response": "Nine." }, { "response": "" }])).expect(200);
    let found = stats(&server, "/v2/models/tiny-bert/versions/1.0.0/stats");
    assert_eq!((&found["inference_count"], &found["execution_count"]), (&json!(1 + 3 + 1 + 1 + 2 + 1 + 1), &json!(7)));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    assert!((before..=now).contains(&found["last_inference"].as_u64().unwrap()));
    let (success, took) = of(&found, "success");
    let (failed, failed_took) = of(&found, "fail");
    assert_eq!((success, failed), (9, 2));
    assert!(took >= 7.0 * 20.0 && (0.0..1000.0).contains(&failed_took), "{took} {failed_took}");
    assert_eq!((of(&found, "cache_hit").0, of(&found, "cache_miss").0), (2, 6));
    let (infers, infer_took) = of(&found, "compute_infer");
    assert!(infers == 7 && infer_took >= 7.0 * 20.0 && infer_took <= took, "{infers} {infer_took} {took}");
    assert_eq!((of(&found, "compute_input").0, of(&found, "compute_output").0), (7, 7));
    assert!(of(&found, "compute_input").1 > 0.0 && of(&found, "compute_output").1 > 0.0);
    assert_eq!(of(&found, "queue").0, 9);
    let parts = ["queue", "compute_input", "compute_infer", "compute_output"].map(|name| of(&found, name).1);
    assert!(parts.iter().sum::<f64>() <= took, "{parts:?} {took}");
    let mut executions: Vec<u64> = plan.batches().iter().map(|&rows| rows as u64).collect();
    executions.sort_unstable();
    let mut told = Vec::new();
    for batch in found["batch_stats"].as_array().unwrap() {
        let count = batch["compute_infer"]["count"].as_u64().unwrap();
        assert!(batch["compute_infer"]["ns"].as_u64().unwrap() >= count * 20_000_000);
        assert_eq!(
            (&batch["compute_input"]["count"], &batch["compute_output"]["count"]),
            (&json!(count), &json!(count))
        );
        told.extend((0..count).map(|_| batch["batch_size"].as_u64().unwrap()));
    }
    assert_eq!(told, executions);
}

#[test]
fn what_fails_in_the_engine_is_a_failure() {
    let plan = Arc::new(Plan::default());
    let server = Started::new(settings(vec![faked(&plan)]));
    plan.fail(2, Failure::Panic);
    server.client().post("/v1/detect", &json!({ "response": "One." })).expect(500);
    let found = stats(&server, "/v2/models/tiny-bert/stats");
    assert_eq!((of(&found, "success").0, of(&found, "fail").0), (0, 1));
    assert_eq!((&found["execution_count"], &found["inference_count"]), (&json!(0), &json!(0)));
}

#[test]
fn without_a_cache_nothing_is_missed() {
    let mut settings = settings(vec![faked(&Arc::new(Plan::default()))]);
    settings.schedule.cache_bytes_max = 0;
    let server = Started::new(settings);
    (0..2).for_each(|_| _ = server.client().post("/v1/detect", &json!({ "response": "One." })).expect(200));
    let found = stats(&server, "/v2/models/stats");
    assert_eq!((of(&found, "cache_hit").0, of(&found, "cache_miss").0, of(&found, "success").0), (0, 0, 2));
    assert_eq!(found["inference_count"], 2);
}

#[test]
fn each_model_counts_for_itself() {
    let server = Started::new(settings(vec![tiny("tiny-bert"), tiny("tiny-deberta")]));
    let client = server.client();
    let turns = json!([{ "response": "a" }, { "response": "b", "model": "tiny-deberta" }, { "response": "c" }]);
    client.post("/v1/detect", &turns).expect(200);
    let all = client.get("/v2/models/stats").expect(200).json()["model_stats"].clone();
    assert_eq!((&all[0]["inference_count"], &all[1]["inference_count"]), (&json!(2), &json!(1)));
    assert_eq!((of(&all[0], "success").0, of(&all[1], "success").0), (1, 1));
    assert!(client.get("/v2/models/other/stats").expect(404).detail().contains("tiny-bert, tiny-deberta"));
    client.get("/v2/models/tiny-bert/versions/9/stats").expect(404);
    assert!(client.get("/v2").expect(200).text().contains("\"statistics\""));
}
