//! Bundles that open, bundles that are refused, and verdicts.
#![allow(clippy::unwrap_used)]

use grice_core::{Bundle, Context, Detector, Error, ErrorKind, Maxim, Options, TEXT_BYTES_MAX, Turn, Utterance};
use grice_testkit::fixtures::{Fixture, fixtures_folder, read};
use proptest::prelude::*;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

type Files = BTreeMap<String, Cow<'static, [u8]>>;

fn files(folder: &Path) -> Files {
    let paths = ["grice.json", "config.json", "tokenizer.json", "onnx/model.onnx"];
    paths.map(|path| (path.to_owned(), Cow::Owned(read(&folder.join(path))))).into()
}

/// The tiny BERT bundle with its digests taken out, so that its files can be changed.
fn without_digests() -> Files {
    let mut files = files(&Fixture::all()[0].folder);
    edit_manifest(&mut files, |manifest| {
        manifest.remove("digests");
    });
    files
}

fn edit_manifest(files: &mut Files, edit: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
    let mut manifest: serde_json::Value = serde_json::from_slice(&files["grice.json"]).unwrap();
    edit(manifest.as_object_mut().unwrap());
    files.insert("grice.json".into(), Cow::Owned(serde_json::to_vec(&manifest).unwrap()));
}

fn tar_of(files: &Files, top: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("{top}{path}"), bytes.as_ref()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn load(files: Files) -> Result<Detector, Error> {
    Detector::load(&Bundle::from_held(files)?, &Options::default())
}

fn refusal(files: Files) -> String {
    match load(files) {
        Ok(_) => panic!("loaded"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::BadModel, "{error}");
            error.to_string()
        }
    }
}

#[test]
fn folder_tar_and_bytes_give_the_same_verdict() {
    let turn = Turn::new("[agent_1]: Did you like the film?", "I watched the film yesterday.");
    for fixture in Fixture::all() {
        let files = files(&fixture.folder);
        let bundles = [
            Bundle::open(&fixture.folder).unwrap(),
            Bundle::from_tar(&tar_of(&files, "")).unwrap(),
            Bundle::from_tar(&tar_of(&files, "name-of-folder/")).unwrap(),
            Bundle::from_held(files).unwrap(),
        ];
        let verdicts =
            bundles.map(|bundle| Detector::load(&bundle, &Options::default()).unwrap().detect(&turn).unwrap());
        assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{}", fixture.name);
    }
}

#[test]
fn logits_are_read_in_the_manifests_order_and_scaled() {
    let turn = Turn::new("", "I watched the film yesterday.");
    let plain = load(without_digests()).unwrap().detect(&turn).unwrap();
    let mut files = without_digests();
    edit_manifest(&mut files, |manifest| {
        let labels = manifest["labels"].as_array_mut().unwrap();
        labels.reverse();
        manifest["temperatures"] = serde_json::json!({"quantity": 2.0, "quality": 2.0, "relation": 2.0, "manner": 2.0});
    });
    let reversed = load(files.clone()).unwrap().detect(&turn).unwrap();
    let bundle = Bundle::from_held(files).unwrap();
    let labels = &bundle.manifest().labels;
    for (place, &maxim) in labels.iter().enumerate() {
        let logit = |p: f32| (p / (1.0 - p)).ln();
        let other = labels[3 - place];
        let (found, expected) =
            (logit(*reversed.probabilities.get(maxim)), logit(*plain.probabilities.get(other)) / 2.0);
        assert!((found - expected).abs() < 1e-3, "{maxim}: {found} {expected}");
    }
}

#[test]
fn a_batch_keeps_order_and_isolates_bad_turns() {
    let mut detector = load(without_digests()).unwrap();
    let turns = [
        Turn::new("", "I watched the film yesterday."),
        Turn::new("", "   "),
        Turn::new("hello", &*"The film. ".repeat(300)),
        Turn::new("", "no\0"),
        Turn::new("Did you like the film?", "Yes."),
    ];
    let together = detector.detect_batch(&turns).unwrap();
    assert_eq!(together.len(), turns.len());
    for (turn, found) in turns.iter().zip(&together) {
        match (detector.detect(turn), found) {
            (Ok(alone), Ok(found)) => {
                assert_eq!((alone.violations, alone.truncated), (found.violations, found.truncated));
                for (maxim, probability) in alone.probabilities.iter() {
                    assert!((probability - found.probabilities.get(maxim)).abs() < 1e-5);
                }
            }
            (Err(alone), Err(found)) => assert_eq!(alone.to_string(), found.to_string()),
            (alone, found) => panic!("{alone:?} {found:?}"),
        }
    }
    assert!(together[2].as_ref().unwrap().truncated);
    assert!(detector.detect_batch(&[]).unwrap().is_empty());
    assert!(detector.detect_batch(&turns[1..2]).unwrap()[0].is_err());
}

