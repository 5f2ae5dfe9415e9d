//! Bytes from the caller, kept without a copy.

use std::ops::Deref;
use std::sync::Arc;

/// The bytes of an archive: owned, shared, or static.
#[derive(Clone, Debug)]
pub enum Bytes {
    /// Freed with the bundle.
    Owned(Vec<u8>),
    /// Freed with the last reference.
    Shared(Arc<[u8]>),
    /// Never freed.
    Static(&'static [u8]),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Owned(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
            Bytes::Static(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes::Owned(bytes)
    }
}

impl From<Arc<[u8]>> for Bytes {
    fn from(bytes: Arc<[u8]>) -> Bytes {
        Bytes::Shared(bytes)
    }
}

impl From<&'static [u8]> for Bytes {
    fn from(bytes: &'static [u8]) -> Bytes {
        Bytes::Static(bytes)
    }
}
