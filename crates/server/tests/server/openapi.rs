//! Compares real answers with the OpenAPI description.

use crate::chatty::{Chatty, events};
use crate::repairs::Repairing;
use crate::started::{Started, embedder, settings, tiny, writer};
use grice_server::Settings;
use serde_json::{Map, Value, json};

/// The part of JSON Schema that the description uses; reports the place of a violation.
fn check(api: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    let Some(schema) = schema.as_object() else { return Ok(()) };
    for keyword in schema.keys() {
        let known = [
            "$ref",
            "type",
            "enum",
            "oneOf",
            "required",
            "properties",
            "additionalProperties",
            "items",
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "minLength",
            "description",
            "examples",
            "format",
        ];
        assert!(known.contains(&keyword.as_str()), "{place}: the test does not know `{keyword}`");
    }
    if let Some(name) = schema.get("$ref") {
        return check(api, api.pointer(&name.as_str().unwrap()[1..]).unwrap(), value, place);
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let fitting = choices.iter().filter(|choice| check(api, choice, value, place).is_ok()).count();
        return if fitting == 1 { Ok(()) } else { Err(format!("{place}: {fitting} of the choices fit {value}")) };
    }
    let types = match schema.get("type") {
        Some(Value::Array(types)) => types.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    if !types.is_empty() && !types.iter().any(|kind| is_a(value, kind.as_str().unwrap())) {
        return Err(format!("{place}: {value} is no {types:?}"));
    }
    if let Some(choices) = schema.get("enum").and_then(Value::as_array)
        && !choices.contains(value)
    {
        return Err(format!("{place}: {value} is none of {choices:?}"));
    }
    if let Some(number) = value.as_f64() {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        if bound("minimum").is_some_and(|least| number < least) || bound("maximum").is_some_and(|most| number > most) {
            return Err(format!("{place}: {number} is out of bounds"));
        }
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        values
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| check(api, items, value, &format!("{place}[{index}]")))?;
    }
    value.as_object().map_or(Ok(()), |object| check_object(api, schema, object, place))
}

fn check_object(
    api: &Value,
    schema: &Map<String, Value>,
    object: &Map<String, Value>,
    place: &str,
) -> Result<(), String> {
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if !object.contains_key(name.as_str().unwrap()) {
            return Err(format!("{place}: no {name}"));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, value) in object {
        let place = format!("{place}.{name}");
        match (properties.and_then(|properties| properties.get(name)), schema.get("additionalProperties")) {
            (Some(property), _) => check(api, property, value, &place)?,
            (None, Some(Value::Bool(false))) => return Err(format!("{place} is not described")),
            (None, Some(other)) => check(api, other, value, &place)?,
            (None, None) => {}
        }
    }
    Ok(())
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type `{other}`"),
    }
}

#[test]
fn the_checker_can_refuse() {
    let schema = json!({ "type": "object", "required": ["a"], "additionalProperties": false, "properties": {
        "a": { "type": "array", "items": { "type": "integer", "minimum": 1 } }, "b": { "oneOf": [{ "type": "null" }, { "enum": ["x"] }] } } });
    let refused = |value: Value| check(&json!({}), &schema, &value, "").is_err();
    assert!(!refused(json!({ "a": [1, 2], "b": "x" })));
    for bad in [
        json!([]),
        json!({}),
        json!({ "a": [0] }),
        json!({ "a": ["1"] }),
        json!({ "a": [], "c": 1 }),
        json!({ "a": [], "b": "y" }),
    ] {
        assert!(refused(bad.clone()), "{bad}");
    }
}

/// A server and its description.
struct Described {
    server: Started,
    api: Value,
}

impl Described {
    fn new() -> Described {
        Described::of(settings(vec![tiny("tiny-bert")]))
    }

    fn of(mut settings: Settings) -> Described {
        settings.access.admin_key = Some("the-admin-key".to_owned());
        settings.limits.body_bytes_max = 4096;
        let server = Started::new(settings);
        let api = server.client().get("/openapi.json").expect(200).json();
        Described { server, api }
    }

