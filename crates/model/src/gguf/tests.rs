//! Blocks of all types, against llama.cpp's own package.

use super::Kind;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Blocks {
    bytes: Vec<u8>,
    bits: Vec<u32>,
}

/// Random bytes decode to the same bits.
#[test]
fn numbers_are_those_of_the_gguf_package() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/fixtures/gguf/blocks.json");
    let blocks: BTreeMap<String, Blocks> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let kinds = [1, 2, 3, 6, 7, 8, 12, 13, 14, 30].map(|id| Kind::of(id).unwrap());
    assert_eq!(blocks.len(), kinds.len());
    for kind in kinds {
        let Blocks { bytes, bits } = &blocks[&format!("{kind:?}")];
        assert_eq!(bytes.len() / kind.bytes() * kind.block(), bits.len());
        let mut found = Vec::new();
        kind.decode(bytes, &mut found);
        let found: Vec<u32> = found.iter().map(|number| number.to_bits()).collect();
        assert_eq!(&found, bits, "{kind:?}");
    }
}

/// The numbers of a Q4_0 block are its factor times whole numbers from −8 to 7.
#[test]
fn four_bits_around_zero_are_kept() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/fixtures/gguf/blocks.json");
    let blocks: BTreeMap<String, Blocks> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let Blocks { bytes, bits } = &blocks["Q4_0"];
    for (block, bits) in bytes.chunks(18).zip(bits.chunks(32)) {
        let (scale, values) = Kind::nibbles(block);
        assert_eq!(values.map(|value| (f32::from(value) * scale).to_bits()).as_slice(), bits);
    }
}
