//! The shipped embedder and the shipped corpus.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_core::{Corpus, CorpusWriter, Embedder, Nearest, NewCorpus, Options, Precision};
use grice_testkit::embedders::cosine;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The original in single precision, by sentence-transformers.
#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    vector: Vec<f32>,
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(name)
}

fn embedder() -> Embedder {
    Embedder::open(&shipped("embed-mini"), &Options { threads: Some(2), ..Options::default() }).unwrap()
}

fn corpus() -> Corpus {
    Corpus::open(&shipped("replies-mini"), 2).unwrap()
}

#[test]
fn vectors_are_close_to_those_of_the_original() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/embed-mini-reference.json");
    let reference: Reference = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut embedder = embedder();
    assert_eq!((embedder.columns(), embedder.tokens_max()), (384, 256));
    assert_eq!(embedder.engine_info().precision, Precision::Int8);
    for Case { text, vector } in reference.cases {
        let found = embedder.embed(&text).unwrap();
        let cosine = cosine(&found.values, &vector);
        // Rare words are read in pieces that the original does not need.
        let bound = if text.contains("quadratic") { 0.7 } else { 0.97 };
        assert!(cosine > bound, "{text}: {cosine}");
    }
}

#[test]
fn the_corpus_is_of_the_embedder_and_finds_its_texts() {
    let (corpus, mut embedder) = (corpus(), embedder());
    corpus.prepare(&mut embedder).unwrap();
    assert!((5_000..=20_000).contains(&corpus.rows()) && corpus.manifest().licence == "CDLA-Sharing-1.0");
    assert!(std::fs::read_to_string(shipped("replies-mini/LICENSE")).unwrap().contains("Sharing"));
    for index in (0..corpus.rows()).step_by(corpus.rows() / 50) {
        let text = corpus.text(index).unwrap();
        assert!((6..=40).contains(&text.split_whitespace().count()), "{text}");
        let hits = corpus.search(&embedder.embed(&text).unwrap().values, 5, None).unwrap();
        // Texts that differ in a word that the tokenizer does not tell apart may be equal.
        assert!(hits[0].index == index || hits[0].similarity > 0.99, "{text}: {hits:?}");
    }
    let query = embedder.embed("Do you like to play video games?").unwrap();
    let hits = corpus.search(&query.values, 5, Some(0.3)).unwrap();
    let texts: Vec<_> = hits.iter().map(|hit| corpus.text(hit.index).unwrap().to_lowercase()).collect();
    assert!(texts.len() == 5 && texts.iter().all(|text| text.contains("game")), "{texts:?}");
}

/// Of the five nearest by vectors in single precision, vectors in 8 bits find 99 %.
#[test]
fn rounded_vectors_find_what_exact_ones_find() {
    const ROWS: usize = 1500;
    let (shipped, mut embedder) = (corpus(), embedder());
    let step = shipped.rows() / ROWS;
    let texts: Vec<String> = (0..ROWS).map(|row| shipped.text(row * step).unwrap().into_owned()).collect();
    let vectors: Vec<Vec<f32>> =
        embedder.embed_batch(&texts).unwrap().into_iter().map(|vector| vector.unwrap().values).collect();
    let scratch = tempfile::tempdir().unwrap();
    let mut writer = CorpusWriter::create(scratch.path(), &embedder, NewCorpus::default()).unwrap();
    texts.iter().zip(&vectors).for_each(|(text, vector)| writer.push(text, "", vector).unwrap());
    writer.finish().unwrap();
    let corpus = Corpus::open(scratch.path(), 2).unwrap();
    let (mut shared, mut all) = (0, 0);
    for query in vectors.iter().step_by(5) {
        let mut exact: Vec<(usize, f32)> = vectors.iter().map(|vector| cosine(vector, query)).enumerate().collect();
        exact.sort_by(|a, b| b.1.total_cmp(&a.1));
        let found = corpus.search(query, 5, None).unwrap();
        shared += found.iter().filter(|hit| exact[..5].iter().any(|(index, _)| *index == hit.index)).count();
        all += 5;
        for hit in found {
            let expected = cosine(&vectors[hit.index], query);
            assert!((hit.similarity - expected).abs() < 0.005, "{}, not {expected}", hit.similarity);
        }
    }
    let recall = shared as f64 / f64::from(all);
    assert!(recall >= 0.99, "{recall}");
}
