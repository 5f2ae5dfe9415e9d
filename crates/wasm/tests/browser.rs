//! The same numbers and the same refusals in a browser as natively. Run by `cargo xtask test`.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

// The schedule's own tests, word for word: simulated hours mean the same on every target.
mod logits;
#[path = "../../core/tests/schedule/main.rs"]
mod schedule;
mod verdicts;

use grice_core::text::Tokenizer;
use grice_core::{Batch, Engine as _, Network, Precision, Verdict};
use grice_cpu::CpuEngine;
use grice_testkit::fixtures::{Reference, TextCase};
use grice_testkit::{FP32_TOLERANCE, assert_close};
use grice_wasm::{Detector, Engine};
use js_sys::{JSON, Object, Reflect, Uint8Array};
use logits::Int8Logits;
use verdicts::Verdicts;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

macro_rules! fixture {
    ($path:expr) => {
        include_bytes!(concat!("../../testkit/fixtures/", $path)).as_slice()
    };
}

/// Path inside the bundle and bytes. A browser has no folder to read, so the tests carry them.
type Files = Vec<(&'static str, Vec<u8>)>;

macro_rules! bundle {
    ($name:literal) => {
        Files::from([
            ("grice.json", fixture!(concat!($name, "/grice.json")).to_vec()),
            ("config.json", fixture!(concat!($name, "/config.json")).to_vec()),
            ("tokenizer.json", fixture!(concat!($name, "/tokenizer.json")).to_vec()),
            ("onnx/model.onnx", fixture!(concat!($name, "/onnx/model.onnx")).to_vec()),
        ])
    };
}

#[wasm_bindgen_test]
fn logits_are_those_of_pytorch_and_onnx_runtime() {
    check_references("tiny-bert", &bundle!("tiny-bert"), fixture!("tiny-bert/reference.json"));
    check_references("tiny-deberta", &bundle!("tiny-deberta"), fixture!("tiny-deberta/reference.json"));
}

#[wasm_bindgen_test]
fn token_ids_are_those_of_the_python_library() {
    check_texts("tiny-bert", &bundle!("tiny-bert"), fixture!("tiny-bert/texts.json"));
    check_texts("tiny-deberta", &bundle!("tiny-deberta"), fixture!("tiny-deberta/texts.json"));
}

#[wasm_bindgen_test]
fn a_bundle_from_bytes_gives_the_native_verdicts() {
    check_verdicts("tiny-bert", open(&bundle!("tiny-bert")));
    check_verdicts("tiny-deberta", open(&bundle!("tiny-deberta")));
}

#[cfg(feature = "embedded-model")]
#[wasm_bindgen_test]
fn the_embedded_model_gives_the_native_verdicts() {
    check_verdicts("embedded", Detector::embedded("{}").unwrap());
}

#[wasm_bindgen_test]
fn int8_files_give_the_native_logits_with_the_kernels_that_ship() {
    let committed: Int8Logits = serde_json::from_slice(fixture!("int8-logits.json")).unwrap();
    let mut engines = int8_files();
    assert_eq!(engines.each_ref().map(|(name, ..)| *name), logits::FILES.map(|(name, ..)| name));
    for (name, engine, references) in &mut engines {
        assert_ne!(engine.kernels(), "tract", "{name}: {}", engine.kernels());
        assert!(["simd128", "relaxed-simd"].contains(&engine.kernels().as_str()), "{name}: {}", engine.kernels());
        let references: Vec<Reference> = serde_json::from_slice(references).unwrap();
        committed.check(name, &references, |ids, lengths| engine.run(ids, lengths).unwrap());
    }
}

#[wasm_bindgen_test]
fn what_is_no_batch_is_an_error_and_the_engine_goes_on() {
    let [(_, mut engine, _), ..] = int8_files();
    let mut check = |ids: &[u32], lengths: &[u32], code: &str, words: &str| {
        refused(words, engine.run(ids, lengths).err(), code, words);
        assert_eq!(engine.run(&[2, 5, 3, 2, 3], &[3, 2]).unwrap().len(), 8);
    };
    check(&[], &[], "bad_input", "sequence");
    check(&[1, 2], &[2, 0], "bad_input", "sequence");
    check(&[1, 2], &[3], "bad_input", "more tokens than the 2");
    check(&[1, 2], &[1, u32::MAX], "bad_input", "more tokens than the 2");
    check(&[1, 2, 3], &[1], "bad_input", "2 of `ids` belong to no sequence");
    check(&[4_000_000], &[1], "bad_model", "token id 4000000 has no row");
    check(&[1; 4000], &[4000], "bad_model", "positions");
    let no_model = Engine::from_onnx(&Uint8Array::from(b"not a model".as_slice()), 4);
    refused("not a model", no_model.err(), "bad_model", "the ONNX file");
}

#[wasm_bindgen_test]
fn a_turn_may_be_an_object_or_its_json() {
    let mut detector = open(&bundle!("tiny-bert"));
    let json = r#"{"context": "Hello?", "response": "Hello."}"#;
    let from_text = verdict_of(&judge(&mut detector, &JsValue::from_str(json)).unwrap());
    let from_object = verdict_of(&judge(&mut detector, &parse(json)).unwrap());
    assert_eq!(from_text, from_object);
}

#[wasm_bindgen_test]
fn info_says_what_was_loaded() {
    let info = open(&bundle!("tiny-bert")).info().unwrap();
    let text = |key: &str| Reflect::get(&info, &key.into()).unwrap().as_string();
    assert_eq!(text("name").as_deref(), Some("tiny-bert"));
    assert_eq!(text("device").as_deref(), Some("cpu"));
    assert_eq!(text("precision").as_deref(), Some("fp32"));
    assert!(["simd128", "relaxed-simd"].contains(&text("kernels").unwrap().as_str()), "{:?}", text("kernels"));
}

#[wasm_bindgen_test]
fn what_cannot_be_judged_is_an_error_and_the_detector_goes_on() {
    let mut detector = open(&bundle!("tiny-bert"));
    let mut check = |turn: JsValue, words: &str| {
        let what = format!("{turn:?}");
        refused(&what, judge(&mut detector, &turn).err(), "bad_input", words);
        judge(&mut detector, &parse(r#"{"response": "Still here."}"#)).expect("it goes on");
    };
    check(parse(r#"{"response": ""}"#), "`response` is empty");
    check(parse(r#"{"response": " \n\t\u00a0\u3000"}"#), "`response` is empty");
    check(parse(r#"{"response": "a\u0000b"}"#), "NUL character at byte 1");
    check(parse(r#"{"context": ["x", "\u0000"], "response": "a"}"#), "`context` holds a NUL");
    check(parse(&format!(r#"{{"response": "{}"}}"#, "a ".repeat(600_000))), "bytes long");
    check(parse(r#"{"context": "x"}"#), "missing field `response`");
    check(parse(r#"{"response": 7}"#), "invalid type");
    check(parse(r#"{"response": "a", "context": 7}"#), "not a turn");
    // Half of an emoji: JavaScript holds it, no text does.
    check(parse(r#"{"response": "\ud83d"}"#), "not a turn");
    check(JsValue::from_str("{"), "not a turn");
    check(JsValue::UNDEFINED, "not an object");
    check(JsValue::NULL, "not a turn");
    check(JsValue::from(7), "not a turn");
    let circle = Object::new();
    Reflect::set(&circle, &"response".into(), &circle).unwrap();
    check(circle.into(), "not an object");
}

#[wasm_bindgen_test]
fn a_broken_bundle_is_an_error_that_names_the_file() {
    let whole = tar_of(&bundle!("tiny-bert"));
    refuse_tar("no bytes", &[], "grice.json");
    refuse_tar("noise", &(0..4096_u32).map(|i| (i * 167 + 13) as u8).collect::<Vec<_>>(), "archive");
    refuse_tar("half a bundle", &whole[..whole.len() / 2], "");
    let check = |path: &str, bytes: &[u8], words: &str| {
        let mut files = bundle!("tiny-bert");
        without_digests(&mut files);
        files.iter_mut().find(|(name, _)| *name == path).unwrap().1 = bytes.to_vec();
        refuse_tar(path, &tar_of(&files), words);
    };
    check("grice.json", b"{", "grice.json");
    check("grice.json", b"\xff\xfe", "grice.json");
    check("tokenizer.json", b"{}", "tokenizer.json");
    check("tokenizer.json", b"[\"model\"]", "tokenizer.json");
    check("config.json", b"nonsense", "config.json");
    check("onnx/model.onnx", b"", "onnx/model.onnx");
    check("onnx/model.onnx", b"not a model", "onnx/model.onnx");
    check("onnx/model.onnx", fixture!("broken/wrong_labels.onnx"), "onnx/model.onnx");
    check("onnx/model.onnx", fixture!("broken/other_task.onnx"), "onnx/model.onnx");
    check("onnx/model.onnx", fixture!("broken/unsupported_op.onnx"), "");
    check("onnx/model.onnx", fixture!("broken/vocab_too_small.onnx"), "tokenizer");
}

#[wasm_bindgen_test]
fn a_damaged_file_is_caught_by_its_digest() {
    let mut files = bundle!("tiny-bert");
    *files[3].1.last_mut().unwrap() ^= 1;
    refuse_tar("one bit", &tar_of(&files), "digest");
}

/// Name of the file, an engine for it, and the references' JSON.
fn int8_files() -> [(&'static str, Engine, &'static [u8]); 5] {
    macro_rules! int8 {
        ($file:literal, $references:literal) => {
            ($file, Engine::from_onnx(&Uint8Array::from(fixture!($file)), 4).unwrap(), fixture!($references))
        };
    }
    [
        int8!("tiny-int8/model.onnx", "tiny-int8/reference.json"),
        int8!("onnxruntime-int8/tiny-bert-dynamic.onnx", "tiny-bert/reference.json"),
        int8!("onnxruntime-int8/tiny-bert-static.onnx", "tiny-bert/reference.json"),
        int8!("onnxruntime-int8/tiny-deberta-dynamic.onnx", "tiny-deberta/reference.json"),
        int8!("onnxruntime-int8/tiny-deberta-static.onnx", "tiny-deberta/reference.json"),
    ]
}

fn check_references(name: &str, files: &Files, references: &[u8]) {
    let network = Network::import(&files[3].1, 4).unwrap();
    let mut engine = CpuEngine::new(network.clone(), Precision::Fp32, 1).unwrap();
    let references: Vec<Reference> = serde_json::from_slice(references).unwrap();
    for (number, case) in references.iter().enumerate() {
        let logits = engine.forward(&Batch::pack(&case.sequences()).unwrap()).unwrap();
        for (row, expected) in case.logits_pytorch.iter().enumerate() {
            let what = format!("{name} case {number} row {row}");
            assert_close(&what, logits.row(row), expected, FP32_TOLERANCE);
            assert_close(&what, logits.row(row), &case.logits_onnxruntime[row], FP32_TOLERANCE);
        }
    }
}

fn check_texts(name: &str, files: &Files, texts: &[u8]) {
    let tokenizer = Tokenizer::from_json(&files[2].1).unwrap();
    let texts: Vec<TextCase> = serde_json::from_slice(texts).unwrap();
    for case in texts {
        assert_eq!(tokenizer.ids(&case.text).unwrap(), case.ids, "{name}: {}", case.name);
    }
}

fn check_verdicts(bundle: &str, mut detector: Detector) {
    Verdicts::parse(fixture!("verdicts.json"))
        .check(bundle, |turn| -> Verdict { verdict_of(&judge(&mut detector, &parse(&turn.to_string())).unwrap()) });
}

/// What a driver does, to the answer; the clock stands still.
fn judge(detector: &mut Detector, turn: &JsValue) -> Result<JsValue, JsValue> {
    let get = |object: &JsValue, key: &str| Reflect::get(object, &key.into()).unwrap();
    let pushed = detector.push(turn, "{}", &js_sys::Function::new_no_args("return 0"))?;
    if !get(&pushed, "detection").is_undefined() {
        return Ok(get(&pushed, "detection"));
    }
    loop {
        let step = detector.poll(0.0)?;
        match get(&step, "step").as_string().unwrap().as_str() {
            "run" => {
                detector.run();
                assert!(detector.complete(0.0));
            }
            "answer" if get(&step, "error").is_undefined() => return Ok(get(&step, "detection")),
            "answer" => return Err(get(&step, "error")),
            other => panic!("nothing more to do, but no answer: {other}"),
        }
    }
}

fn verdict_of(detection: &JsValue) -> Verdict {
    serde_json::from_str(&String::from(JSON::stringify(detection).unwrap())).unwrap()
}

fn open(files: &Files) -> Detector {
    Detector::load(&Uint8Array::from(tar_of(files).as_slice()), "{}").unwrap()
}

fn refuse_tar(what: &str, bytes: &[u8], words: &str) {
    refused(what, Detector::load(&Uint8Array::from(bytes), "{}").err(), "bad_model", words);
}

/// A JavaScript `Error` with this code, and these words in its message.
fn refused(what: &str, error: Option<JsValue>, code: &str, words: &str) {
    let error = error.unwrap_or_else(|| panic!("{what}: was accepted"));
    let error: js_sys::Error = error.dyn_into().unwrap_or_else(|error| panic!("{what}: no Error, but {error:?}"));
    let message = String::from(error.message());
    assert_eq!(Reflect::get(&error, &"code".into()).unwrap().as_string().as_deref(), Some(code), "{what}: {message}");
    assert!(message.contains(words) && !message.is_empty(), "{what}: `{words}` is not in: {message}");
}

fn parse(json: &str) -> JsValue {
    JSON::parse(json).unwrap()
}

/// So that what is inside a file is at fault, not merely that it was changed.
fn without_digests(files: &mut Files) {
    let mut manifest: serde_json::Value = serde_json::from_slice(&files[0].1).unwrap();
    manifest.as_object_mut().unwrap().remove("digests");
    files[0].1 = manifest.to_string().into_bytes();
}

fn tar_of(files: &Files) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}