    /// Sends a request, and compares status, media type and body of the answer with the description.
    #[track_caller]
    fn check(&self, verb: &str, template: &str, path: &str, body: &Value, expected: u16) {
        let client = self.server.client();
        let headers = [("content-type", "application/json"), ("x-api-key", "the-admin-key")];
        let answer = match verb {
            "get" => client.get(path),
            _ => client.send("POST", path, &headers, body.to_string().as_bytes()).unwrap(),
        };
        let answer = answer.expect(expected);
        let mut response = &self.api["paths"][template][verb]["responses"][expected.to_string()];
        if let Some(name) = response.get("$ref") {
            response = self.api.pointer(&name.as_str().unwrap()[1..]).unwrap();
        }
        assert!(response.is_object(), "{verb} {template}: {expected} is not described");
        let content_type = answer.header("content-type").split(';').next().unwrap().to_owned();
        let Some(content) = response.get("content") else { return };
        let media = &content[&content_type];
        assert!(media.is_object(), "{verb} {template}: {content_type} is not described");
        if content_type.ends_with("json") {
            check(&self.api, &media["schema"], &answer.json(), "answer")
                .unwrap_or_else(|error| panic!("{verb} {template}: {error}"));
        }
    }

    /// Routes without parameters.
    #[track_caller]
    fn plain(&self, verb: &str, path: &str, body: &Value, expected: u16) {
        self.check(verb, path, path, body, expected);
    }
}

#[test]
fn domain_answers_are_as_described() {
    let described = Described::new();
    let turn = json!({ "context": "What is it?", "response": "Yes." });
    let body = &described.api["paths"]["/v1/detect"]["post"]["requestBody"]["content"]["application/json"];
    // Every example in the description works.
    for example in body["examples"].as_object().unwrap().values() {
        described.plain("post", "/v1/detect", &example["value"], 200);
        check(&described.api, &body["schema"], &example["value"], "turn").unwrap();
    }
    described.plain(
        "post",
        "/v1/detect",
        &json!([{ "response": "Yes." }, { "response": "" }, { "response": "ᚠᚢᚦ" }]),
        200,
    );
    let all = json!({ "quantity": 0, "quality": 0, "relation": 0, "manner": 0 });
    let explained = json!({ "context": ["What is it?"], "response": "Yes it is.", "thresholds": all, "explain": true });
    check(&described.api, &body["schema"], &explained, "turn").unwrap();
    described.plain("post", "/v1/detect", &explained, 200);
    described.plain("post", "/v1/detect", &json!({}), 422);
    described.plain("post", "/v1/detect", &json!([{ "response": "" }]), 422);
    described.plain("post", "/v1/detect", &json!([{ "response": "" }, turn]), 200);
    described.plain("post", "/v1/detect", &json!({ "response": "a", "model": "b" }), 404);
    described.plain("post", "/v1/detect", &json!("x".repeat(5000)), 413);
    for path in ["/v1/repair", "/v1/generate", "/v1/pipeline", "/repair", "/generate"] {
        described.plain("post", path, &turn, 501);
    }
    described.plain("post", "/detect", &turn, 200);
    described.plain("post", "/detect", &json!([]), 422);
    for path in ["/v1/models", "/health", "/metrics", "/openapi.json", "/docs"] {
        described.plain("get", path, &json!({}), 200);
    }
    described.plain("get", "/", &json!({}), 303);
    described.plain("post", "/admin/reload", &json!({}), 200);
}

