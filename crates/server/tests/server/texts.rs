//! Models that write texts: answers, streams, clients that leave, and detectors beside them.

use crate::http::Client;
use crate::started::{Started, settings, tiny, wait_until, writer};
use grice_core::generate::{Choice, Event};
use grice_core::{Memory, Writer};
use grice_server::Settings;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn serving(names: &[&str]) -> Settings {
    let mut settings = settings(Vec::new());
    settings.writers = names.iter().map(|name| writer(name)).collect();
    settings.writer_memory_bytes = 64 << 20;
    settings
}

/// A text that takes longer than any test, unless somebody ends it.
fn endless() -> Value {
    endless_of("w7 w8")
}

/// The same of a prompt of one's own, so that it is not shared.
fn endless_of(prompt: &str) -> Value {
    json!({ "prompt": prompt, "max_new_tokens": 40_000, "min_new_tokens": 40_000, "stream": true })
}

/// What the library writes, one text in an engine of its own: `grice generate` is the same library.
fn alone(name: &str, body: &Value) -> Value {
    let writer = Writer::open(&grice_testkit::generators::folder(name), None).unwrap();
    let choice: Choice = serde_json::from_value(body.clone()).unwrap();
    let (mut engine, mut courses) = writer.engine(1, Memory::Tokens(2000)).unwrap();
    let options = Arc::new(writer.options_for(&choice, || panic!("no seed was given")).unwrap());
    let start = writer.start(body["prompt"].as_str().unwrap()).unwrap();
    let prompt_tokens = start.source.as_ref().unwrap_or(&start.prompt).len();
    courses.add(Arc::clone(&options), start, Some(writer.speller())).unwrap();
    let mut answer = Value::Null;
    let tell = |event: Event<'_>| {
        if let Event::Done(_, texts) = event {
            answer = json!({
                "generated": writer.written(&texts[0], &options.stop_strings),
                "finish_reason": texts[0].reason.name(),
                "prompt_tokens": prompt_tokens,
                "generated_tokens": texts[0].tokens.len(),
                "model": name,
            });
        }
    };
    writer.run(&mut engine, &mut courses, tell).unwrap();
    if let Some(seed) = options.seed {
        answer["seed"] = seed.into();
    }
    answer
}

fn bodies() -> Vec<Value> {
    let prompt = "w7 w8 w9 w10 w11 w12 w13 w14 w15 w16";
    vec![
        json!({ "prompt": "w7 w8" }),
        json!({ "prompt": prompt, "max_new_tokens": 30 }),
        json!({ "prompt": prompt, "max_new_tokens": 12, "draft": 4 }),
        json!({ "prompt": prompt, "beams": 4, "repetition_penalty": 1.5, "no_repeat_ngram": 3, "min_new_tokens": 6, "max_new_tokens": 25 }),
        json!({ "prompt": prompt, "beams": 3, "length_penalty": 2.0, "max_new_tokens": 9 }),
        json!({ "prompt": "w20 w30", "temperature": 1.3, "top_p": 0.95, "seed": 3, "max_new_tokens": 40 }),
        json!({ "prompt": "w20 w30", "top_k": 5, "seed": 4, "max_new_tokens": 40 }),
    ]
}

/// The events of a stream: the pieces joined, and the last event.
#[track_caller]
fn joined(text: &str) -> (String, Value) {
    let mut pieces = String::new();
    let event = |event: &str| -> Value {
        serde_json::from_str(event.strip_prefix("data: ").unwrap_or_else(|| panic!("{event}"))).unwrap()
    };
    let mut events: Vec<Value> = text.split_terminator("\n\n").map(event).collect();
    let last = events.pop().unwrap();
    events.iter().for_each(|event| pieces += event["text"].as_str().unwrap_or_else(|| panic!("{event}")));
    (pieces, last)
}

