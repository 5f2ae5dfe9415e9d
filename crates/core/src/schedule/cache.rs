//! Caches of answers with a limit in bytes.
//!
//! Eviction is CLOCK-Pro, implemented by `quick_cache`: a row used once is cold and is evicted first; a row used again is hot. The
//! cache remembers the keys of evicted rows for a while, so that a returning row is hot at once. A scan over many
//! turns that never return does not evict hot rows.

use super::{CacheKey, LogitsRow, Texts};
use crate::generate::{Generated, TokenLog};
use quick_cache::{DefaultHashBuilder, Lifecycle, Weighter, unsync};
use std::fmt;

/// Size of one slot of the cache, with key and links; a test checks it.
const SLOT_BYTES: u64 = 80;
/// Size of a row without its logits. Its slot counts three times, because slots also remember evicted rows (half as many
/// again) and are in a vector that doubles. Its hash table entries are 8 bytes, three times for the same reasons; 32
/// bytes are for the counts and the allocator in front of the logits.
const ENTRY_BYTES: u64 = 3 * SLOT_BYTES + 3 * 8 + 32;

/// Rows of logits by key. Thresholds and temperatures are applied after look-up, so the cache stays valid when they change.
pub type LogitsCache = AnswerCache<LogitsRow>;

/// Answers by key.
pub struct AnswerCache<V: Weigh> {
    rows: unsync::Cache<CacheKey, V, Bytes, DefaultHashBuilder, CountEvictions>,
    evictions: u64,
}

/// What a cache holds.
pub trait Weigh: Clone {
    /// Bytes that it refers to.
    fn bytes(&self) -> u64;
}

impl Weigh for LogitsRow {
    fn bytes(&self) -> u64 {
        size_of_val::<[f32]>(self) as u64
    }
}

impl Weigh for Texts {
    fn bytes(&self) -> u64 {
        let log = |log: &TokenLog| size_of::<TokenLog>() + 32 + log.alternatives.len() * size_of::<(u32, f32)>();
        let text = |text: &Generated| {
            let logs: usize = text.log_probabilities.iter().map(|entry| log(entry) + size_of::<usize>()).sum();
            size_of::<Generated>() + size_of_val::<[u32]>(&text.tokens) + logs
        };
        self.iter().map(text).sum::<usize>() as u64
    }
}

impl<V: Weigh> AnswerCache<V> {
    /// Holds up to `bytes_max`, overhead included; 0 turns the cache off.
    pub fn new(bytes_max: u64) -> AnswerCache<V> {
        let rows_expected = usize::try_from(bytes_max / (ENTRY_BYTES + 16)).unwrap_or(usize::MAX);
        let hasher = DefaultHashBuilder::default();
        AnswerCache { rows: unsync::Cache::with(rows_expected, bytes_max, Bytes, hasher, CountEvictions), evictions: 0 }
    }

    /// The answer to a key, if it is still there.
    pub fn get(&self, key: &CacheKey) -> Option<V> {
        self.rows.get(key).cloned()
    }

    /// Stores an answer, and replaces an older one. One that nearly fills the whole cache is not stored.
    pub fn insert(&mut self, key: CacheKey, row: V) {
        // The library also reports refused and replaced rows as evicted; count only rows that were evicted to make room.
        let replaced = u64::from(self.rows.contains_key(&key));
        let mut gone = 0;
        self.rows.insert_with_lifecycle(key, row, &mut gone);
        let refused = u64::from(!self.rows.contains_key(&key));
        self.evictions += gone.saturating_sub(replaced + refused);
    }

    /// Bytes in use: the answers and their overhead.
    pub fn bytes(&self) -> u64 {
        self.rows.weight()
    }

    /// Number of answers.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Number of answers evicted to make room.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }
}

#[derive(Clone)]
struct Bytes;

impl<V: Weigh> Weighter<CacheKey, V> for Bytes {
    fn weight(&self, _: &CacheKey, row: &V) -> u64 {
        ENTRY_BYTES + row.bytes()
    }
}

#[derive(Clone)]
struct CountEvictions;

impl<V> Lifecycle<CacheKey, V> for CountEvictions {
    type RequestState = u64;

    fn on_evict(&self, gone: &mut u64, _: CacheKey, _: V) {
        *gone += 1;
    }
}

impl<V: Weigh> fmt::Debug for AnswerCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerCache").field("rows", &self.len()).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Keyer;
    use super::*;
    use grice_model::Precision;

    fn filled(rows: u32, labels: usize, bytes_max: u64) -> LogitsCache {
        let keyer = Keyer::new("digest", Precision::Fp32);
        let mut cache = LogitsCache::new(bytes_max);
        for id in 0..rows {
            cache.insert(keyer.key(&[id]), vec![id as f32; labels].into());
            assert!(cache.bytes() <= bytes_max);
        }
        cache
    }

    #[test]
    fn a_row_costs_what_its_constant_says() {
        let cache = filled(50_000, 4, 2 << 20);
        let slots = cache.len() as u64 * 3 / 2;
        let used = cache.rows.memory_used();
        // The vector of slots reports its length, but may have twice that capacity.
        assert!(used.entries as u64 <= slots * SLOT_BYTES, "{used:?} for {} rows", cache.len());
        let logits = cache.len() as u64 * (32 + 16);
        assert!(2 * used.entries as u64 + used.map as u64 + logits <= 2 << 20, "{used:?} for {} rows", cache.len());
        assert!(cache.len() > 6000, "{} rows: the constant wastes more than half", cache.len());
    }

    #[test]
    fn evictions_are_counted_and_replacements_are_not() {
        let cache = filled(50_000, 4, 1 << 20);
        assert_eq!(cache.evictions() + cache.len() as u64, 50_000);
        let keyer = Keyer::new("digest", Precision::Fp32);
        let mut cache = filled(1, 4, 1 << 20);
        cache.insert(keyer.key(&[0]), vec![7.0; 4].into());
        assert_eq!((cache.len(), cache.evictions()), (1, 0));
        assert_eq!(cache.get(&keyer.key(&[0])).unwrap()[0], 7.0);
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        assert!(filled(10, 4, 0).is_empty());
        assert_eq!(filled(10, 4, 0).evictions(), 0);
        assert!(filled(10, 4, ENTRY_BYTES).is_empty());
        assert!(filled(10, 1 << 20, 1 << 20).is_empty());
    }
}
