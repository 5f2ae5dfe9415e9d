//! The committed native logits of the int8 fixtures, which native and browser builds must both reproduce.
#![allow(clippy::unwrap_used)]

use grice_testkit::assert_close;
use grice_testkit::fixtures::Reference;
use serde::{Deserialize, Serialize};

/// Tolerance of a logit: up to the head the kernels give the same bits everywhere, and the head is a few products in
/// fp32.
const TOLERANCE: f32 = 1e-5;

/// The files, below `fixtures/`, and the references that say what to ask each. All of them fuse, that is run on the kernels.
pub(crate) const FILES: [(&str, &str); 5] = [
    ("tiny-int8/model.onnx", "tiny-int8/reference.json"),
    ("onnxruntime-int8/tiny-bert-dynamic.onnx", "tiny-bert/reference.json"),
    ("onnxruntime-int8/tiny-bert-static.onnx", "tiny-bert/reference.json"),
    ("onnxruntime-int8/tiny-deberta-dynamic.onnx", "tiny-deberta/reference.json"),
    ("onnxruntime-int8/tiny-deberta-static.onnx", "tiny-deberta/reference.json"),
];

/// `crates/testkit/fixtures/int8-logits.json`: file → for each reference, its rows' logits one after another.
#[derive(Default, Deserialize, Serialize)]
pub(crate) struct Int8Logits(pub(crate) std::collections::BTreeMap<String, Vec<Vec<f32>>>);

impl Int8Logits {
    /// Asks for the logits of sequences, end to end with their lengths, and compares them with the committed ones.
    pub(crate) fn check(&self, file: &str, references: &[Reference], mut run: impl FnMut(&[u32], &[u32]) -> Vec<f32>) {
        let committed = self.0.get(file).unwrap_or_else(|| panic!("no logits of {file}; GRICE_BLESS=1 writes them"));
        assert_eq!(committed.len(), references.len(), "{file}");
        for (number, (reference, expected)) in references.iter().zip(committed).enumerate() {
            let (ids, lengths) = packed(reference);
            assert_close(&format!("{file} case {number}"), &run(&ids, &lengths), expected, TOLERANCE);
        }
    }
}

/// Ids end to end, and the length of each sequence.
pub(crate) fn packed(reference: &Reference) -> (Vec<u32>, Vec<u32>) {
    let sequences = reference.sequences();
    let lengths = sequences.iter().map(|sequence| sequence.len() as u32).collect();
    (sequences.concat(), lengths)
}
