//! The cache keys of sequences and texts.

use crate::generate::{DecodeOptions, Start};
use grice_model::Precision;
use std::fmt;
use std::hash::{Hash, Hasher};

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
    texts: [u8; 32],
}

impl Keyer {
    /// For the model of this digest at this precision.
    pub fn new(bundle_digest: &str, precision: Precision) -> Keyer {
        let model = format!("{precision}:{bundle_digest}");
        let derived = |what: &str| blake3::derive_key(what, model.as_bytes());
        Keyer { model: derived("grice 2026 key of cached logits"), texts: derived("grice 2026 key of cached texts") }
    }

    /// The key of a sequence of token ids.
    pub fn key(&self, ids: &[u32]) -> CacheKey {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        CacheKey(*blake3::keyed_hash(&self.model, &bytes).as_bytes())
    }
}

impl Keyer {
    /// The key of a text: of its prompt, its source, and every option. It holds for this process only.
    pub fn course_key(&self, start: &Start, options: &DecodeOptions) -> CacheKey {
        let mut hasher = Blake(blake3::Hasher::new_keyed(&self.texts));
        // Lengths are part of each hash, so no two different texts give the same bytes.
        (&start.prompt, &start.source, start.vocabulary, options).hash(&mut hasher);
        CacheKey(*hasher.0.finalize().as_bytes())
    }
}

/// Collects all bytes that a value gives.
struct Blake(blake3::Hasher);

impl Hasher for Blake {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Not used: the key is the hash of all bytes.
    fn finish(&self) -> u64 {
        let bytes = self.0.finalize();
        bytes.as_bytes().iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
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
