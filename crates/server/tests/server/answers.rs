//! What the domain routes and GriceBench's answer.

use crate::fake::Plan;
use crate::http::Client;
use crate::started::{Started, faked, settings, tiny, wait_until};
use grice_core::{Bundle, Detector, Options, Turn, Verdict};
use grice_testkit::fixtures::{fixtures_folder, read};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn detector(name: &str) -> Detector {
    Detector::load(&Bundle::open(fixtures_folder().join(name)).unwrap(), &Options::default()).unwrap()
}

/// The turns that every face of grice is held to.
fn turns() -> Vec<Value> {
    let file: Value = serde_json::from_slice(&read(&fixtures_folder().join("verdicts.json"))).unwrap();
    file["turns"].as_object().unwrap().values().cloned().collect()
}

#[track_caller]
fn check_verdict(answer: &Value, expected: &Verdict, model: &str) {
    let mut answer = answer.clone();
    assert_eq!(answer.as_object_mut().unwrap().remove("model"), Some(json!(model)));
    let found: Verdict = serde_json::from_value(answer).unwrap();
    for (maxim, probability) in expected.probabilities.iter() {
        let difference = (probability - found.probabilities.get(maxim)).abs();
        assert!(difference < 1e-6, "{maxim}: {difference}");
    }
    let exact = |verdict: &Verdict| (verdict.violations, verdict.cooperative, verdict.truncated);
    assert_eq!(exact(&found), exact(expected));
}

#[test]
fn verdicts_are_those_of_the_detector_one_by_one_and_in_an_array() {
    let server = Started::new(settings(vec![tiny("tiny-bert"), tiny("tiny-deberta")]));
    let client = server.client();
    for model in ["tiny-bert", "tiny-deberta"] {
        let mut detector = detector(model);
        let mut turns = turns();
        let expected: Vec<Verdict> = turns
            .iter()
            .map(|turn| detector.detect(&serde_json::from_value::<Turn>(turn.clone()).unwrap()).unwrap())
            .collect();
        turns.iter_mut().for_each(|turn| turn["model"] = json!(model));
        for (turn, expected) in turns.iter().zip(&expected) {
            check_verdict(&client.post("/v1/detect", turn).expect(200).json(), expected, model);
        }
        let answers = client.post("/v1/detect", &json!(turns)).expect(200).json();
        assert_eq!(answers.as_array().unwrap().len(), turns.len());
        for (answer, expected) in answers.as_array().unwrap().iter().zip(&expected) {
            check_verdict(answer, expected, model);
        }
    }
}

#[test]
fn an_array_may_name_several_models_and_be_empty() {
    let server = Started::new(settings(vec![tiny("tiny-bert"), tiny("tiny-deberta")]));
    let models = [Value::Null, json!("tiny-deberta"), json!("tiny-bert"), json!("tiny-deberta")];
    let turns: Vec<Value> = models.iter().map(|model| json!({ "response": "Yes.", "model": model })).collect();
    let answers = server.client().post("/v1/detect", &json!(turns)).expect(200).json();
    let named: Vec<&str> = answers.as_array().unwrap().iter().map(|answer| answer["model"].as_str().unwrap()).collect();
    assert_eq!(named, ["tiny-bert", "tiny-deberta", "tiny-bert", "tiny-deberta"]);
    assert_eq!(server.client().post("/v1/detect", &json!([])).expect(200).json(), json!([]));
}

#[test]
fn the_cache_answers_what_was_asked_before() {
    let plan = Arc::new(Plan::default());
    let server = Started::new(settings(vec![faked(&plan)]));
    let client = server.client();
    let ask = |response: &str, control: &str| {
        let answer = client.post_with("/v1/detect", &[("cache-control", control)], &json!({ "response": response }));
        let answer = answer.expect(200);
        assert!(answer.header("server-timing").starts_with("tokenize;dur="), "{}", answer.header("server-timing"));
        (answer.header("x-grice-cache").to_owned(), answer.text())
    };
    let (first, second) = (ask("One.", ""), ask("One.", ""));
    assert_eq!((first.0.as_str(), second.0.as_str()), ("miss", "hit"));
    assert_eq!(first.1, second.1);
    assert_eq!(ask("One.", "no-store").0, "bypass");
    assert_eq!(ask("Two.", "no-cache").0, "bypass");
    assert_eq!(ask("Two.", "max-age=0").0, "miss");
    assert_eq!(plan.batches(), [1, 1, 1, 1]);
    let counts =
        ["hits", "misses"].map(|what| server.metric(&format!("grice_cache_{what}_total{{model=\"tiny-bert\"}}")));
    assert_eq!(counts, [1.0, 2.0]);
}