#[test]
fn texts_are_those_of_the_command_line_whole_and_in_pieces() {
    let names = ["gpt2", "llama", "qwen2", "t5", "t5-gated"];
    let server = Started::new(serving(&names));
    let client = server.client();
    for name in names {
        for mut body in bodies() {
            let expected = alone(name, &body);
            body["model"] = name.into();
            let answer = client.post("/v1/generate", &body).expect(200);
            assert_eq!(answer.json(), expected, "{body}");
            assert_eq!(answer.header("x-grice-cache"), "miss");
            assert!(answer.header("server-timing").contains("infer;dur="));
            let again = client.post("/v1/generate", &body).expect(200);
            assert_eq!((again.json(), again.header("x-grice-cache")), (expected.clone(), "hit"));

            body["stream"] = true.into();
            let known = client.post("/v1/generate", &body).expect(200);
            assert_eq!(known.header("x-grice-cache"), "hit");
            let anew = client.post_with("/v1/generate", &[("cache-control", "no-store")], &body).expect(200);
            for streamed in [known, anew] {
                assert_eq!(streamed.header("content-type"), "text/event-stream");
                assert_eq!(streamed.header("cache-control"), "no-cache");
                assert_eq!(streamed.header("x-accel-buffering"), "no");
                let (text, last) = joined(&streamed.text());
                assert_eq!(text, expected["generated"].as_str().unwrap(), "{body}");
                let mut totals = expected.clone();
                totals.as_object_mut().unwrap().remove("generated");
                totals["done"] = true.into();
                assert_eq!(last, totals);
            }
        }
    }
    let made = server.metric("grice_tokens_total{model=\"gpt2\",kind=\"generated\"}");
    assert!(made > 100.0, "{made}");
    assert_eq!(server.metric("grice_time_to_first_token_seconds_count"), 2.0 * 35.0);
    assert_eq!(server.pages_used("gpt2"), 0.0);
    assert!(server.metric("grice_kv_pages{model=\"gpt2\",state=\"free\"}") > 100.0);
    // A text of n tokens has n − 1 pauses, but beams say everything at their end.
    assert!(server.metric("grice_time_between_tokens_seconds_count") > 100.0);
    assert!(server.metric("grice_tokens_total{model=\"gpt2\",kind=\"prompt\"}") > 100.0);
    assert_eq!(server.metric("grice_inflight"), 1.0);
}

#[test]
fn texts_at_once_are_those_that_they_are_alone() {
    let server = Started::new(serving(&["gpt2"]));
    let threads: Vec<_> = (0..24)
        .map(|at| {
            let client = server.client();
            std::thread::spawn(move || {
                let mut body = bodies().swap_remove(at % 7);
                body["prompt"] = format!("{} w{}", body["prompt"].as_str().unwrap(), 20 + at / 2).into();
                let answer = client.post("/v1/generate", &body).expect(200).json();
                (answer, alone("gpt2", &body))
            })
        })
        .collect();
    for thread in threads {
        let (answer, expected) = thread.join().unwrap();
        assert_eq!(answer, expected);
    }
    assert_eq!(server.pages_used("gpt2"), 0.0);
}

#[test]
fn a_text_ends_before_its_stop_text() {
    let server = Started::new(serving(&["gpt2"]));
    let client = server.client();
    let body = json!({ "prompt": "w7 w8", "max_new_tokens": 20 });
    let whole = client.post("/v1/generate", &body).expect(200).json();
    let words: Vec<&str> = whole["generated"].as_str().unwrap().split(' ').collect();
    let stop = words[5];
    let first = words.iter().position(|word| *word == stop).unwrap();
    for stop in [json!(stop), json!([stop, "w999"])] {
        for stream in [false, true] {
            let mut asked = body.clone();
            (asked["stop"], asked["stream"]) = (stop.clone(), stream.into());
            let answer = client.post("/v1/generate", &asked).expect(200);
            let (text, last) = if stream {
                joined(&answer.text())
            } else {
                (answer.json()["generated"].as_str().unwrap().to_owned(), answer.json())
            };
            assert_eq!(text.trim_end(), words[..first].join(" "));
            assert_eq!(last["finish_reason"], "stop");
        }
    }
}

