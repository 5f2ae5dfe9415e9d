//! The Open Inference Protocol v2, over JSON.

use crate::fake::{Plan, logits_of};
use crate::grpc_client::{Grpc, Inferred, padded, texts};
use crate::started::{Started, faked, settings, shown_padding, tiny};
use grice_testkit::fixtures::{Fixture, Reference, fixtures_folder, references_at};
use serde_json::{Value, json};
use std::sync::Arc;

#[test]
fn servers_and_models_describe_themselves() {
    let server = Started::new(settings(vec![tiny("tiny-bert"), tiny("tiny-deberta")]));
    let client = server.client();
    assert_eq!(client.get("/v2").expect(200).json()["name"], "grice");
    let index = client.post("/v2/repository/index", &json!({})).expect(200).json();
    assert_eq!(index[1], json!({ "name": "tiny-deberta", "version": "1.0.0", "state": "READY", "reason": "" }));
    for path in ["/v2/models/tiny-bert", "/v2/models/tiny-bert/versions/1.0.0"] {
        let model = client.get(path).expect(200).json();
        assert_eq!(model["parameters"]["labels"], json!(["manner", "quantity", "relation", "quality"]));
        assert_eq!(model["outputs"][1], json!({ "name": "probabilities", "datatype": "FP32", "shape": [-1, 4] }));
        assert_eq!(client.get(&format!("{path}/ready")).expect(200).json()["ready"], true);
        assert_eq!(client.get(&format!("{path}/config")).expect(200).json()["max_batch_size"], 256);
    }
    assert!(client.get("/v2/models/other/ready").expect(404).detail().contains("tiny-bert, tiny-deberta"));
    client.get("/v2/models/tiny-bert/versions/2/ready").expect(404);
    client.get("/v2/models/%ff").expect(400);
}

#[test]
fn tokens_give_the_reference_logits() {
    let server = Started::new(settings(vec![tiny("tiny-bert"), tiny("tiny-deberta")]));
    for fixture in Fixture::all() {
        for case in fixture.references() {
            let shape = [case.input_ids.len(), case.input_ids[0].len()];
            let tensor = |name: &str, data: &[Vec<u32>]| json!({ "name": name, "datatype": "INT64", "shape": shape, "data": data });
            let inputs = [tensor("input_ids", &case.input_ids), tensor("attention_mask", &case.attention_mask)];
            let path = format!("/v2/models/{}/infer", fixture.name);
            let answer = server.client().post(&path, &json!({ "id": "x", "inputs": inputs })).expect(200).json();
            assert_eq!((&answer["id"], &answer["model_version"]), (&json!("x"), &json!("1.0.0")));
            let logits = &answer["outputs"][0];
            assert_eq!(logits["shape"], json!([shape[0], 4]));
            let found: Vec<f32> = serde_json::from_value(logits["data"].clone()).unwrap();
            for (row, expected) in found.chunks(4).zip(&case.logits_onnxruntime) {
                grice_testkit::assert_close(fixture.name, row, expected, grice_testkit::FP32_TOLERANCE);
            }
        }
    }
}

/// Where a graph does not hide padding, the caller's padding belongs to the question, by either protocol.
#[test]
fn padding_that_a_graph_does_not_hide_gives_the_reference_logits() {
    let server = Started::new(settings(vec![shown_padding()]));
    let references = references_at(&fixtures_folder().join("shown-padding/reference.json"));
    let check = |found: &[f32], case: &Reference| {
        for (row, expected) in found.chunks(4).zip(&case.logits_onnxruntime) {
            grice_testkit::assert_close("shown-padding", row, expected, 1e-4);
        }
        assert_eq!(found.len(), 4 * case.logits_onnxruntime.len());
    };
    let ask = |ids: &[Vec<u32>], mask: &[Vec<u32>]| {
        let shape = [ids.len(), ids[0].len()];
        let tensor =
            |name: &str, data: &[Vec<u32>]| json!({ "name": name, "datatype": "INT64", "shape": shape, "data": data });
        let inputs = [tensor("input_ids", ids), tensor("attention_mask", mask)];
        server.client().post("/v2/models/shown-padding/infer", &json!({ "inputs": inputs }))
    };
    for case in &references {
        let answer = ask(&case.input_ids, &case.attention_mask).expect(200).json();
        check(&serde_json::from_value::<Vec<f32>>(answer["outputs"][0]["data"].clone()).unwrap(), case);
    }
    // Padding counts against the longest sequence, and no id of a client's says that it is masked.
    let refused = ask(&[vec![1; 17]], &[[vec![1; 9], vec![0; 8]].concat()]).expect(422).detail();
    assert!(refused.contains("17 tokens, padding included"), "{refused}");
    let refused = ask(&[vec![1, (1 << 31) + 5]], &[vec![1, 1]]).expect(422).detail();
    assert!(refused.contains("2147483653 is not a token"), "{refused}");
    // Nothing is left in the cache of another padding.
    let grpc = Started::new(settings(vec![shown_padding()]));
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let client = Grpc::connect(grpc.address).await;
        for case in &references {
            let asked = padded("shown-padding", &case.input_ids, &case.attention_mask);
            check(&client.call::<_, Inferred>("ModelInfer", &asked).await.numbers(0), case);
        }
    });
}

