//! The built-in model: it is intact, and equals ONNX Runtime and the Python tokenizer.
#![cfg(feature = "embedded-model")]
#![allow(clippy::unwrap_used)]

use grice_core::task::{EXPLAIN_RUNS, Field, MovingWord};
use grice_core::{
    Batch, Bundle, Context, Detector, Engine, Lengths, Network, Options, PerMaxim, Turn, Utterance, Verdict,
};
use grice_cpu::CpuEngine;
use grice_testkit::fixtures::{fixtures_folder, read};
use grice_testkit::{FP32_TOLERANCE, assert_close};
use std::path::Path;

/// Rounding activations to int8 moves these logits, which reach ±9, by up to 0.3; the effect on verdicts matters.
const PROBABILITY_TOLERANCE: f32 = 0.05;

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    turn: Turn,
    ids: Vec<u32>,
    logits: Vec<f32>,
}

/// From its folder, with the ONNX file that the binary leaves out.
fn on_disk() -> Bundle {
    Bundle::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/detector-mini")).unwrap()
}

/// Opened from its folder, where digests are checked, it is the same bundle.
#[test]
fn its_digests_are_right() {
    let (on_disk, embedded) = (on_disk(), Bundle::embedded().unwrap());
    assert!(!on_disk.manifest().digests.is_empty());
    let precision = on_disk.manifest().default_precision();
    on_disk.model(precision).unwrap();
    // Compared with its hashes here, as the embedded copy is not.
    on_disk.network(precision).unwrap();
    let program = on_disk.program_path(precision).unwrap();
    assert_eq!(on_disk.file(&program).unwrap(), embedded.file(&program).unwrap());
    assert_eq!(on_disk.tokenizer().unwrap(), embedded.tokenizer().unwrap());
    assert_eq!(on_disk.config().unwrap(), embedded.config().unwrap());
}

#[test]
fn it_stays_below_sixteen_megabytes() {
    let bundle = Bundle::embedded().unwrap();
    let program = bundle.program_bytes(bundle.manifest().default_precision()).unwrap().unwrap();
    let bytes = program as usize + bundle.tokenizer().unwrap().len();
    assert!(bytes < 16_000_000, "{bytes}");
}

#[test]
fn ids_and_logits_are_those_of_the_python_libraries() {
    let cases: Vec<Case> =
        serde_json::from_slice(&read(&fixtures_folder().join("detector-mini-reference.json"))).unwrap();
    assert!(cases.len() >= 10);
    let bundle = Bundle::embedded().unwrap();
    let precision = bundle.manifest().default_precision();
    let detector = Detector::load(&bundle, &Options::default()).unwrap();
    let on_disk = on_disk();
    let onnx = on_disk.model(precision).unwrap().1;
    // The reference was computed with the file's int8 weights in fp32, as the graph says; the kernels also round activations.
    let graph = Network::import_graph(&onnx, 4).unwrap();
    let fused = Network::import(&onnx, 4).unwrap();
    assert!(fused.program().is_ok(), "{:?}", fused.program().err());
    let mut engine = CpuEngine::new(graph, precision, 1).unwrap();
    let mut kernels = CpuEngine::new(fused, precision, 1).unwrap();
    for case in cases {
        let encoded = detector.encode(&case.turn).unwrap();
        assert_eq!(encoded.ids, case.ids, "{}", case.name);
        let logits = engine.forward(&Batch::pack(&[&case.ids]).unwrap()).unwrap();
        assert_close(&case.name, logits.row(0), &case.logits, FP32_TOLERANCE);
        let logits = kernels.forward(&Batch::pack(&[&case.ids]).unwrap()).unwrap();
        let probabilities = |logits: &[f32]| logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect::<Vec<f32>>();
        let (found, expected) = (probabilities(logits.row(0)), probabilities(&case.logits));
        assert_close(&format!("{} int8", case.name), &found, &expected, PROBABILITY_TOLERANCE);
    }
}

/// Without it each start would compare the fused program with its graph, which takes longer than all other work.
#[test]
fn its_proof_is_current() {
    let bundle = Bundle::embedded().unwrap();
    let precision = bundle.manifest().default_precision();
    let proof = bundle.lengths(precision).unwrap().proof.unwrap();
    assert_eq!(proof.up_to, bundle.manifest().max_tokens);
    let on_disk = on_disk();
    let onnx = on_disk.model(precision).unwrap().1;
    let network = Network::import_for(&onnx, 4, &Lengths::up_to(bundle.manifest().max_tokens)).unwrap();
    let hint = "`grice inspect --prove --model models/detector-mini` writes it";
    assert_eq!(network.proof(proof.digest.clone()), Some(proof), "{hint}");
}

