//! Repairs and pipelines: the same as the library's, whole, in steps and in arrays.

use crate::started::{Started, embedder, settings, tiny, wait_until, writer};
use grice_core::task::{Pipeline, Skills, StepKind};
use grice_core::{
    Bundle, Context, Corpus, CorpusWriter, Detector, Embedder, Memory, NewCorpus, Options, PerMaxim, PipelineRunner,
    Retriever, Turn, Writer,
};
use grice_server::{CorpusSource, Settings, WriterSource};
use grice_testkit::fixtures::fixtures_folder;
use grice_testkit::generators::{copy_with_recipes, recipes};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// A tiny model with recipes, in a folder that goes with it.
pub(crate) struct Repairing(tempfile::TempDir);

impl Repairing {
    pub(crate) fn new(name: &str) -> Repairing {
        Repairing::with(name, &recipes())
    }

    fn with(name: &str, recipes: &Value) -> Repairing {
        let folder = tempfile::tempdir().unwrap();
        copy_with_recipes(name, folder.path(), recipes);
        Repairing(folder)
    }

    pub(crate) fn source(&self) -> WriterSource {
        WriterSource::new(Some("tiny".to_owned()), self.0.path().to_owned(), None)
    }

    fn runner(&self) -> PipelineRunner {
        let detector = Bundle::open(fixtures_folder().join("tiny-bert")).unwrap();
        let detector = Detector::load(&detector, &Options::default()).unwrap();
        let writer = Writer::open(self.0.path(), None).unwrap();
        PipelineRunner::new(detector, writer, 1, Memory::Tokens(4000), || Duration::ZERO).unwrap()
    }
}

fn serving(model: &Repairing) -> Settings {
    let mut settings = settings(vec![tiny("tiny-bert")]);
    settings.writers = vec![model.source()];
    settings.writer_memory_bytes = 64 << 20;
    settings
}

/// What the library makes of a body.
fn expected(runner: &mut PipelineRunner, body: &Value, answers: bool) -> Value {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let evidence = body["evidence"].as_str().map(str::to_owned);
    let turn = Turn { context: Context::Text(text("context")), evidence, response: text("response") };
    let rounds = body["rounds"].as_u64().unwrap_or(3) as u32;
    let named = body.get("violations").map(|named| {
        let has = |name: &str| named.as_array().unwrap().iter().any(|other| other == name);
        PerMaxim::from_fn(|maxim| has(maxim.name()))
    });
    let all = runner.skills();
    let skills = if answers { all } else { Skills { answer: None, ..all } };
    let pipeline =
        if answers { Pipeline::answer(turn, skills, rounds) } else { Pipeline::repair(turn, named, skills, rounds) };
    let outcome = runner.run(pipeline).unwrap();
    let steps: Vec<Value> = outcome
        .trace
        .iter()
        .map(|step| {
            let mut step = printed(step);
            step.as_object_mut().unwrap().remove("ms");
            step
        })
        .collect();
    let mut answer = json!({
        "repaired": outcome.response, "is_fallback": outcome.is_fallback, "before": printed(&outcome.before.probabilities),
        "after": printed(&outcome.after.probabilities), "cooperative": outcome.after.cooperative, "rounds": outcome.rounds,
        "trace": steps, "model": "tiny", "detector": "tiny-bert",
    });
    if let Some(generated) = outcome.generated {
        answer["generated"] = generated.into();
        answer["generator"] = "tiny".into();
    }
    answer
}

