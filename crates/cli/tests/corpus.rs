//! `grice index` and `grice search` on the real binary, with the tiny models.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use support::{Ran, bare, run, run_with_stdin};

const TEXTS: [&str; 5] =
    ["The film was good.", "No, yes.", "How was the film?", "the music", "I liked the music most."];

fn embedder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/embedders").join(name)
}

fn grice(model: &Path, args: &[&str]) -> Ran {
    run(bare().arg("--model").arg(model).args(args))
}

/// A scratch folder with a file of rows and what is beside it.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// The corpus `replies` of [`TEXTS`].
    fn corpus(&self) -> String {
        let rows: String =
            TEXTS.iter().enumerate().map(|(id, text)| json!({"id": id, "text": text}).to_string() + "\n").collect();
        let (input, output) = (self.write("rows.jsonl", &rows), self.path("replies"));
        grice(&embedder("bert"), &["index", &input, "--output", &output, "--licence", "CC0-1.0"]).expect(0);
        output
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn json_of(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn texts_become_a_corpus_that_finds_them() {
    let scratch = Scratch::new();
    let corpus = scratch.corpus();
    let manifest = json_of(&format!("{corpus}/grice.json"));
    assert_eq!(
        (&manifest["format"], &manifest["task"], &manifest["name"]),
        (&json!(2), &json!("corpus"), &json!("replies"))
    );
    assert_eq!(
        (&manifest["rows"], &manifest["dims"], &manifest["licence"]),
        (&json!(5), &json!(24), &json!("CC0-1.0"))
    );
    assert_eq!(manifest["embedder"]["name"], "bert");
    let texts = std::fs::read_to_string(format!("{corpus}/texts.jsonl")).unwrap();
    assert_eq!(texts.lines().next(), Some("{\"text\":\"The film was good.\",\"id\":0}"));
    for (id, text) in TEXTS.iter().enumerate() {
        let found = grice(&embedder("bert"), &["search", &corpus, text]).expect(0).rows();
        assert_eq!(found.len(), 5);
        assert_eq!((&found[0]["index"], &found[0]["text"], &found[0]["id"]), (&json!(id), &json!(text), &json!(id)));
        let similarities: Vec<f64> = found.iter().map(|row| row["similarity"].as_f64().unwrap()).collect();
        assert!((similarities[0] - 1.0).abs() < 0.02 && similarities.is_sorted_by(|a, b| a >= b), "{similarities:?}");
        let few = grice(&embedder("bert"), &["search", &corpus, text, "--top", "2"]).expect(0).rows();
        assert_eq!(few, found[..2]);
        let minimum = similarities[2].to_string();
        let near = grice(&embedder("bert"), &["search", &corpus, text, "--min-similarity", &minimum]).expect(0).rows();
        assert_eq!(near, found[..3]);
    }
    let none = grice(&embedder("bert"), &["search", &corpus, "yes", "--min-similarity", "1.5"]).expect(0);
    assert!(none.out.is_empty() && none.err.contains("no text has a similarity of at least 1.5"), "{}", none.err);
}

#[test]
fn rows_of_a_file_get_their_nearest_texts() {
    let scratch = Scratch::new();
    let corpus = scratch.corpus();
    let input = scratch.write(
        "queries.jsonl",
        "{\"q\": \"the music\", \"n\": 1}\n{\"q\": \"\"}\n{\"q\": \"No, yes.\", \"nearest\": 0}\n",
    );
    let output = scratch.path("near.jsonl");
    let args = ["search", &corpus, "--input", &input, "--field", "q", "--top", "2", "--output", &output];
    let ran = grice(&embedder("bert"), &args).expect(1);
    assert!(ran.err.contains("queries.jsonl:2: `text` is empty") && ran.err.contains("field `nearest`"), "{}", ran.err);
    let rows = support::parse_rows(&std::fs::read_to_string(&output).unwrap());
    assert_eq!((rows.len(), &rows[0]["n"], &rows[1]["line"]), (3, &json!(1), &json!(2)));
    for (row, index) in [(&rows[0], 3), (&rows[2], 1)] {
        let alone =
            grice(&embedder("bert"), &["search", &corpus, row["q"].as_str().unwrap(), "-k", "2"]).expect(0).rows();
        assert_eq!(row["nearest"][0]["index"], index);
        assert_eq!(row["nearest"], Value::from(alone));
    }
    // An interrupted run is continued.
    let whole = std::fs::read(&output).unwrap();
    std::fs::write(&output, &whole[..whole.len() / 2]).unwrap();
    grice(&embedder("bert"), &[&args[..], &["--resume"]].concat()).expect(1);
    assert_eq!(std::fs::read(&output).unwrap(), whole);
}

#[test]
fn empty_texts_are_left_out_and_counted() {
    let scratch = Scratch::new();
    let output = scratch.path("few");
    let csv = "id;reply;text\n1;The film was good.;x\n2;\"\";y\n3;\" \u{200b}\";z\n4;No, yes.;\n";
    let ran = run_with_stdin(
        bare()
            .arg("--model")
            .arg(embedder("bert"))
            .args(["index", "-", "--format", "csv", "--field", "reply", "--output", &output]),
        csv.as_bytes(),
    )
    .expect(0);
    assert!(ran.err.contains("2 texts; 2 without visible text left out"), "{}", ran.err);
    assert!(ran.err.contains("field `text` is left out"), "{}", ran.err);
    let texts = std::fs::read_to_string(format!("{output}/texts.jsonl")).unwrap();
    assert_eq!(texts, "{\"text\":\"The film was good.\",\"id\":\"1\"}\n{\"text\":\"No, yes.\",\"id\":\"4\"}\n");
    let found = grice(&embedder("bert"), &["search", &output, "No, yes."]).expect(0).rows();
    assert_eq!((found.len(), &found[0]["text"]), (2, &json!("No, yes.")));
    let empty = scratch.write("empty.jsonl", "{\"text\": \"\"}\n");
    let none = grice(&embedder("bert"), &["index", &empty, "--output", &scratch.path("none")]).expect(1);
    assert!(none.err.contains("empty.jsonl: has no texts"), "{}", none.err);
    assert_eq!(scratch.names(), ["empty.jsonl", "few"]);
}

#[test]
fn nothing_is_left_after_an_error() {
    let scratch = Scratch::new();
    for (name, row, expected) in [
        ("json", "nonsense", "rows.jsonl:301: not JSON"),
        ("field", "{\"id\": 1}", "rows.jsonl:301: no field `text`"),
        ("type", "{\"text\": 1}", "rows.jsonl:301: `text` must be text"),
        ("nul", "{\"text\": \"a\\u0000\"}", "rows.jsonl:301: `text` holds a NUL"),
    ] {
        let input = scratch.write("rows.jsonl", &("{\"text\": \"yes\"}\n".repeat(300) + row + "\n"));
        let ran = grice(&embedder("bert"), &["index", &input, "--output", &scratch.path(name)]).expect(1);
        assert!(ran.err.contains(expected), "{}", ran.err);
        assert_eq!(scratch.names(), ["rows.jsonl"]);
    }
}

#[test]
fn only_a_corpus_is_replaced() {
    let scratch = Scratch::new();
    let corpus = scratch.corpus();
    let input = scratch.path("rows.jsonl");
    let index = |output: &str, more: &[&str], code: i32| {
        grice(&embedder("bert"), &[&["index", &input, "--output", output], more].concat()).expect(code).err
    };
    assert!(index(&corpus, &[], 2).contains("already exists"));
    index(&corpus, &["--overwrite", "--name", "again"], 0);
    assert_eq!(json_of(&format!("{corpus}/grice.json"))["name"], "again");
    let other = scratch.path("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(format!("{other}/notes.txt"), "mine").unwrap();
    assert!(index(&other, &["--overwrite"], 2).contains("a new folder or a corpus"));
    assert_eq!(std::fs::read_to_string(format!("{other}/notes.txt")).unwrap(), "mine");
    assert!(index(&input, &["--overwrite"], 2).contains("must be a folder"));
}

#[test]
fn what_does_not_fit_a_corpus_is_said() {
    let scratch = Scratch::new();
    let corpus = scratch.corpus();
    let other = grice(&embedder("mpnet"), &["search", &corpus, "yes"]).expect(1);
    assert!(
        other.err.contains("the embedder bert (sha256:") && other.err.contains("this is mpnet (sha256:"),
        "{}",
        other.err
    );
    let empty = grice(&embedder("bert"), &["search", &corpus, " "]).expect(1);
    assert!(empty.err.contains("`text` is empty") && empty.out.is_empty(), "{}", empty.err);
    let none = run(bare().args(["search", &corpus, "yes"])).expect(2);
    assert!(none.err.contains("--model PATH"), "{}", none.err);
    let no_corpus = grice(&embedder("bert"), &["search", &scratch.path("none"), "yes"]).expect(1);
    assert!(no_corpus.err.contains("grice index"), "{}", no_corpus.err);
    let model = grice(&embedder("bert"), &["search", support::tiny_bert().to_str().unwrap(), "yes"]).expect(1);
    assert!(model.err.contains("field `task`: it is `detect`"), "{}", model.err);
    let nan = grice(&embedder("bert"), &["search", &corpus, "yes", "--min-similarity", "nan"]).expect(1);
    assert!(nan.err.contains("minimum similarity"), "{}", nan.err);
    let both = grice(&embedder("bert"), &["search", &corpus, "yes", "--input", "-"]).expect(2);
    assert!(both.err.contains("cannot be used with"), "{}", both.err);
}

#[test]
fn prompts_of_a_corpus_are_used_by_search() {
    let scratch = Scratch::new();
    let input = scratch.write("rows.jsonl", "{\"text\": \"good.\"}\n{\"text\": \"the music\"}\n");
    let output = scratch.path("prompted");
    let args = ["index", &input, "--output", &output, "--prompt", "The film was ", "--query-prompt", "The film "];
    grice(&embedder("bert"), &args).expect(0);
    let found = grice(&embedder("bert"), &["search", &output, "was good."]).expect(0).rows();
    assert_eq!(found[0]["text"], "good.");
    assert!((found[0]["similarity"].as_f64().unwrap() - 1.0).abs() < 0.02, "{}", found[0]);
}
