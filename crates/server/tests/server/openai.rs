//! OpenAI's interface: answers beside those of the library, and refusals in its form.

use crate::chatty::{Chatty, events, messages};
use crate::started::{Started, embedder, settings, tiny};
use crate::texts::serving;
use grice_core::generate::Choice;
use grice_core::{Embedder, Options};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";
const EMBED: &str = "/v1/embeddings";

fn chat(model: &Chatty) -> Started {
    let mut settings = serving(&["t5"]);
    settings.writers.push(model.source());
    Started::new(settings)
}

fn with(base: &Value, changes: Value) -> Value {
    let mut body = base.clone();
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// Options of requests, and the library's own for the same.
fn choices(word: &str) -> Vec<(Value, Choice)> {
    let choice = |more: fn(&mut Choice)| {
        let mut choice = Choice { max_new_tokens: Some(12), ..Choice::default() };
        more(&mut choice);
        choice
    };
    vec![
        (json!({}), choice(|_| ())),
        (json!({ "max_tokens": null, "max_completion_tokens": 3 }), choice(|choice| choice.max_new_tokens = Some(3))),
        (
            json!({ "temperature": 1.3, "top_p": 0.95, "seed": 3 }),
            choice(|choice| {
                (choice.temperature, choice.top_p, choice.seed) = (Some(1.3), Some(0.95), Some(3));
            }),
        ),
        (
            json!({ "seed": -1, "top_k": 5 }),
            choice(|choice| {
                (choice.seed, choice.top_k) = (Some(u64::MAX), Some(5));
            }),
        ),
        (
            json!({ "temperature": 0, "presence_penalty": 1.5, "frequency_penalty": -0.5 }),
            choice(|choice| {
                (choice.temperature, choice.presence_penalty, choice.frequency_penalty) =
                    (Some(0.0), Some(1.5), Some(-0.5));
                choice.seed = Some(0);
            }),
        ),
        (
            json!({ "stop": [word, "w999"] }),
            Choice { stop: vec![word.to_owned(), "w999".to_owned()], ..choice(|_| ()) },
        ),
        // What changes nothing is no error.
        (
            json!({ "user": "u", "metadata": { "a": "b" }, "tools": null, "tool_choice": "none", "logit_bias": {}, "n": 1,
                 "response_format": { "type": "text" }, "stream": false, "logprobs": false }),
            choice(|_| ()),
        ),
    ]
}

#[test]
fn conversations_are_answered_as_by_the_library_whole_and_in_chunks() {
    let model = Chatty::new("llama");
    let server = chat(&model);
    let client = server.client();
    let talk = ["w7 w8 w9", "w10", "w11 w12"];
    let base = json!({ "model": "chatty", "messages": messages(&talk), "max_tokens": 12 });
    let whole = model.alone(&talk, &Choice { max_new_tokens: Some(12), ..Choice::default() });
    let word = whole.0.split_whitespace().nth(3).unwrap();
    for (changes, choice) in choices(word) {
        let (text, reason, prompt_tokens, tokens) = model.alone(&talk, &choice);
        let body = with(&base, changes);
        let answer = client.post(CHAT, &body).expect(200);
        let found = answer.json();
        let expected = json!([{ "index": 0, "message": { "role": "assistant", "content": text, "refusal": null }, "logprobs": null,
                                "finish_reason": reason }]);
        assert_eq!(found["choices"], expected, "{body}");
        let usage = json!({ "prompt_tokens": prompt_tokens, "completion_tokens": tokens, "total_tokens": prompt_tokens + tokens });
        assert_eq!(found["usage"], usage, "{body}");
        assert_eq!((&found["object"], &found["model"]), (&json!("chat.completion"), &json!("chatty")));
        assert!(found["id"].as_str().unwrap().starts_with("chatcmpl-") && found["created"].as_u64().unwrap() > 1 << 30);
        assert!(answer.header("server-timing").contains("infer;dur="));

        let streamed = client.post(CHAT, &with(&body, json!({ "stream": true }))).expect(200);
        assert_eq!(streamed.header("content-type"), "text/event-stream");
        assert_eq!(streamed.header("x-accel-buffering"), "no");
        let said = events(&streamed.text());
        let pieces: String = said.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(pieces, text, "{body}");
        assert_eq!(said[said.len() - 2]["choices"][0]["finish_reason"], reason);
        assert_eq!(said.last().unwrap(), "[DONE]");
    }
}

/// The same transcript that OpenAI's own server sends.
#[test]
fn a_stream_has_the_chunks_that_clients_expect() {
    let model = Chatty::new("llama");
    let server = chat(&model);
    let body = json!({ "model": "chatty", "messages": messages(&["w7 w8"]), "max_tokens": 3, "stream": true,
                       "stream_options": { "include_usage": true } });
    for caching in ["no-store", "max-age=0"] {
        let said = server.client().post_with(CHAT, &[("cache-control", caching)], &body).expect(200).text();
        assert!(!said.contains("id: ") && !said.contains("event:") && !said.contains("retry:"), "{said}");
        let said = events(&said);
        let (first, rest) = said.split_first().unwrap();
        let delta = |event: &Value| event["choices"][0]["delta"].clone();
        assert_eq!(delta(first), json!({ "role": "assistant", "content": "" }));
        let [texts @ .., end, usage, done] = rest else { panic!("{rest:?}") };
        assert!(!texts.is_empty());
        for event in std::iter::once(first).chain(texts) {
            let choice = &event["choices"][0];
            assert_eq!((&choice["index"], choice.get("finish_reason")), (&json!(0), Some(&Value::Null)));
            assert_eq!(event.get("usage"), Some(&Value::Null));
            assert_eq!((&event["object"], &event["id"]), (&json!("chat.completion.chunk"), &first["id"]));
        }
        assert!(texts.iter().all(|event| delta(event)["content"].as_str().is_some_and(|text| !text.is_empty())));
        assert_eq!((delta(end), &end["choices"][0]["finish_reason"]), (json!({}), &json!("length")));
        assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &json!(3)));
        assert_eq!(done, "[DONE]");
    }
}