#[test]
fn the_share_that_the_tokenizer_does_not_know_is_an_output() {
    let server = Started::new(settings(vec![tiny("tiny-bert")]));
    let input = json!({ "name": "response", "datatype": "BYTES", "shape": [2], "data": ["Yes.", "ᚠᚢᚦ ᚨᚱᚲ"] });
    let ask = |body: &Value| server.client().post("/v2/models/tiny-bert/infer", body);
    let expected = json!({ "name": "unknown_share", "datatype": "FP32", "shape": [2, 1], "data": [0.0, 1.0] });
    assert_eq!(ask(&json!({ "inputs": [input] })).expect(200).json()["outputs"][2], expected);
    let outputs = json!([{ "name": "unknown_share" }]);
    let answer = ask(&json!({ "inputs": [input], "outputs": outputs })).expect(200).json();
    assert_eq!(answer["outputs"], json!([expected]));
    let outputs = json!([{ "name": "unknown_share", "parameters": { "classification": 1 } }]);
    let refused = ask(&json!({ "inputs": [input], "outputs": outputs })).expect(400).detail();
    assert!(refused.contains("has no classes"), "{refused}");
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let client = Grpc::connect(server.address).await;
        let found: Inferred = client.call("ModelInfer", &texts("tiny-bert", "", &["Yes.", "ᚠᚢᚦ ᚨᚱᚲ"])).await;
        assert_eq!((found.outputs[2].name.as_str(), found.numbers(2)), ("unknown_share", vec![0.0, 1.0]));
    });
}

#[test]
fn texts_give_what_the_domain_route_gives() {
    let server = Started::new(settings(vec![tiny("tiny-bert")]));
    let client = server.client();
    let turns = [("Did you see it?", "FS1", "Yes, last night."), ("Why?", "The bridge opened in 1937.", "Because.")];
    let column =
        |name: &str, data: [&str; 2]| json!({ "name": name, "datatype": "BYTES", "shape": [2, 1], "data": data });
    let inputs = [
        column("response", turns.map(|turn| turn.2)),
        column("context", turns.map(|turn| turn.0)),
        column("evidence", turns.map(|turn| turn.1)),
    ];
    let body = json!({ "inputs": inputs, "outputs": [{ "name": "probabilities" }] });
    let answer = client.post("/v2/models/tiny-bert/infer", &body).expect(200).json();
    assert_eq!(answer["outputs"].as_array().unwrap().len(), 1);
    let found: Vec<f64> = serde_json::from_value(answer["outputs"][0]["data"].clone()).unwrap();
    for (row, (context, evidence, response)) in found.chunks(4).zip(turns) {
        let turn = json!({ "context": context, "evidence": evidence, "response": response });
        let own = client.post("/v1/detect", &turn).expect(200).json();
        let labels = ["manner", "quantity", "relation", "quality"];
        let own: Vec<f64> = labels.map(|label| own["probabilities"][label].as_f64().unwrap()).into();
        assert_eq!(row, own);
    }
}

#[test]
fn requests_that_cannot_be_judged_are_named() {
    let plan = Arc::new(Plan::default());
    let server = Started::new(settings(vec![faked(&plan)]));
    let client = server.client();
    let check = |inputs: Value, status: u16, words: &str| {
        let detail = client.post("/v2/models/tiny-bert/infer", &json!({ "inputs": inputs })).expect(status).detail();
        assert!(detail.contains(words), "{detail}");
    };
    let ids = |id: u64| json!([{ "name": "input_ids", "datatype": "INT64", "shape": [1, 2], "data": [1, id] }]);
    check(ids(1_000_000), 422, "1000000 is not a token of the model");
    check(json!([]), 422, "is missing");
    let text = |text: &str| json!([{ "name": "response", "datatype": "BYTES", "shape": [1], "data": [text] }]);
    check(text(" "), 422, "row 0: `response` is empty");
    client.post_with("/v2/models/tiny-bert/infer", &[("inference-header-content-length", "7")], &json!({})).expect(400);
    client
        .post_with("/v2/models/tiny-bert/infer", &[("inference-header-content-length", "-1")], &json!({}))
        .expect(400);
    let answer = client.post("/v2/models/tiny-bert/infer", &json!({ "inputs": ids(3) })).expect(200).json();
    assert_eq!(answer["outputs"][0]["data"], json!(logits_of(&[1, 3])));
}
