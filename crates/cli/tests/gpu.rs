//! `--device gpu` on the real binary, on whatever adapter there is; a software one will do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use std::process::Command;
use support::{bare, grice, has_adapter, parse_rows, run};

fn on_gpu(command: &mut Command) -> &mut Command {
    command.args(["--device", "gpu"])
}

#[test]
fn verdicts_are_those_of_the_cpu() {
    if !has_adapter() {
        return;
    }
    let rows = support::good_rows(40);
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("rows.jsonl");
    std::fs::write(&input, rows).unwrap();
    let detect = || {
        let mut command = grice(["detect", "--quiet", "--input"]);
        command.arg(&input);
        command
    };
    let cpu = run(&mut detect()).expect(0).rows();
    let gpu = run(on_gpu(&mut detect())).expect(0).rows();
    assert_eq!(cpu.len(), 40);
    assert_eq!(gpu.len(), 40);
    for (cpu, gpu) in cpu.iter().zip(&gpu) {
        assert_eq!(cpu["id"], gpu["id"]);
        for maxim in ["quantity", "quality", "relation", "manner"] {
            let probability = |row: &Value| row["probabilities"][maxim].as_f64().unwrap();
            assert!((probability(cpu) - probability(gpu)).abs() < 1e-3, "{cpu} {gpu}");
        }
    }
}

#[test]
fn what_runs_says_so() {
    if !has_adapter() {
        return;
    }
    let about: Value = serde_json::from_str(&run(on_gpu(&mut grice(["inspect", "--json"]))).expect(0).out).unwrap();
    assert_eq!(about["runs_on"]["device"], "gpu");
    let findings: Value = serde_json::from_str(&run(on_gpu(&mut grice(["doctor", "--json"]))).expect(0).out).unwrap();
    assert_eq!((&findings["model"]["device"], &findings["model"]["state"]), (&json!("gpu"), &json!("works")));
    let args = ["profile", "latency", "--shapes", "1x5,3x17", "--runs", "2", "--json"];
    let report: Value = serde_json::from_str(&run(on_gpu(&mut grice(args))).expect(0).out).unwrap();
    assert_eq!((&report["device"], report["results"].as_array().unwrap().len()), (&json!("gpu"), 2));
    let args = ["profile", "memory", "--shapes", "1x5,3x17", "--json"];
    let footprint: Value = serde_json::from_str(&run(on_gpu(&mut grice(args))).expect(0).out).unwrap();
    let bytes = |place: usize| footprint["results"][place]["device_bytes"].as_u64().unwrap();
    assert!(0 < bytes(0) && bytes(0) <= bytes(1), "{footprint}");
    let ran = run(on_gpu(&mut grice(["profile", "ops", "--shape", "2x17", "--runs", "2", "--json"])));
    if ran.code == 0 {
        let ops = &parse_rows(&ran.out.replace('\n', " "))[0]["ops"];
        assert!(ops.as_array().unwrap().iter().any(|op| op["op"] == "attention"), "{ops}");
        let share = |result: &Value| result["gpu_busy"].as_f64().unwrap();
        assert!(report["results"].as_array().unwrap().iter().all(|result| 0.0 < share(result) && share(result) <= 1.0));
    } else {
        assert!(ran.err.contains("timestamp"), "{}", ran.err);
    }
}

/// Threads are the processor's; of a GPU its name is told, in JSON and on the screen.
#[test]
fn a_gpu_is_named_in_place_of_threads() {
    if !has_adapter() {
        return;
    }
    let once = ["--runs", "1"];
    let commands: [(&[&str], &[&str], &str); 5] = [
        (&["profile", "latency", "--shapes", "1x5"], &once, ""),
        (&["profile", "memory", "--shapes", "1x5"], &[], ""),
        (&["profile", "ops", "--shape", "1x5"], &once, ""),
        (&["bench", "--batch-sizes", "1", "--tokens", "5"], &once, "/models/0"),
        (&["inspect"], &[], "/runs_on"),
    ];
    for (args, more, place) in commands {
        let ask = |device: &str, last: &[&str]| {
            run(grice(args).args(more).args(["--threads", "2", "--device", device]).args(last))
        };
        let report = |device| -> Value { serde_json::from_str(&ask(device, &["--json"]).expect(0).out).unwrap() };
        let cpu = report("cpu");
        let workers = |report: &Value| report.pointer(place).map(|at| (at["threads"].clone(), at["adapter"].clone()));
        assert_eq!(workers(&cpu), Some((json!(2), Value::Null)), "{cpu}");
        assert!(ask("cpu", &[]).expect(0).out.contains("2 threads"), "{args:?}");
        if args.contains(&"ops") && ask("gpu", &[]).err.contains("timestamp") {
            println!("skipped for ops: the adapter has no clock");
            continue;
        }
        let (threads, adapter) = workers(&report("gpu")).unwrap();
        let (text, name) = (ask("gpu", &[]).expect(0).out, adapter.as_str().unwrap());
        assert_eq!(threads, Value::Null);
        assert!(!name.is_empty() && text.contains(name) && !text.contains(" thread"), "{args:?}: {text}");
    }
    let doctor = |last: &[&str]| run(on_gpu(&mut grice(["doctor"])).args(last)).expect(0).out;
    let findings: Value = serde_json::from_str(&doctor(&["--json"])).unwrap();
    let name = findings["model"]["adapter"].as_str().unwrap();
    assert!(findings["gpus"].as_array().unwrap().iter().any(|gpu| gpu["name"] == name), "{findings}");
    assert!(doctor(&[]).contains(&format!("the GPU engine on {name}; ")));
}

#[test]
fn automatic_choice_gives_its_reason() {
    let ran =
        run(grice(["detect", "--device", "auto", "--json", "--response", "a"]).arg("--context").arg("b")).expect(0);
    let about: Value =
        serde_json::from_str(&run(&mut grice(["inspect", "--json", "--quiet", "--device", "auto"])).expect(0).out)
            .unwrap();
    match about["runs_on"]["device"].as_str().unwrap() {
        "gpu" => assert_eq!(ran.err, ""),
        "cpu" => assert!(ran.err.contains("running on the CPU: "), "{}", ran.err),
        other => panic!("{other}"),
    }
}

#[test]
fn what_cannot_be_had_is_refused() {
    let check = |device: &str, code: i32, words: &str| {
        let ran = run(&mut grice(["detect", "--response", "a", "--device", device])).expect(code);
        assert!(ran.err.contains(words), "{}", ran.err);
    };
    check("gpu:99", 1, "no GPU can be used");
    check("gpu:", 2, "not a device");
    let unknown = run(bare().args(["detect", "--response", "a", "--device", "cuda"])).expect(2);
    assert!(unknown.err.contains("auto, cpu, gpu"), "{}", unknown.err);
}
