//! The committed turns and the verdicts on them, to which native and browser are both held.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_core::Verdict;
use serde::{Deserialize, Serialize};

/// How far a probability may lie from the committed one: fp32 sums in the order of another instruction set.
pub(crate) const TOLERANCE: f32 = 1e-4;
/// For the embedded model, whose activations are rounded to int8. Products of bytes are the same everywhere, but the f32 between them is
/// summed in another order, and a number near a half is then rounded to another byte. A difference of δ steps changes a share of δ of
/// the next layer's bytes by a whole step, so that its spread grows to √δ with every layer: after six of them two instruction sets
/// are as far apart as int8 is from fp32. Seen: 0.035, on the longest turns.
pub(crate) const INT8_TOLERANCE: f32 = 0.1;

/// `crates/testkit/fixtures/verdicts.json`. Names of turns are in the file's order in both maps.
#[derive(Deserialize, Serialize)]
pub(crate) struct Verdicts {
    /// Name → turn, as a caller would write it.
    pub(crate) turns: serde_json::Map<String, serde_json::Value>,
    /// Bundle → name of the turn → native verdict.
    pub(crate) verdicts: serde_json::Map<String, serde_json::Value>,
}

impl Verdicts {
    pub(crate) fn parse(json: &[u8]) -> Verdicts {
        serde_json::from_slice(json).expect("fixtures/verdicts.json holds turns and verdicts")
    }

    /// Asks for a verdict on every turn and compares it with the committed one.
    pub(crate) fn check(&self, bundle: &str, mut judge: impl FnMut(&serde_json::Value) -> Verdict) {
        let committed = self.verdicts.get(bundle);
        let committed = committed.unwrap_or_else(|| panic!("no verdicts for {bundle}; GRICE_BLESS=1 writes them"));
        let tolerance = if bundle == "embedded" { INT8_TOLERANCE } else { TOLERANCE };
        let mut truncated = 0;
        for (name, turn) in &self.turns {
            let what = format!("{bundle}: {name}");
            let expected = committed.get(name).unwrap_or_else(|| panic!("{what}: not in verdicts.json"));
            let expected: Verdict = serde_json::from_value(expected.clone()).unwrap();
            let found = judge(turn);
            truncated += usize::from(found.truncated);
            for (maxim, &probability) in found.probabilities.iter() {
                let difference = (probability - expected.probabilities.get(maxim)).abs();
                assert!(
                    difference <= tolerance,
                    "{what}: {maxim} differs by {difference}: {found:?}, not {expected:?}"
                );
            }
            // A probability that may lie on either side of the threshold decides nothing.
            let clear = found.probabilities.iter().all(|(_, probability)| (probability - 0.5).abs() > tolerance);
            if clear || tolerance == TOLERANCE {
                assert_eq!(found.violations, expected.violations, "{what}");
                assert_eq!(found.cooperative, expected.cooperative, "{what}");
            }
            assert_eq!(found.truncated, expected.truncated, "{what}");
        }
        assert!(truncated >= 3, "{bundle}: only {truncated} turns were truncated; the long ones must be");
    }
}