/// Begins a request by hand, and reads up to these words.
fn open(server: &Started, body: &Value, until: &str) -> TcpStream {
    open_at(server, "/v1/generate", body, until)
}

/// The same of another route.
pub(crate) fn open_at(server: &Started, path: &str, body: &Value, until: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let body = body.to_string();
    let head = "Host: here\r\nContent-Type: application/json\r\nContent-Length:";
    let request = format!("POST {path} HTTP/1.1\r\n{head} {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).unwrap();
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&read).contains(until) {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "it ended with {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&buffer[..count]);
    }
    stream
}

/// Clients leave in the middle of a stream, before it, and while they wait for a whole text: the memory is back, and each is counted when it is
/// over.
#[test]
fn clients_that_leave_free_their_pages() {
    let server = Started::new(serving(&["t5"]));
    let of = |name: &str| server.metric(&format!("grice_{name}{{model=\"t5\"}}"));
    let requests =
        |outcome: &str| server.metric(&format!("grice_requests_total{{route=\"/v1/generate\",outcome=\"{outcome}\"}}"));
    let stream = open(&server, &endless(), "data: ");
    assert!(server.pages_used("t5") > 0.0);
    assert_eq!((of("courses_running"), server.metric("grice_inflight"), requests("ok")), (1.0, 2.0, 0.0));
    drop(stream);
    wait_until("its pages to be free", || server.pages_used("t5") == 0.0 && of("courses_running") == 0.0);
    wait_until("the request to be counted", || requests("cancelled") == 1.0);

    let mut whole = endless();
    whole["stream"] = false.into();
    let stream = open(&server, &whole, "");
    wait_until("the text to begin", || of("courses_running") == 1.0);
    drop(stream);
    wait_until("its pages to be free", || server.pages_used("t5") == 0.0 && of("courses_running") == 0.0);
    wait_until("the request to be counted", || requests("cancelled") == 2.0);

    // Many at once, which do not read what they are sent.
    let streams: Vec<TcpStream> =
        (0..10).map(|at| open(&server, &endless_of(&format!("w{}", 10 + at / 2)), "")).collect();
    // A request that the server has not read yet would not be counted; the one for the metrics is in flight as well.
    wait_until("all to arrive", || of("courses_running") >= 1.0 && server.metric("grice_inflight") == 11.0);
    drop(streams);
    wait_until("all pages to be free", || server.pages_used("t5") == 0.0 && of("courses_running") == 0.0);
    wait_until("all requests to be counted", || requests("cancelled") == 12.0);
    assert_eq!(of("queue_size"), 0.0);
    server.client().post("/v1/generate", &json!({ "prompt": "w7" })).expect(200);
    assert_eq!(requests("ok"), 1.0);
}

#[test]
fn a_deadline_ends_a_text_whole_or_in_pieces() {
    let server = Started::new(serving(&["t5"]));
    let client = server.client();
    let mut body = endless();
    let headers = [("x-deadline-ms", "150")];
    let streamed = client.post_with("/v1/generate", &headers, &body).expect(200);
    let (_, last) = joined(&streamed.text());
    assert_eq!(last["status"], 504, "{last}");
    assert!(last["error"].as_str().unwrap().contains("X-Deadline-Ms"), "{last}");
    body["stream"] = false.into();
    assert!(client.post_with("/v1/generate", &headers, &body).expect(504).detail().contains("X-Deadline-Ms"));
    let late = "grice_requests_total{route=\"/v1/generate\",outcome=\"deadline\"}";
    assert_eq!(server.metric(late), 2.0);
    assert_eq!(server.metric("grice_rejected_total{reason=\"deadline\"}"), 2.0);
    // The step that ran at the deadline still ends.
    wait_until("its pages to be free", || server.pages_used("t5") == 0.0);
}