#[test]
fn identical_requests_in_flight_share_a_run() {
    let plan = Plan::with_delay(Duration::from_millis(200));
    let server = Started::new(settings(vec![faked(&plan)]));
    let ask = || server.client().post("/v1/detect", &json!({ "response": "Same." })).expect(200);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let count = |cached: &str| answers.iter().filter(|answer| answer.header("x-grice-cache") == cached).count();
    assert_eq!((count("miss"), count("coalesced") + count("hit")), (1, 7));
    assert_eq!(plan.batches(), [1]);
}

#[test]
fn requests_that_wait_together_run_together() {
    let plan = Plan::with_delay(Duration::from_millis(100));
    let server = Started::new(settings(vec![faked(&plan)]));
    let ask =
        |number: usize| server.client().post("/v1/detect", &json!({ "response": format!("{number}.") })).expect(200);
    std::thread::scope(|scope| (0..9).for_each(|number| _ = scope.spawn(move || ask(number))));
    let batches = plan.batches();
    assert_eq!(batches.iter().sum::<usize>(), 9);
    assert!(batches.len() <= 4, "{batches:?}");
    assert_eq!(server.metric("grice_batch_size_sum"), 9.0);
}

#[test]
fn thresholds_may_come_with_the_turn() {
    let server = Started::new(settings(vec![tiny("tiny-bert")]));
    let ask = |thresholds: Value| {
        let turn = json!({ "response": "Yes.", "thresholds": thresholds });
        server.client().post("/v1/detect", &turn).expect(200).json()
    };
    let low = ask(json!({ "quantity": 0.0001, "quality": 0.0001, "relation": 0.0001, "manner": 0.0001 }));
    assert_eq!(low["violations"], json!({ "quantity": true, "quality": true, "relation": true, "manner": true }));
    let high = ask(json!({ "quantity": 0.9999, "quality": 0.9999, "relation": 0.9999, "manner": 0.9999 }));
    assert_eq!(high["cooperative"], true);
    let one = ask(json!({ "manner": 0.0001, "quantity": 0.9999 }));
    assert_eq!((&one["violations"]["manner"], &one["violations"]["quantity"]), (&json!(true), &json!(false)));
}

#[test]
fn gricebench_clients_get_their_own_bodies() {
    let server = Started::new(settings(vec![tiny("tiny-bert")]));
    let client = server.client();
    let turn = json!({ "context": "What is AI?", "response": "AI is artificial intelligence", "threshold": 0.5 });
    let answer = client.post("/detect", &turn).expect(200).json();
    let own = client.post("/v1/detect", &turn).expect(200).json();
    assert_eq!(answer["probabilities"], own["probabilities"]);
    let fields: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["violations", "probabilities", "cooperative", "latency_ms"]);
    assert!(answer["latency_ms"].as_f64().unwrap() > 0.0);
    let strict = client.post("/detect", &json!({ "response": "Yes.", "threshold": 0.0001 })).expect(200).json();
    assert_eq!(strict["cooperative"], false);
    let health = client.get("/health").expect(200).json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["models_loaded"], json!({ "detector": true, "repair": false, "generator": false }));
    assert!(
        client
            .post("/detect", &json!({ "response": "Yes.", "threshold": 2 }))
            .expect(422)
            .detail()
            .contains("threshold")
    );
}

