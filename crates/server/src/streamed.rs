//! What became of an answer that is sent in pieces: its head was sent long before.

use crate::problem::Problem;
use axum::http::StatusCode;
use std::sync::{Arc, OnceLock};

/// Marks a response whose body takes time. The request is counted when the body ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streamed(Arc<OnceLock<(StatusCode, &'static str)>>);

impl Streamed {
    /// The answer broke off.
    pub(crate) fn fail(&self, problem: &Problem) {
        // The first problem is the cause of all others.
        _ = self.0.set((problem.status, problem.code));
    }

    /// Why it broke off, if it did.
    pub(crate) fn problem(&self) -> Option<(StatusCode, &'static str)> {
        self.0.get().copied()
    }
}
