//! The native half of the comparison: `verdicts.json`, `int8-logits.json` and `repairs.json` equal this machine's results.
//! `GRICE_BLESS=1` rewrites them.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used)]

mod logits;
mod repairs;
mod verdicts;

use grice_core::{Batch, Bundle, CpuEngine, Detector, Engine, Network, Options, Turn, Verdict};
use grice_testkit::fixtures::{fixtures_folder, read, references_at};
use logits::{Int8Logits, packed};
use verdicts::Verdicts;

#[test]
fn native_verdicts_are_the_committed_ones() {
    let file = fixtures_folder().join("verdicts.json");
    let mut committed = Verdicts::parse(&read(&file));
    let bless = std::env::var_os("GRICE_BLESS").is_some();
    for (name, bundle) in bundles() {
        let mut detector =
            Detector::load(&bundle, &Options::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut judge = |turn: &serde_json::Value| -> Verdict {
            let turn: Turn = serde_json::from_value(turn.clone()).unwrap();
            detector.detect(&turn).unwrap()
        };
        if bless {
            let verdicts = committed.turns.iter().map(|(turn_name, turn)| (turn_name.clone(), to_json(&judge(turn))));
            let verdicts: serde_json::Map<_, _> = verdicts.collect();
            committed.verdicts.insert(name.to_owned(), verdicts.into());
        }
        committed.check(name, judge);
    }
    if bless {
        let json = serde_json::to_string_pretty(&committed).unwrap();
        std::fs::write(&file, json + "\n").unwrap();
    }
}

#[test]
fn native_logits_of_int8_files_are_the_committed_ones() {
    let file = fixtures_folder().join("int8-logits.json");
    let bless = std::env::var_os("GRICE_BLESS").is_some();
    let mut committed = if bless { Int8Logits::default() } else { serde_json::from_slice(&read(&file)).unwrap() };
    for (model, references) in logits::FILES {
        let network = Network::import(read(&fixtures_folder().join(model)), 4).unwrap();
        let precision = network.precision();
        assert!(network.program().is_ok(), "{model}: {:?}", network.program().err());
        let mut engine = CpuEngine::new(network, precision, 1).unwrap();
        let mut run = |ids: &[u32], lengths: &[u32]| -> Vec<f32> {
            let mut rest = ids;
            let sequences = lengths.iter().map(|&length| rest.split_off(..length as usize).unwrap());
            let logits = engine.forward(&Batch::pack(&sequences.collect::<Vec<_>>()).unwrap()).unwrap();
            (0..logits.rows()).flat_map(|row| logits.row(row).to_vec()).collect()
        };
        let references = references_at(&fixtures_folder().join(references));
        if bless {
            let answers = references.iter().map(packed).map(|(ids, lengths)| run(&ids, &lengths));
            committed.0.insert(model.to_owned(), answers.collect());
        }
        committed.check(model, &references, run);
    }
    if bless {
        std::fs::write(&file, serde_json::to_string(&committed).unwrap() + "\n").unwrap();
    }
}

fn bundles() -> Vec<(&'static str, Bundle)> {
    let open = |name| (name, Bundle::open(fixtures_folder().join(name)).unwrap());
    #[allow(unused_mut)]
    let mut bundles = vec![open("tiny-bert"), open("tiny-deberta")];
    #[cfg(feature = "embedded-model")]
    bundles.push(("embedded", Bundle::embedded().unwrap()));
    bundles
}

fn to_json(verdict: &Verdict) -> serde_json::Value {
    serde_json::to_value(verdict).unwrap()
}