#[test]
fn repairs_are_as_described() {
    let model = Repairing::new("llama");
    let mut settings = settings(vec![tiny("tiny-bert")]);
    settings.writers = vec![model.source()];
    let described = Described::of(settings);
    for (path, schema) in [("/v1/repair", "repair"), ("/v1/pipeline", "question"), ("/repair", "repair")] {
        let body = &described.api["paths"][path]["post"]["requestBody"]["content"]["application/json"];
        for example in body["examples"].as_object().unwrap().values() {
            check(&described.api, &body["schema"], &example["value"], schema).unwrap();
            described.plain("post", path, &example["value"], 200);
        }
        described.plain("post", path, &json!({}), 422);
        described.plain("post", path, &json!("x".repeat(5000)), 413);
    }
    described.plain("post", "/v1/repair", &json!([{ "response": "Yes." }, { "response": "" }, 7]), 200);
    described.plain("post", "/v1/repair", &json!({ "response": "a", "rounds": 21 }), 422);
    described.plain("post", "/v1/repair", &json!({ "response": "a", "violations": ["humour"] }), 422);
    described.plain("post", "/v1/repair", &json!({ "response": "a", "model": "b" }), 404);
    described.plain("post", "/v1/pipeline", &json!({ "context": "a", "response": "b" }), 422);
    let streamed = json!({ "response": "Yes.", "violations": ["quantity"], "stream": true });
    described.plain("post", "/v1/repair", &streamed, 200);
    let events = described.server.client().post("/v1/repair", &streamed).text();
    for event in events.split_terminator("\n\n") {
        let event: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        check(&described.api, &json!({ "$ref": "#/components/schemas/StepEvent" }), &event, "event").unwrap();
    }
    for path in ["/v1/models", "/metrics"] {
        described.plain("get", path, &json!({}), 200);
    }
}

#[test]
fn texts_are_as_described() {
    let mut settings = settings(vec![tiny("tiny-bert")]);
    settings.writers = vec![writer("gpt2")];
    let described = Described::of(settings);
    let body = &described.api["paths"]["/v1/generate"]["post"]["requestBody"]["content"]["application/json"];
    for example in body["examples"].as_object().unwrap().values() {
        check(&described.api, &body["schema"], &example["value"], "prompt").unwrap();
        described.plain("post", "/v1/generate", &example["value"], 200);
    }
    let streamed = json!({ "prompt": "w7 w8", "stream": true, "temperature": 1.5 });
    described.plain("post", "/v1/generate", &streamed, 200);
    let events = described.server.client().post("/v1/generate", &streamed).text();
    for event in events.split_terminator("\n\n") {
        let event: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        check(&described.api, &json!({ "$ref": "#/components/schemas/TextEvent" }), &event, "event").unwrap();
    }
    described.plain("post", "/v1/generate", &json!({ "prompt": "w7", "top_p": 2 }), 422);
    described.plain("post", "/v1/generate", &json!({ "prompt": "w7", "model": "b" }), 404);
    described.plain("post", "/v1/generate", &json!("x".repeat(5000)), 413);
    described.plain("post", "/generate", &json!({ "context": "w7 w8", "max_length": 5 }), 200);
    described.plain("post", "/generate", &json!({ "context": "" }), 422);
    for path in ["/v1/models", "/health", "/metrics"] {
        described.plain("get", path, &json!({}), 200);
    }
}

#[test]
fn openais_interface_is_as_described() {
    let model = Chatty::new("llama");
    let (source, _) = embedder("bert");
    let mut settings = settings(vec![tiny("tiny-bert")]);
    settings.writers = vec![model.source()];
    settings.embedders = vec![source];
    let described = Described::of(settings);
    let of = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    for (path, chunk) in
        [("/v1/chat/completions", "ChatChunk"), ("/v1/completions", "CompletionChunk"), ("/v1/embeddings", "")]
    {
        let body = &described.api["paths"][path]["post"]["requestBody"]["content"]["application/json"];
        for example in body["examples"].as_object().unwrap().values() {
            let mut asked = example["value"].clone();
            check(&described.api, &body["schema"], &asked, "body").unwrap();
            described.plain("post", path, &asked, 200);
            if chunk.is_empty() {
                continue;
            }
            asked["stream"] = true.into();
            asked["stream_options"] = json!({ "include_usage": true });
            check(&described.api, &body["schema"], &asked, "body").unwrap();
            described.plain("post", path, &asked, 200);
            let said = events(&described.server.client().post(path, &asked).text());
            let (done, chunks) = said.split_last().unwrap();
            assert_eq!(done, "[DONE]");
            chunks.iter().for_each(|event| check(&described.api, &of(chunk), event, "chunk").unwrap());
        }
        described.plain("post", path, &json!({}), 422);
        described.plain("post", path, &json!("x".repeat(5000)), 413);
        described.plain("post", path, &json!({ "model": "b", "messages": [], "input": "a", "prompt": "a" }), 422);
    }
    described.plain("post", "/v1/embeddings", &json!({ "model": "b", "input": "a" }), 404);
    let logs = json!({ "messages": [{ "role": "user", "content": "w7" }], "logprobs": true, "top_logprobs": 2, "max_tokens": 3 });
    described.plain("post", "/v1/chat/completions", &logs, 200);
    described.check("get", "/v1/models/{model}", "/v1/models/chatty", &json!({}), 200);
    described.check("get", "/v1/models/{model}", "/v1/models/b", &json!({}), 404);
    described.plain("get", "/v1/models", &json!({}), 200);
    let empty = Described::new();
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"] {
        empty.plain("post", path, &json!({}), 501);
    }
}

