//! gRPC on the port of all else: every method, and every way to end.

use crate::fake::{Plan, logits_of};
use crate::grpc_client::{
    Choice, Flag, Grpc, Infer, Inferred, Model, Output, Parameter, Streamed, frame, prefixed, read, texts, tokens,
};
use crate::started::{Started, faked, settings, tiny, wait_until};
use bytes::Bytes;
use prost::Message;
use serde_json::json;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs a client beside the server, which has a runtime of its own.
fn with<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn model(name: &str, version: &str) -> Model {
    Model { name: name.to_owned(), version: version.to_owned() }
}

#[test]
fn every_method_answers() {
    #[derive(Clone, PartialEq, Message)]
    struct Described {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, repeated, tag = "2")]
        versions: Vec<String>,
        #[prost(message, repeated, tag = "4")]
        inputs: Vec<crate::grpc_client::Tensor>,
        #[prost(message, repeated, tag = "5")]
        outputs: Vec<crate::grpc_client::Tensor>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Index {
        #[prost(message, repeated, tag = "1")]
        models: Vec<Model>,
    }
    let server = Started::new(settings(vec![tiny("tiny-bert"), tiny("tiny-deberta")]));
    with(async {
        let client = Grpc::connect(server.address).await;
        for method in ["ServerLive", "ServerReady"] {
            assert!(client.call::<_, Flag>(method, &()).await.is_so, "{method}");
        }
        assert!(client.call::<_, Flag>("ModelReady", &model("tiny-bert", "1.0.0")).await.is_so);
        assert!(!client.call::<_, Flag>("ModelReady", &model("tiny-bert", "2")).await.is_so);
        assert!(!client.call::<_, Flag>("ModelReady", &model("other", "")).await.is_so);
        assert_eq!(client.call::<_, Model>("ServerMetadata", &()).await.name, "grice");
        let described: Described = client.call("ModelMetadata", &model("tiny-deberta", "")).await;
        assert_eq!((described.name.as_str(), described.versions[0].as_str()), ("tiny-deberta", "1.0.0"));
        assert_eq!((described.inputs.len(), described.inputs[2].datatype.as_str()), (5, "BYTES"));
        assert_eq!(
            (described.outputs[1].name.as_str(), &described.outputs[1].shape[..]),
            ("probabilities", &[-1, 4][..])
        );
        let index: Index = client.call("RepositoryIndex", &()).await;
        assert_eq!(index.models[1], model("tiny-deberta", "1.0.0"));
        let config = client.send("ModelConfig", &[], &frame(&model("tiny-bert", ""))).await;
        config.expect(0, "");
        assert!(config.messages[0].windows(11).any(|bytes| bytes == b"TYPE_STRING") || config.messages[0].len() > 60);
        for method in ["ModelMetadata", "ModelConfig", "ModelStatistics"] {
            client.send(method, &[], &frame(&model("other", ""))).await.expect(5, "tiny-bert, tiny-deberta");
        }
        let unknown = client.send("SystemSharedMemoryStatus", &[], &frame(&())).await;
        unknown.expect(12, "SystemSharedMemoryStatus");
    });
}

#[test]
fn texts_and_tokens_give_what_rest_gives() {
    let server = Started::new(settings(vec![tiny("tiny-bert")]));
    let rest = server.client().post("/v1/detect", &json!([{ "response": "Yes." }, { "response": "Ünïcödé, 日本語." }]));
    let rest = rest.expect(200).json();
    with(async {
        let client = Grpc::connect(server.address).await;
        let asked = texts("tiny-bert", "seven", &["Yes.", "Ünïcödé, 日本語."]);
        let found: Inferred = client.call("ModelInfer", &asked).await;
        assert_eq!((found.id.as_str(), found.model.as_str()), ("seven", "tiny-bert"));
        assert_eq!((found.outputs[1].name.as_str(), &found.outputs[1].shape[..]), ("probabilities", &[2, 4][..]));
        for (row, expected) in found.numbers(1).chunks(4).zip(rest.as_array().unwrap()) {
            let own = ["manner", "quantity", "relation", "quality"]
                .map(|label| expected["probabilities"][label].as_f64().unwrap() as f32);
            assert_eq!(row, own);
        }
        // The highest two, with place and label.
        let parameters = [("classification".to_owned(), Parameter { choice: Some(Choice::Int(2)) })].into();
        let outputs = vec![Output { name: "probabilities".to_owned(), parameters }];
        let classes: Inferred = client.call("ModelInfer", &Infer { outputs, ..asked }).await;
        assert_eq!((classes.outputs[0].datatype.as_str(), &classes.outputs[0].shape[..]), ("BYTES", &[2, 2][..]));
        let length = u32::from_le_bytes(classes.raw[0][..4].try_into().unwrap()) as usize;
        let first = std::str::from_utf8(&classes.raw[0][4..4 + length]).unwrap();
        let (value, rest) = first.split_once(':').unwrap();
        let highest = found.numbers(1)[..4].iter().copied().fold(0.0, f32::max);
        assert_eq!(value.parse::<f32>().unwrap(), highest, "{first}");
        assert!(["0:manner", "1:quantity", "2:relation", "3:quality"].contains(&rest), "{first}");
    });
    let plan = Arc::new(Plan::default());
    let server = Started::new(settings(vec![faked(&plan)]));
    with(async {
        let client = Grpc::connect(server.address).await;
        let found: Inferred = client.call("ModelInfer", &tokens("tiny-bert", &[1, 3, 2])).await;
        assert_eq!(found.numbers(0), logits_of(&[1, 3, 2]));
        let reply = client.send("ModelInfer", &[], &frame(&tokens("tiny-bert", &[1, 3, 2]))).await;
        assert_eq!(reply.head["x-grice-cache"], "hit");
        assert!(reply.head["server-timing"].to_str().unwrap().contains("infer;dur="));
        assert!(!reply.head.contains_key("content-length"));
    });
}

