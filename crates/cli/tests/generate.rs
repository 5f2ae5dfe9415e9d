//! `grice generate` on the real binary, with the tiny models.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use support::{Ran, bare, copy_folder, run};

fn grice(model: &str, args: &[&str]) -> Ran {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/generators").join(model);
    run(bare().arg("--model").arg(folder).arg("generate").args(args))
}

fn json_of(model: &str, args: &[&str]) -> Value {
    serde_json::from_str(&grice(model, &[args, &["--json"]].concat()).expect(0).out).unwrap()
}

/// The words of token ids, as the fixtures' tokenizer spells them.
fn words(tokens: &Value) -> String {
    let spoken = tokens.as_array().unwrap().iter().map(|token| token.as_u64().unwrap()).filter(|token| *token >= 6);
    spoken.map(|token| format!("w{token}")).collect::<Vec<_>>().join(" ")
}

/// The prompts and texts of transformers, of prompts that the tokenizer can spell.
fn searches(model: &str) -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/generators");
    let reference = std::fs::read_to_string(path.join(model).join("reference.json")).unwrap();
    let reference: Value = serde_json::from_str(&reference).unwrap();
    reference["searches"].as_array().unwrap().clone()
}

#[test]
fn a_text_is_that_of_transformers() {
    for model in ["gpt2", "llama", "qwen2"] {
        let mut compared = 0;
        for search in searches(model) {
            let tokens = search["options"]["max_new_tokens"].to_string();
            let prompt = words(&search["prompt"]);
            let mut args = vec!["--prompt", &prompt, "--max-new-tokens", &tokens];
            if search["options"]["num_beams"].is_u64() {
                args.extend(["--beams", "4", "--repetition-penalty", "1.5", "--no-repeat-ngram", "3"]);
            }
            // The reference also asked for a length that counts the prompt, which decides only short prompts.
            if search["prompt"].as_array().unwrap().len() < 8 && args.len() > 4 {
                continue;
            }
            let found = json_of(model, &args);
            assert_eq!(found["generated"], words(&search["tokens"]), "{model}: {prompt}");
            assert_eq!(found["generated_tokens"], search["tokens"].as_array().unwrap().len());
            assert_eq!(found["prompt_tokens"], search["prompt"].as_array().unwrap().len());
            compared += 1;
        }
        assert!(compared > 5, "{model}");
    }
}

#[test]
fn the_same_seed_draws_the_same_text() {
    let draw = |seed: &str| {
        let args =
            ["--prompt", "w7 w8", "--temperature", "1.3", "--top-p", "0.95", "--seed", seed, "--max-new-tokens", "30"];
        json_of("gpt2", &args)["generated"].clone()
    };
    assert_eq!(draw("3"), draw("3"));
    let others: std::collections::BTreeSet<String> = (0..6).map(|seed| draw(&seed.to_string()).to_string()).collect();
    assert!(others.len() > 1, "{others:?}");
}

#[test]
fn a_stop_text_ends_before_itself() {
    let whole = json_of("gpt2", &["--prompt", "w7 w8", "--max-new-tokens", "20"]);
    let text = whole["generated"].as_str().unwrap();
    let words: Vec<&str> = text.split(' ').collect();
    let stop = words[5];
    let first = words.iter().position(|word| *word == stop).unwrap();
    let found = json_of("gpt2", &["--prompt", "w7 w8", "--max-new-tokens", "20", "--stop", stop]);
    assert_eq!(found["generated"].as_str().unwrap().trim_end(), words[..first].join(" "));
    assert_eq!(found["finish_reason"], "stop");
    assert_eq!(whole["finish_reason"], "length");
}

