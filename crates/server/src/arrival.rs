//! Data about a request for its handler.

use std::sync::Arc;
use std::time::Instant;

/// Data about a request for its handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// When its head arrived.
    pub(crate) start: Instant,
    /// The client's deadline.
    pub(crate) deadline: Instant,
}

/// The texts that a handler puts into its response for the log, if texts are logged.
#[derive(Clone)]
pub(crate) struct LoggedText(pub(crate) Arc<str>);