#[test]
fn every_refusal_has_its_number_and_its_words() {
    let plan = Arc::new(Plan::default());
    let mut settings = settings(vec![faked(&plan)]);
    settings.limits.body_bytes_max = 64 << 10;
    settings.limits.items_max = 2;
    settings.limits.body_pause_max = Duration::from_millis(200);
    let server = Started::new(settings);
    with(async {
        let client = Grpc::connect(server.address).await;
        let infer = async |asked: Infer| client.send("ModelInfer", &[], &frame(&asked)).await;
        infer(texts("other", "", &["a"])).await.expect(5, "no model is called `other`");
        infer(Infer { version: "9".to_owned(), ..texts("tiny-bert", "", &["a"]) }).await.expect(5, "not `9`");
        infer(texts("tiny-bert", "", &[" "])).await.expect(3, "row 0: `response` is empty");
        infer(texts("tiny-bert", "", &["a", "b", "c"])).await.expect(8, "3 rows are more than the 2");
        infer(tokens("tiny-bert", &[1, 1_000_000])).await.expect(3, "row 0: 1000000 is not a token");
        infer(Infer::default()).await.expect(5, "no model is called ``");
        let sequence = [("sequence_id".to_owned(), Parameter { choice: Some(Choice::Int(1)) })].into();
        infer(Infer { parameters: sequence, ..texts("tiny-bert", "", &["a"]) }).await.expect(3, "`sequence_id`");
        let named = vec![Output { name: "Größe 100%".to_owned(), ..Output::default() }];
        // What is no ASCII is percent-encoded in trailers.
        infer(Infer { outputs: named, ..texts("tiny-bert", "", &["a"]) }).await.expect(3, "100%25");
        let send = async |metadata: &[(&str, &str)], body: &[u8]| client.send("ModelInfer", metadata, body).await;
        send(&[], b"").await.expect(3, "no message");
        send(&[], &[0, 0]).await.expect(3, "cut off after 2 bytes");
        send(&[], &prefixed(0, b"\xff\xff\xff")).await.expect(3, "cannot be read");
        send(&[], &prefixed(7, b"")).await.expect(3, "begins with 7");
        send(&[], &prefixed(1, b"x")).await.expect(3, "there is no grpc-encoding");
        send(&[("grpc-encoding", "snappy")], &prefixed(1, b"x")).await.expect(12, "`snappy`");
        send(&[("grpc-encoding", "gzip")], &prefixed(1, b"x")).await.expect(3, "not valid gzip");
        send(&[("grpc-timeout", "1x")], &frame(&texts("tiny-bert", "", &["a"]))).await.expect(3, "grpc-timeout");
        let twice = [frame(&texts("tiny-bert", "", &["a"])), frame(&texts("tiny-bert", "", &["a"]))].concat();
        send(&[], &twice).await.expect(3, "more than one message");
        send(&[], &prefixed(0, &vec![b' '; 65 << 10])).await.expect(8, "is larger than 65536");
        send(&[("content-type", "application/grpc+json")], b"").await.expect(3, "");
        // A stream that stops in the middle of a message.
        let (answer, mut stream) = client.open("ModelInfer", &[]).await;
        stream.send_data(Bytes::from_static(&[0, 0, 0, 0, 9, 1]), false).unwrap();
        read(answer).await.expect(4, "too slowly");
        plan.fail(2, crate::fake::Failure::Panic);
        infer(texts("tiny-bert", "", &["It falls."])).await.expect(13, "the server's log has the cause");
        // The same path without gRPC's media type.
        let plain = server.client().post("/inference.GRPCInferenceService/ModelInfer", &json!({})).expect(415);
        assert!(plain.detail().contains("application/grpc"));
        let old = [("content-type", "application/grpc")];
        let old = server.client().send("POST", "/inference.GRPCInferenceService/ModelInfer", &old, b"").unwrap();
        assert!(old.expect(400).detail().contains("needs HTTP/2"));
    });
    let grpc = "grice_requests_total{route=\"/inference.GRPCInferenceService/ModelInfer\",outcome=\"failed\"}";
    assert_eq!(server.metric(grpc), 1.0);
}

