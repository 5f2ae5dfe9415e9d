//! A corpus: written, opened, searched, and refused where something does not fit.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_core::{Corpus, CorpusWriter, Embedder, Error, ErrorKind, Nearest, NewCorpus, Options};
use grice_testkit::embedders::{folder, reference};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

fn open(name: &str) -> Embedder {
    Embedder::open(&folder(name), &Options::default()).unwrap()
}

fn named(name: &str) -> NewCorpus {
    NewCorpus { name: name.to_owned(), licence: "CC0-1.0".to_owned(), ..NewCorpus::default() }
}

fn write(place: &Path, vectors: &[(String, Vec<f32>)]) {
    let mut writer = CorpusWriter::create(place, &open("bert"), named("replies")).unwrap();
    for (number, (text, vector)) in vectors.iter().enumerate() {
        writer.push(text, &format!("\"id\":{number}"), vector).unwrap();
    }
    assert_eq!(writer.rows(), vectors.len());
    writer.finish().unwrap();
}

/// The texts of the reference, which are not empty.
fn texts() -> Vec<String> {
    reference("bert").cases.into_iter().map(|case| case.text).collect()
}

fn write_texts(place: &Path) -> Embedder {
    let mut embedder = open("bert");
    let vectors = texts().into_iter().map(|text| (text.clone(), embedder.embed(&text).unwrap().values));
    write(place, &vectors.collect::<Vec<_>>());
    embedder
}

#[test]
fn a_text_is_nearest_to_itself() {
    let scratch = tempfile::tempdir().unwrap();
    let mut embedder = write_texts(scratch.path());
    let corpus = Corpus::open(scratch.path(), 2).unwrap();
    corpus.prepare(&mut embedder).unwrap();
    assert_eq!((corpus.rows(), corpus.manifest().licence.as_str()), (texts().len(), "CC0-1.0"));
    for (index, text) in texts().iter().enumerate() {
        let query = embedder.embed(text).unwrap().values;
        let hits = corpus.search(&query, 3, Some(0.5)).unwrap();
        // Texts that are cut can have equal beginnings.
        let found = corpus.text(hits[0].index).unwrap();
        assert!(hits[0].index == index || embedder.embed(&found).unwrap().values == query, "{text}");
        assert!((hits[0].similarity - 1.0).abs() < 0.02, "{text}: {hits:?}");
        let near = corpus.nearest(&query, 3, Some(0.5)).unwrap();
        assert_eq!((near.len(), near[0].text.as_str()), (hits.len(), &*found));
        let row: Value = serde_json::from_str(corpus.row(index).unwrap()).unwrap();
        assert_eq!(row, json!({ "text": text, "id": index }));
    }
    assert_eq!((corpus.text(texts().len()), corpus.row(usize::MAX)), (None, None));
}

#[test]
fn the_minimum_is_of_the_real_similarity() {
    let scratch = tempfile::tempdir().unwrap();
    let vector = |cosine: f32| {
        let mut vector = vec![0.0; 24];
        (vector[0], vector[1]) = (cosine, (1.0 - cosine * cosine).sqrt());
        vector
    };
    let vectors: Vec<_> = [0.1, 0.29, 0.31, 0.6, -0.9].map(|cosine| (cosine.to_string(), vector(cosine))).into();
    write(scratch.path(), &vectors);
    let corpus = Corpus::open(scratch.path(), 1).unwrap();
    // However long the vectors: what counts is the product of the numbers, not of the bytes.
    for (length, minimum, expected) in [(1.0, 0.3, &[3, 2][..]), (10.0, 3.0, &[3, 2]), (1.0, -1.0, &[3, 2, 1, 0, 4])] {
        let query: Vec<f32> = vector(1.0).iter().map(|x| x * length).collect();
        let hits = corpus.search(&query, 5, Some(minimum)).unwrap();
        assert_eq!(hits.iter().map(|hit| hit.index).collect::<Vec<_>>(), expected);
        for hit in hits {
            let cosine: f32 = vectors[hit.index].0.parse().unwrap();
            assert!((hit.similarity - cosine * length).abs() < 0.005 * length, "{hit:?}, not {cosine}");
        }
    }
    assert!(corpus.search(&vector(1.0), 5, Some(0.99)).unwrap().is_empty());
    assert!(corpus.search(&vector(1.0), 0, None).unwrap().is_empty());
    assert_eq!(corpus.search(&[0.0; 24], 2, None).unwrap().len(), 2);
}

