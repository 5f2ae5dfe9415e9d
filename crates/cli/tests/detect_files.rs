//! `detect --input`: order, count, broken rows, formats, shards and pipes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use support::{good_rows, grice, parse_rows, run, run_with_stdin};

#[test]
fn order_count_and_fields_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    fs::write(&input, good_rows(150)).unwrap();
    let args = ["detect", "-i", input.to_str().unwrap(), "-o", output.to_str().unwrap()];
    let ran = run(&mut grice(args)).expect(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
    let rows = parse_rows(&fs::read_to_string(&output).unwrap());
    assert_eq!(rows.len(), 150);
    for (number, row) in rows.iter().enumerate() {
        assert_eq!(row["id"], json!(number));
        let names: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["id", "context", "response", "probabilities", "violations", "cooperative", "truncated"];
        assert_eq!(names, expected);
        let maxims: Vec<&String> = row["probabilities"].as_object().unwrap().keys().collect();
        assert_eq!(maxims, ["quantity", "quality", "relation", "manner"]);
        let violated = row["violations"].as_object().unwrap().values().any(|violated| violated == true);
        assert_eq!(row["cooperative"], json!(!violated));
    }
}

#[test]
fn batches_and_threads_do_not_change_verdicts() {
    let input = good_rows(40);
    let by = |size: &str, threads: &str| {
        let args = ["detect", "-i", "-", "--batch-size", size, "--threads", threads];
        run_with_stdin(&mut grice(args), input.as_bytes()).expect(0).rows()
    };
    let (one, many) = (by("1", "1"), by("64", "3"));
    for (a, b) in one.iter().zip(&many) {
        for maxim in ["quantity", "quality", "relation", "manner"] {
            let difference = a["probabilities"][maxim].as_f64().unwrap() - b["probabilities"][maxim].as_f64().unwrap();
            assert!(difference.abs() < 1e-4, "{a} {b}");
        }
    }
}

#[test]
fn broken_rows_are_reported_and_the_rest_is_judged() {
    let big = format!("{{\"id\":9,\"response\":\"{}\"}}", "a".repeat(10_000_000));
    let longer = format!("{{\"response\":\"{}\"}}", "a".repeat(17 << 20));
    let cases: Vec<(&[u8], &str)> = vec![
        (b"{\"id\":1,\"response\":\"fine\"}", ""),
        (b"{\"response\":", "not JSON"),
        (b"\"text\"", "expected an object, found text"),
        (b"{\"id\":3}", "no field `response`"),
        (b"{\"id\":4,\"response\":7}", "`response` must be text, found a number"),
        (b"{\"id\":5,\"response\":\"  \"}", "`response` is empty"),
        (b"{\"id\":6,\"response\":\"a\\u0000b\"}", "`response` holds a NUL"),
        (b"{\"id\":7,\"response\":\"\xff\"}", "not UTF-8 from byte 20 of the line"),
        (b"{\"id\":8,\"response\":\"a\",\"context\":[1]}", "`context[0]` must be text or"),
        (big.as_bytes(), "`response` is 10000000 bytes long"),
        (longer.as_bytes(), "the line is 17825807 bytes long"),
        (b"{\"id\":10,\"response\":\"fine too\"}", ""),
        (b"{\"id\":11,\"resp", "cut off"),
    ];
    let input = cases.iter().map(|(line, _)| *line).collect::<Vec<_>>().join(&b"\n\r\n"[..]);
    let ran = run_with_stdin(&mut grice(["detect", "--input", "-"]), &input).expect(1);
    let rows = ran.rows();
    assert_eq!(rows.len(), cases.len());
    for (place, (row, (_, cause))) in rows.iter().zip(&cases).enumerate() {
        // A blank line after each row counts as a line and is no row.
        let line = 2 * place + 1;
        if cause.is_empty() {
            assert!(row["probabilities"].is_object() && row.get("error").is_none(), "{row}");
        } else {
            assert!(row["error"].as_str().unwrap().contains(cause), "{cause}: {}", row["error"]);
            assert_eq!(row["line"], json!(line));
            assert!(ran.err.contains(&format!("standard input:{line}: ")), "{}", ran.err);
        }
    }
    assert_eq!(rows[4]["id"], json!(4), "fields are kept where the row is an object");
    assert!(ran.err.ends_with("error: 11 of 13 rows could not be judged\n"), "{}", ran.err);
}

#[test]
fn quiet_says_only_how_it_ended() {
    let ran = run_with_stdin(&mut grice(["detect", "-i", "-", "-q"]), b"x\n").expect(1);
    assert_eq!(ran.err, "error: 1 of 1 rows could not be judged\n");
}

#[test]
fn strict_stops_at_the_first_bad_row_with_the_rows_before_it_written() {
    let input = format!("{}\n{{\"response\":\"\"}}\n{}", good_rows(5).trim_end(), good_rows(5));
    for size in ["1", "3", "64"] {
        let args = ["detect", "-i", "-", "--strict", "--batch-size", size];
        let ran = run_with_stdin(&mut grice(args), input.as_bytes()).expect(1);
        assert_eq!(ran.rows().len(), 5);
        assert!(ran.err.contains("standard input:6: `response` is empty"), "{}", ran.err);
    }
}

