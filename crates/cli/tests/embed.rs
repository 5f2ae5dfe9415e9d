//! `grice embed` on the real binary, with the tiny models.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use support::{Ran, bare, run};

const EMBEDDERS: [&str; 4] = ["bert", "mpnet", "roberta", "distilbert"];

/// What sentence-transformers computes.
#[derive(Deserialize)]
struct Reference {
    tokens_max: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    vector: Vec<f32>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures")
}

fn folder(name: &str) -> PathBuf {
    fixtures().join("embedders").join(name)
}

fn reference(name: &str) -> Reference {
    serde_json::from_str(&std::fs::read_to_string(folder(name).join("reference.json")).unwrap()).unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn grice(model: &Path, args: &[&str]) -> Ran {
    run(bare().arg("--model").arg(model).arg("embed").args(args))
}

fn vector_of(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn check_vector(what: &str, found: &Value, expected: &[f32]) {
    let found = vector_of(found);
    assert_eq!(found.len(), expected.len(), "{what}");
    // Sums in another order, and six decimals in the file.
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 3e-5), "{what}: {found:?}, not {expected:?}");
}

#[test]
fn texts_become_vectors_one_a_line() {
    for name in EMBEDDERS {
        let reference = reference(name);
        let texts: Vec<&str> = reference.cases.iter().map(|case| case.text.as_str()).collect();
        let ran = grice(&folder(name), &[&["--"], texts.as_slice()].concat()).expect(0);
        let found = lines(&ran.out);
        assert_eq!(found.len(), texts.len());
        for (found, case) in found.iter().zip(&reference.cases) {
            check_vector(name, found, &case.vector);
        }
        let note = format!("texts were cut to the {} tokens that the model reads", reference.tokens_max);
        assert!(ran.err.contains(&note), "{}", ran.err);
        let quiet = grice(&folder(name), &[&["--quiet", "--"], texts.as_slice()].concat()).expect(0);
        assert_eq!((quiet.out.as_str(), quiet.err.as_str()), (ran.out.as_str(), ""));
    }
}

#[test]
fn int8_vectors_are_close() {
    let case = &reference("bert").cases[7];
    let ran = grice(&folder("bert"), &["--precision", "int8", &case.text]).expect(0);
    let cosine = cosine(&vector_of(&lines(&ran.out)[0]), &case.vector);
    assert!(cosine > 0.99, "{cosine}");
}

#[test]
fn rows_of_a_file_keep_their_fields() {
    let scratch = tempfile::tempdir().unwrap();
    let (input, output) = (scratch.path().join("rows.jsonl"), scratch.path().join("vectors.jsonl"));
    let cases = reference("mpnet").cases;
    let mut rows = String::new();
    for (number, case) in cases.iter().enumerate() {
        rows += &format!("{{\"id\": {number}, \"reply\": {}, \"embedding\": 1}}\n", Value::from(case.text.as_str()));
    }
    rows += "{\"id\": 90, \"reply\": \"\"}\n\n{\"id\": 91}\nnonsense\n{\"id\": 92, \"reply\": [1]}\n";
    std::fs::write(&input, &rows).unwrap();
    let [input, output] = [input.to_str().unwrap(), output.to_str().unwrap()];
    let args = ["--input", input, "--output", output, "--field", "reply", "--batch-size", "5"];
    let ran = grice(&folder("mpnet"), &args).expect(1);
    let found = lines(&std::fs::read_to_string(output).unwrap());
    assert_eq!(found.len(), cases.len() + 4);
    for (number, (row, case)) in found.iter().zip(&cases).enumerate() {
        assert_eq!((&row["id"], &row["reply"]), (&Value::from(number), &Value::from(case.text.as_str())));
        check_vector("mpnet", &row["embedding"], &case.vector);
        assert_eq!(row.as_object().unwrap().len(), 3);
    }
    let line = cases.len() + 1;
    for (row, (line, error)) in found[cases.len()..].iter().zip([
        (line, "`text` is empty"),
        (line + 2, "no field `reply`"),
        (line + 3, "not JSON"),
        (line + 4, "`reply` must be text, found a list"),
    ]) {
        assert_eq!(row["line"], line);
        assert!(row["error"].as_str().unwrap().contains(error) && row.get("embedding").is_none(), "{row}");
        assert!(ran.err.contains(&format!("rows.jsonl:{line}: ")), "{}", ran.err);
    }
    assert!(ran.err.contains("the input's field `embedding` is left out"), "{}", ran.err);
    assert!(ran.err.contains("note: 2 texts were cut to the 48 tokens"), "{}", ran.err);
    assert!(ran.err.contains(&format!("4 of {} rows", cases.len() + 4)), "{}", ran.err);

    let again = grice(&folder("mpnet"), &args).expect(2);
    assert!(again.err.contains("vectors.jsonl"), "{}", again.err);
    let same = ["--input", input, "--output", input, "--field", "reply", "--overwrite"];
    assert!(grice(&folder("mpnet"), &same).expect(2).err.contains("both the input and the output"));
    assert_eq!(std::fs::read_to_string(input).unwrap(), rows);
}