#[test]
fn the_generate_extension_is_as_described() {
    let mut settings = settings(vec![tiny("tiny-bert")]);
    settings.writers = vec![writer("gpt2")];
    let described = Described::of(settings);
    let text = json!({ "id": "7", "text_input": "w7 w8", "parameters": { "max_tokens": 5 } });
    for (template, path) in [("", ""), ("/versions/{version}", "/versions/gpt2")] {
        let (template, path) = (format!("/v2/models/{{model}}{template}"), format!("/v2/models/gpt2{path}"));
        for tail in ["", "/ready", "/config"] {
            described.check("get", &format!("{template}{tail}"), &format!("{path}{tail}"), &json!({}), 200);
        }
        for tail in ["/generate", "/generate_stream"] {
            let (template, path) = (format!("{template}{tail}"), format!("{path}{tail}"));
            described.check("post", &template, &path, &text, 200);
            described.check("post", &template, &path, &json!({}), 422);
            described.check("post", &template, &path.replace("gpt2", "b"), &text, 404);
        }
    }
    let schema = json!({ "$ref": "#/components/schemas/V2Written" });
    let said = described.server.client().post("/v2/models/gpt2/generate_stream", &text).text();
    events(&said).iter().for_each(|event| check(&described.api, &schema, event, "event").unwrap());
    described.plain("post", "/v2/repository/index", &json!({}), 200);
}

#[test]
fn protocol_answers_are_as_described() {
    let described = Described::new();
    for path in ["/v2", "/v2/health/live", "/v2/health/ready"] {
        described.plain("get", path, &json!({}), 200);
    }
    described.plain("post", "/v2/repository/index", &json!({}), 200);
    described.plain("post", "/v2/repository/index", &json!({ "ready": true }), 200);
    described.plain("post", "/v2/repository/index", &json!({ "name": "a" }), 422);
    described.plain("get", "/v2/models/stats", &json!({}), 200);
    let inputs = |datatype: &str| json!([{ "name": "response", "datatype": datatype, "shape": [1], "data": ["Yes."] }]);
    let of_version = "/versions/{version}";
    for (template, path) in [("", ""), (of_version, "/versions/1.0.0")] {
        let (template, path) = (format!("/v2/models/{{model}}{template}"), format!("/v2/models/tiny-bert{path}"));
        for tail in ["", "/ready", "/config", "/stats"] {
            let template = format!("{template}{tail}");
            described.check("get", &template, &format!("{path}{tail}"), &json!({}), 200);
            described.check("get", &template, &format!("{}{tail}", path.replace("bert", "b")), &json!({}), 404);
        }
        let (template, path) = (format!("{template}/infer"), format!("{path}/infer"));
        described.check("post", &template, &path, &json!({ "inputs": inputs("BYTES") }), 200);
        let outputs = json!([{ "name": "logits", "parameters": { "classification": 2 } }]);
        described.check("post", &template, &path, &json!({ "inputs": inputs("BYTES"), "outputs": outputs }), 200);
        described.check("post", &template, &path, &json!({ "inputs": [] }), 422);
        let sequence = json!({ "inputs": inputs("BYTES"), "parameters": { "sequence_id": 1 } });
        described.check("post", &template, &path, &sequence, 400);
        described.check("post", &template, &path, &json!({ "inputs": inputs("X") }), 400);
    }
}
