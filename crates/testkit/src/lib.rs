//! What tests share: the committed tiny models and the suite that every engine must pass.
//!
//! For development only; nothing that ships depends on it. Everything here panics with the cause rather than return errors.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)]

pub mod conformance;
pub mod fixtures;

/// How far an fp32 engine's logits may lie from PyTorch's: the rounding of some hundred sums of products in another order.
pub const FP32_TOLERANCE: f32 = 1e-4;

/// Panics unless two rows of logits agree to `tolerance`.
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: number of logits");
    for (column, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        // Written so that a NaN fails.
        assert!(
            difference <= tolerance,
            "{what}: column {column}: {found}, but {expected} is right; they differ by {difference}"
        );
    }
}
