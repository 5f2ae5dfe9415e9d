//! Texts for Triton's clients: the generate extension over HTTP, and streams over gRPC.

use crate::chatty::events;
use crate::grpc_client::{Choice, Contents, Grpc, Infer, Inferred, Model, Parameter, Streamed, Tensor, frame, read};
use crate::started::{Started, tiny, wait_until};
use crate::texts::serving;
use prost::Message;
use serde_json::{Value, json};
use std::future::Future;

fn with<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A text to write.
pub(crate) fn text(model: &str, id: &str, prompt: &str, parameters: &[(&str, i64)]) -> Infer {
    let input = Tensor {
        name: "text_input".to_owned(),
        datatype: "BYTES".to_owned(),
        shape: vec![1],
        contents: Some(Contents { texts: vec![prompt.as_bytes().to_vec()], ..Contents::default() }),
    };
    let parameter = |(name, value): &(&str, i64)| ((*name).to_owned(), Parameter { choice: Some(Choice::Int(*value)) });
    let parameters = parameters.iter().map(parameter).collect();
    Infer { model: model.to_owned(), id: id.to_owned(), parameters, inputs: vec![input], ..Infer::default() }
}

/// The text of an answer.
fn said(inferred: &Inferred) -> &str {
    let output = &inferred.outputs[0];
    assert_eq!((output.name.as_str(), output.datatype.as_str(), &output.shape[..]), ("text_output", "BYTES", &[1][..]));
    let (length, text) = inferred.raw[0].split_at(4);
    assert_eq!(u32::from_le_bytes(length.try_into().unwrap()) as usize, text.len());
    std::str::from_utf8(text).unwrap()
}

fn flag(inferred: &Inferred, name: &str) -> Option<bool> {
    match inferred.parameters.get(name)?.choice.as_ref()? {
        Choice::Bool(flag) => Some(*flag),
        other => panic!("{other:?}"),
    }
}

fn serving_all() -> Started {
    let mut settings = serving(&["gpt2", "t5"]);
    settings.bundles = vec![tiny("tiny-bert")];
    Started::new(settings)
}

#[test]
fn the_generate_extension_writes_what_the_own_route_writes() {
    let server = serving_all();
    let client = server.client();
    let own = client.post("/v1/generate", &json!({ "prompt": "w7 w8", "max_new_tokens": 9 })).expect(200).json();
    let expected = json!({ "model_name": "gpt2", "model_version": "gpt2", "text_output": own["generated"],
                           "finish_reason": own["finish_reason"], "prompt_tokens": 2, "generated_tokens": own["generated_tokens"] });
    let body = json!({ "text_input": "w7 w8", "max_tokens": 9 });
    for path in ["/v2/models/gpt2", "/v2/models/gpt2/versions/gpt2"] {
        let answer = client.post(&format!("{path}/generate"), &body).expect(200);
        assert_eq!(answer.json(), expected);
        assert!(answer.header("server-timing").contains("infer;dur="));
        let parameters =
            json!({ "id": "seven", "text_input": "w7 w8", "parameters": { "max_new_tokens": 9, "stream": true } });
        let streamed = client.post(&format!("{path}/generate_stream"), &parameters).expect(200);
        assert_eq!(streamed.header("content-type"), "text/event-stream");
        let said = events(&streamed.text());
        assert!(said.iter().all(|event| event["id"] == "seven" && event["model_name"] == "gpt2"));
        let pieces: String = said.iter().map(|event| event["text_output"].as_str().unwrap()).collect();
        assert_eq!(json!(pieces), own["generated"]);
        let (last, before) = said.split_last().unwrap();
        assert_eq!((&last["finish_reason"], &last["text_output"]), (&own["finish_reason"], &json!("")));
        assert!(before.iter().all(|event| event.get("finish_reason").is_none()));
    }
    let refused = |path: &str, body: Value, status: u16, words: &str| {
        let detail = client.post(path, &body).expect(status).detail();
        assert!(detail.contains(words), "{path} {body}: {detail}");
    };
    for path in ["/v2/models/gpt2/generate", "/v2/models/gpt2/generate_stream"] {
        refused(path, json!({}), 422, "missing field `text_input`");
        refused(path, json!({ "text_input": "" }), 422, "`text_input` is empty");
        refused(path, json!({ "text_input": "w7", "temperature": -1 }), 422, "`temperature` is -1");
        refused(path, json!({ "text_input": "w7", "bad_words": "w8" }), 422, "unknown field `bad_words`");
        refused(path, json!([]), 422, "invalid type");
    }
    refused("/v2/models/gpt2/versions/2/generate", body.clone(), 404, "has the version `gpt2`");
    refused("/v2/models/b/generate", body.clone(), 404, "the models are: gpt2, t5");
    refused("/v2/models/tiny-bert/generate", body.clone(), 404, "does not have the task `generate`");
    // In the middle of a stream the text breaks off with an error.
    let endless = json!({ "text_input": "w7", "max_tokens": 40_000, "min_tokens": 40_000 });
    let late = client.post_with("/v2/models/t5/generate_stream", &[("x-deadline-ms", "150")], &endless).expect(200);
    assert!(events(&late.text()).last().unwrap()["error"].as_str().unwrap().contains("deadline"));
    let model = client.get("/v2/models/t5").expect(200).json();
    assert_eq!(model["inputs"], json!([{ "name": "text_input", "datatype": "BYTES", "shape": [-1, 1] }]));
    let config = client.get("/v2/models/t5/config").expect(200).json();
    assert_eq!(config["model_transaction_policy"], json!({ "decoupled": true }));
    assert_eq!(client.get("/v2/models/t5/ready").expect(200).json()["ready"], true);
    let index = client.post("/v2/repository/index", &json!({})).expect(200).json();
    assert_eq!(index[2], json!({ "name": "t5", "version": "t5", "state": "READY", "reason": "" }));
}

