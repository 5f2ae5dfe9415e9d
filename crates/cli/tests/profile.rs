//! `profile` and `eval --compare` on the real binary: reports, files and errors.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use support::{Ran, bare, good_rows, grice, run, run_with_stdin, tiny_bert};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures").join(path)
}

/// A bare ONNX file with int8 weights.
fn tiny_int8() -> PathBuf {
    fixture("tiny-int8/model.onnx")
}

fn with_model(model: &Path, args: &[&str]) -> Ran {
    run(bare().args(args).arg("--model").arg(model))
}

fn json_of(model: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&with_model(model, args).expect(0).out).unwrap()
}

#[track_caller]
fn number(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap_or_else(|| panic!("`{field}` is no number in {value}"))
}

#[track_caller]
fn check_times(times: &Value) {
    let [min, p50, p95, p99, max] =
        ["min_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms"].map(|field| number(times, field));
    assert!(0.0 < min && min <= p50 && p50 <= p95 && p95 <= p99 && p99 <= max, "{times}");
    let (mean, std) = (number(times, "mean_ms"), number(times, "std_ms"));
    // Each of them is rounded to a microsecond.
    assert!(min <= mean && mean <= max && std <= max - min + 0.0015, "{times}");
    // Sequences at the mean time, which is rounded to a microsecond.
    let expected = number(times, "batch_size") / mean * 1e3;
    let slack = expected * (0.001 + 0.0006 / mean);
    assert!((number(times, "throughput_per_s") - expected).abs() < slack, "{times}");
}

/// For bundles and bare files.
#[test]
fn latency_reports_each_shape() {
    for (model, name, precision) in [
        (tiny_bert(), "tiny-bert 1.0.0".to_owned(), "fp32"),
        (fixture("tiny-deberta/onnx/model.onnx"), "tiny-deberta/onnx/model.onnx".to_owned(), "fp32"),
        (tiny_int8(), "tiny-int8/model.onnx".to_owned(), "int8"),
    ] {
        let work = tempfile::tempdir().unwrap();
        let file = work.path().join("latency.json");
        let args =
            ["profile", "latency", "--shapes", "1x1,2x16", "--runs", "4", "--threads", "1", "--json", "--output"];
        let ran = run(bare().args(args).arg(&file).arg("--model").arg(&model)).expect(0);
        assert_eq!(fs::read_to_string(&file).unwrap(), ran.out, "the file holds what is printed");
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert!(report["model"].as_str().unwrap().ends_with(&name), "{report}");
        assert_eq!((&report["precision"], &report["threads"]), (&json!(precision), &json!(1)));
        assert_eq!((&report["device"], &report["runs"], &report["warmup"]), (&json!("cpu"), &json!(4), &json!(3)));
        assert_ne!(report["kernels"], "tract", "the fixtures fuse");
        assert!(number(&report, "load_ms") > 0.0);
        let shapes: Vec<_> = report["results"].as_array().unwrap().iter().map(shape_of).collect();
        assert_eq!(shapes, [(1.0, 1.0), (2.0, 16.0)]);
        report["results"].as_array().unwrap().iter().for_each(check_times);
    }
}

fn shape_of(result: &Value) -> (f64, f64) {
    (number(result, "batch_size"), number(result, "sequence_length"))
}

/// Weights may be rounded on the way in, where they are more exact than what is asked for.
#[test]
fn a_bare_file_runs_in_fewer_bits() {
    for precision in ["fp32", "fp16", "int8"] {
        let args = ["profile", "latency", "--shapes", "1x8", "--runs", "1", "--json", "--precision", precision];
        let report = json_of(&fixture("tiny-bert/onnx/model.onnx"), &args);
        assert_eq!(report["precision"], precision);
    }
}