#[test]
fn csv_files_have_a_column_of_texts() {
    let scratch = tempfile::tempdir().unwrap();
    let input = scratch.path().join("rows.csv");
    std::fs::write(&input, "id;text\n1;\"The film was good.\"\n2;yes\n").unwrap();
    let input = input.to_str().unwrap();
    let found = lines(&grice(&folder("roberta"), &["--input", input]).expect(0).out);
    let cases = reference("roberta").cases;
    check_vector("roberta", &found[0]["embedding"], &cases[2].vector);
    check_vector("roberta", &found[1]["embedding"], &cases[1].vector);
    assert_eq!(found[1]["id"], "2");
    let told = grice(&folder("roberta"), &["--input", input, "--field", "reply"]).expect(2);
    assert!(told.err.contains("no column `reply`") && told.err.contains("id, text"), "{}", told.err);
}

/// Rows with texts of several lengths, and some without one.
fn many_rows(count: usize) -> String {
    let cases = reference("bert").cases;
    let row = |number: usize| match number % 9 {
        7 => format!("{{\"id\": {number}, \"text\": \"\"}}\n"),
        _ => format!("{{\"id\": {number}, \"text\": {}}}\n", Value::from(cases[number % cases.len()].text.as_str())),
    };
    (0..count).map(row).collect()
}

#[test]
fn an_interrupted_run_is_continued() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let (input, whole, part) = (path("rows.jsonl"), path("whole.jsonl"), path("part.jsonl"));
    std::fs::write(&input, many_rows(40)).unwrap();
    let resume = |part: &str, code: i32| {
        let args = ["--input", &input, "--output", part, "--batch-size", "7", "--resume"];
        grice(&folder("bert"), &args).expect(code)
    };
    grice(&folder("bert"), &["--input", &input, "--output", &whole, "--batch-size", "7"]).expect(1);
    let bytes = std::fs::read(&whole).unwrap();
    let ends: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] == b'\n').collect();
    // After whole batches, within one, within a line, before the first and after the last one.
    for end in [0, ends[6] + 1, ends[9] + 1, ends[20] + 30, ends[39], ends[39] + 1] {
        std::fs::write(&part, &bytes[..end]).unwrap();
        let ran = resume(&part, 1);
        assert!(std::fs::read(&part).unwrap() == bytes, "after {end} bytes");
        assert!(ran.err.contains("4 of 40 rows"), "{}", ran.err);
    }
    // Another model's output, another file's, and one with other rows are left as they are.
    for (name, change) in [("model", "\"embedding\":[0."), ("rows", "\"id\":4"), ("longer", "")] {
        let text = std::fs::read_to_string(&whole).unwrap();
        let text = match name {
            "model" => text.replace(change, "\"embedding\":[0.9"),
            "rows" => text.replacen(change, "\"id\":5", 1),
            _ => text.clone() + text.lines().next().unwrap() + "\n",
        };
        std::fs::write(&part, &text).unwrap();
        let ran = resume(&part, 1);
        assert!(ran.err.contains("cannot be resumed") && ran.err.contains("nothing was changed"), "{}", ran.err);
        assert!(name != "model" || ran.err.contains("now gives another vector"), "{}", ran.err);
        assert_eq!(std::fs::read_to_string(&part).unwrap(), text);
    }
    let stdout = grice(&folder("bert"), &["--input", &input, "--resume"]).expect(2);
    assert!(stdout.err.contains("--resume needs an --output FILE"), "{}", stdout.err);
}

