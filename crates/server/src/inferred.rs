//! Logits, with their source and times.

use grice_core::schedule::LogitsRow;
use std::time::Duration;

/// The source of an answer, worst first: the header shows the worst of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cached {
    Bypass,
    Miss,
    Coalesced,
    Hit,
}

/// Logits, with their source and times.
pub(crate) struct Inferred {
    pub(crate) row: LogitsRow,
    pub(crate) cached: Cached,
    /// Time until the end of the cache look-up.
    pub(crate) lookup: Duration,
    pub(crate) queued: Duration,
    pub(crate) ran: Duration,
}

impl Cached {
    /// The value of `X-Grice-Cache`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Cached::Bypass => "bypass",
            Cached::Miss => "miss",
            Cached::Coalesced => "coalesced",
            Cached::Hit => "hit",
        }
    }
}