#[test]
fn keys_rates_and_deadlines_hold_for_calls() {
    let plan = Plan::with_delay(Duration::from_millis(300));
    let mut settings = settings(vec![faked(&plan)]);
    settings.access.keys = vec!["the-first-key".to_owned(), "the-second-key".to_owned()];
    settings.access.rate_per_minute = 6;
    settings.access.rate_burst = 5;
    let server = Started::new(settings);
    with(async {
        let client = Grpc::connect(server.address).await;
        assert!(client.call::<_, Flag>("ServerLive", &()).await.is_so);
        let asked = frame(&texts("tiny-bert", "", &["a"]));
        client.send("ModelInfer", &[], &asked).await.expect(16, "a valid API key is needed");
        client.send("ServerMetadata", &[("x-api-key", "another-key")], &frame(&())).await.expect(16, "");
        let first = ("authorization", "bearer the-first-key");
        client.send("ModelInfer", &[first], &asked).await.expect(0, "");
        let slow = frame(&texts("tiny-bert", "", &["Something new."]));
        let start = Instant::now();
        client.send("ModelInfer", &[first, ("grpc-timeout", "100m")], &slow).await.expect(4, "deadline");
        assert!(start.elapsed() < Duration::from_millis(290), "{:?}", start.elapsed());
        let timeout = [("timeout".to_owned(), Parameter { choice: Some(Choice::Int(100_000)) })].into();
        let slow = frame(&Infer { parameters: timeout, ..texts("tiny-bert", "", &["Something newer."]) });
        client.send("ModelInfer", &[first], &slow).await.expect(4, "deadline");
        client.send("ModelInfer", &[first], &asked).await.expect(0, "");
        client.send("ModelInfer", &[first], &asked).await.expect(0, "");
        let limited = client.send("ModelInfer", &[first], &asked).await;
        limited.expect(8, "reached its rate limit");
        let pushback: u64 = limited.trailers["grpc-retry-pushback-ms"].to_str().unwrap().parse().unwrap();
        assert!((1000..=10_000).contains(&pushback), "{pushback}");
        // On a stream each request counts.
        let body = asked.repeat(6);
        let streamed = client.send("ModelStreamInfer", &[("x-api-key", "the-second-key")], &body).await;
        streamed.expect(0, "");
        let errors: Vec<bool> = streamed
            .messages
            .iter()
            .map(|message| !Streamed::decode(message.clone()).unwrap().error.is_empty())
            .collect();
        assert_eq!(errors, [false, false, false, false, false, true]);
    });
}

#[test]
fn a_call_that_is_cancelled_leaves_the_queue() {
    let plan = Plan::with_delay(Duration::from_millis(300));
    let mut settings = settings(vec![faked(&plan)]);
    settings.schedule.batch_rows_max = 1;
    let server = Started::new(settings);
    with(async {
        let client = Grpc::connect(server.address).await;
        let open = async |text: &str| {
            let (answer, mut stream) = client.open("ModelInfer", &[]).await;
            stream.send_data(frame(&texts("tiny-bert", "", &[text])).into(), true).unwrap();
            (answer, stream)
        };
        let (first, _first) = open("The first.").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (second, mut stream) = open("The second.").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.send_reset(h2::Reason::CANCEL);
        drop(second);
        read(first).await.expect(0, "");
    });
    wait_until("the count", || server.metric("grice_cancelled_total{model=\"tiny-bert\"}") == 1.0);
    assert_eq!(plan.batches().len(), 1);
}

