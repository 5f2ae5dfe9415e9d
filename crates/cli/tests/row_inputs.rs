//! Rows in all input formats, with bad ones among them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Ran, bare, fails_on_long_texts, good_rows, grice, parse_rows, run, run_with_stdin};
use tempfile::TempDir;

/// A file in a folder of its own.
fn written(name: &str, bytes: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn detect(path: &Path, more: &[&str]) -> Ran {
    run(grice(["detect", "-i"]).arg(path).args(more))
}

fn utf16(text: &str, little: bool, mark: bool) -> Vec<u8> {
    let marked = if mark { format!("\u{feff}{text}") } else { text.to_owned() };
    marked.encode_utf16().flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
}

#[test]
fn arrays_and_rows_over_several_lines_are_read_as_lines_are() {
    let lines = good_rows(9);
    let rows: Vec<Value> = parse_rows(&lines);
    let (_folder, path) = written("a.jsonl", &lines);
    let expected = detect(&path, &[]).expect(0).rows();
    let pretty = rows.iter().map(|row| serde_json::to_string_pretty(row).unwrap() + "\n").collect::<String>();
    for (name, text) in [
        ("compact.json", serde_json::to_string(&rows).unwrap()),
        ("pretty.json", serde_json::to_string_pretty(&rows).unwrap()),
        ("marked.json", format!("\u{feff}{}", serde_json::to_string(&rows).unwrap())),
        ("lines.jsonl", pretty),
    ] {
        let (folder, path) = written(name, &text);
        assert_eq!(detect(&path, &[]).expect(0).rows(), expected, "{name}");
        let piped = run_with_stdin(&mut grice(["detect", "-i", "-"]), text.as_bytes()).expect(0);
        assert_eq!(piped.rows(), expected, "{name} in a pipe");
        // Shards and what was interrupted count rows, not lines.
        let shards: Vec<Value> =
            ["1/2", "2/2"].iter().flat_map(|of| detect(&path, &["--shard", of]).expect(0).rows()).collect();
        let in_turn = expected.iter().step_by(2).chain(expected.iter().skip(1).step_by(2));
        let ids = |rows: &mut dyn Iterator<Item = &Value>| rows.map(|row| row["id"].clone()).collect::<Vec<_>>();
        assert_eq!(ids(&mut shards.iter()), ids(&mut in_turn.into_iter()), "{name} in shards");
        let output = folder.path().join("out.jsonl");
        let args = ["-q", "--batch-size", "4", "-o", output.to_str().unwrap()];
        detect(&path, &args).expect(0);
        let whole = fs::read(&output).unwrap();
        fs::write(&output, &whole[..whole.len() * 2 / 3]).unwrap();
        detect(&path, &[&args[..], &["--resume"]].concat()).expect(0);
        assert_eq!(fs::read(&output).unwrap(), whole, "{name} resumed");
    }
}

#[test]
fn an_array_that_breaks_off_loses_nothing_before_that() {
    let (_folder, path) = written(
        "a.json",
        "[{\"response\": \"Yes.\"},\n {\"id\": 2},\n {\"response\": \"No.\"}\n {\"response\": \"x\"}]",
    );
    let ran = detect(&path, &[]).expect(1);
    let rows = ran.rows();
    assert_eq!((rows.len(), &rows[1]["error"], &rows[1]["line"]), (3, &json!("no field `response`"), &json!(2)));
    assert!(
        ran.err.contains("a.json:4: cannot be read: the file is a JSON array, and a comma is missing"),
        "{}",
        ran.err
    );
}

#[test]
fn delimiters_are_found_or_told() {
    let row = |text: &str, name: &str, more: &[&str]| {
        let (_folder, path) = written(name, text);
        detect(&path, more).expect(0).rows().remove(0)
    };
    let expected = row("id,response,context\n7,\"Yes; it is.\",\"a,b\"\n", "a.csv", &[]);
    assert_eq!(row("id;response;context\n7;\"Yes; it is.\";a,b\n", "a.csv", &[]), expected);
    assert_eq!(row("id\tresponse\tcontext\r\n7\tYes; it is.\ta,b\r\n", "a.tsv", &[]), expected);
    assert_eq!(row("id\tresponse\tcontext\n7\tYes; it is.\ta,b\n", "a.csv", &[]), expected);
    assert_eq!(row("id|response|context\n7|Yes; it is.|a,b\n", "a.txt", &["--format", "csv"]), expected);
    assert_eq!(row("id:response:context\n7:Yes; it is.:a,b\n", "a.csv", &["--delimiter", ":"]), expected);
    let (_folder, path) = written("a.csv", "id;text\n1;a\n");
    assert!(detect(&path, &[]).expect(2).err.contains("found: id, text"));
    assert!(detect(&path, &["--delimiter", "\""]).expect(2).err.contains("one character"));
}

#[test]
fn numbers_that_json_does_not_have_cost_nothing() {
    let (_folder, path) = written(
        "a.jsonl",
        "{\"response\":\"Yes.\",\"score\":NaN,\"x\":[-Infinity]}\n{\"response\":\"No.\",\"y\":Infinity}\n",
    );
    let ran = detect(&path, &[]).expect(0);
    assert_eq!(ran.err.matches("written as null").count(), 1, "{}", ran.err);
    let rows = ran.rows();
    assert_eq!((&rows[0]["score"], &rows[0]["x"], &rows[1]["y"]), (&json!(null), &json!([null]), &json!(null)));
}

#[test]
fn byte_order_marks_are_skipped_wherever_files_were_put_together() {
    let (_folder, path) = written("a.jsonl", "\u{feff}{\"response\":\"a\"}\n\u{feff}{\"response\":\"b\"}\n\u{feff}\n");
    assert_eq!(detect(&path, &[]).expect(0).rows().len(), 2);
    let (_folder, path) = written("a.csv", "\u{feff}response,id\nYes.,1\n\u{feff}No.,2\n");
    assert_eq!(detect(&path, &[]).expect(0).rows()[1]["response"], "No.");
}

#[test]
fn utf16_is_named_with_the_remedy_in_every_text_file() {
    let labelled = "{\"response\":\"a\",\"labels\":{\"quantity\":0,\"quality\":0,\"relation\":0,\"manner\":0}}\n";
    for (little, mark) in [(true, true), (true, false), (false, true), (false, false)] {
        let hint = if little { "iconv -f UTF-16LE -t UTF-8" } else { "iconv -f UTF-16BE -t UTF-8" };
        let check = |command: &mut Command, code: i32, place: &str| {
            let ran = run(command).expect(code);
            assert!(ran.err.contains(hint) && ran.err.contains(place), "{}", ran.err);
            assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        };
        let (folder, jsonl) = written("a.jsonl", utf16(labelled, little, mark));
        let file = |name: &str, text: &str| {
            fs::write(folder.path().join(name), utf16(text, little, mark)).unwrap();
            folder.path().join(name)
        };
        check(grice(["detect", "-i"]).arg(&jsonl), 2, "a.jsonl");
        check(grice(["detect", "-i"]).arg(file("a.csv", "response\nYes.\n")), 2, "a.csv");
        check(grice(["eval", "-i"]).arg(&jsonl), 2, "a.jsonl");
        let out = folder.path().join("out");
        check(grice(["quantize", "--mode", "static", "--calibration"]).arg(&jsonl).arg("-o").arg(&out), 2, "a.jsonl");
        check(grice(["quantize", "--mode", "dynamic", "--data"]).arg(&jsonl).arg("-o").arg(&out), 2, "a.jsonl");
        let config = file("grice.toml", "[serve]\nreplicas = 1\n");
        check(grice(["serve", "--config"]).arg(&config), 2, "grice.toml");
        let keys = file("keys", "first\nsecond\n");
        check(grice(["serve", "--log", "error", "--listen", "127.0.0.1:0", "--api-keys-file"]).arg(&keys), 2, "keys");
        let model = folder.path().join("model");
        support::copy_folder(&support::tiny_bert(), &model);
        let manifest = fs::read_to_string(model.join("grice.json")).unwrap();
        fs::write(model.join("grice.json"), utf16(&manifest, little, mark)).unwrap();
        check(bare().args(["detect", "--response", "a", "--model"]).arg(&model), 1, "grice.json");
    }
}

#[test]
fn labels_are_not_looked_for_in_csv() {
    let (_folder, path) = written("a.csv", "response,labels\nYes.,x\n");
    assert!(run(grice(["eval", "-i"]).arg(&path)).expect(2).err.contains("CSV cannot hold"));
}

#[cfg(unix)]
#[test]
fn the_input_is_never_the_output_whatever_it_is_called() {
    let text = good_rows(3);
    let (folder, path) = written("in.jsonl", &text);
    let (hard, soft) = (folder.path().join("hard.jsonl"), folder.path().join("soft.jsonl"));
    fs::hard_link(&path, &hard).unwrap();
    std::os::unix::fs::symlink(&path, &soft).unwrap();
    let check = |input: &str, output: &Path, more: &[&str]| {
        let ran = run(grice(["detect", "-i", input, "-o"]).arg(output).args(more).stdin(File::open(&path).unwrap()))
            .expect(2);
        assert!(ran.err.contains("is both the input and the output"), "{}", ran.err);
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{input} to {output:?}");
    };
    for output in [&path, &hard, &soft] {
        for more in [&[] as &[&str], &["--overwrite"], &["--resume"]] {
            for input in ["-", "/dev/stdin", path.to_str().unwrap(), hard.to_str().unwrap(), soft.to_str().unwrap()] {
                check(input, output, more);
            }
        }
    }
    // To the end of its own input it would write for ever.
    let appended = File::options().append(true).open(&path).unwrap();
    let ran = run(grice(["detect", "-i"]).arg(&path).stdout(appended)).expect(2);
    assert!(ran.err.contains("standard output: is both the input and the output"), "{}", ran.err);
    let other = folder.path().join("out.jsonl");
    run(grice(["detect", "-i", "-", "-o"]).arg(&other).stdin(File::open(&path).unwrap())).expect(0);
    assert_eq!(fs::read_to_string(&other).unwrap().lines().count(), 3);
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let mut command = grice(["detect", "--response", "Yes."]);
    for name in ["GRICE_MODEL", "GRICE_PRECISION", "GRICE_THREADS", "GRICE_CACHE_DIR"] {
        command.env(name, "");
    }
    run(&mut command).expect(0);
    // As far as the address, which is none.
    let mut command = grice(["serve", "--listen", "203.0.113.1:1"]);
    for name in [
        "GRICE_REPLICAS",
        "GRICE_DEADLINE_MS",
        "GRICE_CONFIG",
        "GRICE_DEVICE",
        "GRICE_WARM_UP",
        "GRICE_CACHE",
        "GRICE_TLS_KEY",
    ] {
        command.env(name, "");
    }
    let ran = run(&mut command).expect(1);
    assert!(ran.err.contains("203.0.113.1:1"), "{}", ran.err);
}

#[test]
fn thresholds_are_numbers_from_0_to_1() {
    let violations = |thresholds: &str| {
        let ran = run(&mut grice(["detect", "--response", "Yes.", "--json", "--thresholds", thresholds])).expect(0);
        ran.rows()[0]["violations"].clone()
    };
    let none = violations("quantity=1,quality=1,relation=1,manner=1");
    assert_eq!(none, json!({ "quantity": false, "quality": false, "relation": false, "manner": false }));
    let all = violations("quantity=0,quality=0,relation=0,manner=0");
    assert_eq!(all, json!({ "quantity": true, "quality": true, "relation": true, "manner": true }));
    for bad in ["quantity=1.001", "quantity=-0.1", "quantity=NaN"] {
        let ran = run(&mut grice(["detect", "--response", "Yes.", "--thresholds", bad])).expect(2);
        assert!(ran.err.contains("is not a number from 0 to 1"), "{}", ran.err);
    }
}

#[test]
fn a_row_on_which_the_model_fails_costs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let model = fails_on_long_texts(folder.path());
    let row = |response: &str| json!({ "response": response }).to_string() + "\n";
    let (short, long) = ([row("Yes."), row("No."), row("Perhaps.")], row(&"It is so. ".repeat(30)));
    let command = |more: &[&str]| {
        let mut command = bare();
        command.args(["detect", "--threads", "2", "-i", "-", "--model"]).arg(&model).args(more);
        command
    };
    let expected = run_with_stdin(&mut command(&[]), short.concat().as_bytes()).expect(0).rows();
    let mixed =
        [short[0].as_str(), &long, &short[1], &long, &long, "{\"response\":\"\u{200b}\"}\n", &short[2]].concat();
    for size in ["1", "2", "64"] {
        let ran = run_with_stdin(&mut command(&["--batch-size", size]), mixed.as_bytes()).expect(1);
        let rows = ran.rows();
        for (row, expected) in [0, 2, 6].iter().map(|&row| &rows[row]).zip(&expected) {
            for maxim in ["quantity", "quality", "relation", "manner"] {
                let [found, expected] = [row, expected].map(|row| row["probabilities"][maxim].as_f64().unwrap());
                assert!((found - expected).abs() < 1e-4, "{row}");
            }
        }
        for line in [2, 4, 5] {
            let error = rows[line - 1]["error"].as_str().unwrap();
            assert!(error.starts_with("the model failed to run: ") && rows[line - 1]["line"] == line, "{error}");
        }
        assert!(rows[5]["error"].as_str().unwrap().starts_with("`response` is empty"), "{}", rows[5]);
        assert_eq!(ran.err.lines().count(), 5, "{}", ran.err);
    }
    let one = run(bare().args(["detect", "--response", &"It is so. ".repeat(30), "--model"]).arg(&model)).expect(1);
    assert_eq!(one.err.lines().count(), 1, "{}", one.err);
}

