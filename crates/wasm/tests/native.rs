//! The native half of the agreement: `verdicts.json` is what this machine says too. `GRICE_BLESS=1` rewrites it.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used)]

mod verdicts;

use grice_core::{Bundle, Detector, Options, Turn, Verdict};
use grice_testkit::fixtures::{fixtures_folder, read};
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
