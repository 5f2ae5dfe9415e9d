//! Cache of tokenized turns, so that a repeated turn is not tokenized again.

use grice_core::schedule::CacheKey;
use grice_core::{Context, Reading, Turn, Utterance};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use sha2::{Digest, Sha256};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// A turn's token ids.
#[derive(Clone)]
pub(crate) struct Tokenized {
    /// Special tokens included.
    pub(crate) ids: Arc<[u32]>,
    /// The cache key of their logits.
    pub(crate) key: CacheKey,
    /// Notes on the text for the verdict.
    pub(crate) reading: Reading,
}

/// Full SHA-256 of a turn's fields, because turns with equal keys would get each other's verdicts.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TextKey([u8; 32]);

/// A cache with a limit in bytes.
pub(crate) struct Texts(Option<Cache<TextKey, Tokenized, Bytes, BuildHasherDefault<FirstBytes>>>);

/// Size of an entry without its ids: both keys, counts, and its share of the table.
const ENTRY_BYTES: u64 = 232;
/// Size of a typical turn, for sizing the table.
const TOKENS_USUAL: u64 = 64;

impl Texts {
    /// Holds up to `bytes_max`; 0 turns the cache off.
    pub(crate) fn new(bytes_max: u64) -> Texts {
        let items = (bytes_max / (ENTRY_BYTES + 4 * TOKENS_USUAL)) as usize;
        let options = OptionsBuilder::new().estimated_items_capacity(items).weight_capacity(bytes_max).build().ok();
        let options = options.filter(|_| bytes_max > 0);
        Texts(
            options.map(|options| Cache::with_options(options, Bytes, Default::default(), DefaultLifecycle::default())),
        )
    }

    pub(crate) fn get(&self, key: &TextKey) -> Option<Tokenized> {
        self.0.as_ref()?.get(key)
    }

    pub(crate) fn insert(&self, key: TextKey, tokenized: Tokenized) {
        if let Some(cache) = &self.0 {
            cache.insert(key, tokenized);
        }
    }
}

impl TextKey {
    /// The key of a turn.
    pub(crate) fn of(turn: &Turn) -> TextKey {
        let mut hash = Sha256::new();
        // Each text is preceded by its length and each variant by its number, so that different turns have different bytes.
        let mut add = |kind: u8, text: &str| {
            hash.update([kind]);
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        match &turn.context {
            Context::Text(text) => add(0, text),
            Context::Utterances(utterances) => utterances.iter().for_each(|utterance| match utterance {
                Utterance::Text(text) => add(1, text),
                Utterance::Spoken { speaker, text } => {
                    add(2, speaker);
                    add(3, text);
                }
            }),
        }
        if let Some(evidence) = &turn.evidence {
            add(4, evidence);
        }
        add(5, &turn.response);
        TextKey(hash.finalize().into())
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<TextKey, Tokenized> for Bytes {
    fn weight(&self, _: &TextKey, tokenized: &Tokenized) -> u64 {
        ENTRY_BYTES + size_of_val::<[u32]>(&tokenized.ids) as u64
    }
}

/// The keys are already hashes.
#[derive(Default)]
pub(crate) struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grice_core::Precision;
    use grice_core::schedule::Keyer;

    #[test]
    fn turns_that_differ_anywhere_have_different_keys() {
        let text = |context: &str, evidence: Option<&str>, response: &str| Turn {
            context: Context::Text(context.to_owned()),
            evidence: evidence.map(str::to_owned),
            response: response.to_owned(),
        };
        let spoken = |utterances: Vec<Utterance>| Turn {
            context: Context::Utterances(utterances),
            evidence: None,
            response: "r".to_owned(),
        };
        let said = |text: &str| Utterance::Text(text.to_owned());
        let turns = [
            text("a", None, "b"),
            text("ab", None, ""),
            text("", Some("a"), "b"),
            text("", None, "ab"),
            text("", Some(""), "ab"),
            text("ab", None, "r"),
            spoken(vec![said("ab")]),
            spoken(vec![said("a"), said("b")]),
            spoken(vec![Utterance::Spoken { speaker: "a".to_owned(), text: "b".to_owned() }]),
            spoken(Vec::new()),
            text("", None, "r"),
        ];
        for (place, turn) in turns.iter().enumerate() {
            assert!(TextKey::of(turn) == TextKey::of(&turn.clone()));
            assert!(turns[..place].iter().all(|other| TextKey::of(other) != TextKey::of(turn)), "{turn:?}");
        }
    }

    #[test]
    fn the_bound_holds() {
        let texts = Texts::new(100_000);
        let turn = |number: u32| Turn::new("", format!("{number}"));
        let keyer = Keyer::new("", Precision::Fp32);
        let tokenized =
            |ids: Vec<u32>| Tokenized { key: keyer.key(&ids), ids: ids.into(), reading: Reading::default() };
        for number in 0..10_000 {
            texts.insert(TextKey::of(&turn(number)), tokenized(vec![number; 50]));
        }
        let held: Vec<u32> = (0..10_000).filter(|&n| texts.get(&TextKey::of(&turn(n))).is_some()).collect();
        assert!((50..=250).contains(&held.len()), "{} entries of 432 bytes", held.len());
        assert!(held.iter().all(|&n| texts.get(&TextKey::of(&turn(n))).is_some_and(|found| found.ids[0] == n)));
        let none = Texts::new(0);
        none.insert(TextKey::of(&turn(1)), tokenized(vec![1]));
        assert!(none.get(&TextKey::of(&turn(1))).is_none());
    }
}
