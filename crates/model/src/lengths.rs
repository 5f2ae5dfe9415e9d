//! How long the sequences may be for which a fused program must equal its graph, and what has been compared already.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Tokens of the longest sequence where no number is given: what most encoders take.
const USUAL: usize = 512;

/// The longest sequence of a model, and the proof that came with its file.
#[derive(Clone, Debug)]
pub struct Lengths {
    /// Tokens of the longest sequence, special tokens included.
    pub up_to: usize,
    /// What was compared when the bundle was made. Only one for the very file: [`Proof::is_of`].
    pub proof: Option<Proof>,
}

impl Lengths {
    /// Up to so many tokens, with nothing compared yet.
    pub fn up_to(tokens: usize) -> Lengths {
        Lengths { up_to: tokens, proof: None }
    }

    /// Whether the proof covers a piece.
    pub(crate) fn covers(&self, piece: u64, up_to: usize) -> bool {
        let covers = |proof: &Proof| proof.up_to >= up_to && proof.pieces.contains(&name_of(piece));
        self.proof.as_ref().is_some_and(covers) || is_known(piece, up_to)
    }
}

impl Default for Lengths {
    fn default() -> Lengths {
        Lengths::up_to(USUAL)
    }
}

/// The record that a file's fused program was compared with its graph in sequences of many lengths. A file without one is compared when
/// it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// `sha256:<hex>` of the file.
    pub digest: String,
    /// The length of the longest sequence compared, in tokens.
    pub up_to: usize,
    /// Which pieces of the graph were compared with which steps. A piece that is not among them is compared when the file is read:
    /// another version of grice may take the graph apart in another way.
    pub pieces: BTreeSet<String>,
}

impl Proof {
    /// A proof of pieces by their numbers.
    pub(crate) fn new(digest: String, up_to: usize, pieces: &BTreeSet<u64>) -> Proof {
        Proof { digest, up_to, pieces: pieces.iter().map(|piece| name_of(*piece)).collect() }
    }

    /// Whether it speaks of the file with this digest.
    pub fn is_of(&self, digest: &str) -> bool {
        self.digest.eq_ignore_ascii_case(digest)
    }
}

fn name_of(piece: u64) -> String {
    format!("{piece:016x}")
}

/// Pieces compared in this process: replicas and reloads of a model need not compare them again.
static KNOWN: LazyLock<Mutex<HashMap<u64, usize>>> = LazyLock::new(Mutex::default);

fn is_known(piece: u64, up_to: usize) -> bool {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.get(&piece).is_some_and(|compared| *compared >= up_to)
}

/// Notes that a piece equals its step in sequences of up to so many tokens.
pub(crate) fn remember(piece: u64, up_to: usize) {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let compared = known.entry(piece).or_default();
    *compared = up_to.max(*compared);
}

/// A number for a text or a constant, the same on every machine, since proofs are kept in files.
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    pub(crate) fn new() -> Fingerprint {
        Fingerprint(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn of(text: &str) -> u64 {
        let mut fingerprint = Fingerprint::new();
        fingerprint.add(text.as_bytes());
        fingerprint.finish()
    }

    /// Bytes, and how many they are.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    pub(crate) fn mix(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    /// The finaliser of SplitMix64.
    pub(crate) fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
