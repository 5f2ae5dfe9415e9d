//! The cache against an unlimited map, and against least recently used.

use grice_core::Precision;
use grice_core::schedule::{CacheKey, Keyer, LogitsCache, LogitsRow};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use std::collections::{BTreeMap, HashMap, HashSet};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test;

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn it_answers_what_was_last_put_in_or_nothing_and_stays_within_its_bytes() {
    let actions = vec((0_u32..50, prop::option::of((0_u16..1000, 1_usize..40))), 1..400);
    let mut runner = TestRunner::new(Cases { cases: 200, failure_persistence: None, ..Cases::default() });
    let outcome = runner.run(&(0_u64..8_000, actions), |(bytes_max, actions)| {
        let keyer = Keyer::new("digest", Precision::Int8);
        let mut cache = LogitsCache::new(bytes_max);
        let mut all: HashMap<CacheKey, LogitsRow> = HashMap::new();
        for (id, put) in actions {
            let key = keyer.key(&[id]);
            if let Some((value, labels)) = put {
                let row: LogitsRow = vec![f32::from(value); labels].into();
                cache.insert(key, row.clone());
                all.insert(key, row);
            }
            if let Some(found) = cache.get(&key) {
                prop_assert_eq!(Some(&found), all.get(&key));
            }
            prop_assert!(cache.bytes() <= bytes_max, "{} of {bytes_max} bytes", cache.bytes());
            prop_assert!(cache.len() <= all.len());
            prop_assert_eq!(cache.is_empty(), cache.bytes() == 0);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn nothing_is_lost_while_there_is_room() {
    let keyer = Keyer::new("digest", Precision::Fp32);
    let mut cache = LogitsCache::new(1 << 20);
    let rows = 1000_u32;
    (0..rows).for_each(|id| cache.insert(keyer.key(&[id]), vec![id as f32; 4].into()));
    assert_eq!((cache.len(), cache.evictions()), (1000, 0));
    assert!((0..rows).all(|id| cache.get(&keyer.key(&[id])).is_some_and(|row| row[..] == [id as f32; 4])));
}

/// Turns that are asked for again and again, between scans over turns that are asked for once: least recently used loses
/// everything to each scan.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn scans_cost_it_less_than_they_cost_lru() {
    let keyer = Keyer::new("digest", Precision::Fp32);
    let mut cache = LogitsCache::new(128 * 1024);
    let mut asked = Vec::new();
    let mut once = 1000..;
    for _ in 0..100 {
        (0..3).for_each(|_| asked.extend(0..150_u32));
        asked.extend(once.by_ref().take(1000));
    }
    let mut hits = 0;
    let mut rows_most = 0;
    for &id in &asked {
        let key = keyer.key(&[id]);
        match cache.get(&key) {
            Some(_) => hits += 1,
            None => cache.insert(key, vec![0.0; 4].into()),
        }
        rows_most = rows_most.max(cache.len());
    }
    let lru = lru_hits(&asked, rows_most);
    assert!(hits > lru + lru / 5, "{hits} hits, LRU of {rows_most} rows has {lru} of {}", asked.len());
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn keys_differ_by_model_precision_and_ids() {
    let mut keys = HashSet::new();
    let long: Vec<u32> = (0..500).collect();
    let other_end = [&long[..499], &[7]].concat();
    for (digest, precision) in [("a", Precision::Fp32), ("b", Precision::Fp32), ("a", Precision::Int8)] {
        let keyer = Keyer::new(digest, precision);
        for ids in [&[1, 2][..], &[2, 1], &[1], &[1, 2, 0], &[0x0201], &[1 << 24], &[], &long, &other_end] {
            assert!(keys.insert(keyer.key(ids)), "{digest} {precision} {ids:?}");
            assert_eq!(keyer.key(ids), Keyer::new(digest, precision).key(ids), "a key does not depend on earlier ones");
        }
    }
}

/// Hits of a least-recently-used cache with this number of rows.
fn lru_hits(asked: &[u32], rows_max: usize) -> usize {
    let mut used_at: HashMap<u32, usize> = HashMap::new();
    let mut by_use: BTreeMap<usize, u32> = BTreeMap::new();
    let mut hits = 0;
    for (moment, &id) in asked.iter().enumerate() {
        if let Some(before) = used_at.insert(id, moment) {
            hits += 1;
            by_use.remove(&before);
        }
        by_use.insert(moment, id);
        if by_use.len() > rows_max {
            let (_, oldest) = by_use.pop_first().expect("it has rows");
            used_at.remove(&oldest);
        }
    }
    hits
}