#[test]
fn the_tables_name_what_they_show() {
    let table = |args: &[&str]| with_model(&tiny_int8(), args).expect(0).out;
    let latency = table(&["profile", "latency", "--shapes", "1x8", "--runs", "1", "--threads", "1"]);
    assert!(latency.contains("with 1 thread, 1 run,") && latency.contains("Times in milliseconds"), "{latency}");
    let header = latency.lines().find(|line| line.starts_with("batch × tokens")).unwrap();
    let row = latency.lines().find(|line| line.starts_with("1×8 ")).unwrap();
    let columns = |line: &str| line.replace(" × ", "×").split_whitespace().count();
    assert_eq!(columns(header), columns(row), "{latency}");
    assert!(!row.contains(" 0.00 "), "a time too short for its digits: {row}");
    let ops = table(&["profile", "ops", "--shape", "1x8", "--runs", "1", "--threads", "2"]);
    assert!(ops.contains("with 2 threads, 1×8 tokens") && ops.contains("\nattention "), "{ops}");
}

#[test]
fn batches_are_asked_for_line_by_line() {
    let mut command = bare();
    command.args(["profile", "latency", "--stdin", "--threads", "1", "--model"]).arg(tiny_int8());
    let ran = run_with_stdin(&mut command, b"1x8 3\n5,1,9 2\n4x2\n").expect(0);
    let rows = ran.rows();
    assert_eq!((&rows[0]["precision"], &rows[0]["threads"]), (&json!("int8"), &json!(1)));
    let counts: Vec<usize> = rows[1..].iter().map(|row| row["times_ms"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [3, 2, 1]);
    for times in rows[1..].iter().flat_map(|row| row["times_ms"].as_array().unwrap()) {
        assert!(times.as_f64().unwrap() > 0.0);
    }
    for (lines, message) in [
        ("1x8\nmany\n", "standard input:2: `many` is not a request; write 8x128 5"),
        ("1x8 0\n", "standard input:1: "),
        ("2097152x1\n", "from 1 to 1048576 tokens"),
        ("1x100000\n", "standard input:1: a sequence of 100000 tokens is longer than the"),
    ] {
        let ran = run_with_stdin(&mut command, lines.as_bytes()).expect(1);
        assert!(ran.err.contains(message), "`{message}` is not in {}", ran.err);
        assert_eq!(ran.out.lines().count(), lines.lines().count(), "the lines before it are answered: {}", ran.out);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn memory_comes_from_the_books() {
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("memory.json");
    let args = ["profile", "memory", "--shapes", "1x1,64x64", "--json", "--output"];
    let ran = run(bare().args(args).arg(&file).arg("--model").arg(tiny_int8())).expect(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), ran.out);
    let footprint: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(number(&footprint, "file_bytes"), fs::metadata(tiny_int8()).unwrap().len() as f64);
    let [before, peak, loaded] =
        ["baseline_bytes", "load_peak_bytes", "loaded_bytes"].map(|field| number(&footprint, field));
    assert!(before > 1e6 && before < loaded && loaded <= peak, "{footprint}");
    let results = footprint["results"].as_array().unwrap();
    assert_eq!(results.iter().map(shape_of).collect::<Vec<_>>(), [(1.0, 1.0), (64.0, 64.0)]);
    for result in results {
        let growth = (number(result, "resident_bytes") - loaded).max(0.0);
        assert_eq!(number(result, "growth_bytes"), growth, "{footprint}");
    }
    let table = with_model(&tiny_int8(), &["profile", "memory", "--shapes", "1x8"]).expect(0).out;
    let widths: Vec<usize> =
        table.lines().filter(|line| line.ends_with("MiB")).map(|line| line.chars().count()).collect();
    assert_eq!((widths.len(), widths[0], widths[1]), (5, widths[3], widths[2]), "{table}");
}

/// The steps of one run, as a table and as events that do not overlap.
#[test]
fn ops_sum_up_the_steps_and_trace_them() {
    let work = tempfile::tempdir().unwrap();
    let trace = work.path().join("trace.json");
    let model = fixture("tiny-deberta");
    let args = ["profile", "ops", "--shape", "2x16", "--runs", "3", "--json", "--model"];
    let ran = run(bare().args(args).arg(&model).arg("--trace").arg(&trace)).expect(0);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((shape_of(&report), number(&report, "runs")), ((2.0, 16.0), 3.0));
    let ops = report["ops"].as_array().unwrap();
    let sum = |field: &str| ops.iter().map(|op| number(op, field)).sum::<f64>();
    assert!((sum("total_ms") - number(&report, "total_ms")).abs() < 0.01, "{report}");
    assert!((sum("share") - 1.0).abs() < 0.01, "{report}");
    let costs: Vec<f64> = ops.iter().map(|op| number(op, "total_ms")).collect();
    assert!(costs.is_sorted_by(|a, b| a >= b), "{report}");
    let attention = ops.iter().find(|op| op["op"] == "attention").unwrap();
    assert!(number(attention, "gflop_per_s") > 0.0);

    let trace: Value = serde_json::from_slice(&fs::read(&trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(events.len() as f64, sum("calls"), "one run's steps");
    let mut end = 0.0;
    for event in events {
        assert_eq!((&event["ph"], &event["pid"], &event["tid"]), (&json!("X"), &json!(1), &json!(1)));
        assert!(ops.iter().any(|op| op["op"] == event["cat"]) && event["name"].is_string(), "{event}");
        // Microseconds with three decimals.
        assert!(number(event, "ts") >= end - 0.002, "{event} begins before {end}");
        end = number(event, "ts") + number(event, "dur");
    }
}

/// A graph that does not fuse has no steps of its own.
#[test]
fn a_graph_that_did_not_fuse_is_one_step() {
    let args = ["profile", "ops", "--shape", "1x4", "--runs", "1", "--warmup", "0", "--json"];
    let report = json_of(&fixture("broken/vocab_too_small.onnx"), &args);
    assert_eq!((&report["kernels"], report["ops"].as_array().unwrap().len()), (&json!("tract"), 1));
}

#[cfg(target_os = "linux")]
#[test]
fn precisions_are_compared_in_one_table() {
    let work = tempfile::tempdir().unwrap();
    let rows = work.path().join("rows.jsonl");
    let labelled = good_rows(24).lines().enumerate().fold(String::new(), |text, (index, line)| {
        let mut row: Value = serde_json::from_str(line).unwrap();
        let bit = |maxim: usize| u8::from((index + maxim).is_multiple_of(2));
        row["labels"] = json!({ "quantity": bit(0), "quality": bit(1), "relation": bit(0), "manner": bit(1) });
        text + &row.to_string() + "\n"
    });
    fs::write(&rows, labelled).unwrap();
    let bundle = work.path().join("bundle");
    let quantize = ["quantize", "--mode", "fp16", "--floor", "0.5", "--data"];
    run(grice(quantize).arg(&rows).arg("--output").arg(&bundle)).expect(0);
    let compare = |precisions: &str, more: &[&str]| {
        run(bare().args(["eval", "--compare", precisions, "--input"]).arg(&rows).arg("--model").arg(&bundle).args(more))
    };
    let comparison: Value = serde_json::from_str(&compare("fp32,fp16", &["--json"]).expect(0).out).unwrap();
    assert_eq!((&comparison["model"], &comparison["rows"]), (&json!("tiny-bert 1.0.0"), &json!(24)));
    assert_eq!(shape_of(&comparison), (1.0, 128.0));
    let compared = comparison["precisions"].as_array().unwrap();
    assert_eq!(compared.iter().map(|one| &one["precision"]).collect::<Vec<_>>(), ["fp32", "fp16"]);
    for one in compared {
        assert!(number(one, "latency_ms") > 0.0 && number(one, "memory_bytes") > 1e6, "{one}");
        let alone = run(bare()
            .args(["eval", "--json", "--precision", one["precision"].as_str().unwrap(), "--input"])
            .arg(&rows)
            .arg("--model")
            .arg(&bundle))
        .expect(0);
        assert_eq!(one["macro_f1"], parse_one(&alone.out)["macro_f1"], "as `eval` alone says");
    }
    let table = compare("fp32,fp16", &[]).expect(0).out;
    assert!(table.contains("tiny-bert 1.0.0, 24 rows;") && table.contains("\nfp16 "), "{table}");
    // The missing one is last, and nothing is judged before that is said.
    let refused = compare("fp32,int8", &[]).expect(1);
    assert!(refused.err.contains("has no int8 model; it has: fp32, fp16") && refused.out.is_empty(), "{}", refused.err);
    let stdin = run_with_stdin(&mut grice(["eval", "--compare", "fp32", "--input", "-"]), b"").expect(2);
    assert!(stdin.err.contains("standard input can be read only once"), "{}", stdin.err);
}

fn parse_one(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[track_caller]
fn check_refused(model: &Path, args: &[&str], code: i32, words: &str) {
    let ran = with_model(model, args).expect(code);
    assert!(ran.err.contains(words), "{args:?}: `{words}` is not in {}", ran.err);
    assert!(ran.out.is_empty(), "{args:?}: {}", ran.out);
    assert!(ran.err.len() < 1000, "{args:?}: too long for an error: {}", ran.err);
}

#[test]
fn models_that_cannot_be_run_are_refused() {
    let work = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = work.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let whole = fs::read(tiny_int8()).unwrap();
    let cases = [
        (work.path().join("nowhere.onnx"), "nowhere.onnx: cannot be read"),
        (file("text.onnx", b"# not a model"), "text.onnx: the ONNX file cannot be read"),
        (file("empty.onnx", b""), "empty.onnx: the ONNX file cannot be read"),
        (file("cut.onnx", &whole[..whole.len() / 2]), "cut.onnx: "),
        (
            file("notes.md", b"# notes that are long enough to be taken for a header, if one is not careful"),
            "a bundle is a folder or its .tar file",
        ),
        (work.path().to_owned(), "grice.json"),
        (fixture("broken/unsupported_op.onnx"), "Frobnicate"),
        (fixture("broken/wrong_labels.onnx"), "need [batch, 4]"),
        (fixture("broken/other_task.onnx"), "pixels"),
    ];
    for (model, words) in cases {
        for command in ["latency", "memory", "ops"] {
            check_refused(&model, &["profile", command], 1, words);
        }
        check_refused(&model, &["bench"], 1, words);
    }
}

#[test]
fn precisions_that_are_not_there_are_refused() {
    let stored = "the weights are stored as int8 and cannot be run as fp32";
    check_refused(&tiny_int8(), &["profile", "latency", "--precision", "fp32"], 1, stored);
    check_refused(&tiny_int8(), &["bench", "--precision", "fp32"], 1, stored);
    let absent = "has no int8 model; it has: fp32";
    check_refused(&tiny_bert(), &["profile", "memory", "--precision", "int8"], 1, absent);
    check_refused(&tiny_bert(), &["profile", "ops", "--precision", "fp8"], 2, "choose fp32, fp16 or int8");
}

/// Beyond the rows of the position table, the engine reports the error.
#[test]
fn shapes_that_cannot_be_run_are_refused() {
    for bad in ["", "8", "0x8", "8x0", "1x-1", "8X128", "1x2x3", "1048577x1", "1x99999999999999999999"] {
        for (command, option) in [("latency", "--shapes"), ("memory", "--shapes"), ("ops", "--shape")] {
            let option = format!("{option}={bad}");
            check_refused(&tiny_bert(), &["profile", command, &option], 2, "invalid value");
        }
    }
    let long = "a sequence of 4096 tokens is longer than the";
    check_refused(&tiny_bert(), &["profile", "latency", "--shapes", "1x8,1x4096"], 1, long);
    check_refused(&tiny_bert(), &["profile", "memory", "--shapes", "1x4096"], 1, long);
    check_refused(&tiny_bert(), &["profile", "ops", "--shape", "1x4096"], 1, long);
    check_refused(&tiny_bert(), &["bench", "--tokens", "4096", "--batch-sizes", "1"], 1, long);
    for (command, option) in [("latency", "--runs=0"), ("ops", "--runs=none"), ("ops", "--warmup=-1")] {
        check_refused(&tiny_bert(), &["profile", command, option], 2, "invalid value");
    }
    check_refused(&tiny_bert(), &["bench", "--batch-sizes", "1,0"], 2, "it must be a whole number, at least 1");
    check_refused(&tiny_bert(), &["profile", "latency", "--device", "gpu0"], 2, "not a device");
    check_refused(&tiny_bert(), &["profile", "latency", "--stdin", "--json"], 2, "cannot be used with");
}

/// Before anything is measured.
#[test]
fn outputs_that_cannot_be_written_are_refused() {
    let work = tempfile::tempdir().unwrap();
    fs::write(work.path().join("file"), "kept").unwrap();
    let at = |name: &str| work.path().join(name).display().to_string();
    let (no_folder, in_file, folder) = (at("no/folder.json"), at("file/x"), at(""));
    // So many runs that waiting for them would be noticed.
    let many = "1000000000";
    for path in [&no_folder, &in_file, &folder] {
        check_refused(&tiny_bert(), &["profile", "latency", "--runs", many, "--output", path], 1, "cannot be written");
        check_refused(&tiny_bert(), &["profile", "memory", "--output", path], 1, "cannot be written");
        check_refused(&tiny_bert(), &["profile", "ops", "--runs", many, "--trace", path], 1, "cannot be written");
    }
    for path in [&in_file, &at("file")] {
        check_refused(&tiny_bert(), &["bench", "--runs", many, "--output", path], 1, "cannot be written");
    }
    assert_eq!(fs::read_to_string(work.path().join("file")).unwrap(), "kept");
    // A run that fails leaves no empty file behind.
    let new = at("new.json");
    check_refused(&tiny_bert(), &["profile", "latency", "--shapes", "1x4096", "--output", &new], 1, "longer than the");
    assert!(!Path::new(&new).exists());
}

/// The built-in model has a precision that no manifest has.
#[test]
fn a_model_in_four_bits_has_a_report() {
    let args = ["profile", "text", "--json", "--shapes", "1x8", "--new-tokens", "3", "--runs", "1"];
    let report = parse_one(&run(bare().args(args)).expect(0).out);
    assert_eq!(report["precision"], "int4");
}

#[test]
fn texts_are_measured_to_their_full_length() {
    for model in ["llama", "t5"] {
        let folder =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/generators").join(model);
        let args = ["profile", "text", "--shapes", "1x8,3x20", "--new-tokens", "6", "--runs", "2"];
        let told = run(bare().arg("--model").arg(&folder).args(args).arg("--json")).expect(0).out;
        let report: Value = serde_json::from_str(&told).unwrap();
        let results = report["results"].as_array().unwrap();
        assert_eq!(results.len(), 2, "{report}");
        let token = report["kv_token_bytes"].as_u64().unwrap();
        for (result, (texts, prompt)) in results.iter().zip([(1, 8), (3, 20)]) {
            assert_eq!((&result["texts"], &result["prompt_tokens"]), (&texts.into(), &prompt.into()));
            assert_eq!(result["kv_bytes"].as_u64().unwrap(), texts * (prompt + 6) * token);
            for time in ["first_token", "between_tokens"] {
                assert!(result[time]["p50_ms"].as_f64().unwrap() > 0.0, "{result}");
            }
            assert!(result["new_tokens_per_s"].as_f64().unwrap() > 0.0);
        }
        if cfg!(target_os = "linux") {
            assert!(report["memory"]["loaded_bytes"].as_u64() <= report["memory"]["load_peak_bytes"].as_u64());
        }
        let table = run(bare().arg("--model").arg(&folder).args(args)).expect(0).out;
        assert!(table.contains("1×8+6") && table.contains("3×20+6") && table.contains("a token"), "{table}");
    }
}
