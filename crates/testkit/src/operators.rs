//! Small graphs of single operators with ONNX Runtime's results: `fixtures/operators.bin`, made by `training/make_operators.py`.

use crate::fixtures::{fixtures_folder, read};
use serde::Deserialize;
use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;

/// One graph, from `input_ids` and `attention_mask` to `y`, and to `logits` of four columns if `y` has values per token.
pub struct Operator {
    /// The tested property; unique.
    pub name: String,
    /// The ONNX file.
    pub onnx: Vec<u8>,
    /// Several batches.
    pub runs: Vec<Run>,
}

/// One padded batch with ONNX Runtime's answers.
pub struct Run {
    /// `[rows, length]`.
    pub shape: [usize; 2],
    /// Token ids, row by row.
    pub ids: Vec<i64>,
    /// 1 for a token, then 0 for padding.
    pub mask: Vec<i64>,
    /// The result of the operator.
    pub y: Values,
    /// `[rows, 4]`, if the graph is a whole detector.
    pub logits: Option<Values>,
}

/// A tensor in single precision.
pub struct Values {
    /// Its axes.
    pub shape: Vec<usize>,
    /// Its elements.
    pub elements: Vec<f32>,
}

#[derive(Deserialize)]
struct Index {
    runs: Vec<Asked>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Asked {
    shape: [usize; 2],
    ids: Vec<i64>,
    mask: Vec<i64>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    onnx: usize,
    y: Vec<Vec<usize>>,
    logits: Vec<Vec<usize>>,
}

impl Operator {
    /// All of them.
    pub fn all() -> Vec<Operator> {
        let (index, mut rest) = unpack::<Index>(&fixtures_folder().join("operators.bin"));
        let cases = index.cases.into_iter().map(|case| {
            let onnx = rest.drain(..case.onnx).collect();
            let runs = index.runs.iter().enumerate().map(|(number, asked)| {
                let y = take_values(&mut rest, &case.y[number]);
                let logits = case.logits.get(number).map(|shape| take_values(&mut rest, shape));
                Run { shape: asked.shape, ids: asked.ids.clone(), mask: asked.mask.clone(), y, logits }
            });
            let runs = runs.collect();
            Operator { name: case.name, onnx, runs }
        });
        cases.collect()
    }
}

/// Decompresses a file of one line of JSON and binary data.
pub(crate) fn unpack<T: serde::de::DeserializeOwned>(path: &Path) -> (T, VecDeque<u8>) {
    let mut bytes = Vec::new();
    let packed = read(path);
    let inflated = flate2::read::ZlibDecoder::new(packed.as_slice()).read_to_end(&mut bytes);
    inflated.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let line = bytes.iter().position(|byte| *byte == b'\n').expect("a line of JSON");
    let index = serde_json::from_slice(&bytes[..line]).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (index, bytes.split_off(line + 1).into())
}

pub(crate) fn take_values(rest: &mut VecDeque<u8>, shape: &[usize]) -> Values {
    let count: usize = shape.iter().product();
    let bytes: Vec<u8> = rest.drain(..count * 4).collect();
    let elements = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four bytes")));
    Values { shape: shape.to_vec(), elements: elements.collect() }
}
