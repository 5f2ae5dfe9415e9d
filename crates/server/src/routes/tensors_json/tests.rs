#![allow(clippy::unwrap_used)]

use super::*;
use grice_core::Turn;

const BOUNDS: Bounds = Bounds { rows_max: 4, tokens_max: 6, labels: 2, keeps_padding: false };

fn parse(json: &str) -> Result<InferRequest, Problem> {
    InferRequest::parse(json.as_bytes(), None, BOUNDS)
}

fn with_inputs(inputs: &str) -> Result<InferRequest, Problem> {
    parse(&format!("{{\"inputs\": [{inputs}]}}"))
}

#[track_caller]
fn check(inputs: &str, status: u16, words: &str) {
    let problem = with_inputs(inputs).expect_err(inputs);
    assert_eq!(problem.status.as_u16(), status, "{inputs}: {}", problem.detail);
    assert!(problem.detail.contains(words), "{inputs}: {}", problem.detail);
}

fn texts(name: &str, shape: &str, data: &str) -> String {
    format!("{{\"name\": \"{name}\", \"datatype\": \"BYTES\", \"shape\": {shape}, \"data\": {data}}}")
}

fn tokens(name: &str, shape: &str, data: &str) -> String {
    format!("{{\"name\": \"{name}\", \"datatype\": \"INT64\", \"shape\": {shape}, \"data\": {data}}}")
}

#[test]
fn texts_and_tokens_are_read_flat_or_nested() {
    let turn = |context: &str, response: &str| Turn::new(context, response);
    let expected = Inputs::Texts(vec![turn("c", "a"), turn("d", "b")]);
    for (shape, data) in [("[2]", "[\"a\", \"b\"]"), ("[2, 1]", "[[\"a\"], [\"b\"]]"), ("[2, 1]", "[\"a\", \"b\"]")] {
        let inputs = [texts("response", shape, data), texts("context", "[2]", "[\"c\", \"d\"]")].join(",");
        assert_eq!(with_inputs(&inputs).unwrap().inputs, expected);
    }
    let ids = tokens("input_ids", "[2, 3]", "[[1, 2, 3], [4, 5, 0]]");
    let mask = tokens("attention_mask", "[2, 3]", "[1, 1, 1, 1, 1, 0]");
    let found = with_inputs(&format!("{ids},{mask}")).unwrap().inputs;
    assert_eq!(found, Inputs::Tokens(vec![vec![1, 2, 3], vec![4, 5]]));
    assert_eq!(with_inputs(&ids).unwrap().inputs, Inputs::Tokens(vec![vec![1, 2, 3], vec![4, 5, 0]]));
}

#[test]
fn binary_tensors_follow_the_head() {
    let head = "{\"inputs\": [\
        {\"name\": \"response\", \"datatype\": \"BYTES\", \"shape\": [2], \"parameters\": {\"binary_data_size\": 11}}], \
        \"parameters\": {\"binary_data_output\": true}}";
    let binary = b"\x02\x00\x00\x00hi\x01\x00\x00\x00x";
    let body = [head.as_bytes(), binary].concat();
    let read = InferRequest::parse(&body, Some(head.len()), BOUNDS).unwrap();
    assert_eq!(read.inputs, Inputs::Texts(vec![Turn::new("", "hi"), Turn::new("", "x")]));
    assert!(read.outputs.iter().all(|output| output.binary));
    for cut in 0..body.len() {
        assert!(InferRequest::parse(&body[..cut], Some(head.len()), BOUNDS).is_err(), "{cut}");
        assert!(cut == head.len() || InferRequest::parse(&body, Some(cut), BOUNDS).is_err(), "{cut}");
    }
    let more = [&body[..], b"z"].concat();
    let problem = InferRequest::parse(&more, Some(head.len()), BOUNDS).unwrap_err();
    assert!(problem.detail.contains("1 bytes of binary data belong to no input"), "{}", problem.detail);
}

#[test]
fn what_breaks_the_protocol_is_named() {
    check(&texts("response", "[2]", "[\"a\"]"), 400, "its shape [2] has 2 values, but there are 1");
    check(&texts("response", "[18446744073709551615, 2]", "[\"a\"]"), 400, "overflows");
    check(&texts("response", "[1]", "[1]"), 400, "`data`: invalid type: integer `1`, expected text");
    check(&tokens("input_ids", "[1, 1]", "[1.5]"), 400, "expected a whole number");
    check(&tokens("input_ids", "[1, 1]", "[18446744073709551615]"), 400, "too large");
    check("{\"name\": \"response\", \"datatype\": \"BYTES\", \"shape\": [1]}", 400, "neither `data` nor");
    check("{\"name\": \"response\", \"datatype\": \"FP32\", \"shape\": [1], \"data\": [1]}", 400, "datatype `FP32`");
    check(
        "{\"name\": \"response\", \"datatype\": \"BYTES\", \"shape\": [-1], \"data\": []}",
        422,
        "`inputs[0].shape[0]`",
    );
    check(&format!("{0},{0}", texts("response", "[1]", "[\"a\"]")), 400, "twice");
}

