//! Spans, as a collector gets them.

use crate::started::{Started, settings, tiny, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc;

/// Answers 200 and hands on what it got.
fn collector() -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, got) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if let Some(told) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = told.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            // Before the answer: whoever has it may look for the message. The test may have seen enough.
            _ = sender.send(serde_json::from_slice(&body).unwrap());
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        }
    });
    (endpoint, got)
}

#[test]
fn sampled_requests_become_spans_and_the_last_are_sent_at_the_end() {
    let (endpoint, got) = collector();
    let mut settings = settings(vec![tiny("tiny-bert")]);
    settings.otlp_endpoint = Some(endpoint);
    let server = Started::new(settings);
    let ask = |flags: &str, body: Value| {
        let parent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        server.client().post_with("/v1/detect", &[("traceparent", &parent), ("x-request-id", "mine")], &body)
    };
    ask("01", json!({ "response": "a" })).expect(200);
    ask("00", json!({ "response": "not sampled" })).expect(200);
    ask("01", json!({})).expect(422);
    drop(server);
    let messages: Vec<Value> = got.try_iter().collect();
    let spans =
        messages.iter().flat_map(|message| message["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap());
    let mine: Vec<&Value> = spans.filter(|span| span["traceId"] == "0af7651916cd43dd8448eb211c80319c").collect();
    assert_eq!(mine.len(), 2, "{messages:?}");
    let span = mine[0];
    assert_eq!((&span["parentSpanId"], &span["name"]), (&json!("b7ad6b7169203331"), &json!("POST /v1/detect")));
    let nanoseconds = |name: &str| span[name].as_str().unwrap().parse::<u128>().unwrap();
    assert!(nanoseconds("endTimeUnixNano") > nanoseconds("startTimeUnixNano"));
    let attributes = span["attributes"].as_array().unwrap();
    for expected in [
        json!({ "key": "http.response.status_code", "value": { "intValue": "200" } }),
        json!({ "key": "grice.request_id", "value": { "stringValue": "mine" } }),
        json!({ "key": "grice.cache", "value": { "stringValue": "miss" } }),
    ] {
        assert!(attributes.contains(&expected), "{attributes:?}");
    }
    let problem = json!({ "key": "error.type", "value": { "stringValue": "unusable-input" } });
    assert!(mine[1]["attributes"].as_array().unwrap().contains(&problem));
}

#[test]
fn a_collector_that_is_down_hurts_nobody() {
    let mut settings = settings(vec![tiny("tiny-bert")]);
    settings.otlp_endpoint = Some("http://127.0.0.1:1".to_owned());
    let server = Started::new(settings);
    server.client().post("/v1/detect", &json!({ "response": "a" })).expect(200);
    wait_until("the loss to be counted", || server.metric("grice_spans_total{outcome=\"failed\"}") > 0.0);
}
