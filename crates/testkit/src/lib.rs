//! Shared parts of the tests: the committed tiny models and the suite that every engine must pass.
//!
//! For development only; no shipped crate depends on it. Functions here panic with the cause instead of returning errors.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)]

pub mod conformance;
pub mod embedders;
pub mod encoders;
pub mod files;
pub mod fixtures;
pub mod generators;
pub mod gguf;
pub mod mixture;
pub mod operators;
pub mod python;

pub use grice_kernels::Isa;

/// Tolerance of fp32 logits against PyTorch: the rounding of some hundred sums of products in another order.
pub const FP32_TOLERANCE: f32 = 1e-4;

/// Tolerance of an engine with f16 weights against PyTorch's fp32: each weight keeps ten bits, and over the tiny models' 32
/// columns the errors hardly average out.
pub const FP16_TOLERANCE: f32 = 2e-2;

/// Tolerance of int8 against fp32 arithmetic with the same weights: every activation is rounded to one of 255 steps,
/// relative to its token's largest. Over the tiny models' 32 columns such errors hardly average out: ONNX Runtime's own int8
/// differs from its fp32 by up to 0.24 on them.
pub const INT8_TOLERANCE: f32 = 0.2;

/// Returns the result of `work`. Panics with `what` if it takes longer than a minute, so that an endless loop is a failure with a name.
pub fn that_ends<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || sender.send(work()));
    match receiver.recv_timeout(std::time::Duration::from_secs(60)) {
        Ok(value) => value,
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("{what} does not end"),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(cause) => std::panic::resume_unwind(cause),
            Ok(_) => unreachable!("only a panic drops the sender"),
        },
    }
}

/// Panics unless two rows of logits agree to `tolerance`.
pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: number of logits");
    for (column, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        // Written so that a NaN fails.
        assert!(
            difference <= tolerance,
            "{what}: column {column}: {found}, expected {expected}; they differ by {difference}"
        );
    }
}
