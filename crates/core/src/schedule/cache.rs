//! Logits that were computed before, bounded in bytes.
//!
//! Eviction is CLOCK-Pro as `quick_cache` implements it: a row seen once is cold and leaves first, one seen again is hot, and
//! the keys of rows that left are remembered for a while, so that one that comes back is hot at once. A scan over many
//! turns that never return costs the hot rows nothing.

use super::{CacheKey, LogitsRow};
use quick_cache::{DefaultHashBuilder, Lifecycle, Weighter, unsync};
use std::fmt;

/// One of the cache's slots, key and links included; a test holds this to the truth.
const SLOT_BYTES: u64 = 80;
/// What a row costs beside its logits. Its slot counts three times, because slots also remember what left (half as many
/// again) and live in a vector that doubles; then come its hash table entries, 8 bytes thrice for the same reasons, and 32
/// bytes for the counts and the allocator in front of the logits.
const ENTRY_BYTES: u64 = 3 * SLOT_BYTES + 3 * 8 + 32;

/// Rows of logits by key. Thresholds and temperatures are applied after look-up, so changing them empties nothing.
pub struct LogitsCache {
    rows: unsync::Cache<CacheKey, LogitsRow, Bytes, DefaultHashBuilder, CountEvictions>,
    evictions: u64,
}

impl LogitsCache {
    /// Holds up to `bytes_max`, bookkeeping included; 0 holds nothing.
    pub fn new(bytes_max: u64) -> LogitsCache {
        let rows_expected = usize::try_from(bytes_max / (ENTRY_BYTES + 16)).unwrap_or(usize::MAX);
        let hasher = DefaultHashBuilder::default();
        LogitsCache { rows: unsync::Cache::with(rows_expected, bytes_max, Bytes, hasher, CountEvictions), evictions: 0 }
    }

    /// The logits of a sequence, if they are still there.
    pub fn get(&self, key: &CacheKey) -> Option<LogitsRow> {
        self.rows.get(key).cloned()
    }

    /// Keeps the logits of a sequence, in place of those it had. A row larger than nearly the whole cache is not kept.
    pub fn insert(&mut self, key: CacheKey, row: LogitsRow) {
        // The library calls a row that it refuses, or that its successor replaces, evicted; here only making room counts.
        let replaced = u64::from(self.rows.contains_key(&key));
        let mut gone = 0;
        self.rows.insert_with_lifecycle(key, row, &mut gone);
        let refused = u64::from(!self.rows.contains_key(&key));
        self.evictions += gone.saturating_sub(replaced + refused);
    }

    /// Bytes in use: the rows and their share of the bookkeeping.
    pub fn bytes(&self) -> u64 {
        self.rows.weight()
    }

    /// Rows in it.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Rows that left to make room.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }
}

fn row_bytes(row: &LogitsRow) -> u64 {
    ENTRY_BYTES + size_of_val::<[f32]>(row) as u64
}

#[derive(Clone)]
struct Bytes;

impl Weighter<CacheKey, LogitsRow> for Bytes {
    fn weight(&self, _: &CacheKey, row: &LogitsRow) -> u64 {
        row_bytes(row)
    }
}

#[derive(Clone)]
struct CountEvictions;

impl Lifecycle<CacheKey, LogitsRow> for CountEvictions {
    type RequestState = u64;

    fn on_evict(&self, gone: &mut u64, _: CacheKey, _: LogitsRow) {
        *gone += 1;
    }
}

impl fmt::Debug for LogitsCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogitsCache").field("rows", &self.len()).field("bytes", &self.bytes()).finish_non_exhaustive()
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
        // The vector of slots is told at its length and may have twice that capacity.
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
