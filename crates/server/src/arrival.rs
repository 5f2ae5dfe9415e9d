//! What is known of a request beside the request itself.

use std::sync::Arc;
use std::time::Instant;

/// What a handler may know of its request beside the request itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// When its head was there.
    pub(crate) start: Instant,
    /// When the client gives up.
    pub(crate) deadline: Instant,
}

/// What a handler leaves in its response for the log, if texts are to be logged.
#[derive(Clone)]
pub(crate) struct LoggedText(pub(crate) Arc<str>);