#[test]
fn tensors_that_cannot_be_judged_are_named() {
    check(&texts("context", "[1]", "[\"a\"]"), 422, "`response` (or `input_ids`) is missing");
    check(&texts("answer", "[1]", "[\"a\"]"), 422, "no input `answer`");
    check(&tokens("response", "[1]", "[1]"), 422, "must be BYTES");
    check(&texts("input_ids", "[1, 1]", "[\"a\"]"), 422, "must be INT64");
    check(&texts("response", "[]", "\"a\""), 422, "scalar");
    check(&texts("response", "[0]", "[]"), 422, "no rows");
    check(&texts("response", "[1, 2]", "[\"a\", \"b\"]"), 422, "[rows] or [rows, 1]");
    check(&texts("response", "[5]", "[\"a\", \"a\", \"a\", \"a\", \"a\"]"), 413, "5 rows");
    check(&tokens("input_ids", "[1, 7]", "[1, 1, 1, 1, 1, 1, 1]"), 422, "at most 6");
    check(&tokens("input_ids", "[1, 1]", "[-1]"), 422, "-1 is not a token");
    check(&tokens("input_ids", "[1]", "[1]"), 422, "[rows, tokens]");
    let ids = tokens("input_ids", "[1, 2]", "[1, 1]");
    check(&format!("{ids},{}", tokens("attention_mask", "[1, 2]", "[0, 1]")), 422, "ones, then zeros");
    check(&format!("{ids},{}", tokens("attention_mask", "[1, 2]", "[0, 0]")), 422, "ones, then zeros");
    check(&format!("{ids},{}", tokens("attention_mask", "[1, 1]", "[1]")), 422, "shape of `input_ids`");
    check(&format!("{ids},{}", texts("response", "[1]", "[\"a\"]")), 422, "not both");
    let two = [texts("response", "[2]", "[\"a\", \"b\"]"), texts("context", "[1]", "[\"c\"]")].join(",");
    check(&two, 422, "1 rows, but the others have 2");
}

#[test]
fn outputs_come_as_asked_for() {
    let input = texts("response", "[1]", "[\"a\"]");
    let ask = |outputs: &str| parse(&format!("{{\"id\": \"7\", \"inputs\": [{input}], \"outputs\": {outputs}}}"));
    let request =
        ask("[{\"name\": \"probabilities\", \"parameters\": {\"binary_data\": true}}, {\"name\": \"logits\"}]");
    let request = request.unwrap();
    let numbers = |values: [f32; 2]| Column::Numbers { rows: 1, values: values.into() };
    let columns = [numbers([0.5, 1.0]), numbers([0.0, -2.0])];
    let body = write_answer(("m", "1"), Some("7"), &request.outputs, &columns).unwrap();
    let (head, binary) = body.bytes.split_at(body.head_bytes.unwrap());
    assert_eq!(binary, [0.5f32.to_le_bytes(), 1f32.to_le_bytes()].concat());
    let head: serde_json::Value = serde_json::from_slice(head).unwrap();
    let expected = serde_json::json!({
        "model_name": "m", "model_version": "1", "id": "7", "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
            {"name": "logits", "datatype": "FP32", "shape": [1, 2], "data": [0.0, -2.0]},
        ],
    });
    assert_eq!(head, expected);
    assert!(ask("[{\"name\": \"labels\"}]").unwrap_err().detail.contains("no output `labels`"));
    let twice = "[{\"name\": \"logits\"}, {\"name\": \"logits\"}]";
    assert!(ask(twice).unwrap_err().detail.contains("`logits` is requested more than once"));
}

#[test]
fn classes_come_in_place_of_numbers() {
    let input = texts("response", "[1]", "[\"a\"]");
    let ask = |parameters: &str| {
        let outputs = format!("[{{\"name\": \"logits\", \"parameters\": {parameters}}}]");
        parse(&format!("{{\"inputs\": [{input}], \"outputs\": {outputs}}}")).unwrap().outputs
    };
    assert_eq!(ask("{\"classification\": 1}")[0].classes, Some(1));
    // As many as there are, at most.
    assert_eq!(ask("{\"classification\": 9}")[0].classes, Some(2));
    assert_eq!(ask("{\"classification\": 0}")[0].classes, None);
    let column = Column::Classes { rows: 1, texts: vec!["1:0:manner".to_owned()] };
    for binary in [false, true] {
        let outputs = ask(&format!("{{\"classification\": 1, \"binary_data\": {binary}}}"));
        let body = write_answer(("m", "1"), None, &outputs, std::slice::from_ref(&column)).unwrap();
        let (head, tail) = body.bytes.split_at(body.head_bytes.unwrap_or(body.bytes.len()));
        let output = &serde_json::from_slice::<serde_json::Value>(head).unwrap()["outputs"][0];
        assert_eq!((&output["datatype"], &output["shape"]), (&"BYTES".into(), &serde_json::json!([1, 1])));
        match binary {
            true => assert_eq!(tail, b"\x0a\0\0\x001:0:manner"),
            false => assert_eq!(output["data"], serde_json::json!(["1:0:manner"])),
        }
    }
}

#[test]
fn fields_that_are_not_known_are_named() {
    let input = texts("response", "[1]", "[\"a\"]");
    for (body, words) in [
        (format!("{{\"inputs\": [{input}], \"instances\": []}}"), "`instances`"),
        (format!("{{\"inputs\": [{}, \"dims\": 1}}]}}", input.trim_end_matches('}')), "`dims`"),
        (format!("{{\"inputs\": [{input}], \"outputs\": [{{\"name\": \"logits\", \"data\": []}}]}}"), "`data`"),
        (format!("{{\"inputs\": [{input}], \"parameters\": {{\"sequence_id\": 3}}}}"), "`sequence_id`"),
    ] {
        let problem = parse(&body).unwrap_err();
        assert!(problem.detail.contains(words), "{body}: {}", problem.detail);
    }
    let raw = InferRequest::parse(b"\x01\0\0\0a", Some(0), BOUNDS).unwrap_err();
    assert!(raw.detail.contains("raw binary request"), "{}", raw.detail);
}