#[test]
fn a_turn_that_cannot_be_judged_says_why() {
    let mut detector = load(without_digests()).unwrap();
    let mut check = |turn: Turn, cause: &str| {
        let error = detector.detect(&turn).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadInput);
        assert!(error.to_string().contains(cause), "{error}");
    };
    check(Turn::new("x", ""), "`response` is empty");
    check(Turn::new("x", " \n\t"), "`response` is empty");
    check(Turn::new("x", "a\0b"), "`response` holds a NUL character at byte 1");
    check(Turn::new("\0", "x"), "`context` holds a NUL");
    check(Turn { evidence: Some("ab\0".into()), ..Turn::new("", "x") }, "`evidence` holds a NUL character at byte 2");
    check(Turn::new("", "x".repeat(10 << 20)), "`response` is 10485760 bytes long");
    let many = vec![Utterance::Text("x".repeat(1000)); TEXT_BYTES_MAX / 999];
    check(Turn { context: Context::Utterances(many), ..Turn::new("", "x") }, "`context` is");
}

#[test]
fn a_bundle_that_cannot_be_used_says_why() {
    let broken = |name: &str| Cow::Owned(read(&fixtures_folder().join("broken").join(name)));
    let check = |edit: &dyn Fn(&mut Files), cause: &str| {
        let mut files = without_digests();
        edit(&mut files);
        let told = refusal(files);
        assert!(told.contains(cause), "{told}");
    };
    let put = |path: &'static str, bytes: Cow<'static, [u8]>| {
        move |files: &mut Files| {
            files.insert(path.to_owned(), bytes.clone());
        }
    };
    check(&|files| drop(files.remove("grice.json")), "grice.json: missing");
    check(&|files| drop(files.remove("tokenizer.json")), "tokenizer.json: missing");
    check(&|files| drop(files.remove("onnx/model.onnx")), "onnx/model.onnx: missing");
    check(&put("tokenizer.json", Cow::Borrowed(b"{}")), "tokenizer.json:");
    check(&put("config.json", Cow::Borrowed(b"[")), "config.json: not JSON");
    check(&put("onnx/model.onnx", Cow::Borrowed(b"")), "onnx/model.onnx:");
    check(&put("onnx/model.onnx", broken("other_task.onnx")), "inputs [pixels]");
    check(&put("onnx/model.onnx", broken("unsupported_op.onnx")), "cannot run");
    check(&put("onnx/model.onnx", broken("wrong_labels.onnx")), "4 labels");
    check(&put("onnx/model.onnx", broken("vocab_too_small.onnx")), "tokenizer and model do not fit");
    check(&|files| edit_manifest(files, |manifest| drop(manifest["labels"].as_array_mut().unwrap().pop())), "`labels`");
    check(&|files| edit_manifest(files, |manifest| manifest["max_tokens"] = 4096.into()), "lower `max_tokens`");
}

#[test]
fn a_changed_file_is_found_by_its_digest() {
    let mut files = files(&Fixture::all()[0].folder);
    files.get_mut("tokenizer.json").unwrap().to_mut().push(b' ');
    let told = refusal(files);
    assert!(told.contains("tokenizer.json") && told.contains("digest"), "{told}");
}

#[test]
fn paths_that_are_no_bundle_say_what_a_bundle_is() {
    let told = Bundle::open("no/such/place").unwrap_err().to_string();
    assert!(told.contains("no/such/place") && told.contains("a bundle is a folder"), "{told}");
    let empty = tempfile::tempdir().unwrap();
    assert!(Bundle::open(empty.path()).unwrap_err().to_string().contains("grice.json"));
    assert!(Bundle::from_tar(b"not a tar at all").unwrap_err().to_string().contains("not a readable .tar"));
    assert!(Bundle::from_tar(&[b'x'; 2000]).unwrap_err().to_string().contains("not a readable .tar"));
}

#[test]
fn thresholds_can_be_replaced() {
    let turn = Turn::new("", "I watched the film yesterday.");
    let bundle = Bundle::from_held(without_digests()).unwrap();
    for (threshold, violated) in [(0.0, true), (1e-6, true), (1.0 - 1e-6, false), (1.0, false)] {
        let thresholds = grice_core::PerMaxim::from_fn(|_| Some(threshold));
        let mut detector = Detector::load(&bundle, &Options { thresholds, ..Options::default() }).unwrap();
        let verdict = detector.detect(&turn).unwrap();
        assert!(Maxim::ALL.iter().all(|&maxim| *verdict.violations.get(maxim) == violated));
        assert_eq!(verdict.cooperative, !violated);
    }
    for outside in [-0.001, 1.001, f32::NAN] {
        let thresholds = grice_core::PerMaxim { manner: Some(outside), ..Default::default() };
        let refused = Detector::load(&bundle, &Options { thresholds, ..Options::default() }).err().unwrap();
        assert!(matches!(refused, grice_core::Error::Threshold(Maxim::Manner)), "{refused}");
    }
}