#[test]
fn fields_of_grices_own_are_replaced_with_one_warning() {
    let first = run_with_stdin(&mut grice(["detect", "-i", "-"]), good_rows(3).as_bytes()).expect(0);
    let again = run_with_stdin(&mut grice(["detect", "-i", "-"]), first.out.as_bytes()).expect(0);
    assert_eq!(again.out, first.out);
    assert_eq!(again.err.matches("`probabilities`").count(), 1, "{}", again.err);
}

#[test]
fn csv_rows_keep_their_columns_order_and_count() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.CSV");
    fs::write(&input, "id,response,context\n1,\"a, \"\"b\"\"\nc\",hi\n2,d\n3,,x\n4,\u{e9}t\u{e9},\n").unwrap();
    let ran = run(&mut grice(["detect", "-i", input.to_str().unwrap()])).expect(1);
    let rows = ran.rows();
    assert_eq!(rows.iter().map(|row| &row["id"]).collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    assert_eq!(rows[0]["response"], "a, \"b\"\nc");
    assert!(rows[0]["probabilities"].is_object() && rows[3]["probabilities"].is_object());
    assert_eq!(rows[1]["error"], "expected 3 cells, as in the header, found 2");
    assert_eq!(rows[1]["line"], 4);
    assert!(rows[2]["error"].as_str().unwrap().starts_with("`response` is empty"));
}

#[test]
fn csv_without_the_needed_column_is_a_usage_error_naming_the_others() {
    let ran = run_with_stdin(&mut grice(["detect", "-i", "-", "--format", "csv"]), b"id,text\n1,a\n").expect(2);
    assert!(ran.err.contains("no column `response` in the header; found: id, text"), "{}", ran.err);
}

#[test]
fn shards_cover_all_rows_once() {
    let input = good_rows(31);
    let mut ids: Vec<i64> = Vec::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let ran = run_with_stdin(&mut grice(["detect", "-i", "-", "--shard", shard]), input.as_bytes()).expect(0);
        let rows = ran.rows();
        assert!(rows.len() == 10 || rows.len() == 11);
        ids.extend(rows.iter().map(|row| row["id"].as_i64().unwrap()));
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..31).collect::<Vec<_>>());
}

#[test]
fn an_output_file_is_not_overwritten_by_accident() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    fs::write(&input, good_rows(2)).unwrap();
    fs::write(&output, "precious").unwrap();
    let (input_arg, output_arg) = (input.to_str().unwrap(), output.to_str().unwrap());
    let ran = run(&mut grice(["detect", "-i", input_arg, "-o", output_arg])).expect(2);
    assert!(ran.err.contains("--resume") && ran.err.contains("--overwrite"), "{}", ran.err);
    assert_eq!(fs::read(&output).unwrap(), b"precious");
    run(&mut grice(["detect", "-i", input_arg, "-o", output_arg, "--overwrite"])).expect(0);
    assert_eq!(parse_rows(&fs::read_to_string(&output).unwrap()).len(), 2);
    let ran = run(&mut grice(["detect", "-i", input_arg, "-o", input_arg, "--overwrite"])).expect(2);
    assert!(ran.err.contains("both the input and the output"), "{}", ran.err);
    assert_eq!(fs::read_to_string(&input).unwrap(), good_rows(2));
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let ran = run(&mut grice(["detect", "-i", &place("none.jsonl")])).expect(1);
    assert!(ran.err.contains("none.jsonl: cannot be read"), "{}", ran.err);
    let ran = run(&mut grice(["detect", "-i", &place("in.txt")])).expect(2);
    assert!(ran.err.contains("--format jsonl"), "{}", ran.err);
    fs::write(place("in.jsonl"), good_rows(1)).unwrap();
    let ran = run(&mut grice(["detect", "-i", &place("in.jsonl"), "-o", &place("no/such/out.jsonl")])).expect(1);
    assert!(ran.err.contains("out.jsonl: cannot be written"), "{}", ran.err);
}

#[test]
fn empty_input_makes_empty_output() {
    for input in ["", "\n \n\r\n", "\u{feff}"] {
        let ran = run_with_stdin(&mut grice(["detect", "-i", "-"]), input.as_bytes()).expect(0);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
    }
}

#[test]
fn thresholds_decide_what_is_violated() {
    let args = ["detect", "-i", "-", "--thresholds", "quantity=0.000001,quality=0.999999"];
    for row in run_with_stdin(&mut grice(args), good_rows(5).as_bytes()).expect(0).rows() {
        assert_eq!(
            (&row["violations"]["quantity"], &row["violations"]["quality"]),
            (&Value::Bool(true), &Value::Bool(false))
        );
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.jsonl");
    fs::write(&input, good_rows(3000)).unwrap();
    let mut command = grice(["detect", "-i", input.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("{\"id\":0,"));
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(err, "");
}