#[test]
fn queries_that_do_not_fit_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let mut embedder = write_texts(scratch.path());
    let corpus = Corpus::open(scratch.path(), 1).unwrap();
    let told = |query: &[f32], minimum| corpus.search(query, 1, minimum).unwrap_err();
    let short = told(&[1.0; 23], None);
    assert!(short.kind() == ErrorKind::BadInput && short.to_string().contains("23 numbers"), "{short}");
    for bad in [f32::NAN, f32::INFINITY] {
        let mut query = [0.5; 24];
        query[7] = bad;
        assert!(matches!(told(&query, None), Error::VectorNotFinite));
        assert!(matches!(told(&[0.5; 24], Some(bad)), Error::MinimumSimilarity(_)));
    }
    // No query has no text.
    assert!(matches!(embedder.embed(" ").unwrap_err(), Error::EmptyField { .. }));
}

#[test]
fn another_embedder_is_refused_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    write_texts(scratch.path());
    let corpus = Corpus::open(scratch.path(), 1).unwrap();
    let told = corpus.prepare(&mut open("mpnet")).unwrap_err().to_string();
    assert!(told.contains("embedder bert (sha256:") && told.contains("this is mpnet (sha256:"), "{told}");
}

/// Everything that changes a vector changes the digest, and a copy in another folder has the same one.
#[test]
fn the_digest_covers_what_changes_a_vector() {
    let scratch = tempfile::tempdir().unwrap();
    let copy = |name: &str, change: &dyn Fn(&Path)| {
        let to = scratch.path().join(name);
        copy_folder(&folder("bert"), &to);
        change(&to);
        Embedder::open(&to, &Options::default()).unwrap().digest("", "").unwrap()
    };
    let set = |path: &Path, change: &dyn Fn(&mut Value)| {
        let mut json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        change(&mut json);
        std::fs::write(path, json.to_string()).unwrap();
    };
    let plain = open("bert").digest("", "").unwrap();
    assert_eq!(copy("same", &|_| ()), plain);
    let version = |to: &Path| set(&to.join("config_sentence_transformers.json"), &|json| json["version"] = json!(9));
    assert_eq!(copy("version", &version), plain);
    let mut all = vec![
        plain,
        open("bert").digest("query: ", "").unwrap(),
        open("bert").digest("", "query: ").unwrap(),
        copy("weights", &|to| {
            let path = to.join("model.safetensors");
            let mut bytes = std::fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }),
        copy("pooling", &|to| {
            set(&to.join("1_Pooling/config.json"), &|json| {
                json["pooling_mode_mean_tokens"] = json!(false);
                json["pooling_mode_cls_token"] = json!(true);
            })
        }),
        copy("normalising", &|to| {
            set(&to.join("modules.json"), &|json| drop(json.as_array_mut().unwrap().pop()));
        }),
        copy("longest", &|to| set(&to.join("sentence_bert_config.json"), &|json| json["max_seq_length"] = json!(17))),
        copy("tokenizer", &|to| {
            set(&to.join("tokenizer.json"), &|json| json["normalizer"]["lowercase"] = json!(false))
        }),
        copy("configuration", &|to| set(&to.join("config.json"), &|json| json["layer_norm_eps"] = json!(1e-5))),
    ];
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.path().is_dir() {
            true => copy_folder(&entry.path(), &to.join(entry.file_name())),
            false => _ = std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap(),
        }
    }
}

#[test]
fn prompts_stand_before_texts_and_belong_to_the_corpus() {
    let scratch = tempfile::tempdir().unwrap();
    let mut embedder = open("bert");
    let expected = embedder.embed("the film: was it good?").unwrap();
    let bare = embedder.embed("was it good?").unwrap();
    embedder.set_prompt("the film: ").unwrap();
    assert_eq!(embedder.embed("was it good?").unwrap(), expected);
    assert!(matches!(embedder.embed(" ").unwrap_err(), Error::EmptyField { .. }));
    assert!(matches!(embedder.set_prompt("a\0").unwrap_err(), Error::NulInField { field: "prompt", .. }));
    embedder.set_prompt("").unwrap();
    assert_eq!(embedder.embed("was it good?").unwrap(), bare);

    let new = NewCorpus { prompt: "no ".to_owned(), query_prompt: "the film: ".to_owned(), ..named("prompted") };
    let mut writer = CorpusWriter::create(scratch.path(), &embedder, new).unwrap();
    writer.push("yes", "", &bare.values).unwrap();
    writer.finish().unwrap();
    let corpus = Corpus::open(scratch.path(), 1).unwrap();
    corpus.prepare(&mut embedder).unwrap();
    assert_eq!(embedder.embed("was it good?").unwrap(), expected);
    // The prompts are in the digest, so they cannot be exchanged.
    let path = scratch.path().join("grice.json");
    let json = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, json.replace("the film: ", "the song: ")).unwrap();
    let told = Corpus::open(scratch.path(), 1).unwrap().prepare(&mut embedder).unwrap_err();
    assert!(matches!(told, Error::OtherEmbedder { .. }), "{told}");
}