#[test]
fn a_turn_on_which_the_model_fails_costs_no_other() {
    let mut files = without_digests();
    let onnx = std::fs::read(fixtures_folder().join("broken/few_positions.onnx")).unwrap();
    files.insert("onnx/model.onnx".to_owned(), onnx.into());
    let bundle = Bundle::from_held(files).unwrap();
    let mut detector = Detector::load(&bundle, &Options { threads: Some(2), ..Options::default() }).unwrap();
    let good = ["Yes.", "No.", "Perhaps."].map(|response| Turn::new("", response));
    let bad = Turn::new("", "It is so. ".repeat(40));
    let mixed = [&good[0], &bad, &good[1], &bad, &bad, &good[2], &bad].map(Clone::clone);
    let found = detector.detect_batch(&mixed).unwrap();
    for (turn, found) in mixed.iter().zip(found) {
        match found {
            Ok(verdict) => {
                let alone = detector.detect(turn).unwrap();
                let close = |maxim| (verdict.probabilities.get(maxim) - alone.probabilities.get(maxim)).abs() < 1e-4;
                assert!(*turn != bad && Maxim::ALL.into_iter().all(close), "{verdict:?} {alone:?}");
            }
            Err(error) => {
                assert!(*turn == bad && error.to_string().starts_with("the model failed to run: "), "{error}")
            }
        }
    }
    assert!(detector.detect(&bad).is_err() && detector.detect(&good[0]).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_damage_to_an_archive_gives_an_answer(at in 0.0..1.0f64, byte in any::<u8>(), cut in prop::option::of(0.0..1.0f64)) {
        let mut archive = tar_of(&without_digests(), "");
        let position = (at * archive.len() as f64) as usize;
        archive[position] = byte;
        if let Some(cut) = cut {
            archive.truncate((cut * archive.len() as f64) as usize);
        }
        if let Ok(bundle) = Bundle::from_tar(&archive) {
            let _ = Detector::load(&bundle, &Options::default());
        }
    }

    #[test]
    fn any_json_as_a_turn_gives_an_answer(text in "\\PC{0,200}") {
        let _ = serde_json::from_str::<Turn>(&text).map(|turn| turn.check());
    }
}

#[test]
fn a_batch_answers_in_its_order_and_runs_identical_turns_once() {
    for fixture in Fixture::all() {
        let Ok(bundle) = Bundle::open(&fixture.folder) else { panic!("{}", fixture.folder.display()) };
        let mut detector = Detector::load(&bundle, &Options::default()).unwrap();
        let long = "word ".repeat(200);
        let long = long.as_str();
        let responses = ["Yes.", long, "", "No, not at all.", "Yes.", long, "Yes."];
        let turns: Vec<Turn> = responses.iter().map(|response| Turn::new("Did you?", *response)).collect();
        let found = detector.detect_batch(&turns).unwrap();
        assert_eq!(found.len(), turns.len());
        for (turn, found) in turns.iter().zip(&found) {
            match (found, detector.detect(turn)) {
                (Ok(found), Ok(alone)) => {
                    assert_eq!((found.violations, found.truncated), (alone.violations, alone.truncated));
                    for maxim in Maxim::ALL {
                        let (found, alone) = (found.probabilities.get(maxim), alone.probabilities.get(maxim));
                        // Sums of fp32 in another order.
                        assert!((found - alone).abs() < 1e-5, "{maxim}: {found} is not {alone}");
                    }
                }
                (Err(found), Err(alone)) => assert_eq!(found.to_string(), alone.to_string()),
                (found, alone) => panic!("{found:?} beside {alone:?}"),
            }
        }
        let counters = detector.counters();
        assert_eq!((counters.coalesced_total, counters.failed_total), (3, 0));
    }
}

#[test]
fn bytes_that_are_handed_over_are_not_copied() {
    let archive = tar_of(&files(&Fixture::all()[0].folder), "");
    let lies_in = |bundle: &Bundle, whole: &std::ops::Range<*const u8>| {
        let Cow::Borrowed(file) = bundle.model(bundle.manifest().default_precision()).unwrap().1 else {
            panic!("a copy")
        };
        whole.contains(&file.as_ptr())
    };
    let shared: std::sync::Arc<[u8]> = archive.clone().into();
    assert!(lies_in(&Bundle::from_bytes(std::sync::Arc::clone(&shared)).unwrap(), &shared.as_ptr_range()));
    let held: &'static [u8] = archive.clone().leak();
    assert!(lies_in(&Bundle::from_bytes(held).unwrap(), &held.as_ptr_range()));
    assert!(!lies_in(&Bundle::from_tar(held).unwrap(), &held.as_ptr_range()));
    let range = archive.as_ptr_range();
    assert!(lies_in(&Bundle::from_bytes(archive).unwrap(), &range));
}
