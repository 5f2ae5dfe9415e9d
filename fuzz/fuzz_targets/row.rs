//! Any bytes as a JSON line: a turn that passes its check can be rendered, and is equal after writing and reading.
#![no_main]

use grice_core::Turn;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(turn) = serde_json::from_slice::<Turn>(bytes) else { return };
    if turn.check().is_err() {
        return;
    }
    assert!(!turn.response.trim().is_empty());
    let written = serde_json::to_vec(&turn).expect("a turn is plain text");
    assert_eq!(serde_json::from_slice::<Turn>(&written).expect("a written turn can be read"), turn);
});