#[test]
fn shards_together_are_the_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let input = scratch.path().join("rows.jsonl");
    std::fs::write(&input, many_rows(25)).unwrap();
    let input = input.to_str().unwrap();
    let run = |more: &[&str], code: i32| {
        let ran = grice(&folder("bert"), &[&["--input", input, "--precision", "int8"], more].concat()).expect(code);
        ran.out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let whole = run(&[], 1);
    // Rows 7 and 16 have no vector.
    let shards = [("1/3", 0), ("2/3", 1), ("3/3", 0)].map(|(shard, code)| run(&["--shard", shard], code));
    assert_eq!(shards.iter().map(Vec::len).collect::<Vec<_>>(), [9, 8, 8]);
    for (number, line) in whole.iter().enumerate() {
        assert_eq!(line, &shards[number % 3][number / 3]);
    }
}

#[test]
fn strict_stops_at_the_first_row_without_a_vector() {
    let scratch = tempfile::tempdir().unwrap();
    let input = scratch.path().join("rows.jsonl");
    std::fs::write(&input, many_rows(25)).unwrap();
    let ran = grice(&folder("bert"), &["--input", input.to_str().unwrap(), "--strict"]).expect(1);
    assert_eq!(ran.out.lines().count(), 7);
    assert!(ran.err.contains("rows.jsonl:8: `text` is empty") && ran.err.contains("--strict"), "{}", ran.err);
    let single = grice(&folder("bert"), &["yes", "--strict"]).expect(2);
    assert!(single.err.contains("cannot be used with"), "{}", single.err);
}

#[test]
fn prompts_stand_before_texts() {
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("prompted");
    support::copy_folder(&folder("bert"), &model);
    let settings = model.join("config_sentence_transformers.json");
    std::fs::write(&settings, "{\"prompts\": {\"query\": \"the film: \", \"none\": \"\"}}").unwrap();
    let embed = |args: &[&str]| grice(&model, args).expect(0);
    let expected = embed(&["the film: was it good?"]).out;
    let named = embed(&["--prompt", "query", "was it good?"]);
    assert_eq!((named.out.as_str(), named.err.as_str()), (expected.as_str(), ""));
    let literal = embed(&["--prompt", "the film: ", "was it good?"]);
    assert_eq!(literal.out, expected);
    assert!(literal.err.contains("none of the model's prompts (none, query)"), "{}", literal.err);
    assert_eq!(embed(&["--prompt", "none", "was it good?"]).out, embed(&["was it good?"]).out);
    let input = scratch.path().join("rows.jsonl");
    std::fs::write(&input, "{\"text\": \"was it good?\"}\n{\"text\": \" \"}\n").unwrap();
    let rows = grice(&model, &["--prompt", "query", "--input", input.to_str().unwrap()]).expect(1).rows();
    assert_eq!(rows[0]["embedding"].to_string(), lines(&expected)[0].to_string());
    assert!(rows[1]["error"].as_str().unwrap().contains("`text` is empty"));
    let pooling = model.join("1_Pooling/config.json");
    let json = std::fs::read_to_string(&pooling).unwrap();
    std::fs::write(&pooling, json.replacen('{', "{\"include_prompt\": false,", 1)).unwrap();
    let told = grice(&model, &["--prompt", "query", "yes"]).expect(1);
    assert!(told.err.contains("include_prompt"), "{}", told.err);
    grice(&model, &["yes"]).expect(0);
}

#[test]
fn what_cannot_be_embedded_is_said() {
    let bert = folder("bert");
    let empty = grice(&bert, &["yes", ""]).expect(1);
    assert!(empty.err.contains("`text` is empty") && empty.out.is_empty(), "{}", empty.err);
    let none = run(bare().args(["embed", "yes"])).expect(2);
    assert!(none.err.contains("--model PATH") && none.err.contains("sentence-transformers"), "{}", none.err);
    let other = grice(&fixtures().join("generators/t5"), &["yes"]).expect(1);
    assert!(other.err.contains("modules.json is missing"), "{}", other.err);
    let both = grice(&bert, &["yes", "--input", "-"]).expect(2);
    assert!(both.err.contains("cannot be used with"), "{}", both.err);
}