#[test]
fn text_that_shows_nothing_is_empty() {
    for text in ["\u{200b}", "\u{feff}\u{ad}", "\u{301}\u{fe0f}", "\u{2800}\u{3164}", " \u{a0}\u{2028}\u{1f}"] {
        let ran = run(&mut grice(["detect", "--response", text])).expect(1);
        assert!(
            ran.err.contains("`response` is empty, or holds only characters that cannot be seen"),
            "{text:?}: {}",
            ran.err
        );
    }
    let ran = run(&mut grice(["detect", "--response", "\u{fffd}"])).expect(1);
    assert!(ran.err.contains("holds nothing that the model's tokenizer reads"), "{}", ran.err);
}

#[test]
fn text_that_the_tokenizer_does_not_know_is_said_to_be() {
    let endless = "x".repeat(500);
    for text in ["ᚠᚢᚦ ᚨᚱᚲ", &endless] {
        let ran = run(&mut grice(["detect", "--response", text, "--json"])).expect(0);
        assert_eq!(ran.rows()[0]["unknown_share"], 1.0);
        assert!(
            ran.err.starts_with("warning: the model's tokenizer does not know 100.0 % of the response"),
            "{}",
            ran.err
        );
    }
    assert!(run(&mut grice(["-q", "detect", "--response", "ᚠᚢᚦ", "--json"])).expect(0).err.is_empty());
    let known = run(&mut grice(["detect", "--response", "Yes.", "--json"])).expect(0);
    assert!(known.rows()[0].get("unknown_share").is_none() && known.err.is_empty());
    let (_folder, path) = written(
        "a.jsonl",
        "{\"response\":\"Yes.\"}\n{\"response\":\"ᚠᚢᚦ\"}\n{\"response\":\"ᚨᚱᚲ\",\"unknown_share\":7}\n",
    );
    let ran = detect(&path, &[]).expect(0);
    assert_eq!(ran.rows()[2]["unknown_share"], 1.0);
    let warned: Vec<&str> =
        ran.err.lines().filter(|line| line.contains("tokenizer") || line.contains("rows in total")).collect();
    assert!(
        warned.len() == 2 && warned[0].contains("a.jsonl:2: ") && warned[1].contains("to 2 rows in total"),
        "{}",
        ran.err
    );
}