#[test]
fn a_file_has_the_texts_of_its_rows_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let [input, output] = ["prompts.jsonl", "texts.jsonl"].map(|name| folder.path().join(name));
    let prompts: Vec<String> = (0..40)
        .map(|row| (0..=row % 9).map(|word| format!("w{}", 6 + (row * 7 + word) % 90)).collect::<Vec<_>>().join(" "))
        .collect();
    let rows: String =
        prompts.iter().enumerate().map(|(id, prompt)| json!({"id": id, "prompt": prompt}).to_string() + "\n").collect();
    std::fs::write(&input, &rows).unwrap();
    for model in ["gpt2", "t5"] {
        let files = [
            "--input",
            input.to_str().unwrap(),
            "--output",
            output.to_str().unwrap(),
            "--overwrite",
            "--max-new-tokens",
            "12",
        ];
        grice(model, &files).expect(0);
        let text = std::fs::read_to_string(&output).unwrap();
        let texts: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(texts.len(), prompts.len());
        for (id, (text, prompt)) in texts.iter().zip(&prompts).enumerate() {
            assert_eq!((&text["id"], &text["prompt"]), (&json!(id), &json!(prompt)));
            if id % 13 == 0 {
                let alone = json_of(model, &["--prompt", prompt, "--max-new-tokens", "12"]);
                assert_eq!(text["generated"], alone["generated"], "{model}, row {id}");
            }
        }
    }
    // A file that is there is not lost.
    let files = ["--input", input.to_str().unwrap(), "--output", output.to_str().unwrap()];
    assert!(grice("gpt2", &files).expect(2).err.contains("--overwrite"));
}

#[test]
fn bad_rows_are_named_and_the_others_written() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("prompts.jsonl");
    let long = "w9 ".repeat(170);
    std::fs::write(&input, format!("{{\"prompt\": \"w7\"}}\nno json\n\n{{\"text\": 1}}\n{{\"prompt\": 3}}\n{{\"prompt\": \"{long}\"}}\n{{\"prompt\": \"\"}}\n")).unwrap();
    let ran = grice("gpt2", &["--input", input.to_str().unwrap(), "--max-new-tokens", "4"]).expect(1);
    let rows: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rows[0]["generated"].is_string());
    let expected =
        ["not JSON", "no field `prompt`", "`prompt` must be", "more than the 160 tokens of the model", "`prompt`"];
    for (row, expected) in rows[1..].iter().zip(expected) {
        assert!(row["error"].as_str().unwrap().contains(expected), "{row} lacks {expected}");
    }
    assert_eq!(rows.len(), 6);
    assert!(ran.err.contains("5 of 6 rows"), "{}", ran.err);
    assert_eq!(rows[1]["line"], 2);
    assert!(ran.err.contains("prompts.jsonl:4: no field `prompt`"), "{}", ran.err);
}

/// A CSV file of 30 rows, the text of each, and a folder for more.
fn csv_file() -> (tempfile::TempDir, String, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("prompts.csv");
    let rows: String = (0..30).map(|id| format!("{id};\"w{} w{}\"\r\n", 7 + id, 40 + id % 3)).collect();
    std::fs::write(&input, "id;prompt\r\n".to_owned() + &rows).unwrap();
    let input = input.to_str().unwrap().to_owned();
    let ran = grice("gpt2", &[&DRAWN[..], &["--input", &input]].concat()).expect(0);
    let lines = ran.out.lines().map(str::to_owned).collect();
    (folder, input, lines)
}

const DRAWN: [&str; 6] = ["--temperature", "1.2", "--seed", "5", "--max-new-tokens", "9"];

