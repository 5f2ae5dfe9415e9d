//! GGUF files as models that write text: the same ids as with the tokenizer that they came from, and which paths open.
#![allow(clippy::unwrap_used)]

use grice_core::text::Tokenizer;
use grice_core::{Memory, Precision, Writer, generate::Event};
use grice_testkit::gguf::{GGUF_TOKENIZERS, gguf};
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn opened(path: &Path) -> Writer {
    Writer::open(path, None).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn refused(path: &Path) -> String {
    Writer::open(path, None).err().unwrap_or_else(|| panic!("{} opened", path.display())).to_string()
}

/// A copy of files in a folder of their own.
fn copied(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in files {
        fs::copy(gguf(from), folder.path().join(to)).unwrap();
    }
    folder
}

/// A thousand texts of words, digits, spaces and rare characters, and some that spell special tokens.
#[test]
fn ids_are_those_of_the_tokenizer_that_a_file_came_from() {
    let texts: Vec<String> = serde_json::from_slice(&fs::read(gguf("tokenizers/texts.json")).unwrap()).unwrap();
    let specials =
        ["</s> a", "<|im_end|>film", "[PAD440] <0x41>", "<unk>", "<|endoftext|>", "\u{2581}a"].map(str::to_owned);
    assert_eq!(texts.len(), 1000);
    for name in GGUF_TOKENIZERS {
        let folder = gguf("tokenizers").join(name);
        let writer = opened(&folder.join("model.gguf"));
        let theirs = Tokenizer::from_json(&fs::read(folder.join("theirs.json")).unwrap()).unwrap();
        let mut known = std::collections::BTreeSet::new();
        for text in texts.iter().chain(&specials) {
            let expected = theirs.ids(text).unwrap();
            if expected.is_empty() {
                continue;
            }
            let found = writer.start(text).unwrap().prompt;
            assert_eq!(&*found, expected, "{name}: {text:?}");
            assert_eq!(writer.text(&found), theirs.decode(&expected).unwrap(), "{name}: {text:?}");
            known.extend(expected);
        }
        assert!(known.len() > 40, "{name}: {} ids", known.len());
    }
}

#[test]
fn a_tokenizer_beside_the_file_is_used_if_it_is_the_models() {
    let file = ("tokenizers/smollm/model.gguf", "a.gguf");
    let same = copied(&[file, ("tokenizers/smollm/theirs.json", "tokenizer.json")]);
    let writer = opened(&same.path().join("a.gguf"));
    assert_eq!(writer.start("12 films").unwrap().prompt, opened(&gguf(file.0)).start("12 films").unwrap().prompt);
    let other = copied(&[file, ("tokenizers/llama/theirs.json", "tokenizer.json")]);
    let error = refused(&other.path().join("a.gguf"));
    assert!(error.contains("tokenizer.json: it is another model's: a.gguf has other tokens"), "{error}");
    let bad = copied(&[file]);
    fs::write(bad.path().join("tokenizer.json"), "{").unwrap();
    assert!(refused(&bad.path().join("a.gguf")).contains("tokenizer.json"));
}

#[test]
fn a_file_without_a_tokenizer_says_what_to_do() {
    let folder = copied(&[("whole/tiny.gguf", "tiny.gguf")]);
    let error = refused(&folder.path().join("tiny.gguf"));
    assert!(error.contains("tiny.gguf: its tokenizer cannot be used: it says nothing of tokens"), "{error}");
    assert!(error.contains("the model's own tokenizer.json in the same folder is used"), "{error}");
}

/// Changes bytes that stand once in the file by others that are as many.
fn changed(file: &str, from: &[u8], to: &[u8]) -> tempfile::TempDir {
    let folder = copied(&[(file, "a.gguf")]);
    let mut bytes = fs::read(folder.path().join("a.gguf")).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    fs::write(folder.path().join("a.gguf"), bytes).unwrap();
    folder
}

#[test]
fn tokenizers_that_would_give_other_ids_are_refused() {
    for (file, from, to, expected) in [
        ("smollm", "tokenizer.ggml.merges", "tokenizer.ggml.nerges", "it lacks `tokenizer.ggml.merges`"),
        ("smollm", "smollm", "falcon", "its way to split texts, `falcon`"),
        ("smollm", "tokenizer.ggml.pre", "tokenizer.ggml.prx", "it lacks `tokenizer.ggml.pre`"),
        ("gpt-2", "gpt2\u{12}\0\0\0", "bert\u{12}\0\0\0", "its kind of tokenizer, `bert`, is not supported"),
        ("llama", "tokenizer.ggml.scores", "tokenizer.ggml.scorez", "it lacks `tokenizer.ggml.scores`"),
        (
            "t5",
            "tokenizer.ggml.remove_extra",
            "tokenizer.ggml.remove_extrx",
            "a vocabulary of unigrams that keeps each space",
        ),
    ] {
        let folder = changed(&format!("tokenizers/{file}/model.gguf"), from.as_bytes(), to.as_bytes());
        let error = refused(&folder.path().join("a.gguf"));
        assert!(error.contains(expected), "{error}\nlacks: {expected}");
    }
}

#[test]
fn a_path_is_a_file_any_part_or_a_folder_with_one_model() {
    let written = |path: &Path| {
        let writer = opened(path);
        let (mut engine, mut courses) = writer.engine(1, Memory::Tokens(128)).unwrap();
        courses.add(Arc::new(writer.options()), writer.start("w7 w8 w9").unwrap(), None).unwrap();
        let mut tokens = Vec::new();
        let tell = |event: Event<'_>| {
            if let Event::Done(_, texts) = event {
                tokens = texts[0].tokens.clone();
            }
        };
        writer.run(&mut engine, &mut courses, tell).unwrap();
        tokens
    };
    let whole = written(&gguf("whole/tiny.gguf"));
    assert!(!whole.is_empty());
    assert!(Writer::is_folder(&gguf("whole")) && Writer::is_folder(&gguf("whole/tiny.gguf")));
    assert!(!Writer::is_folder(&gguf("tokenizers")));
    for path in [
        "whole",
        "split",
        "split/tiny-00001-of-00003.gguf",
        "split/tiny-00002-of-00003.gguf",
        "split/tiny-00003-of-00003.gguf",
    ] {
        assert_eq!(written(&gguf(path)), whole, "{path}");
    }
    let two = copied(&[("whole/tiny.gguf", "a.gguf"), ("whole/tiny.gguf", "b.gguf")]);
    assert!(refused(two.path()).contains("it holds several models: a.gguf, b.gguf; name one of them"));
    assert!(refused(&two.path().join("c.gguf")).contains("the file c.gguf is missing"));
}

#[test]
fn precisions() {
    let file = gguf("models/llama/q4_1.gguf");
    assert_eq!(opened(&file).precision(), Precision::Int8);
    for precision in [Precision::Fp32, Precision::Fp16, Precision::Int8] {
        assert_eq!(Writer::open(&file, Some(precision)).unwrap().precision(), precision);
    }
    assert_eq!(opened(&gguf("models/llama/q4_0.gguf")).precision(), Precision::Int4);
}