#[test]
fn a_writer_takes_only_what_fits() {
    let scratch = tempfile::tempdir().unwrap();
    let mut writer = CorpusWriter::create(scratch.path(), &open("bert"), named("few")).unwrap();
    assert!(matches!(writer.push(" \u{200b}", "", &[1.0; 24]).unwrap_err(), Error::EmptyField { .. }));
    assert!(matches!(writer.push("yes", "", &[1.0; 3]).unwrap_err(), Error::VectorLength { .. }));
    assert!(matches!(writer.push("yes", "", &[f32::NAN; 24]).unwrap_err(), Error::VectorNotFinite));
    assert_eq!(writer.rows(), 0);
    let told = writer.finish().unwrap_err().to_string();
    assert!(told.contains("no text"), "{told}");
    // Without a manifest it does not open.
    let told = Corpus::open(scratch.path(), 1).err().unwrap().to_string();
    assert!(told.contains("grice.json") && told.contains("grice index"), "{told}");
}

#[test]
fn damaged_folders_are_refused_by_file() {
    let scratch = tempfile::tempdir().unwrap();
    let plain = scratch.path().join("plain");
    write_texts(&plain);
    let refused = |name: &str, change: &dyn Fn(&Path), expected: &[&str]| {
        let to = scratch.path().join(name);
        copy_folder(&plain, &to);
        change(&to);
        let told = Corpus::open(&to, 1).err().unwrap().to_string();
        assert!(expected.iter().all(|part| told.contains(part)), "{told}\nlacks one of {expected:?}");
    };
    let change = |file: &'static str, from: &'static str, by: &'static str| {
        move |to: &Path| {
            let path = to.join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{text}");
            std::fs::write(&path, text.replacen(from, by, 1)).unwrap();
        }
    };
    refused("lost", &|to| std::fs::remove_file(to.join("texts.jsonl")).unwrap(), &["texts.jsonl", "grice index"]);
    refused("text", &change("texts.jsonl", "film", "song"), &["texts.jsonl", "its digest is sha256:", "damaged"]);
    refused("rows", &change("grice.json", "\"rows\": ", "\"rows\": 9"), &["texts.jsonl", "lines, but grice.json says"]);
    refused("dims", &change("grice.json", "\"dims\": 24", "\"dims\": 23"), &["vectors.safetensors", "`vectors`"]);
    refused("task", &change("grice.json", "\"corpus\"", "\"detect\""), &["field `task`", "`detect`"]);
    refused("json", &change("grice.json", "{", "["), &["grice.json"]);
    let cut = |to: &Path| {
        let path = to.join("vectors.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    };
    refused("cut", &cut, &["vectors.safetensors", "its digest is"]);
}

proptest! {
    /// The hits are those of a plain search over the same rounded numbers.
    #[test]
    fn hits_are_those_of_a_plain_search(
        rows in prop::collection::vec(prop::collection::vec(-1f32..1.0, 24), 1..60), query in prop::collection::vec(-1f32..1.0, 24),
        count in 1usize..70, minimum in prop::option::of(-2f32..2.0),
    ) {
        let scratch = tempfile::tempdir().unwrap();
        let vectors: Vec<_> = rows.iter().map(|row| ("yes".to_owned(), row.clone())).collect();
        write(scratch.path(), &vectors);
        let round = |x: &[f32]| -> Vec<f64> {
            let scale = x.iter().fold(0f32, |largest, x| largest.max(x.abs())) / 127.0;
            x.iter().map(|x| f64::from((x / scale).round_ties_even()) * f64::from(scale)).collect()
        };
        let query_rounded = round(&query);
        let mut expected: Vec<(usize, f64)> = rows.iter().map(|row| {
            round(row).iter().zip(&query_rounded).map(|(a, b)| a * b).sum::<f64>()
        }).enumerate().filter(|(_, similarity)| minimum.is_none_or(|minimum| *similarity >= f64::from(minimum))).collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1));
        expected.truncate(count);
        let hits = Corpus::open(scratch.path(), 1).unwrap().search(&query, count, minimum).unwrap();
        prop_assert_eq!(hits.len(), expected.len());
        for (hit, (index, similarity)) in hits.iter().zip(expected) {
            prop_assert!((f64::from(hit.similarity) - similarity).abs() < 1e-6, "{:?}, not {}", hit, similarity);
            prop_assert_eq!(hit.index, index);
        }
    }
}