#[test]
fn texts_come_over_grpc_whole_and_in_pieces() {
    let server = serving_all();
    let own =
        server.client().post("/v1/generate", &json!({ "prompt": "w7 w8", "max_new_tokens": 9 })).expect(200).json();
    let own = own["generated"].as_str().unwrap();
    with(async {
        let client = Grpc::connect(server.address).await;
        let asked = text("gpt2", "seven", "w7 w8", &[("max_tokens", 9)]);
        let whole: Inferred = client.call("ModelInfer", &asked).await;
        assert_eq!((said(&whole), whole.id.as_str(), whole.model.as_str()), (own, "seven", "gpt2"));
        assert_eq!(flag(&whole, "triton_final_response"), None);

        // Three texts and a turn on one stream, answered in their order.
        let (answer, mut stream) = client.open("ModelStreamInfer", &[]).await;
        let turn = crate::grpc_client::texts("tiny-bert", "turn", &["Yes."]);
        let wrong = text("gpt2", "wrong", "w7", &[("max_tokens", 0)]);
        for asked in [&asked, &turn, &wrong, &text("gpt2", "raw", "w7 w8", &[("max_tokens", 9)])] {
            stream.send_data(frame(asked).into(), false).unwrap();
        }
        stream.send_data(Default::default(), true).unwrap();
        let reply = read(answer).await;
        reply.expect(0, "");
        let answers: Vec<Streamed> =
            reply.messages.iter().map(|message| Streamed::decode(message.clone()).unwrap()).collect();
        let mut ids: Vec<&str> = answers.iter().map(|answer| answer.inferred.as_ref().unwrap().id.as_str()).collect();
        ids.dedup();
        assert_eq!(ids, ["seven", "turn", "wrong", "raw"]);
        for id in ["seven", "raw"] {
            let own_answers: Vec<&Inferred> =
                answers.iter().filter_map(|answer| answer.inferred.as_ref()).filter(|answer| answer.id == id).collect();
            let pieces: String = own_answers.iter().map(|answer| said(answer)).collect();
            assert_eq!(pieces, own);
            let finals: Vec<bool> =
                own_answers.iter().map(|answer| flag(answer, "triton_final_response").unwrap()).collect();
            let (last, before) = finals.split_last().unwrap();
            assert!(*last && !before.is_empty() && before.iter().all(|is_last| !is_last), "{finals:?}");
        }
        let failed = answers.iter().find(|answer| answer.inferred.as_ref().unwrap().id == "wrong").unwrap();
        assert!(failed.error.contains("`max_new_tokens` is 0"), "{}", failed.error);
        let judged = answers.iter().find(|answer| answer.inferred.as_ref().unwrap().id == "turn").unwrap();
        assert_eq!(flag(judged.inferred.as_ref().unwrap(), "triton_final_response"), Some(true));

        for (asked, words) in [
            (Infer { model: "gpt2".to_owned(), ..Infer::default() }, "a text has one input, `text_input`"),
            (Infer { model: "gpt2".to_owned(), ..turn.clone() }, "no input `response`"),
            (text("gpt2", "", "", &[]), "`text_input` is empty"),
            (text("gpt2", "", "w7", &[("bad_words", 1)]), "unknown field `bad_words`"),
        ] {
            client.send("ModelInfer", &[], &frame(&asked)).await.expect(3, words);
        }
        let mut two = asked.clone();
        two.inputs[0].shape = vec![2];
        two.inputs[0].contents.as_mut().unwrap().texts.push(b"w9".to_vec());
        client.send("ModelInfer", &[], &frame(&two)).await.expect(3, "it must hold one BYTES");
        let is_ready = |name: &str| Model { name: name.to_owned(), version: String::new() };
        assert!(client.call::<_, crate::grpc_client::Flag>("ModelReady", &is_ready("t5")).await.is_so);
        // The whole stream's deadline ends its text.
        let endless = text("t5", "late", "w7", &[("max_tokens", 10_000), ("min_tokens", 10_000), ("beams", 2)]);
        let late = client.send("ModelStreamInfer", &[("grpc-timeout", "200m")], &frame(&endless)).await;
        let last = Streamed::decode(late.messages.last().unwrap().clone()).unwrap();
        assert!(last.error.contains("deadline") && last.inferred.unwrap().id == "late");
    });
    wait_until("all pages to be free", || server.pages_used("gpt2") + server.pages_used("t5") == 0.0);
}