#[test]
fn a_detector_and_a_generator_are_served_together() {
    let mut settings = serving(&["t5", "gpt2"]);
    settings.bundles = vec![tiny("tiny-bert")];
    let server = Started::new(settings);
    let client = server.client();
    let turn = json!({ "context": "What is it?", "response": "Yes." });
    let verdict = client.post("/v1/detect", &turn).expect(200).json();
    let expected = alone("t5", &bodies()[1]);
    let stream = open(&server, &endless(), "data: ");
    // While a long text is written, turns are judged and short texts are written.
    for at in 0..20 {
        let turn = json!({ "context": format!("Question {at}?"), "response": "Yes." });
        client.post("/v1/detect", &turn).expect(200);
        let judged = client.post_with(
            "/v1/detect",
            &[("cache-control", "no-store")],
            &json!({ "context": "What is it?", "response": "Yes." }),
        );
        assert_eq!(judged.expect(200).json(), verdict);
    }
    assert_eq!(client.post("/v1/generate", &bodies()[1]).expect(200).json(), expected);
    assert_eq!(server.metric("grice_courses_running{model=\"t5\"}"), 1.0);
    drop(stream);

    let models = client.get("/v1/models").expect(200).json();
    let told = |at: usize| {
        let model = &models["models"][at];
        [&model["name"], &model["task"], &model["default"], &model["ready"], &model["max_tokens"]].map(Clone::clone)
    };
    assert_eq!(told(0)[..4], [json!("tiny-bert"), json!("detect"), json!(true), json!(true)]);
    assert_eq!(told(1), [json!("t5"), json!("generate"), json!(true), json!(true), json!(null)]);
    assert_eq!(told(2), [json!("gpt2"), json!("generate"), json!(false), json!(true), json!(160)]);
    let refused = |path: &str, body: Value, status: u16| client.post(path, &body).expect(status).detail();
    let detail = refused("/v1/generate", json!({ "prompt": "w7", "model": "tiny-bert" }), 422);
    assert_eq!(detail, "the model `tiny-bert` does not have the task `generate`; see /v1/models");
    let detail = refused("/v1/detect", json!({ "response": "a", "model": "gpt2" }), 422);
    assert!(detail.contains("does not have the task `detect`"), "{detail}");
    let detail = refused("/v1/generate", json!({ "prompt": "w7", "model": "b" }), 404);
    assert!(detail.contains("the models are: t5, gpt2"), "{detail}");
    assert_eq!(client.get("/health").expect(200).json()["models_loaded"]["generator"], true);
    assert_eq!(client.get("/v2/health/ready").expect(200).json()["models"]["gpt2"]["in_use"], 1);
    server.reload().unwrap();
    assert_eq!(client.post("/v1/generate", &bodies()[1]).expect(200).json(), expected);
}

#[test]
fn a_server_of_texts_alone_has_no_detector() {
    let server = Started::new(serving(&["gpt2"]));
    let client = server.client();
    let detail = client.post("/v1/detect", &json!({ "response": "a" })).expect(501).detail();
    assert!(detail.contains("the task `detect`"), "{detail}");
    client.post("/detect", &json!({ "response": "a" })).expect(501);
    assert_eq!(client.get("/v2/models/gpt2").expect(200).json()["outputs"][0]["name"], "text_output");
    client.get("/v2/models/b").expect(404);
}