#[test]
fn several_texts_have_places_and_draws_of_their_own() {
    let model = Chatty::new("llama");
    let server = chat(&model);
    let client = server.client();
    let base = json!({ "model": "chatty", "messages": messages(&["w7 w8"]), "max_tokens": 8, "temperature": 1.5, "seed": 5, "n": 3 });
    let whole = client.post(CHAT, &base).expect(200).json();
    let texts: Vec<&str> =
        (0..3).map(|place| whole["choices"][place]["message"]["content"].as_str().unwrap()).collect();
    for (place, text) in texts.iter().enumerate() {
        let seed = Some(5 + place as u64);
        let choice = Choice { temperature: Some(1.5), seed, max_new_tokens: Some(8), ..Choice::default() };
        assert_eq!(model.alone(&["w7 w8"], &choice).0, *text);
    }
    assert!(texts[0] != texts[1] || texts[1] != texts[2], "{texts:?}");
    let said = events(&client.post(CHAT, &with(&base, json!({ "stream": true }))).expect(200).text());
    for (place, text) in texts.iter().enumerate() {
        let own = said.iter().filter(|event| event["choices"][0]["index"] == place);
        let pieces: String = own.clone().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(pieces, *text);
        assert_eq!(own.filter(|event| !event["choices"][0]["finish_reason"].is_null()).count(), 1);
    }
    assert_eq!(said.iter().filter(|event| *event == "[DONE]").count(), 1);
    // Equal texts are written once.
    let greedy = with(&base, json!({ "temperature": 0, "n": 4 }));
    let answer = client.post(CHAT, &greedy).expect(200).json();
    assert!((1..4).all(|place| answer["choices"][place]["message"] == answer["choices"][0]["message"]));
}