/// The compiled program in the repository equals the output of `grice compile --device cpu --model models/detector-mini`.
#[test]
fn the_compiled_program_is_that_of_the_onnx_file() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/detector-mini");
    let copy = tempfile::tempdir().unwrap();
    for file in ["grice.json", "config.json", "tokenizer.json", "onnx/model_int8.onnx"] {
        let to = copy.path().join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(folder.join(file), to).unwrap();
    }
    let bundle = grice_core::Bundle::open(copy.path()).unwrap();
    let compiled =
        grice_core::compile_program(&bundle, &grice_core::Options::default(), || std::time::Duration::ZERO).unwrap();
    let [made, kept] = [compiled.path, folder.join("onnx/model_int8.grice")].map(|path| std::fs::read(path).unwrap());
    assert!(made == kept, "run `grice compile --device cpu --model models/detector-mini` and commit the file");
}

/// Each number of an explanation is, to the bit, the difference of two verdicts by single requests.
#[test]
fn an_explanation_is_what_single_requests_say() {
    let cases: Vec<Case> =
        serde_json::from_slice(&read(&fixtures_folder().join("detector-mini-reference.json"))).unwrap();
    let mut detector = Detector::load(&Bundle::embedded().unwrap(), &Options::default()).unwrap();
    let judged: Vec<(Turn, Verdict)> =
        cases.into_iter().map(|case| (detector.detect(&case.turn).unwrap(), case.turn)).map(|(v, t)| (t, v)).collect();
    let pairs: Vec<(&Turn, &Verdict)> = judged.iter().map(|(turn, verdict)| (turn, verdict)).collect();
    let explained = detector.explain_batch(&pairs, EXPLAIN_RUNS).unwrap();
    let mut checked = 0;
    for ((turn, verdict), explanation) in judged.iter().zip(explained) {
        let explanation = explanation.unwrap();
        let alone = detector.explain_batch(&[(turn, verdict)], EXPLAIN_RUNS).unwrap().pop().unwrap().unwrap();
        assert_eq!(alone, explanation);
        for (maxim, words) in explanation.words.iter() {
            assert!(words.is_empty() || *verdict.violations.get(maxim));
            assert!(words.is_sorted_by(|one, next| one.change.abs() >= next.change.abs()));
            for word in words {
                let without = leave_out(turn, word);
                let change =
                    detector.detect(&without).unwrap().probabilities.get(maxim) - verdict.probabilities.get(maxim);
                assert_eq!(change.to_bits(), word.change.to_bits(), "{word:?} in {turn:?}");
                checked += 1;
            }
        }
    }
    assert!(checked >= 20, "{checked}");
}

/// The turn without a word, by the plainest means: the words that are left, with what stands between them.
fn leave_out(turn: &Turn, word: &MovingWord) -> Turn {
    let cut = |text: &str| {
        let characters: Vec<char> = text.chars().collect();
        let found: String = characters[word.start..word.end].iter().collect();
        assert_eq!(found, word.word);
        let (mut before, after) = (characters[..word.start].to_vec(), characters[word.end..].to_vec());
        if before.iter().all(|c| c.is_whitespace()) {
            let space = after.iter().take_while(|c| c.is_whitespace()).count();
            return before.iter().chain(&after[space..]).collect::<String>();
        }
        if after.first().is_none_or(|c| c.is_whitespace() || ".,;:!?)]}”’".contains(*c)) {
            while before.last().is_some_and(|c| c.is_whitespace()) {
                before.pop();
            }
        }
        before.iter().chain(&after).collect()
    };
    let mut turn = turn.clone();
    match (word.field, &mut turn.context) {
        (Field::Response, _) => turn.response = cut(&turn.response),
        (Field::Evidence, _) => turn.evidence = turn.evidence.map(|evidence| cut(&evidence)),
        (Field::Context, Context::Text(text)) => *text = cut(text),
        (Field::Context, Context::Utterances(utterances)) => match &mut utterances[word.utterance.unwrap()] {
            Utterance::Text(text) | Utterance::Spoken { text, .. } => *text = cut(text),
        },
    }
    turn
}

/// Words beyond what the model reads move nothing, and a long turn stays within its runs.
#[test]
fn words_that_were_cut_off_move_nothing() {
    let options = Options { thresholds: PerMaxim::from_fn(|_| Some(0.0)), ..Options::default() };
    let mut detector = Detector::load(&Bundle::embedded().unwrap(), &options).unwrap();
    let turn = Turn::new("What did you think of the film?", "I liked the colours of it a lot. ".repeat(400));
    let verdict = detector.detect(&turn).unwrap();
    assert!(verdict.truncated && !verdict.cooperative, "{verdict:?}");
    let before = detector.counters().batch_rows_total;
    let explanation = detector.explain_batch(&[(&turn, &verdict)], 64).unwrap().pop().unwrap().unwrap();
    assert!(detector.counters().batch_rows_total - before <= 64);
    assert!(explanation.tried < explanation.of);
    assert!(explanation.of <= 2 * detector.manifest().max_tokens);
}
