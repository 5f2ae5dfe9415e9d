//! `bench` on the real binary: results of every kind of model, the report, comparisons, and files that are no results.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use support::{Ran, bare, run, tiny_bert};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures").join(path)
}

fn tiny_int8() -> PathBuf {
    fixture("tiny-int8/model.onnx")
}

fn bench(args: &[&str]) -> Ran {
    run(bare().arg("bench").args(args))
}

#[track_caller]
fn number(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap_or_else(|| panic!("`{field}` is no number in {value}"))
}

fn items<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().unwrap_or_else(|| panic!("`{field}` is no list in {value}"))
}

#[track_caller]
fn check_times(times: &Value) {
    let [low, median, high] = ["low_ms", "median_ms", "high_ms"].map(|field| number(times, field));
    assert!(0.0 < low && low <= median && median <= high, "{times}");
    let all = &times["all"];
    let [min, p50, p95, p99, max] = ["min_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms"].map(|field| number(all, field));
    assert!(min <= p50 && p50 <= p95 && p95 <= p99 && p99 <= max, "{times}");
    assert!(min <= low && high <= max, "the medians of rounds lie between the extremes: {times}");
}

#[track_caller]
fn check_point(point: &Value) {
    check_times(&point["latency"]);
    let expected = number(point, "batch_size") / number(&point["latency"], "median_ms") * 1e3;
    // The median is rounded to a microsecond.
    let slack = expected * (0.001 + 0.0006 / number(&point["latency"], "median_ms"));
    assert!((number(point, "throughput_per_s") - expected).abs() < slack, "{point}");
    let shares: f64 = items(point, "steps").iter().map(|step| number(step, "share")).sum();
    assert!((shares - 1.0).abs() < 0.02, "the steps are all of the time: {point}");
    if cfg!(target_os = "linux") {
        let (resident, peak) = (number(point, "resident_bytes"), number(point, "peak_bytes"));
        assert!(1e6 < resident && resident <= peak, "{point}");
    }
}

