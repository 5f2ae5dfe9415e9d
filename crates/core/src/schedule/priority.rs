//! Priorities of requests.

/// Which requests go first. Requests of a lower priority still get the first place of some batches
/// ([`super::Config::fair_batches`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// For bulk work, when nothing else waits.
    Low,
    /// The default.
    #[default]
    Normal,
    /// For a user who waits for the answer.
    High,
}