#[test]
fn gricebench_clients_get_its_answer() {
    let server = Started::new(serving(&["gpt2"]));
    let client = server.client();
    let ask = |body: Value| client.post("/generate", &body);
    let answer = ask(json!({ "context": "w7 w8", "max_length": 12, "model": "whatever" })).expect(200);
    let body = answer.json();
    let words = body["response"].as_str().unwrap().split_whitespace().count();
    assert!((1..=12).contains(&words), "{body}");
    assert!(body["latency_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(answer.header("x-grice-cache"), "bypass");
    let drawn: std::collections::BTreeSet<String> =
        (0..6).map(|_| ask(json!({ "context": "w7 w8" })).expect(200).json()["response"].to_string()).collect();
    assert!(drawn.len() > 1, "{drawn:?}");
    ask(json!({ "context": ["w7", { "speaker": "Ann", "text": "w8" }] })).expect(200);
    for (body, words) in [
        (json!({}), "missing field `context`"),
        (json!({ "context": " " }), "`context` is empty"),
        (json!({ "context": 7 }), "`context`"),
        (json!({ "context": "w7", "max_length": 0 }), "`max_length` is 0"),
        (json!({ "context": "w7", "max_length": 1000 }), "`max_length` of 1000"),
    ] {
        let detail = ask(body.clone()).expect(422).detail();
        assert!(detail.contains(words), "{body}: {detail}");
    }
}

#[test]
fn hostile_requests_are_refused_by_name_and_cost_nothing() {
    let mut settings = serving(&["gpt2", "t5"]);
    settings.writer_memory_bytes = 1 << 20;
    let server = Started::new(settings);
    let client = server.client();
    let with = |name: &str, value: Value| {
        let mut body = json!({ "prompt": "w7 w8" });
        body[name] = value;
        body
    };
    let huge = u64::MAX;
    for (body, words) in [
        (json!([{ "prompt": "w7" }]), "must be an object"),
        (json!(["w7", null, false, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, [], 0]), "must be an object"),
        (json!("w7"), "invalid type"),
        (json!({ "prompt": "" }), "`prompt` is empty"),
        (json!({ "prompt": " \n " }), "`prompt` holds no text"),
        (json!({ "prompt": "w7 ".repeat(161) }), "are more than the 160 tokens of the model"),
        (with("max_new_tokens", json!(0)), "`max_new_tokens` is 0"),
        (with("max_new_tokens", json!(159)), "`max_new_tokens` of 159 are more than the 160 tokens"),
        (with("max_new_tokens", json!(huge)), "are more than the 160 tokens"),
        (with("max_new_tokens", json!(1.5)), "`max_new_tokens`"),
        (with("max_new_tokens", json!(-1)), "`max_new_tokens`"),
        (with("min_new_tokens", json!(81)), "`min_new_tokens` is 81"),
        (with("temperature", json!(-0.1)), "`temperature` is -0.1"),
        (with("temperature", json!(1e300)), "`temperature` is inf"),
        (with("top_p", json!(1.1)), "`top_p` is 1.1"),
        (with("top_k", json!(-3)), "`top_k`"),
        (with("seed", json!(-1)), "`seed`"),
        (with("beams", json!(0)), "`beams` is 0"),
        (with("beams", json!(257)), "`beams` is 257"),
        (with("length_penalty", json!(1)), "set `beams`"),
        (with("repetition_penalty", json!(0)), "`repetition_penalty` is 0"),
        (with("stop", json!("")), "`stop` is a list with an empty string"),
        (with("stop", json!([1])), "a text or a list of texts"),
        (with("max_tokens", json!(7)), "unknown field `max_tokens`"),
        (with("stream", json!("yes")), "`stream`"),
        (json!({ "prompt": "w7", "beams": 2, "temperature": 1 }), "beams draw nothing"),
        (json!({ "prompt": "w7", "beams": 2, "draft": 3 }), "`draft` is 3"),
        (json!({ "prompt": "w7", "model": "t5", "max_new_tokens": huge }), "pages of memory"),
        (json!({ "prompt": "w7", "model": "t5", "max_new_tokens": 2000, "beams": 256 }), "pages of memory"),
        (json!({ "prompt": "w7", "model": "t5", "max_new_tokens": 3, "draft": huge }), "it must be at most 1024"),
        (json!({ "prompt": "w7", "draft": 1025 }), "`draft` is 1025; it must be at most 1024"),
        (json!({ "prompt": "w7 ".repeat(100_000), "model": "t5" }), "pages of memory"),
    ] {
        for stream in [false, true] {
            let mut body = body.clone();
            if body.is_object() && body.get("stream").is_none() {
                body["stream"] = stream.into();
            }
            let detail = client.post("/v1/generate", &body).expect(422).detail();
            assert!(detail.contains(words), "{}: {detail}", &body.to_string()[..200.min(body.to_string().len())]);
        }
    }
    for name in ["gpt2", "t5"] {
        assert_eq!(server.pages_used(name), 0.0);
        assert_eq!(server.metric(&format!("grice_courses_running{{model=\"{name}\"}}")), 0.0);
    }
}

#[test]
fn bodies_that_are_no_requests_are_refused_and_odd_prompts_are_not() {
    let server = Started::new(serving(&["t5"]));
    let client = server.client();
    let send = |headers: &[(&str, &str)], body: &[u8]| client.send("POST", "/v1/generate", headers, body).unwrap();
    assert!(send(&[], b"{\"prompt\": ").expect(400).detail().contains("not JSON"));
    assert!(send(&[], b"").expect(400).detail().contains("empty"));
    assert!(send(&[], "[".repeat(100_000).as_bytes()).expect(422).detail().contains("must be an object"));
    assert!(send(&[], b"{\"prompt\": \"w7\"} w8").expect(400).detail().contains("not JSON"));
    send(&[("content-type", "text/csv")], b"a").expect(415);
    send(&[], &vec![b' '; (2 << 20) + 1]).expect(413);
    client.get("/v1/generate").expect(405);
    // A prompt of control words and odd characters is a prompt.
    for prompt in ["</s> <pad> w7", "\u{202e}w7 \u{0} 👩‍👩‍👧", "data: w7\n\ndata: w8"] {
        for stream in [false, true] {
            client.post("/v1/generate", &json!({ "prompt": prompt, "model": "t5", "stream": stream })).expect(200);
        }
    }
}

/// What does not fit now waits, and beyond the queue it is refused for a while.
#[test]
fn texts_wait_for_memory_and_a_full_queue_refuses() {
    let mut settings = serving(&["t5"]);
    // Room for one of the long texts.
    let model = Writer::open(&grice_testkit::generators::folder("t5"), None).unwrap();
    settings.writer_memory_bytes = 60_000 * model.token_bytes();
    settings.schedule.queue_rows_max = 1;
    settings.queue_wait_max = Duration::from_secs(600);
    let server = Started::new(settings);
    let of = |name: &str| server.metric(&format!("grice_{name}{{model=\"t5\"}}"));
    let first = open(&server, &endless_of("w7"), "data: ");
    // Its headers come at once, though there is no room for the text.
    let waiting = open(&server, &endless_of("w8"), "text/event-stream");
    wait_until("it to wait", || of("queue_size") == 1.0);
    let refused = server.client().post("/v1/generate", &endless_of("w9")).expect(429);
    assert!(refused.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert!(refused.detail().contains("the queue is full"));
    drop(first);
    wait_until("the other to begin", || of("queue_size") == 0.0 && of("courses_running") == 1.0);
    drop(waiting);
    wait_until("all pages to be free", || server.pages_used("t5") == 0.0);
}

#[test]
fn a_server_stops_after_its_streams() {
    let server = Started::new(serving(&["t5"]));
    let client = Client::new(server.address);
    let body = json!({ "prompt": "w7", "max_new_tokens": 1500, "min_new_tokens": 1500, "stream": true });
    let streaming = std::thread::spawn(move || client.post("/v1/generate", &body).expect(200).text());
    wait_until("the text to begin", || {
        server.metric("grice_courses_running{model=\"t5\"}") == 1.0 || streaming.is_finished()
    });
    drop(server);
    let (text, last) = joined(&streaming.join().unwrap());
    assert_eq!((&last["generated_tokens"], &last["finish_reason"]), (&json!(1500), &json!("length")));
    assert!(!text.is_empty());
}
