//! Why a piece of a graph has no fused form.

use crate::program::Unfused;

pub(super) type Fused<T> = std::result::Result<T, Unfused>;

impl Unfused {
    pub(super) fn new(reason: impl Into<String>) -> Unfused {
        Unfused { reason: reason.into() }
    }
}