#[test]
fn prompts_are_continued_as_by_the_librarys_own_route() {
    let server = Started::new(serving(&["gpt2", "t5"]));
    let client = server.client();
    let own = |prompt: &str| {
        let body = json!({ "prompt": prompt, "max_new_tokens": 9 });
        client.post("/v1/generate", &body).expect(200).json()
    };
    let base = json!({ "model": "gpt2", "prompt": "w7 w8", "max_tokens": 9 });
    let (first, second) = (own("w7 w8"), own("w20 w30"));
    let found = client.post(TEXT, &base).expect(200).json();
    let choice = |index: usize, own: &Value| json!({ "index": index, "text": own["generated"], "logprobs": null, "finish_reason": own["finish_reason"] });
    assert_eq!(found["choices"], json!([choice(0, &first)]));
    assert_eq!((&found["object"], &found["usage"]["prompt_tokens"]), (&json!("text_completion"), &json!(2)));
    let found = client.post(TEXT, &with(&base, json!({ "prompt": ["w7 w8", "w20 w30"], "n": 2 }))).expect(200).json();
    let choices = json!([choice(0, &first), choice(1, &first), choice(2, &second), choice(3, &second)]);
    assert_eq!(found["choices"], choices);
    assert_eq!(found["usage"]["prompt_tokens"], 4);
    // The same prompt as tokens.
    let writer = grice_core::Writer::open(&grice_testkit::generators::folder("gpt2"), None).unwrap();
    let ids: Vec<u32> = writer.start("w7 w8").unwrap().prompt.to_vec();
    let found = client.post(TEXT, &with(&base, json!({ "prompt": ids }))).expect(200).json();
    assert_eq!(found["choices"], json!([choice(0, &first)]));
    let found = client.post(TEXT, &with(&base, json!({ "prompt": [ids, ids] }))).expect(200).json();
    assert_eq!(found["choices"], json!([choice(0, &first), choice(1, &first)]));

    let said = events(&client.post(TEXT, &with(&base, json!({ "stream": true }))).expect(200).text());
    let pieces: String = said.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(json!(pieces), first["generated"]);
    assert!(said[0].get("usage").is_none() && said[0]["object"] == "text_completion");
    assert_eq!(said.last().unwrap(), "[DONE]");
    // The default model, and one with an encoder.
    client.post(TEXT, &json!({ "prompt": "w7" })).expect(200);
    client.post(TEXT, &json!({ "prompt": "w7", "model": "t5", "max_tokens": 5 })).expect(200);
}

