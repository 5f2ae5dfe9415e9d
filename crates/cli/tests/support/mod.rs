//! Runs the real binary on the tiny fixture model.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The fixture bundle.
pub(crate) fn tiny_bert() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/tiny-bert")
}

/// `grice` with a clean environment and no model named.
pub(crate) fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grice"));
    for name in ["GRICE_MODEL", "GRICE_PRECISION", "GRICE_THREADS", "NO_COLOR", "LC_ALL", "LC_CTYPE"] {
        command.env_remove(name);
    }
    command.env("LANG", "C.UTF-8").stdin(Stdio::null());
    command
}

/// `grice` with the fixture bundle.
pub(crate) fn grice<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = bare();
    command.arg("--model").arg(tiny_bert()).args(args);
    command
}

/// A copy of a folder and all in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => _ = std::fs::copy(entry.path(), target).unwrap(),
        }
    }
}

/// Whether there is a GPU to test on, a software one included; says so if there is none.
pub(crate) fn has_adapter() -> bool {
    let findings: Value = serde_json::from_str(&run(&mut grice(["doctor", "--json"])).expect(0).out).unwrap();
    let fit = findings["gpus"].as_array().unwrap().iter().any(|gpu| gpu["unfit"].is_null());
    if !fit {
        println!("skipped: no adapter");
    }
    fit
}

/// What came of a run.
pub(crate) struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Standard output, line by line, as JSON.
    pub(crate) fn rows(&self) -> Vec<Value> {
        parse_rows(&self.out)
    }

    /// The same, if the exit status is the expected one.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }
}

/// Each line as JSON.
pub(crate) fn parse_rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs to the end.
pub(crate) fn run(command: &mut Command) -> Ran {
    ran(command.output().unwrap())
}

/// Runs to the end with this on standard input.
pub(crate) fn run_with_stdin(command: &mut Command, input: &[u8]) -> Ran {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // In a thread of its own: a full output pipe must not keep us from feeding the input.
    let feeder = std::thread::spawn(move || _ = stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    ran(output)
}

fn ran(output: Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// Rows that can be judged, each different.
pub(crate) fn good_rows(count: usize) -> String {
    let contexts = [
        "\"What did you think of the film?\"",
        "[\"hello\", \"hi\"]",
        "null",
        "[{\"speaker\":\"A\",\"text\":\"so?\"}]",
    ];
    let row = |number: usize| {
        let words = "well yes ".repeat(number % 7);
        format!("{{\"id\":{number},\"context\":{},\"response\":\"{words}answer {number}\"}}\n", contexts[number % 4])
    };
    (0..count).map(row).collect()
}

/// A bundle whose model fails inside an operator on more than thirty tokens, which its manifest does not say.
pub(crate) fn fails_on_long_texts(folder: &Path) -> PathBuf {
    let model = folder.join("few-positions");
    copy_folder(&tiny_bert(), &model);
    std::fs::copy(tiny_bert().join("../broken/few_positions.onnx"), model.join("onnx/model.onnx")).unwrap();
    let manifest = model.join("grice.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    json["digests"] = serde_json::json!({});
    std::fs::write(manifest, json.to_string()).unwrap();
    model
}
