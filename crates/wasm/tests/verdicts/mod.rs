//! The committed turns and verdicts, which native and browser builds must both reproduce.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_core::Verdict;
use serde::{Deserialize, Serialize};

/// Tolerance of a probability: fp32 sums in the order of another instruction set. Int8 models differ only in the head,
/// which is fp32.
pub(crate) const TOLERANCE: f32 = 1e-4;

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
                    difference <= TOLERANCE,
                    "{what}: {maxim} differs by {difference}: {found:?}, not {expected:?}"
                );
            }
            assert_eq!(found.violations, expected.violations, "{what}");
            assert_eq!(found.cooperative, expected.cooperative, "{what}");
            assert_eq!(found.truncated, expected.truncated, "{what}");
        }
        assert!(truncated >= 3, "{bundle}: only {truncated} turns were truncated; the long ones must be");
    }
}
