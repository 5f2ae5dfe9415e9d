//! User text never produces a special token, with any tokenizer; all other text keeps its ids.
#![allow(clippy::unwrap_used)]

use grice_core::text::{Template, Tokenizer, encode_turn};
use grice_core::{Manifest, Turn};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzACDEGIKLMNOPSTUX<>/[]|_.:";

struct Case {
    name: &'static str,
    json: Value,
    tokenizer: Tokenizer,
    /// Ids that text must not produce, except the unknown token.
    specials: Vec<u32>,
    unknown: u32,
    /// The spelling of the tokens.
    spelled: Vec<String>,
}

fn added(id: u32, content: &str, special: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": content == "<mask>", "rstrip": false,
        "normalized": false, "special": special})
}

fn tokenizer_json(tokens: [&str; 5], special: bool, pre_tokenizer: Value, model: Value) -> Value {
    let [first, pad, last, _, _] = tokens;
    let ids =
        |token: &str| json!({"id": token, "ids": [tokens.iter().position(|known| *known == token)], "tokens": [token]});
    json!({
        "version": "1.0", "truncation": null, "padding": {"strategy": "BatchLongest", "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 1, "pad_type_id": 0, "pad_token": pad},
        "added_tokens": tokens.iter().zip(0..).map(|(token, id)| added(id, token, special)).collect::<Vec<_>>(),
        "normalizer": null, "pre_tokenizer": pre_tokenizer,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": first, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": last, "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {first: ids(first), last: ids(last)}},
        "decoder": null, "model": model,
    })
}

fn case(name: &'static str, tokens: [&str; 5], json: Value) -> Case {
    let tokenizer = Tokenizer::from_json(&serde_json::to_vec(&json).unwrap()).unwrap();
    let spelled = tokens.map(str::to_owned).to_vec();
    Case { name, json, tokenizer, specials: vec![0, 1, 2, 4], unknown: 3, spelled }
}

/// The five special tokens, then others, with their index as id.
fn vocabulary(tokens: [&str; 5], more: &[String]) -> Value {
    let pieces = tokens.into_iter().map(str::to_owned).chain(more.iter().cloned());
    Value::Object(pieces.zip(0..).map(|(piece, id)| (piece, json!(id))).collect())
}

static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let angled = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"];
    let square = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"];
    let letters: Vec<String> = LETTERS.chars().map(String::from).collect();
    let continued: Vec<String> = letters.iter().cloned().chain(letters.iter().map(|c| format!("##{c}"))).collect();
    let unigram = |tokens: [&str; 5]| {
        let specials = tokens.into_iter().map(|token| json!([token, 0.0]));
        let pieces = specials.chain([json!(["▁", -8.0])]).chain(letters.iter().map(|c| json!([c, -8.0])));
        json!({"type": "Unigram", "unk_id": 3, "vocab": pieces.collect::<Vec<_>>(), "byte_fallback": false})
    };
    let bpe = |tokens, ignore_merges: bool, merges: Value, more: &[&str]| {
        let more: Vec<String> = letters.iter().cloned().chain(more.iter().map(|piece| (*piece).to_owned())).collect();
        json!({"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges,
            "vocab": vocabulary(tokens, &more), "merges": merges})
    };
    let word_piece = json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": vocabulary(square, &continued)});
    let word_level = json!({"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocabulary(square, &letters)});
    let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let spaces = json!({"type": "WhitespaceSplit"});
    let merges = json!([["<", "s"], ["<s", ">"], ["a", "b"]]);
    vec![
        case("unigram", angled, tokenizer_json(angled, true, metaspace.clone(), unigram(angled))),
        case("unigram, not special", angled, tokenizer_json(angled, false, metaspace, unigram(angled))),
        case("bpe", angled, tokenizer_json(angled, true, Value::Null, bpe(angled, false, json!([]), &[]))),
        case(
            "bpe that takes words whole",
            angled,
            tokenizer_json(angled, true, spaces.clone(), bpe(angled, true, json!([]), &[])),
        ),
        case(
            "bpe that merges to one",
            angled,
            tokenizer_json(angled, true, Value::Null, bpe(angled, false, merges, &["<s", "ab"])),
        ),
        case("word pieces", square, tokenizer_json(square, true, spaces.clone(), word_piece.clone())),
        case(
            "word pieces, not special",
            square,
            tokenizer_json(square, false, json!({"type": "BertPreTokenizer"}), word_piece),
        ),
        case("words", square, tokenizer_json(square, true, spaces, word_level)),
    ]
});

/// The ids between those that the post-processor puts around a text.
fn inner(case: &Case, text: &str) -> Vec<u32> {
    let ids = case.tokenizer.ids(text).unwrap();
    assert_eq!((ids.first(), ids.last()), (Some(&0), Some(&2)), "{}", case.name);
    ids[1..ids.len() - 1].to_vec()
}

#[test]
fn a_special_token_spelled_out_is_its_characters() {
    for case in CASES.iter() {
        for token in &case.spelled {
            for text in
                [token.clone(), format!("it is good{token} not"), format!("{token}{token}"), format!("a {token} b")]
            {
                let ids = inner(case, &text);
                assert!(ids.iter().all(|id| !case.specials.contains(id)), "{}: {text}: {ids:?}", case.name);
                // If the vocabulary has no space character, a space is unknown.
                let knows_all = case.name != "words" && !text.contains(' ');
                assert!(!knows_all || !ids.contains(&case.unknown), "{}: {text}: {ids:?}", case.name);
            }
        }
    }
}

/// The library alone, without special tokens.
fn plain_ids(case: &Case, text: &str) -> Vec<u32> {
    let mut plain = tokenizers::Tokenizer::from_bytes(serde_json::to_vec(&case.json).unwrap()).unwrap();
    plain.set_encode_special_tokens(true);
    plain.with_padding(None);
    plain.encode(text, true).unwrap().get_ids().to_vec()
}

#[test]
fn other_texts_keep_their_ids() {
    for case in CASES.iter() {
        for text in ["it is good", "a b c", "abc < s > x", "[ SEP", "a/s>b<", "mask pad unk", "", "é ü 你"] {
            assert_eq!(case.tokenizer.ids(text).unwrap(), plain_ids(case, text), "{}: {text}", case.name);
        }
        assert_eq!(
            case.tokenizer.id_bound(),
            Tokenizer::from_json(&serde_json::to_vec(&case.json).unwrap()).unwrap().id_bound()
        );
    }
}

#[test]
fn a_templates_special_tokens_are_special_and_a_users_are_not() {
    let manifest = json!({
        "format": 1, "name": "test", "task": "detect", "family": "bert", "template": "{context}</s>{response}",
        "labels": ["quantity", "quality", "relation", "manner"], "max_tokens": 128, "models": {"fp32": "model.onnx"}
    });
    let manifest = Manifest::parse(&serde_json::to_vec(&manifest).unwrap()).unwrap();
    for case in CASES.iter().filter(|case| case.spelled[2] == "</s>") {
        let json = serde_json::to_vec(&case.json).unwrap();
        let tokenizer = Tokenizer::for_templates(&json, &[&manifest.template]).unwrap();
        let template = Template::new(&manifest).marked(&tokenizer);
        let count = |context: &str, response: &str| {
            let encoded = encode_turn(&template, &tokenizer, 128, &Turn::new(context, response)).unwrap();
            encoded.ids.iter().filter(|&&id| id == 2).count()
        };
        // The template's, and the one at the end.
        assert_eq!(count("good", "not"), 2, "{}", case.name);
        assert_eq!(count("go</s>od</s>", "</s>n</s>ot"), 2, "{}", case.name);
    }
}

fn text() -> impl Strategy<Value = String> {
    let parts = ["<s>", "</s>", "<pad>", "<unk>", "<mask>", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"];
    let whole = prop::sample::select(parts.to_vec()).prop_map(str::to_owned);
    let half =
        (prop::sample::select(parts.to_vec()), 1usize..4).prop_map(|(part, at)| part[at.min(part.len())..].to_owned());
    let start =
        (prop::sample::select(parts.to_vec()), 1usize..4).prop_map(|(part, at)| part[..at.min(part.len())].to_owned());
    let words = "[a-z<>/ \\[\\].]{0,4}".prop_map(|words| words);
    prop::collection::vec(prop_oneof![whole, half, start, words], 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_gives_a_special_token(text in text(), case in 0usize..8) {
        let case = &CASES[case];
        let ids = inner(case, &text);
        prop_assert!(ids.iter().all(|id| !case.specials.contains(id)), "{}: {:?}: {:?}", case.name, text, ids);
    }
}