#[test]
fn refusals_name_what_is_wrong() {
    let server = Started::new(settings(vec![tiny("tiny-bert")]));
    let client = server.client();
    let check = |body: Value, status: u16, words: &str| {
        let detail = client.post("/v1/detect", &body).expect(status).detail();
        assert!(detail.contains(words), "{detail}");
    };
    check(json!({ "response": " " }), 422, "`response` is empty");
    check(json!({ "response": "a\u{0}b" }), 422, "NUL character at byte 1");
    check(json!({ "response": 1 }), 422, "`response`: invalid type");
    check(json!({ "response": "a", "model": "other" }), 404, "no model is called `other`; the models are: tiny-bert");
    let outside = json!({ "response": "a", "thresholds": { "manner": 1.5 } });
    check(outside, 422, "`thresholds.manner` must be a number from 0 to 1");
    check(json!({ "response": "\u{200b}\u{fe0f}" }), 422, "`response` is empty");
    check(json!({ "response": "\u{fffd}" }), 422, "nothing that the model's tokenizer reads");
    check(json!(vec![json!({ "response": "a" }); 257]), 413, "257 turns");
    let several = json!([{ "response": "a" }, { "response": "" }, { "response": "a" }, { "response": "\u{0}" }]);
    let answers = client.post("/v1/detect", &several).expect(200).json();
    let places: Vec<_> = answers.as_array().unwrap().iter().map(|answer| answer["index"].clone()).collect();
    assert_eq!(places, [json!(null), json!(1), json!(null), json!(3)]);
    assert_eq!(answers[1]["error"], client.post("/v1/detect", &several[1]).expect(422).detail());
    let none = json!([{ "response": "" }, { "response": "\u{0}" }, { "response": 7 }]);
    let problem = client.post("/v1/detect", &none).expect(422).json();
    let places: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| error["index"].clone()).collect();
    assert_eq!(places, [json!(0), json!(1), json!(2)]);
    for (threshold, cooperative) in [(0, false), (1, true)] {
        let all = json!({ "quantity": threshold, "quality": threshold, "relation": threshold, "manner": threshold });
        let answer = client.post("/v1/detect", &json!({ "response": "Yes.", "thresholds": all })).expect(200).json();
        assert_eq!(answer["cooperative"], cooperative);
        let answer = client.post("/detect", &json!({ "response": "Yes.", "threshold": threshold })).expect(200).json();
        assert_eq!(answer["cooperative"], cooperative);
    }
    let unknown = client.post("/v1/detect", &json!({ "response": "ᚠᚢᚦ ᚨᚱᚲ" })).expect(200).json();
    assert_eq!(unknown["unknown_share"], 1.0);
    let unknown = client.post("/detect", &json!({ "response": "ᚠᚢᚦ ᚨᚱᚲ" })).expect(200).json();
    assert_eq!(unknown["unknown_share"], 1.0);
    for path in ["/v1/detect", "/detect"] {
        let known = client.post(path, &json!({ "response": "Yes." })).expect(200).json();
        assert!(known.get("unknown_share").is_none());
    }
    let send = |headers: &[(&str, &str)], body: &[u8]| client.send("POST", "/v1/detect", headers, body).unwrap();
    assert!(send(&[], b"{\"response\": ").expect(400).detail().contains("not JSON"));
    assert!(send(&[("content-type", "text/csv")], b"a").expect(415).detail().contains("text/csv"));
    send(&[("content-encoding", "br"), ("content-type", "application/json")], b"x").expect(415);
    send(&[("x-deadline-ms", "soon")], b"{\"response\": \"a\"}").expect(400);
    send(&[], &vec![b' '; (2 << 20) + 1]).expect(413);
    client.get("/nowhere").expect(404);
    let wrong = client.get("/v1/detect").expect(405);
    assert_eq!(wrong.header("allow"), "POST");
    for path in ["/v1/repair", "/v1/generate", "/v1/pipeline", "/repair", "/generate"] {
        assert!(client.post(path, &json!({})).expect(501).detail().contains("no model here has the task"), "{path}");
    }
}

#[test]
fn a_deadline_is_kept() {
    let plan = Plan::with_delay(Duration::from_millis(400));
    let server = Started::new(settings(vec![faked(&plan)]));
    let start = std::time::Instant::now();
    let answer = server.client().post_with("/v1/detect", &[("x-deadline-ms", "60")], &json!({ "response": "a" }));
    assert!(answer.expect(504).detail().contains("X-Deadline-Ms"));
    let took = start.elapsed();
    assert!((Duration::from_millis(60)..Duration::from_millis(300)).contains(&took), "{took:?}");
    assert_eq!(server.metric("grice_rejected_total{reason=\"deadline\"}"), 1.0);
}

