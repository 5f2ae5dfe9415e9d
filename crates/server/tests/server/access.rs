//! Keys, rates, CORS, and answers before the models are loaded.

use crate::fake::Plan;
use crate::started::{Started, faked, settings, tiny};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn keys_guard_what_they_should() {
    let mut settings = settings(vec![tiny("tiny-bert")]);
    settings.access.keys = vec!["the-first-key".to_owned(), "the-second-key".to_owned()];
    let server = Started::new(settings);
    let client = server.client();
    let turn = json!({ "response": "a" });
    for path in ["/v2/health/live", "/v2/health/ready", "/health", "/metrics", "/openapi.json", "/docs"] {
        client.get(path).expect(200);
    }
    let refused = client.post("/v1/detect", &turn).expect(401);
    assert!(refused.header("www-authenticate").starts_with("Bearer"));
    client.get("/v1/models").expect(401);
    client.get("/v2/models/tiny-bert").expect(401);
    client.post("/detect", &turn).expect(403);
    client.post("/admin/reload", &json!({})).expect(404);
    client.post_with("/v1/detect", &[("x-api-key", "the-third-key")], &turn).expect(401);
    client.post_with("/v1/detect", &[("x-api-key", "the-second-key")], &turn).expect(200);
    client.post_with("/v1/detect", &[("authorization", "Bearer the-first-key")], &turn).expect(200);
    client.post_with("/detect", &[("x-api-key", "the-first-key")], &turn).expect(200);
    for spelled in [
        &[("authorization", "bearer  the-first-key")][..],
        &[("authorization", "BEARER \tthe-first-key")],
        &[("authorization", "Bearer the-first-key"), ("authorization", "")],
        &[("x-api-key", ""), ("authorization", "Bearer the-first-key")],
    ] {
        client.post_with("/v1/detect", spelled, &turn).expect(200);
    }
    client.post_with("/v1/detect", &[("authorization", "Bearer"), ("x-api-key", "")], &turn).expect(401);
}

#[test]
fn a_key_that_asks_too_often_is_told_when_to_come_back() {
    let mut settings = settings(vec![tiny("tiny-bert")]);
    settings.access.keys = vec!["the-first-key".to_owned(), "the-second-key".to_owned()];
    settings.access.rate_per_minute = 6;
    settings.access.rate_burst = 4;
    let server = Started::new(settings);
    let client = server.client();
    let ask = |key: &str| client.post_with("/v1/detect", &[("x-api-key", key)], &json!({ "response": "a" }));
    (0..4).for_each(|_| _ = ask("the-first-key").expect(200));
    let refused = ask("the-first-key").expect(429);
    assert!((9..=10).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
    ask("the-second-key").expect(200);
    assert_eq!(server.metric("grice_rejected_total{reason=\"rate-limited\"}"), 1.0);
}

#[test]
fn browsers_may_call_only_from_where_they_are_told() {
    let ask = |server: &Started| {
        let headers = [("origin", "https://page.example"), ("content-type", "application/json")];
        let answer =
            server.client().send("POST", "/v1/detect", &headers, b"{\"response\": \"a\"}").unwrap().expect(200);
        answer.header("access-control-allow-origin").to_owned()
    };
    assert_eq!(ask(&Started::new(settings(vec![tiny("tiny-bert")]))), "");
    for (allowed, expected) in
        [("https://page.example", "https://page.example"), ("https://other.example", ""), ("*", "*")]
    {
        let mut settings = settings(vec![tiny("tiny-bert")]);
        settings.access.cors_origins = vec![allowed.to_owned()];
        let server = Started::new(settings);
        assert_eq!(ask(&server), expected);
        if expected == "*" {
            let asked = [("origin", "https://page.example"), ("access-control-request-method", "POST")];
            let answer = server.client().send("OPTIONS", "/v1/detect", &asked, b"").unwrap().expect(200);
            assert_eq!(answer.header("access-control-allow-methods"), "GET,POST");
            let allowed = answer.header("access-control-allow-headers").to_ascii_lowercase();
            for name in [
                "content-type",
                "content-encoding",
                "authorization",
                "x-api-key",
                "x-request-id",
                "x-deadline-ms",
                "traceparent",
                "tracestate",
                "cache-control",
                "inference-header-content-length",
            ] {
                assert!(allowed.split(',').any(|known| known.trim() == name), "{name}: {allowed}");
            }
            let origin = [("origin", "https://page.example")];
            let answer = server.client().send("GET", "/v2/health/live", &origin, b"").unwrap().expect(200);
            let exposed = answer.header("access-control-expose-headers").to_ascii_lowercase();
            for name in ["x-request-id", "x-grice-cache", "server-timing", "retry-after", "accept-encoding"] {
                assert!(exposed.split(',').any(|known| known.trim() == name), "{name}: {exposed}");
            }
        }
    }
}

#[test]
fn before_the_models_are_there_the_server_lives_and_says_no_more() {
    let plan = Plan::with_delay(Duration::from_millis(40));
    let mut settings = settings(vec![faked(&plan)]);
    // Warm-up takes this engine about half a second.
    settings.pool.warm_up = true;
    let server = Started::early(settings);
    let client = server.client();
    client.get("/v2/health/live").expect(200);
    assert_eq!(client.get("/v2/health/ready").expect(503).json()["ready"], false);
    client.get("/health").expect(503);
    let early = client.post("/v1/detect", &json!({ "response": "a" })).expect(503);
    assert!(early.detail().contains("still being loaded"));
    assert_eq!(early.header("retry-after"), "1");
    crate::started::wait_until("the models", || client.get("/v2/health/ready").status == 200);
    client.post("/v1/detect", &json!({ "response": "a" })).expect(200);
    // Each length once and a full batch, before the first request.
    let batches = plan.batches();
    assert!(batches.len() >= 8 && batches.contains(&32), "{batches:?}");
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let check = |change: fn(&mut grice_server::Settings), words: &str| {
        let mut settings = settings(vec![tiny("tiny-bert")]);
        change(&mut settings);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let error = runtime.block_on(async {
            match grice_server::Server::start(settings).await {
                Ok(server) => server.run().await.err(),
                Err(error) => Some(error),
            }
        });
        let error = error.expect(words).to_string();
        assert!(error.contains(words), "{error}");
    };
    check(|settings| settings.bundles.clear(), "no model to serve");
    check(|settings| settings.bundles.push(tiny("tiny-bert")), "two models are called `tiny-bert`");
    check(|settings| settings.bundles[0].name = Some("a b".to_owned()), "`a b` cannot be a model's name");
    check(|settings| settings.bundles[0].name = Some("stats".to_owned()), "`stats` cannot be a model's name");
    check(|settings| settings.bundles[0] = tiny("no-such-bundle"), "no-such-bundle");
    check(|settings| settings.access.keys = vec!["short".to_owned()], "at least 8 characters");
    check(|settings| settings.access.cors_origins = vec!["page.example".to_owned()], "not an origin");
    check(
        |settings| {
            let plan = Arc::new(Plan::default());
            plan.build_failures.store(9, std::sync::atomic::Ordering::Relaxed);
            settings.bundles[0] = faked(&plan);
        },
        "told not to",
    );
}
