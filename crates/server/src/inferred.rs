//! Logits, and how they came about.

use grice_core::schedule::LogitsRow;
use std::time::Duration;

/// Where an answer came from, worst first: of several, the first is what the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cached {
    Bypass,
    Miss,
    Coalesced,
    Hit,
}

/// Logits and how they came about.
pub(crate) struct Inferred {
    pub(crate) row: LogitsRow,
    pub(crate) cached: Cached,
    /// Until the cache had been asked.
    pub(crate) lookup: Duration,
    pub(crate) queued: Duration,
    pub(crate) ran: Duration,
}

impl Cached {
    /// As `X-Grice-Cache` says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Cached::Bypass => "bypass",
            Cached::Miss => "miss",
            Cached::Coalesced => "coalesced",
            Cached::Hit => "hit",
        }
    }
}