#[test]
fn whoever_goes_away_leaves_the_queue() {
    let plan = Plan::with_delay(Duration::from_millis(300));
    let server = Started::new(settings(vec![faked(&plan)]));
    std::thread::scope(|scope| {
        scope.spawn(|| server.client().post("/v1/detect", &json!({ "response": "runs" })).expect(200));
        wait_until("the first to run", || !plan.runs.lock().unwrap().is_empty());
        // They wait behind the first, and give up.
        for number in 0..5 {
            use std::io::Write;
            let mut stream = std::net::TcpStream::connect(server.address).unwrap();
            let body = format!("{{\"response\": \"waits {number}\"}}");
            let head = format!("POST /v1/detect HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    server.client().post("/v1/detect", &json!({ "response": "last" })).expect(200);
    assert_eq!(plan.batches(), [1, 1]);
    assert_eq!(server.metric("grice_cancelled_total{model=\"tiny-bert\"}"), 5.0);
    assert_eq!(server.metric("grice_requests_total{route=\"/v1/detect\",outcome=\"cancelled\"}"), 5.0);
}

#[test]
fn ids_and_traces_go_round() {
    let server = Started::new(settings(vec![tiny("tiny-bert")]));
    let client = server.client();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let sent = [("x-request-id", "mine-7"), ("traceparent", trace)];
    let answer = client.post_with("/v1/detect", &sent, &json!({ "response": "a" })).expect(200);
    assert_eq!(answer.header("x-request-id"), "mine-7");
    assert!(answer.header("traceparent").starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    assert_ne!(answer.header("traceparent"), trace);
    let refused = client.post("/v1/detect", &json!({})).expect(422);
    assert_eq!((refused.header("x-request-id").len(), refused.header("traceparent").len()), (16, 55));
}

#[test]
fn metrics_tell_what_happened() {
    let server = Started::new(settings(vec![tiny("tiny-bert")]));
    let client = server.client();
    let all = json!({ "quantity": 0.0001, "quality": 0.0001, "relation": 0.0001, "manner": 0.0001 });
    client.post("/v1/detect", &json!({ "response": "a", "thresholds": all })).expect(200);
    client.post("/v1/detect", &json!({})).expect(422);
    client.get("/nothing/here").expect(404);
    let answer = client.get("/metrics").expect(200);
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    let text = answer.text();
    for line in [
        "grice_requests_total{route=\"/v1/detect\",outcome=\"ok\"} 1",
        "grice_requests_total{route=\"/v1/detect\",outcome=\"invalid\"} 1",
        "grice_requests_total{route=\"unmatched\",outcome=\"invalid\"} 1",
        "grice_violations_total{maxim=\"quantity\"} 1",
        "grice_violations_total{maxim=\"manner\"} 1",
        "grice_request_duration_seconds_count{route=\"/v1/detect\"} 2",
        "grice_tokenize_duration_seconds_count 1",
        "grice_queue_duration_seconds_count 1",
        "grice_infer_duration_seconds_count 1",
        "grice_batch_size_count 1",
        "grice_batch_tokens_count 1",
        "grice_batch_padding_ratio_count 1",
        "grice_queue_size{model=\"tiny-bert\"} 0",
        "grice_cache_misses_total{model=\"tiny-bert\"} 1",
        "grice_cache_hits_total{model=\"tiny-bert\"} 0",
        "grice_cache_evictions_total{model=\"tiny-bert\"} 0",
        "grice_coalesced_total{model=\"tiny-bert\"} 0",
        "grice_replicas{model=\"tiny-bert\",state=\"in_use\"} 1",
        "grice_ready 1",
        "grice_inflight 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "no line `{line}` in\n{text}");
    }
    assert!(text.contains(
        "grice_model_info{model=\"tiny-bert\",version=\"1.0.0\",precision=\"fp32\",device=\"cpu\",digest=\"sha256:"
    ));
    assert!(text.contains("grice_cache_bytes{model=\"tiny-bert\"} "));
}

#[test]
fn the_docs_page_is_whole_in_itself() {
    let server = Started::new(settings(vec![tiny("tiny-bert")]));
    let client: Client = server.client();
    let page = client.get("/docs").expect(200);
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    let text = page.text();
    for outside in ["http://", "https://", "//cdn", " src=", "@import", "url("] {
        assert!(!text.contains(outside), "{outside}");
    }
    assert_eq!(client.get("/").expect(303).header("location"), "/docs");
    assert_eq!(client.get("/openapi.json").expect(200).json()["info"]["version"], env!("CARGO_PKG_VERSION"));
}

/// Each number of an explanation is the difference of two answers to single requests.
#[test]
fn explanations_are_the_differences_of_single_requests() {
    let server = Started::new(settings(vec![tiny("../../../models/detector-mini")]));
    let client = server.client();
    // A tiny model without sense: each maxim counts as violated.
    let all = json!({ "quantity": 0, "quality": 0, "relation": 0, "manner": 0 });
    let turn = json!({ "context": ["hello you", "how are you ?"], "evidence": "i am fine", "response": "it is good", "thresholds": all });
    let mut explained = turn.clone();
    explained["explain"] = json!(true);
    let plain = client.post("/v1/detect", &turn).expect(200).json();
    assert!(plain.get("explanation").is_none());
    let verdicts = |client: &Client| {
        client
            .get("/metrics")
            .text()
            .lines()
            .filter(|line| line.contains("violations_total{"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = verdicts(&client);
    let mut answer = client.post("/v1/detect", &explained).expect(200).json();
    let told = verdicts(&client);
    let explanation = answer.as_object_mut().unwrap().remove("explanation").unwrap();
    assert_eq!(answer, plain);
    assert_eq!((&explanation["tried"], &explanation["of"]), (&json!(11), &json!(11)));
    let mut checked = 0;
    for (maxim, words) in explanation["words"].as_object().unwrap() {
        for word in words.as_array().unwrap() {
            let text = word["word"].as_str().unwrap();
            let mut without = turn.clone();
            let place = match (word["field"].as_str().unwrap(), word["utterance"].as_u64()) {
                ("context", Some(at)) => &mut without["context"][at as usize],
                (field, _) => &mut without[field],
            };
            let (start, end) = (word["start"].as_u64().unwrap() as usize, word["end"].as_u64().unwrap() as usize);
            let whole = place.as_str().unwrap().to_owned();
            assert_eq!(&whole[start..end], text);
            *place = json!([whole[..start].trim_end(), whole[end..].trim_start()].join(" ").trim());
            let single = client.post("/v1/detect", &without).expect(200).json();
            let probability = |answer: &Value| answer["probabilities"][maxim].as_f64().unwrap() as f32;
            assert_eq!(probability(&single) - probability(&plain), word["change"].as_f64().unwrap() as f32, "{word}");
            checked += 1;
        }
    }
    assert!(checked > 4, "{explanation}");
    // The turns without words are no verdicts that anyone asked for.
    let counts = |lines: &[String]| -> f64 {
        lines.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    assert_eq!(counts(&told) - counts(&before), 4.0, "{before:?} {told:?}");
}

#[test]
fn explanations_stay_within_the_limits_of_a_request() {
    let mut settings = settings(vec![tiny("tiny-bert")]);
    settings.limits.items_max = 40;
    let server = Started::new(settings);
    let client = server.client();
    let thresholds = json!({ "quantity": 0, "quality": 0, "relation": 0, "manner": 0 });
    let turn =
        |explain: Value| json!({ "response": "good ".repeat(300), "thresholds": thresholds, "explain": explain });
    let long = client.post("/v1/detect", &turn(json!(true))).expect(200).json();
    let (tried, of) = (long["explanation"]["tried"].as_u64().unwrap(), long["explanation"]["of"].as_u64().unwrap());
    assert!(tried < of && tried <= 39, "{tried} of {of}");
    let refused = client.post("/v1/detect", &json!([turn(json!(true)), turn(json!(null))])).expect(413).json();
    assert!(refused["detail"].as_str().unwrap().contains("explain at most 1"), "{refused}");
    client.post("/v1/detect", &json!([turn(json!(false)), turn(json!(null))])).expect(200);
    client.post("/v1/detect", &turn(json!("yes"))).expect(422);
    // The only word of a response cannot be left out, and that is no error.
    let one = client.post("/v1/detect", &json!({ "response": "good", "thresholds": thresholds, "explain": true }));
    assert_eq!(one.expect(200).json()["explanation"]["tried"], json!(1));
}