#[test]
fn csv_files_and_shards_give_the_same_texts() {
    let (_folder, input, whole) = csv_file();
    assert_eq!(whole.len(), 30);
    let first: Value = serde_json::from_str(&whole[0]).unwrap();
    assert_eq!((&first["id"], &first["prompt"]), (&json!("0"), &json!("w7 w40")));
    for part in 0..4 {
        let shard = format!("{}/4", part + 1);
        let ran = grice("gpt2", &[&DRAWN[..], &["--input", &input, "--shard", &shard]].concat()).expect(0);
        let expected: Vec<&String> = whole.iter().skip(part).step_by(4).collect();
        assert_eq!(ran.out.lines().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn an_interrupted_file_continues_where_it_stopped() {
    let (folder, input, whole) = csv_file();
    let output = folder.path().join("texts.jsonl");
    let resume = |args: &[&str]| {
        grice(
            "gpt2",
            &[&DRAWN[..], &["--input", &input, "--output", output.to_str().unwrap(), "--resume"], args].concat(),
        )
    };
    let all = whole.join("\n") + "\n";
    // Nothing, a line that is cut, whole lines only, everything.
    for kept in [0, 10, whole[0].len() + 1, whole[..12].join("\n").len() + 25, all.len()] {
        std::fs::write(&output, &all[..kept]).unwrap();
        resume(&[]).expect(0);
        assert_eq!(std::fs::read_to_string(&output).unwrap(), all, "{kept} bytes were there");
    }
    let refused = |old: &str, expected: &str| {
        std::fs::write(&output, old).unwrap();
        let ran = resume(&[]).expect(1);
        assert!(ran.err.contains(expected), "{}", ran.err);
        assert_eq!(std::fs::read_to_string(&output).unwrap(), old);
    };
    refused(&(whole[1].clone() + "\n"), "its line 1 differs from its row");
    refused(&(all.clone() + "{}\n"), "more lines than the input has rows");
    refused("hello", "does not begin with the fields of its row");
    let ran = grice("gpt2", &["--input", &input, "--resume"]).expect(2);
    assert!(ran.err.contains("--resume"), "{}", ran.err);
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let refused = |args: &[&str], code: i32, expected: &str| {
        let ran = grice("gpt2", args).expect(code);
        assert!(ran.err.contains(expected), "{}\nlacks: {expected}", ran.err);
    };
    refused(&["--prompt", "w7", "--temperature", "-1"], 2, "temperature");
    refused(&["--prompt", "w7", "--top-p", "2"], 2, "top_p");
    refused(&["--prompt", "w7", "--repetition-penalty", "0"], 2, "repetition_penalty");
    refused(&["--prompt", "w7", "--beams", "4", "--temperature", "1"], 2, "cannot be used with");
    refused(&["--prompt", "w7", "--max-new-tokens", "160"], 1, "more than the 160 tokens of the model");
    refused(&["--prompt", ""], 1, "prompt");
    refused(&[], 2, "--prompt");
    let ran = run(bare().args(["generate", "--prompt", "w7"])).expect(2);
    assert!(ran.err.contains("name a model that writes text with --model"), "{}", ran.err);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("model");
    copy_folder(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/generators/gpt2"), &copy);
    std::fs::remove_file(copy.join("tokenizer.json")).unwrap();
    let ran = run(bare().arg("--model").arg(&copy).args(["generate", "--prompt", "w7"])).expect(1);
    assert!(
        ran.err.contains("tokenizer.json") && ran.err.contains("config.json, model.safetensors and tokenizer.json"),
        "{}",
        ran.err
    );
}

fn gguf(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/gguf").join(path)
}

fn of_gguf(path: &std::path::Path, args: &[&str]) -> Ran {
    run(bare().arg("--model").arg(path).arg("generate").args(args))
}

#[test]
fn gguf_files_write_what_their_folder_writes() {
    let args = ["--prompt", "w7 w8 w9", "--max-new-tokens", "12"];
    let folder = of_gguf(&gguf("models/llama"), &args).expect(0).out;
    assert_eq!(of_gguf(&gguf("models/llama/f32.gguf"), &args).expect(0).out, folder);
    let whole = of_gguf(&gguf("whole"), &args).expect(0).out;
    assert_eq!(of_gguf(&gguf("split/tiny-00002-of-00003.gguf"), &args).expect(0).out, whole);
}

#[test]
fn gguf_files_that_do_not_open_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("tiny-00001-of-00003.gguf");
    std::fs::copy(gguf("split/tiny-00001-of-00003.gguf"), &part).unwrap();
    let error = of_gguf(&part, &["--prompt", "w7"]).expect(1).err;
    assert!(error.contains("the file tiny-00002-of-00003.gguf is missing: part 2 of 3"), "{error}");
    std::fs::write(folder.path().join("a.gguf"), "no model").unwrap();
    let error = of_gguf(&folder.path().join("a.gguf"), &["--prompt", "w7"]).expect(1).err;
    assert!(error.contains("a.gguf: it is no GGUF file"), "{error}");
}
