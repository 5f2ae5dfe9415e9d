//! What tests share: the committed tiny models and the suite that every engine must pass.
//!
//! For development only; nothing that ships depends on it. Everything here panics with the cause rather than return errors.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)]

pub mod conformance;
pub mod encoders;
pub mod files;
pub mod fixtures;
pub mod generators;
pub mod mixture;
pub mod operators;

/// How far an fp32 engine's logits may lie from PyTorch's: the rounding of some hundred sums of products in another order.
pub const FP32_TOLERANCE: f32 = 1e-4;

/// How far an engine with weights rounded to f16 may lie from PyTorch's fp32: ten bits of each weight are kept, and over the tiny models' 32
/// columns what is lost hardly averages out.
pub const FP16_TOLERANCE: f32 = 2e-2;

/// How far int8 may lie from a peer that computes with the same weights in fp32: every activation is rounded to one of 255 steps
/// of its token's largest. The tiny models have 32 columns, over which such errors hardly average out: ONNX Runtime's own int8
/// differs from its fp32 by up to 0.24 on them.
pub const INT8_TOLERANCE: f32 = 0.2;

/// What `work` returns. Panics, naming `what`, if that takes longer than a minute: a loop without end is a failure, and says of what.
pub fn that_ends<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || sender.send(work()));
    match receiver.recv_timeout(std::time::Duration::from_secs(60)) {
        Ok(value) => value,
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("{what} does not end"),
        Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(cause) => std::panic::resume_unwind(cause),
            Ok(_) => unreachable!("the sender is dropped by a panic only"),
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
            "{what}: column {column}: {found}, but {expected} is right; they differ by {difference}"
        );
    }
}