/// Whole answers and streams tell the same of each token.
#[test]
fn log_probabilities_are_those_of_the_model() {
    let model = Chatty::new("llama");
    let server = chat(&model);
    let client = server.client();
    let base = json!({ "model": "chatty", "messages": messages(&["w7 w8"]), "max_tokens": 6, "logprobs": true, "top_logprobs": 3 });
    let whole = client.post(CHAT, &base).expect(200).json();
    let entries = whole["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(entries.iter().map(|entry| entry["token"].as_str().unwrap()).collect::<String>(), text);
    for entry in entries {
        let top = entry["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        // Greedy: the chosen token is the best one.
        assert_eq!((&top[0]["token"], &top[0]["logprob"]), (&entry["token"], &entry["logprob"]));
        let values: Vec<f64> = top.iter().map(|other| other["logprob"].as_f64().unwrap()).collect();
        assert!(
            values.is_sorted_by(|a, b| a >= b)
                && values[0] <= 0.0
                && values.iter().map(|value| value.exp()).sum::<f64>() <= 1.0 + 1e-5
        );
        assert_eq!(entry["bytes"], json!(entry["token"].as_str().unwrap().as_bytes()));
    }
    for caching in ["no-store", "max-age=0"] {
        let body = with(&base, json!({ "stream": true }));
        let said = events(&client.post_with(CHAT, &[("cache-control", caching)], &body).expect(200).text());
        let streamed: Vec<Value> = said
            .iter()
            .filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array())
            .flat_map(|entries| entries.iter().cloned())
            .collect();
        assert_eq!(&streamed, entries);
    }
    let completion = json!({ "model": "chatty", "prompt": "w7 w8 w9", "max_tokens": 5, "logprobs": 2 });
    let found = client.post(TEXT, &completion).expect(200).json();
    let logs = &found["choices"][0]["logprobs"];
    let tokens: Vec<&str> = logs["tokens"].as_array().unwrap().iter().map(|token| token.as_str().unwrap()).collect();
    assert_eq!(tokens.concat(), found["choices"][0]["text"].as_str().unwrap());
    for (place, token) in tokens.iter().enumerate() {
        assert_eq!(logs["top_logprobs"][place][token], logs["token_logprobs"][place]);
        let before: usize = tokens[..place].iter().map(|token| token.chars().count()).sum();
        assert_eq!(logs["text_offset"][place], before);
    }
}

#[test]
fn texts_are_embedded_as_by_the_library() {
    let (source, folder) = embedder("bert");
    let mut settings = settings(vec![tiny("tiny-bert")]);
    settings.embedders = vec![source];
    settings.limits.items_max = 8;
    let server = Started::new(settings);
    let client = server.client();
    let mut library = Embedder::open(&folder, &Options::default()).unwrap();
    let texts = ["Did you like the film?", "It came out in 2019.", "Yes."];
    let expected: Vec<Vec<f32>> = texts.iter().map(|text| library.embed(text).unwrap().values).collect();
    let answer = client.post(EMBED, &json!({ "model": "bert", "input": texts })).expect(200);
    let found = answer.json();
    assert_eq!((&found["object"], &found["model"]), (&json!("list"), &json!("bert")));
    for (place, vector) in expected.iter().enumerate() {
        let entry = &found["data"][place];
        assert_eq!((&entry["object"], &entry["index"]), (&json!("embedding"), &json!(place)));
        let values: Vec<f32> = serde_json::from_value(entry["embedding"].clone()).unwrap();
        grice_testkit::assert_close("embedding", &values, vector, grice_testkit::FP32_TOLERANCE);
        assert!(entry.get("truncated").is_none());
    }
    let tokens = found["usage"]["total_tokens"].as_u64().unwrap();
    assert!(tokens > 9 && found["usage"]["prompt_tokens"] == tokens);
    assert_eq!(server.metric("grice_tokens_total{model=\"bert\",kind=\"embedded\"}"), tokens as f64);
    // One text, known by now, in the form that OpenAI's own clients ask for.
    let columns = library.columns();
    let one = json!({ "input": texts[0], "encoding_format": "base64", "dimensions": columns, "user": "u" });
    let again = client.post(EMBED, &one).expect(200);
    assert_eq!(again.header("x-grice-cache"), "hit");
    let coded = again.json()["data"][0]["embedding"].as_str().unwrap().to_owned();
    assert_eq!(coded.len(), (4 * columns).div_ceil(3) * 4);
    let long = "Did you like the film? ".repeat(300);
    let cut = client.post(EMBED, &json!({ "input": long })).expect(200).json();
    assert_eq!(cut["data"][0]["truncated"], true);
    for (body, status, param, words) in [
        (json!({}), 422, None, "missing field `input`"),
        (json!({ "input": "" }), 422, Some("input"), "is empty"),
        (json!({ "input": [] }), 422, Some("input"), "is empty"),
        (json!({ "input": ["a", " "] }), 422, Some("input[1]"), "is empty"),
        (json!({ "input": ["a", "b\u{0}"] }), 422, Some("input[1]"), "NUL"),
        (json!({ "input": [1, 2] }), 422, Some("input"), "send texts"),
        (json!({ "input": [[1], [2]] }), 422, Some("input"), "send texts"),
        (json!({ "input": 7 }), 422, Some("input"), "a text or a list of texts"),
        (json!({ "input": "a", "dimensions": columns + 1 }), 422, Some("dimensions"), "leave it out"),
        (json!({ "input": "a", "encoding_format": "hex" }), 422, Some("encoding_format"), "unknown variant"),
        (json!({ "input": "a", "model": "b" }), 404, None, "the models are: bert"),
        (json!({ "input": "a", "model": "tiny-bert" }), 422, None, "does not have the task `embed`"),
        (json!({ "input": vec!["a"; 9] }), 413, Some("input"), "at most 8"),
    ] {
        refused(&server, EMBED, &body, status, param, words);
    }
    assert_eq!(client.get("/v1/models").expect(200).json()["models"][1]["dimensions"], columns);
    let detail = client.post("/v1/detect", &json!({ "response": "a", "model": "bert" })).expect(422).detail();
    assert!(detail.contains("does not have the task `detect`"), "{detail}");
    server.reload().unwrap();
    client.post(EMBED, &json!({ "input": "a" })).expect(200);
}

/// Status, field and words of a refusal in OpenAI's form.
#[track_caller]
fn refused(server: &Started, path: &str, body: &Value, status: u16, param: Option<&str>, words: &str) {
    let answer = server.client().post(path, body).expect(status);
    assert_eq!(answer.header("content-type"), "application/json", "{body}");
    let error = answer.json()["error"].clone();
    assert!(error["message"].as_str().unwrap().contains(words), "{body}: {error}");
    assert_eq!(error["param"].as_str(), param, "{body}: {error}");
    assert!(error["type"].is_string() && error["code"].is_string(), "{error}");
}

#[test]
fn what_is_wrong_is_named_in_openais_form() {
    let model = Chatty::new("llama");
    let server = chat(&model);
    let base = json!({ "model": "chatty", "messages": messages(&["w7"]), "max_tokens": 5 });
    for (changes, param, words) in [
        (json!({ "messages": [] }), Some("messages"), "at least one message"),
        (json!({ "messages": "w7" }), Some("messages"), "invalid type"),
        (json!({ "messages": [{ "role": "tool", "content": "a" }] }), Some("messages[0].role"), "`tool`"),
        (json!({ "messages": [{ "role": "user" }] }), Some("messages[0].content"), "is missing"),
        (json!({ "messages": [{ "role": "user", "content": "a\u{0}" }] }), Some("content"), "NUL"),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }] }),
            Some("messages[0].content"),
            "`image_url`",
        ),
        (json!({ "messages": [{ "role": "assistant", "content": "a" }] }), None, "The user speaks first."),
        (
            json!({ "messages": [{ "role": "assistant", "content": "", "tool_calls": [{}] }] }),
            Some("messages[0].tool_calls"),
            "not supported",
        ),
        (json!({ "tools": [{ "type": "function" }] }), Some("tools"), "not supported"),
        (json!({ "response_format": { "type": "json_object" } }), Some("response_format"), "not supported"),
        (json!({ "logit_bias": { "5": 1 } }), Some("logit_bias"), "not supported"),
        (json!({ "max_tokens": 0 }), Some("max_tokens"), "is 0"),
        (json!({ "max_completion_tokens": 6 }), Some("max_tokens"), "give only one"),
        (json!({ "max_tokens": 100_000 }), None, "more than the 256 tokens"),
        (json!({ "temperature": -1 }), Some("temperature"), "is -1"),
        (json!({ "temperature": "hot" }), Some("temperature"), "invalid type"),
        (json!({ "top_p": 1.5 }), Some("top_p"), "is 1.5"),
        (json!({ "n": 0 }), Some("n"), "from 1 to 128"),
        (json!({ "n": 129 }), Some("n"), "from 1 to 128"),
        (json!({ "stop": [""] }), Some("stop"), "empty string"),
        (json!({ "presence_penalty": 3 }), Some("presence_penalty"), "from -2 to 2"),
        (json!({ "frequency_penalty": -2.5 }), Some("frequency_penalty"), "from -2 to 2"),
        (json!({ "logprobs": true, "top_logprobs": 21 }), Some("top_logprobs"), "up to 20"),
        (json!({ "top_logprobs": 2 }), Some("top_logprobs"), "only with `logprobs`"),
        (json!({ "stream_options": { "include_usage": true } }), Some("stream_options"), "only with `stream`"),
        (json!({ "max_new_tokens": 5 }), Some("max_new_tokens"), "unknown field"),
        (json!({ "model": "t5" }), Some("model"), "chat_template.jinja"),
    ] {
        refused(&server, CHAT, &with(&base, changes), 422, param, words);
    }
    refused(&server, CHAT, &with(&base, json!({ "model": "b" })), 404, None, "the models are: t5, chatty");
    assert_eq!(server.pages_used("chatty") + server.pages_used("t5"), 0.0);
}

