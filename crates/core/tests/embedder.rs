//! Texts to vectors, against sentence-transformers.
#![allow(clippy::unwrap_used)]

use grice_core::{Embedder, Error, ErrorKind, Options, Precision};
use grice_testkit::assert_close;
use grice_testkit::embedders::{EMBEDDERS, cosine, folder, reference};

/// As in the engine's own tests.
const TOLERANCE: f32 = 3e-5;

fn open(name: &str, precision: Option<Precision>) -> Embedder {
    let options = Options { precision, threads: Some(2), ..Options::default() };
    Embedder::open(&folder(name), &options).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn texts_become_the_vectors_of_sentence_transformers() {
    for name in EMBEDDERS {
        let expected = reference(name);
        let mut embedder = open(name, None);
        let texts: Vec<String> = expected.cases.iter().map(|case| case.text.clone()).collect();
        let together = embedder.embed_batch(&texts).unwrap();
        let mut cut = 0;
        for (case, found) in expected.cases.iter().zip(together) {
            let found = found.unwrap();
            let what = format!("{name}: {}", case.text.chars().take(40).collect::<String>());
            assert_close(&what, &found.values, &case.vector, TOLERANCE);
            let alone = embedder.embed(&case.text).unwrap();
            assert_close(&what, &alone.values, &case.vector, TOLERANCE);
            assert_eq!(alone.truncated, found.truncated);
            // What is cut fills all that the model reads.
            assert!(!found.truncated || case.ids.len() == expected.tokens_max, "{what}");
            cut += usize::from(found.truncated);
        }
        assert!(cut >= 2, "{name}");
        assert_eq!((embedder.tokens_max(), embedder.columns(), embedder.family()), (expected.tokens_max, 24, name));
    }
}

#[test]
fn a_text_that_just_fits_is_not_cut() {
    let mut embedder = open("bert", None);
    let text = |words: usize| "no ".repeat(words);
    assert!(!embedder.embed(&text(22)).unwrap().truncated);
    let cut = embedder.embed(&text(23)).unwrap();
    assert!(cut.truncated);
    assert_eq!(cut.values, embedder.embed(&text(22)).unwrap().values);
}

/// The tokenizer sees the beginning only, and it is the beginning of the whole text.
#[test]
fn a_very_long_text_is_its_beginning() {
    for name in EMBEDDERS {
        let mut embedder = open(name, None);
        let word = "The film, how was it? ";
        let short = embedder.embed(&word.repeat(40)).unwrap();
        let long = embedder.embed(&word.repeat(40_000)).unwrap();
        assert!(short.truncated && long.truncated);
        assert_eq!(short.values, long.values, "{name}");
        // A text without spaces has no place to cut at, and is read whole.
        let whole = embedder.embed(&"film".repeat(3000)).unwrap();
        assert!(whole.values.iter().all(|x| x.is_finite()), "{name}");
    }
}

#[test]
fn int8_is_close() {
    for name in EMBEDDERS {
        let mut embedder = open(name, Some(Precision::Int8));
        for case in reference(name).cases {
            let cosine = cosine(&embedder.embed(&case.text).unwrap().values, &case.vector);
            assert!(cosine > 0.99, "{name}: {cosine}");
        }
        assert_eq!(embedder.engine_info().precision, Precision::Int8);
    }
}

#[test]
fn texts_without_a_vector_are_refused_and_change_no_other() {
    let mut embedder = open("bert", None);
    let texts = ["yes", "", " \n\u{200b}", "a\0b", "no"].map(str::to_owned);
    let found = embedder.embed_batch(&texts).unwrap();
    let is_bad: Vec<bool> = found.iter().map(Result::is_err).collect();
    assert_eq!(is_bad, [false, true, true, true, false]);
    for (at, expected) in [(1, "`text` is empty"), (2, "`text` is empty"), (3, "NUL")] {
        let error = found[at].as_ref().unwrap_err();
        assert!(error.kind() == ErrorKind::BadInput && error.to_string().contains(expected), "{error}");
    }
    assert_eq!(found[4].as_ref().unwrap(), &embedder.embed("no").unwrap());
    let long = embedder.embed(&"a".repeat(grice_core::TEXT_BYTES_MAX + 1)).unwrap_err();
    assert!(matches!(long, Error::LongField { field: "text", .. }), "{long}");
}

/// A user's text that spells a special token is ordinary text.
#[test]
fn special_tokens_in_a_text_are_text() {
    let mut embedder = open("bert", None);
    let spelled = embedder.embed("the film [SEP] was good").unwrap();
    let expected = embedder.embed("the film [ sep ] was good").unwrap();
    assert_close("[SEP]", &spelled.values, &expected.values, TOLERANCE);
}

#[test]
fn folders_that_do_not_fit_are_refused() {
    let error = |folder: &std::path::Path| Embedder::open(folder, &Options::default()).err().unwrap().to_string();
    let generator = grice_testkit::generators::folder("gpt2");
    let told = error(&generator);
    assert!(told.contains("gpt2") && told.contains("modules.json is missing"), "{told}");
    assert!(error("no-such-folder".as_ref()).contains("no-such-folder"));
    let options = Options { precision: Some(Precision::Fp32), ..Options::default() };
    let told = Embedder::open(&folder("distilbert"), &options).err().unwrap().to_string();
    assert!(told.contains("fp16") && told.contains("fp32"), "{told}");
}
