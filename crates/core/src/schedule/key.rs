//! The cache keys of sequences.

use grice_model::Precision;
use std::fmt;

/// Identifies a sequence for one model. 256 bits of BLAKE3, so collisions do not occur in practice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey([u8; 32]);

impl CacheKey {
    /// The bytes, for a cache outside the process.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Makes the keys of one model.
#[derive(Clone)]
pub struct Keyer {
    model: [u8; 32],
}

impl Keyer {
    /// For the model of this digest at this precision.
    pub fn new(bundle_digest: &str, precision: Precision) -> Keyer {
        let model = format!("{precision}:{bundle_digest}");
        Keyer { model: blake3::derive_key("grice 2026 key of cached logits", model.as_bytes()) }
    }

    /// The key of a sequence of token ids.
    pub fn key(&self, ids: &[u32]) -> CacheKey {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        CacheKey(*blake3::keyed_hash(&self.model, &bytes).as_bytes())
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Keyer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyer").finish_non_exhaustive()
    }
}