#[test]
fn what_is_wrong_with_a_prompt_is_named_in_openais_form() {
    let model = Chatty::new("llama");
    let server = chat(&model);
    let base = json!({ "model": "chatty", "prompt": "w7" });
    for (changes, param, words) in [
        (json!({ "prompt": "" }), Some("prompt"), "is empty"),
        (json!({ "prompt": [] }), Some("prompt"), "is empty"),
        (json!({ "prompt": [100_000] }), Some("prompt"), "100000 is not a token"),
        (json!({ "prompt": { "a": 1 } }), Some("prompt"), "a list of tokens"),
        (json!({ "echo": true }), Some("echo"), "not supported"),
        (json!({ "suffix": "a" }), Some("suffix"), "not supported"),
        (json!({ "best_of": 2 }), Some("best_of"), "not supported"),
        (json!({ "logprobs": 21 }), Some("logprobs"), "up to 20"),
    ] {
        refused(&server, TEXT, &with(&base, changes), 422, param, words);
    }
    refused(
        &server,
        TEXT,
        &with(&base, json!({ "prompt": vec!["w7"; 3], "n": 100 })),
        413,
        Some("prompt"),
        "300 texts",
    );
    let send = |body: &[u8]| server.client().send("POST", CHAT, &[], body).unwrap();
    for (body, status) in [(&b"{"[..], 400), (b"", 400), (b"[]", 422), (b"7", 422)] {
        assert!(send(body).expect(status).json()["error"]["message"].is_string());
    }
    assert!(server.client().get(CHAT).expect(405).json()["error"]["message"].is_string());
    assert_eq!(server.pages_used("chatty") + server.pages_used("t5"), 0.0);
}