/// As JSON text: a value would hold numbers of another width.
fn printed(value: &impl serde::Serialize) -> Value {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

fn without_times(mut answer: Value) -> Value {
    for step in answer["trace"].as_array_mut().into_iter().flatten() {
        assert!(step.as_object_mut().unwrap().remove("ms").unwrap().as_f64().unwrap() >= 0.0);
    }
    answer
}

fn bodies() -> Vec<Value> {
    vec![
        json!({ "context": "w20 w21", "response": "w30 w31 w32" }),
        json!({ "context": "w20 w21", "evidence": "w40", "response": "w30 w31", "rounds": 1 }),
        json!({ "response": "w50 w51", "violations": ["quantity", "manner"] }),
        json!({ "context": "w22", "response": "w50 w51", "violations": ["manner"], "rounds": 2 }),
        json!({ "response": "w33", "rounds": 0 }),
        json!({ "context": "w20", "response": "w60 w61 w62 w63", "violations": ["relation"] }),
    ]
}

#[test]
fn repairs_are_those_of_the_library_whole_and_in_steps() {
    for name in ["llama", "t5"] {
        let model = Repairing::new(name);
        let server = Started::new(serving(&model));
        let (client, mut runner) = (server.client(), model.runner());
        let mut repaired = 0;
        for mut body in bodies() {
            let wanted = expected(&mut runner, &body, false);
            repaired += usize::from(wanted["repaired"] != body["response"]);
            body["trace"] = true.into();
            let answer = client.post("/v1/repair", &body).expect(200);
            assert_eq!(without_times(answer.json()), wanted, "{body}");

            body["stream"] = true.into();
            let streamed = client.post("/v1/repair", &body).expect(200);
            assert_eq!(streamed.header("content-type"), "text/event-stream");
            assert_eq!(streamed.header("x-accel-buffering"), "no");
            let text = streamed.text();
            let event = |event: &str| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
            let mut events: Vec<Value> = text.split_terminator("\n\n").map(event).collect();
            let mut last = events.pop().unwrap();
            assert_eq!(last.as_object_mut().unwrap().remove("done"), Some(true.into()));
            last["trace"] = events.into();
            assert_eq!(without_times(last), wanted, "{body}");
        }
        assert!(repaired > 0, "{name}: no repair was taken in any case, so little was compared");
        let question = json!({ "context": "w20 w21 w22", "trace": true });
        let answer = client.post("/v1/pipeline", &question).expect(200);
        assert_eq!(without_times(answer.json()), expected(&mut runner, &question, true));
    }
}

/// A corpus of the tiny model's words, made by the embedder of a folder.
fn write_corpus(folder: &Path, embedder: &Path, query_prompt: &str) {
    let mut embedder = Embedder::open(embedder, &Options::default()).unwrap();
    let new = NewCorpus { name: "words".to_owned(), query_prompt: query_prompt.to_owned(), ..NewCorpus::default() };
    let mut writer = CorpusWriter::create(folder, &embedder, new).unwrap();
    for word in 20..60 {
        let text = format!("w{word} w{}", word + 1);
        writer.push(&text, "", &embedder.embed(&text).unwrap().values).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn responses_of_a_corpus_are_found_as_in_the_library() {
    let (model, folder) = (Repairing::new("llama"), tempfile::tempdir().unwrap());
    let (source, embedder) = embedder("bert");
    write_corpus(folder.path(), &embedder, "w7 ");
    let mut settings = serving(&model);
    (settings.embedders, settings.corpus) = (vec![source], Some(CorpusSource::new(folder.path().to_owned())));
    let server = Started::new(settings);
    let client = server.client();
    let open = || Embedder::open(&embedder, &Options::default()).unwrap();
    let retriever = Retriever::new(Corpus::open(folder.path(), 1).unwrap(), open()).unwrap();
    let mut runner = model.runner().with_retriever(retriever);
    let mut found = 0;
    for word in 20..40 {
        let body = json!({ "context": format!("w{word} w{}", word + 2), "response": "w60 w61", "violations": ["relation"], "trace": true });
        let answer = client.post("/v1/repair", &body).expect(200);
        let wanted = expected(&mut runner, &body, false);
        found += wanted["trace"].as_array().unwrap().iter().filter(|step| step["step"] == "detect").count();
        assert_eq!(without_times(answer.json()), wanted, "{body}");
    }
    assert!(found > 40, "{found} responses were judged, so the corpus was not used");
    let body = json!({ "context": "[agent_1]: ", "response": "w60", "violations": ["relation"], "trace": true });
    assert_eq!(without_times(client.post("/v1/repair", &body).expect(200).json()), expected(&mut runner, &body, false));
    // The prompt of the corpus's queries is not put before texts that clients have embedded.
    let texts = client.post("/v1/embeddings", &json!({ "model": "bert", "input": "w30 w31" })).expect(200).json();
    let alone = open().embed("w30 w31").unwrap().values;
    assert_eq!(texts["data"][0]["embedding"], printed(&alone));
}

#[test]
fn a_corpus_needs_its_embedder() {
    let (model, folder) = (Repairing::new("llama"), tempfile::tempdir().unwrap());
    write_corpus(folder.path(), &embedder("bert").1, "");
    for others in [vec![], vec![embedder("mpnet").0]] {
        let mut settings = serving(&model);
        (settings.embedders, settings.corpus) = (others, Some(CorpusSource::new(folder.path().to_owned())));
        let server = Started::failing(settings);
        assert!(server.contains("was made by the embedder `bert`"), "{server}");
    }
}

#[test]
fn turns_of_an_array_do_not_affect_each_other() {
    let model = Repairing::new("llama");
    let server = Started::new(serving(&model));
    let (client, mut runner) = (server.client(), model.runner());
    let mut items: Vec<Value> = bodies();
    items.insert(1, json!({ "response": " " }));
    items.push(json!({ "response": "w1", "stream": true }));
    items.push(json!(7));
    items.iter_mut().filter(|item| item.is_object()).for_each(|item| item["trace"] = true.into());
    let answers = client.post("/v1/repair", &json!(items)).expect(200).json();
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), items.len());
    for (index, (item, answer)) in items.iter().zip(answers).enumerate() {
        if let Some(error) = answer.get("error") {
            assert!([1, 7, 8].contains(&index), "{error}");
            assert_eq!((&answer["index"], &answer["status"]), (&json!(index), &json!(422)));
        } else {
            assert_eq!(without_times(answer.clone()), expected(&mut runner, item, false), "{item}");
        }
    }
    let none = client.post("/v1/repair", &json!([{ "response": "" }, { "x": 1 }])).expect(422);
    assert!(none.detail().starts_with("2 items cannot be judged; the first is item 0"), "{}", none.detail());
}

#[test]
fn gricebench_s_clients_get_their_bodies() {
    let model = Repairing::new("llama");
    let server = Started::new(serving(&model));
    let (client, mut runner) = (server.client(), model.runner());
    let body = json!({ "context": "w22", "response": "w50 w51", "violations": ["manner"] });
    let wanted = expected(&mut runner, &body, false);
    for violations in [json!(["manner"]), json!({ "manner": true, "quality": false })] {
        let body = json!({ "context": "w22", "response": "w50 w51", "violations": violations });
        let answer = client.post("/repair", &body).expect(200).json();
        assert_eq!(answer["repaired_response"], wanted["repaired"]);
        assert!(answer["latency_ms"].as_f64().unwrap() > 0.0);
    }
    let answer = client.post("/generate", &json!({ "context": "w20 w21 w22" })).expect(200).json();
    let wanted = expected(&mut runner, &json!({ "context": "w20 w21 w22" }), true);
    assert_eq!(answer["response"], wanted["generated"]);
}

#[test]
fn what_cannot_be_done_is_told() {
    let model = Repairing::new("llama");
    let mut served = serving(&model);
    served.writers.push(writer("gpt2"));
    let server = Started::new(served);
    let client = server.client();
    for (path, body, status, words) in [
        ("/v1/repair", json!({}), 422, "missing field `response`"),
        ("/v1/repair", json!({ "response": " " }), 422, "`response`"),
        ("/v1/repair", json!({ "response": "a", "rounds": 99 }), 422, "`rounds` is 99; it must be at most 20"),
        ("/v1/repair", json!({ "response": "a", "violations": ["x"] }), 422, "unknown maxim `x`"),
        ("/v1/repair", json!({ "response": "a", "model": "gpt2" }), 422, "no recipe for the task `repair`"),
        ("/v1/repair", json!({ "response": "a", "model": "x" }), 404, "no model is called `x`"),
        ("/v1/repair", json!({ "response": "a", "detector": "tiny" }), 422, "does not have the task `detect`"),
        ("/v1/pipeline", json!({}), 422, "`context` is empty"),
        ("/v1/pipeline", json!({ "context": ["", " "] }), 422, "`context` is empty"),
        ("/v1/pipeline", json!({ "context": "w7\u{0}" }), 422, "`context` holds a NUL"),
        ("/generate", json!({ "context": "w7 \u{0}</s>\u{0}" }), 422, "`context` holds a NUL"),
        ("/v1/pipeline", json!({ "context": "w7", "response": "a" }), 422, "`response` has no place here"),
        ("/v1/pipeline", json!({ "context": "w7", "generator": "gpt2" }), 422, "no recipe for the task `pipeline`"),
    ] {
        let problem = client.post(path, &body).expect(status);
        assert!(problem.detail().contains(words), "{path} {body}: {}", problem.detail());
    }
    // A response that does not fit in the prompt stays as it is, with the reason in the trace.
    let long = json!({ "response": "w30 ".repeat(300), "violations": ["quantity"], "trace": true });
    let answer = client.post("/v1/repair", &long).expect(200).json();
    assert_eq!((&answer["is_fallback"], &answer["repaired"]), (&json!(true), &long["response"]));
    let reason = answer["trace"][0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("`response` has 300 tokens"), "{reason}");
    assert_eq!(answer["trace"][0]["step"], json!(StepKind::Repair));

    let alone = Started::new(settings(vec![tiny("tiny-bert")]));
    for path in ["/v1/repair", "/v1/pipeline", "/repair"] {
        alone.client().post(path, &json!({ "response": "a", "context": "b" })).expect(501);
    }
}

#[test]
fn a_client_that_leaves_ends_its_pipeline() {
    let mut recipes = recipes();
    recipes["recipes"]["quantity"]["max_new_tokens"] = 4000.into();
    recipes["recipes"]["quantity"]["min_new_tokens"] = 4000.into();
    // GPT-2 and LLaMA read at most 256 tokens; a T5 has no bound.
    let model = Repairing::with("t5", &recipes);
    let server = Started::new(serving(&model));
    let body = json!({ "response": "w30", "violations": ["quantity"], "stream": true, "rounds": 20 }).to_string();
    let mut socket = TcpStream::connect(server.address).unwrap();
    let length = body.len();
    let head = format!(
        "POST /v1/repair HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all((head + &body).as_bytes()).unwrap();
    let mut start = [0; 12];
    socket.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let running = || {
        let metrics = server.client().get("/metrics").text();
        metrics.lines().any(|line| line.starts_with("grice_courses_running{") && line.ends_with(" 1"))
    };
    wait_until("the text to begin", running);
    drop(socket);
    wait_until("the text to end", || !running());
}

#[test]
fn repairs_are_counted() {
    let model = Repairing::new("llama");
    let server = Started::new(serving(&model));
    let client = server.client();
    let mut steps = 0;
    for body in bodies() {
        steps += client.post("/v1/repair", &body).expect(200).json()["rounds"].as_u64().unwrap();
    }
    let metrics = client.get("/metrics").text();
    let count = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64;
    let told: u64 = metrics.lines().filter(|line| line.starts_with("grice_repairs_total{")).map(count).sum();
    // A try that is written again counts as well.
    assert!(told >= steps && steps > 0, "{told} of {steps}");
}