#[test]
fn messages_may_be_packed_both_ways() {
    let server = Started::new(settings(vec![faked(&Arc::new(Plan::default()))]));
    let many: Vec<String> = (0..64).map(|number| format!("Answer number {number}.")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    with(async {
        let client = Grpc::connect(server.address).await;
        let asked = texts("tiny-bert", "", &many);
        let plain: Inferred = client.call("ModelInfer", &asked).await;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &asked.encode_to_vec()).unwrap();
        let packed = prefixed(1, &gzip.finish().unwrap());
        let reply = client.send("ModelInfer", &[("grpc-encoding", "gzip")], &packed).await;
        reply.expect(0, "");
        assert_eq!(reply.head["grpc-encoding"], "gzip");
        assert_eq!(Inferred::decode(reply.messages[0].clone()).unwrap(), plain);
        // A bomb costs what the limit costs.
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        (0..1024).for_each(|_| std::io::Write::write_all(&mut gzip, &[0; 1 << 16]).unwrap());
        let bomb = prefixed(1, &gzip.finish().unwrap());
        let start = Instant::now();
        client.send("ModelInfer", &[("grpc-encoding", "gzip")], &bomb).await.expect(8, "larger than 2097152");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    });
}

#[test]
fn a_stream_answers_in_turn_and_survives_what_is_wrong() {
    let server = Started::new(settings(vec![faked(&Arc::new(Plan::default()))]));
    with(async {
        let client = Grpc::connect(server.address).await;
        let (answer, mut stream) = client.open("ModelStreamInfer", &[]).await;
        let mut body = answer.await.unwrap().into_body();
        // Each answer before the next request: nothing waits for the stream's end.
        let mut next = async |bytes: Vec<u8>| {
            stream.send_data(bytes.into(), false).unwrap();
            let piece = body.data().await.unwrap().unwrap();
            body.flow_control().release_capacity(piece.len()).unwrap();
            Streamed::decode(piece.slice(5..)).unwrap()
        };
        let first = next(frame(&texts("tiny-bert", "1", &["Yes."]))).await;
        let inferred = first.inferred.unwrap();
        assert_eq!((first.error.as_str(), inferred.id.as_str()), ("", "1"));
        assert_eq!(inferred.parameters["triton_final_response"].choice, Some(Choice::Bool(true)));
        let wrong = next(frame(&texts("other", "2", &["Yes."]))).await;
        assert!(wrong.error.contains("no model is called `other`") && wrong.inferred.unwrap().id == "2");
        let broken = next(prefixed(0, b"\xff\xff\xff")).await;
        assert!(broken.error.contains("cannot be read"), "{}", broken.error);
        let whole = frame(&texts("tiny-bert", "3", &["No."]));
        let parameters =
            [("triton_enable_empty_final_response".to_owned(), Parameter { choice: Some(Choice::Bool(true)) })];
        let wants_final = Infer { parameters: parameters.into(), ..texts("tiny-bert", "4", &["No."]) };
        // In pieces, and two at once.
        stream.send_data(whole[..7].to_vec().into(), false).unwrap();
        stream.send_data([&whole[7..], &frame(&wants_final)].concat().into(), true).unwrap();
        let mut rest = Vec::new();
        while let Some(piece) = body.data().await {
            rest.extend_from_slice(&piece.unwrap());
        }
        let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
        let third = Streamed::decode(&rest[5..5 + length]).unwrap();
        let fourth = Streamed::decode(&rest[10 + length..]).unwrap();
        assert_eq!((third.inferred.unwrap().id, fourth.inferred.unwrap().id), ("3".to_owned(), "4".to_owned()));
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    });
}

#[test]
fn an_open_stream_does_not_hold_up_the_end() {
    let server = Started::new(settings(vec![faked(&Arc::new(Plan::default()))]));
    with(async {
        let client = Grpc::connect(server.address).await;
        let (answer, mut stream) = client.open("ModelStreamInfer", &[]).await;
        stream.send_data(frame(&texts("tiny-bert", "1", &["Yes."])).into(), false).unwrap();
        let mut body = answer.await.unwrap().into_body();
        assert!(body.data().await.unwrap().is_ok());
        let start = Instant::now();
        server.handle.stop();
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "14");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    });
}

#[test]
fn messages_that_make_no_sense_are_the_clients_fault() {
    let server = Started::new(settings(vec![faked(&Arc::new(Plan::default()))]));
    with(async {
        let client = Grpc::connect(server.address).await;
        let whole = frame(&texts("tiny-bert", "1", &["Yes.", "No."]));
        let mut seed = 1u32;
        let mut roll = |sides: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize % sides
        };
        for number in 0..400 {
            let mut body = whole.clone();
            for _ in 0..=roll(3) {
                let place = roll(body.len());
                body[place] = roll(256) as u8;
            }
            if number % 3 == 0 {
                body.truncate(roll(body.len()));
            }
            let encoding = ["identity", "gzip", "deflate"][roll(3)];
            let reply = client.send("ModelInfer", &[("grpc-encoding", encoding)], &body).await;
            // Fine, or one of: invalid, not found, too large.
            assert!([0, 3, 5, 8].contains(&reply.status()), "{body:?}: {} {}", reply.status(), reply.message());
        }
    });
}