/// What makes a page depend on something else.
#[track_caller]
fn check_page(page: &str, models: usize) {
    for foreign in ["http:", "https:", "<script", "<link", "<img", "url(", "@import", "NaN", "inf,"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let plots = page.matches("<svg class=\"plot\"").count();
    assert!(plots >= 4, "{plots} plots");
    for told in ["role=\"img\"", "</title><desc id=\""] {
        assert_eq!(page.matches(told).count(), plots, "{told}");
    }
    // Beside each plot, and one with all times.
    assert!(page.matches("<table>").count() > plots);
    assert_eq!(page.matches("<li class=\"s").count() - page.matches("aria-hidden").count(), models, "a card each");
    assert!(page.contains("prefers-color-scheme: dark") && page.ends_with("</html>\n"));
    for tag in ["section", "svg", "table", "div", "ul", "g", "li", "dl"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
}

#[test]
fn results_and_a_report_are_written() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("new/report");
    let odd = work.path().join("a<b&c.onnx");
    fs::copy(tiny_int8(), &odd).unwrap();
    let models = format!("{},{}", tiny_bert().display(), odd.display());
    let args =
        ["--models", &models, "--batch-sizes", "1,3", "--tokens", "16", "--rounds", "3", "--runs", "2", "--json"];
    let ran = run(bare().arg("bench").args(args).arg("--output").arg(&folder)).expect(0);
    let results: Value = serde_json::from_str(&ran.out).unwrap();
    let written: Value = serde_json::from_slice(&fs::read(folder.join("results.json")).unwrap()).unwrap();
    assert_eq!(written, results);
    assert_eq!((&results["version"], &results["format"]), (&json!(env!("CARGO_PKG_VERSION")), &json!("grice-bench-2")));
    assert!(results["command"].as_str().unwrap().starts_with("grice bench --models "), "{results}");
    assert!(results["date"].as_str().unwrap().ends_with('Z') && number(&results["machine"], "cores") >= 1.0);
    assert_eq!(items(&results, "yardstick_ms").len(), 3);
    let models = items(&results, "models");
    assert_eq!(models.len(), 2);
    for model in models {
        let points = items(model, "results");
        let shapes: Vec<_> =
            points.iter().map(|point| (number(point, "batch_size"), number(point, "sequence_length"))).collect();
        assert_eq!(shapes, [(1.0, 16.0), (3.0, 16.0)]);
        points.iter().for_each(check_point);
        assert_eq!((&points[0]["latency"]["rounds"], &points[0]["texts"]), (&json!(3), &Value::Null));
        let highest = points.iter().map(|point| number(point, "throughput_per_s")).fold(0.0, f64::max);
        let smallest = points.iter().find(|point| number(point, "throughput_per_s") >= 0.97 * highest).unwrap();
        assert_eq!(number(model, "optimal_batch_size"), number(smallest, "batch_size"), "{model}");
    }
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    check_page(&page, 2);
    assert!(page.contains("a&lt;b&amp;c.onnx") && !page.contains("a<b"));
}

#[test]
fn every_kind_of_model_is_measured() {
    let path = |name: &str| fixture(name).display().to_string();
    let models = format!(
        "detector={},repair={},generator={},embedder={},{}",
        tiny_bert().display(),
        path("generators/t5"),
        path("generators/gpt2"),
        path("embedders/bert"),
        path("generators/llama")
    );
    let work = tempfile::tempdir().unwrap();
    let args = ["--models", &models, "--batch-sizes", "1,2", "--tokens", "8", "--new-tokens", "5", "--rounds", "2"];
    let folder = work.path().display().to_string();
    let ran = bench(&[&args[..], &["--runs", "2", "--json", "--output", &folder]].concat()).expect(0);
    let results: Value = serde_json::from_str(&ran.out).unwrap();
    let kinds: Vec<&str> = items(&results, "models").iter().map(|model| model["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["detector", "repair", "generator", "embedder", "generator"]);
    for model in items(&results, "models") {
        let writes = ["repair", "generator"].contains(&model["kind"].as_str().unwrap());
        for point in items(model, "results") {
            check_point(point);
            assert_eq!(writes, point["texts"].is_object(), "{point}");
            if writes {
                let texts = &point["texts"];
                check_times(&texts["first_token"]);
                check_times(&texts["between_tokens"]);
                assert!(number(texts, "prefill_tokens_per_s") > 0.0 && number(texts, "decode_tokens_per_s") > 0.0);
                let tokens = number(point, "batch_size") * (8.0 + 5.0);
                assert_eq!(number(texts, "kv_bytes"), tokens * number(model, "kv_token_bytes"));
                let (first, latency) = (&texts["first_token"], &point["latency"]);
                assert!(number(first, "median_ms") < number(latency, "median_ms"), "{point}");
            }
        }
    }
    let page = fs::read_to_string(work.path().join("report.html")).unwrap();
    check_page(&page, 5);
    for title in ["Time to the first token", "Time between tokens", "Prefill", "Decoding", "Time per step", "Memory"] {
        assert!(page.contains(&format!(">{title}</h2>")), "{title}");
    }
    let table = bench(&["--models", &path("generators/gpt2"), "--batch-sizes", "2", "--tokens", "8", "--rounds", "1"]);
    assert!(table.expect(0).out.contains("first ms  between ms  prefill t/s  decode t/s"));
}

/// The built-in models: each turn is written, judged and perhaps repaired.
#[test]
fn a_pipeline_is_measured_by_its_steps() {
    let args = [
        "--models",
        "repair,pipeline",
        "--batch-sizes",
        "1,3",
        "--tokens",
        "8",
        "--rounds",
        "1",
        "--runs",
        "1",
        "--json",
    ];
    let results: Value = serde_json::from_str(&bench(&args).expect(0).out).unwrap();
    assert_eq!(items(&results, "models")[0]["precision"], "int4", "a precision that no manifest has");
    let model = &items(&results, "models")[1];
    assert_eq!((&model["kind"], &model["model"]), (&json!("pipeline"), &json!("pipeline")));
    for point in items(model, "results") {
        check_point(point);
        let steps: Vec<&str> = items(point, "steps").iter().map(|step| step["op"].as_str().unwrap()).collect();
        assert!(steps.contains(&"generate") && steps.contains(&"detect"), "{steps:?}");
        assert_eq!(point["sequence_length"], Value::Null);
    }
    let no_recipe = format!("generator={},pipeline", fixture("generators/gpt2").display());
    let ran = bench(&["--models", &no_recipe, "--batch-sizes", "1", "--rounds", "1"]).expect(1);
    assert!(ran.err.contains("has no recipe `answer`"), "{}", ran.err);
}

#[test]
fn a_table_marks_the_optimum() {
    let model = tiny_int8().display().to_string();
    let args = ["--model", &model, "--batch-sizes", "1,2", "--tokens", "8", "--runs", "1", "--rounds", "1"];
    let ran = bench(&args).expect(0);
    assert_eq!(ran.out.matches("optimal").count(), 1, "{}", ran.out);
    assert!(ran.out.contains("batch  tokens    P50 ms") && ran.out.contains("sequences/s"), "{}", ran.out);
}

#[test]
fn the_optimum_goes_into_the_configuration() {
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("grice.toml");
    fs::write(&file, "# ours\n[serve]\nreplicas = 2 # one each\n").unwrap();
    let bench = |more: &[&str]| {
        let args = ["bench", "--batch-sizes", "5", "--tokens", "8", "--runs", "1", "--rounds", "1", "--write-config"];
        run(bare().args(args).arg(&file).args(more).arg("--model").arg(tiny_int8()))
    };
    bench(&[]).expect(0);
    let written = "# ours\n[serve]\nreplicas = 2 # one each\nbatch-rows-max = 5\n";
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
    let two = format!("{},{}", tiny_int8().display(), tiny_bert().display());
    assert!(bench(&["--models", &two]).expect(2).err.contains("one batch size, but there are 2 models"));
    fs::write(&file, "serve = 1\n").unwrap();
    assert!(bench(&[]).expect(1).err.contains("grice.toml: cannot be changed"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "serve = 1\n");
}

#[test]
fn models_that_are_not_there_are_named() {
    for (models, code, words) in [
        ("embedder", 2, "--models embedder=PATH"),
        ("pipeline=x", 2, "a pipeline has no path"),
        ("repair=", 2, "the path after `repair=`"),
        ("generator=/nowhere", 1, "/nowhere"),
        ("detector,embedder=/nowhere", 1, "/nowhere"),
    ] {
        let ran = bench(&["--models", models, "--batch-sizes", "1", "--rounds", "1"]).expect(code);
        assert!(ran.err.contains(words) && ran.out.is_empty(), "{models}: {}", ran.err);
    }
    let long =
        bench(&["--models", &format!("generator={}", fixture("generators/gpt2").display()), "--tokens", "100000"]);
    assert_eq!(long.code, 1, "{}", long.err);
}

/// Results of the tiny model, as a value to change.
fn measured(folder: &Path) -> Value {
    let model = tiny_int8().display().to_string();
    let args = ["--model", &model, "--batch-sizes", "1,4", "--tokens", "8", "--runs", "2", "--rounds", "2", "--json"];
    let results = serde_json::from_str(&bench(&args).expect(0).out).unwrap();
    fs::create_dir_all(folder).unwrap();
    results
}

fn write(path: &Path, value: &Value) -> String {
    fs::write(path, value.to_string()).unwrap();
    path.display().to_string()
}

/// Sets median and interval of a batch size's latency.
fn set_latency(results: &mut Value, point: usize, [low, median, high]: [f64; 3]) {
    let latency = &mut results["models"][0]["results"][point]["latency"];
    (latency["low_ms"], latency["median_ms"], latency["high_ms"]) = (low.into(), median.into(), high.into());
}

#[test]
fn two_results_are_compared() {
    let work = tempfile::tempdir().unwrap();
    let mut old = measured(work.path());
    old["yardstick_ms"] = json!([10.0, 10.0]);
    set_latency(&mut old, 0, [9.0, 10.0, 11.0]);
    set_latency(&mut old, 1, [40.0, 41.0, 42.0]);
    let mut new = old.clone();
    set_latency(&mut new, 0, [11.5, 12.0, 12.5]);
    set_latency(&mut new, 1, [20.0, 21.0, 22.0]);
    let (old_path, new_path) = (write(&work.path().join("old.json"), &old), write(&work.path().join("new.json"), &new));
    let compare = |new: &str, more: &[&str]| bench(&[&["--results", new, "--against", &old_path][..], more].concat());
    let ran = compare(&new_path, &["--json"]).expect(0);
    let comparison = serde_json::from_str::<Value>(&ran.out).unwrap()["comparison"].clone();
    let verdicts: Vec<(&str, &str)> = items(&comparison, "changes")
        .iter()
        .filter(|change| change["figure"] == "latency")
        .map(|change| (change["verdict"].as_str().unwrap(), change["unit"].as_str().unwrap()))
        .collect();
    assert_eq!(verdicts, [("worse", "ms"), ("better", "ms")]);
    let told = compare(&new_path, &[]).expect(0).out;
    assert!(told.contains("batch 1: latency 10.00 → 12.00 ms (+20.0 %)"), "{told}");
    assert!(told.contains("\n1 worse, 1 better, "), "{told}");
    let failed = compare(&new_path, &["--fail-on-regression"]).expect(1);
    assert!(failed.err.contains("1 of ") && failed.err.contains("got worse beyond noise"), "{}", failed.err);
    // The same results, a wider tolerance, and a machine that was itself slower: no regression.
    compare(&old_path, &["--fail-on-regression"]).expect(0);
    compare(&new_path, &["--fail-on-regression", "--tolerance", "25"]).expect(0);
    new["yardstick_ms"] = json!([13.0, 12.8]);
    let slower = write(&work.path().join("slower.json"), &new);
    let told = compare(&slower, &["--fail-on-regression"]).expect(0).out;
    assert!(told.contains("the yardstick took 1.29 times as long"), "{told}");
    // A page is written from results, too.
    let folder = work.path().join("page").display().to_string();
    compare(&new_path, &["--output", &folder]).expect(0);
    let page = fs::read_to_string(Path::new(&folder).join("report.html")).unwrap();
    assert!(page.contains(">worse by 20.0 %</td>") && page.contains(">better by 48.8 %</td>"));
}

#[test]
fn what_cannot_be_compared_is_told() {
    let work = tempfile::tempdir().unwrap();
    let old = measured(work.path());
    let old_path = write(&work.path().join("old.json"), &old);
    let check = |change: &dyn Fn(&mut Value), code: i32, words: &str| {
        let mut new = old.clone();
        change(&mut new);
        let path = write(&work.path().join("new.json"), &new);
        let ran = bench(&["--results", &path, "--against", &old_path]).expect(code);
        assert!((ran.out.clone() + &ran.err).contains(words), "`{words}`: {} {}", ran.out, ran.err);
    };
    check(&|new| new["machine"]["cores"] = json!(96), 0, "note: another machine: then ");
    check(&|new| new["models"][0]["model"] = json!("other"), 1, "no model and batch size in common");
    check(&|new| new["models"][0]["threads"] = json!(77), 1, "and on 77 threads now");
    check(&|new| new["models"][0]["results"][0]["sequence_length"] = json!(9), 0, "batch 1: not compared, because");
}

/// Before anything is measured.
#[test]
fn files_that_are_no_results_are_refused() {
    let work = tempfile::tempdir().unwrap();
    let good = measured(work.path());
    let path = work.path().join("old.json");
    let check = |bytes: &[u8], words: &str| {
        fs::write(&path, bytes).unwrap();
        let path = path.display().to_string();
        for args in [["--runs", "1000000000", "--against", &path], ["--results", &path, "--tokens", "1"]] {
            let ran = bench(&args);
            assert!([1, 2].contains(&ran.code) && !ran.err.contains("panicked"), "{}", ran.err);
            assert!(ran.err.contains(words) && ran.err.contains("old.json"), "`{words}` is not in {}", ran.err);
            assert!(ran.out.is_empty() && ran.err.len() < 1000, "{}", ran.err);
        }
    };
    check(b"", "it is not JSON");
    check(b"{\"models\": [", "it is not JSON");
    check(b"[1, 2]", "it has no field `format`");
    check(b"{\"model\": \"gpt\", \"results\": []}", "it has no field `format`; `grice bench --output DIR` writes");
    check(b"{\"format\": \"grice-bench-9\"}", "its format is \"grice-bench-9\"");
    check(b"{\"format\": 2}", "its format is 2");
    check(b"{\"format\": \"grice-bench-2\"}", "missing field `version`");
    check(b"\xff\xfe{\x00}\x00", "UTF-16");
    check(b"\x80\x80", "not UTF-8");
    check(&b"[".repeat(100_000), "it is not JSON");
    let changed = |change: &dyn Fn(&mut Value), words: &str| {
        let mut value = good.clone();
        change(&mut value);
        check(value.to_string().as_bytes(), words);
    };
    changed(&|value| value["models"][0]["results"][0]["latency"]["median_ms"] = json!(-1.0), "batch_size 1: latency: ");
    changed(&|value| value["models"][0]["results"][1]["batch_size"] = json!(1), "batch_size 1 is 0 or there twice");
    changed(&|value| value["models"][0]["results"][0]["batch_size"] = json!(0), "batch_size 0 is 0 or there twice");
    changed(&|value| value["models"][0]["kind"] = json!("oracle"), "unknown variant `oracle`");
    changed(&|value| value["models"][0]["results"][0]["throughput_per_s"] = json!("many"), "invalid type: string");
    let twice = |value: &mut Value| {
        let model = value["models"][0].clone();
        value["models"].as_array_mut().unwrap().push(model);
    };
    changed(&twice, "models[1]");
    let missing = bench(&["--against", "/nowhere/old.json"]).expect(1);
    assert!(missing.err.contains("/nowhere/old.json: cannot be read"), "{}", missing.err);
}

/// A machine with these answers per second of the detector; `None` if that was not measured.
fn machine(measured: &Value, cpu: &str, per_s: Option<f64>) -> Value {
    let mut results = measured.clone();
    results["machine"]["cpu"] = json!(cpu);
    let model = &mut results["models"][0];
    (model["model"], model["kernels"]) = (json!("mini | 2.0.0"), json!("avx512-vnni"));
    for point in model["results"].as_array_mut().unwrap() {
        point["throughput_per_s"] = json!(per_s.unwrap_or(1.0));
    }
    if per_s.is_none() {
        (model["kind"], model["model"]) = (json!("generator"), json!("gpt2"));
    }
    results
}

#[test]
fn a_page_has_a_line_for_each_machine() {
    let work = tempfile::tempdir().unwrap();
    let measured = measured(work.path());
    let one = write(&work.path().join("one.json"), &machine(&measured, "EPYC", Some(500.0)));
    let two = write(&work.path().join("two.json"), &machine(&measured, "Xeon", None));
    let page = |more: &[&str]| run(bare().arg("hardware").args([&one, &two]).args(more));
    let text = page(&["--euros-per-hour", "0.10,0.25"]).expect(0).out;
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| EPYC |") || line.starts_with("| Xeon |"))
        .map(|line| line.split(" | ").collect())
        .collect();
    assert_eq!(rows.len(), 2, "{text}");
    assert_eq!(rows[0].len(), rows[1].len(), "{text}");
    let (detector, generator) = (rows[0].len() - 2, rows[0].len() - 1);
    assert!(rows[0][detector].contains(" ms, 500/s") && rows[0][detector].ends_with("18.0 M turns/€"), "{text}");
    assert_eq!((rows[0][detector - 1], rows[1][detector - 1]), ("0.10", "0.25"));
    // Nothing is guessed, and texts are no turns.
    assert_eq!(rows[1][detector], "");
    assert!(rows[1][generator].contains("/s") && !rows[1][generator].contains('€'), "{text}");
    assert!(text.contains("mini \\| 2.0.0") && !page(&[]).expect(0).out.contains('€'), "{text}");
    assert!(page(&["--euros-per-hour", "1,2,3"]).expect(2).err.contains("3 prices for 2 files"));
    assert!(page(&["--euros-per-hour", "0"]).expect(2).err.contains("above 0"));
    let file = work.path().join("new/hardware.md");
    page(&["--output", &file.display().to_string()]).expect(0);
    assert_eq!(fs::read_to_string(file).unwrap(), page(&[]).expect(0).out);
}

/// The page in `docs` is what the command makes of the committed results.
#[test]
fn the_committed_page_is_made_from_the_committed_results() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    // Without a folder no machine was measured.
    let files = fs::read_dir(docs.join("results")).into_iter().flatten();
    let mut results: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    results.sort();
    let page = run(bare().arg("hardware").args(&results)).expect(0).out;
    assert_eq!(fs::read_to_string(docs.join("hardware.md")).unwrap(), page);
}