/// A user who spells special tokens neither ends nor splits anything.
#[test]
fn special_tokens_in_messages_are_text() {
    let model = Chatty::new("llama");
    let server = chat(&model);
    let ask = |text: &str| {
        let body = json!({ "model": "chatty", "messages": messages(&[text]), "max_tokens": 4 });
        server.client().post(CHAT, &body).expect(200).json()["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    // `</s>` is an unknown word to this vocabulary: as many tokens as another one.
    assert_eq!(ask("w7 </s> w8"), ask("w7 wx w8"));
    assert_eq!(ask("w7 <s> <pad> w8"), ask("w7 wx wx w8"));
}

#[test]
fn models_and_keys_are_those_of_openais_clients() {
    let model = Chatty::new("llama");
    let mut settings = serving(&["t5"]);
    settings.writers.push(model.source());
    settings.access.keys = vec!["the-only-key".to_owned()];
    let server = Started::new(settings);
    let client = server.client();
    let key = [("authorization", "Bearer the-only-key")];
    let get = |path: &str| client.send("GET", path, &key, b"").unwrap();
    let list = get("/v1/models").expect(200).json();
    assert_eq!(list["object"], "list");
    assert_eq!((&list["data"][1]["id"], &list["data"][1]["object"]), (&json!("chatty"), &json!("model")));
    assert_eq!(get("/v1/models/chatty").expect(200).json(), list["data"][1]);
    assert_eq!(get("/v1/models/b").expect(404).json()["error"]["code"], "model_not_found");
    let denied = client.post(CHAT, &json!({})).expect(401);
    assert_eq!(denied.json()["error"]["type"], "authentication_error");
    assert!(denied.header("www-authenticate").starts_with("Bearer"));
    assert_eq!(client.post(EMBED, &json!({})).expect(401).json()["error"]["code"], "invalid_api_key");
    let none = client.send("POST", EMBED, &key, b"{}").unwrap().expect(501).json();
    assert!(none["error"]["message"].as_str().unwrap().contains("the task `embed`"));
}
