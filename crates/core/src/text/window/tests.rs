//! Excerpts cut where the whole text would have been cut.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Bundle, Context};
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;
use std::time::Instant;

struct Model {
    name: &'static str,
    template: Template,
    tokenizer: Tokenizer,
}

/// The shipped model, the fixtures, and a byte-level tokenizer.
static MODELS: LazyLock<Vec<Model>> = LazyLock::new(|| {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let fixture = |name: &str| format!("{root}/crates/testkit/fixtures/{name}");
    let mini = Bundle::open(format!("{root}/models/detector-mini")).unwrap();
    let load = |name: &'static str, folder: String| {
        let bundle = Bundle::open(folder).unwrap();
        let tokenizer = Tokenizer::from_json(&bundle.tokenizer().unwrap()).unwrap();
        Model { name, template: Template::new(bundle.manifest()), tokenizer }
    };
    vec![
        load("detector-mini", format!("{root}/models/detector-mini")),
        load("tiny-bert", fixture("tiny-bert")),
        load("tiny-deberta", fixture("tiny-deberta")),
        Model {
            name: "bytes",
            template: Template::new(mini.manifest()),
            tokenizer: Tokenizer::from_json(byte_level().as_bytes()).unwrap(),
        },
    ]
});

/// As RoBERTa has it, with a few merges.
fn byte_level() -> String {
    let mut vocab = serde_json::Map::new();
    let printable = (33..=126).chain(161..=172).chain(174..=255).map(char::from_u32);
    let letters = printable.chain((256..324).map(char::from_u32)).flatten().map(String::from);
    let merges =
        [["Ġ", "a"], ["t", "h"], ["th", "e"], ["Ġ", "the"], ["a", "a"], ["aa", "aa"], ["Ġ", "Ġ"], ["ĠĠ", "ĠĠ"]];
    let merged = merges.iter().map(|pair| pair.concat());
    for token in ["<s>", "</s>"].into_iter().map(String::from).chain(letters).chain(merged) {
        vocab.insert(token, json!(vocab.len()));
    }
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0], "trim_offsets": true,
            "add_prefix_space": false},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges},
    })
    .to_string()
}

/// The rule in plain words: tokenize everything, cut, again.
fn encode_whole(model: &Model, max_tokens: usize, turn: &Turn) -> Result<Encoded> {
    let context = model.template.context_text(&turn.context);
    let mut fields =
        Fields { context: &context, evidence: model.template.evidence_text(turn), response: turn.response.trim() };
    let mut truncated = false;
    loop {
        let rendered = model.template.render(fields.context, fields.evidence, fields.response);
        let tokens = model.tokenizer.encode(&rendered.text)?;
        if tokens.ids.len() <= max_tokens {
            let unknown_share = unknown_share(&tokens, &rendered)?;
            return Ok(Encoded { ids: tokens.ids, truncated, unknown_share });
        }
        let excess = tokens.ids.len() - max_tokens;
        let ends =
            |span: &Range<usize>| tokens_in(&tokens, span).into_iter().map(|token| token.end).collect::<Vec<_>>();
        let head = |ends: Vec<usize>| ends.len().checked_sub(excess + 1).map_or(0, |last| ends[last]);
        if !fields.context.is_empty() {
            let cut = ends(&rendered.context).get(excess - 1).copied();
            fields.context = cut.map_or("", |at| drop_head(fields.context, at));
        } else if !fields.evidence.is_empty() {
            fields.evidence = keep_head(fields.evidence, head(ends(&rendered.evidence)));
        } else {
            fields.response = keep_head(fields.response, head(ends(&rendered.response)));
        }
        truncated = true;
        if fields.response.is_empty() {
            return Err(Error::Tokenizer(format!("`max_tokens` {max_tokens} leaves no room for a response")));
        }
    }
}

fn check_same(model: &Model, max_tokens: usize, turn: &Turn) {
    let told = |encoded: Result<Encoded>| encoded.map_err(|error| error.to_string());
    let expected = told(encode_whole(model, max_tokens, turn));
    let found = told(encode_turn(&model.template, &model.tokenizer, max_tokens, turn));
    assert_eq!(found, expected, "{}, {max_tokens} tokens: {turn:?}", model.name);
}

/// Text of every kind, with a word at least every thirty bytes: none of it comes near the most that is read.
fn text(pieces: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[a-z]{1,9}",
        3 => "[A-Z][a-z]{1,6}",
        3 => "[.!?,;:] ?",
        2 => "[0-9]{1,6}",
        1 => Just(". a".to_owned()),
        1 => Just("[agent_1]: ".to_owned()),
        1 => Just("Response: no".to_owned()),
        1 => "[SEP\\[\\]</s>]{1,9}",
        1 => "[中文日本語]{1,5}",
        1 => "[🙂🤔e\u{301}\u{308}\u{200d}]{1,4}",
        1 => "[\u{a0}\u{ad}\u{200b}\u{feff}ﷺﬁⅣ]{1,3}",
        1 => " {1,12}|\n\n\t?",
    ];
    let space = prop_oneof![5 => Just(" "), 1 => Just("\n"), 1 => Just("  ")];
    prop::collection::vec((piece, space), pieces)
        .prop_map(|pieces| pieces.into_iter().map(|(piece, space)| piece + space).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn excerpts_cut_where_the_whole_text_would_be_cut(
        context in text(0..700), evidence in text(0..300), response in text(1..400), max_tokens in 24usize..90,
        model in 0usize..4,
    ) {
        let turn = Turn { context: Context::Text(context), evidence: Some(evidence), response: response + "x" };
        check_same(&MODELS[model], max_tokens, &turn);
    }

    #[test]
    fn one_long_field_is_cut_as_the_whole_would_be(
        long in text(300..2000), which in 0usize..3, max_tokens in 24usize..200, model in 0usize..4,
    ) {
        let mut turn = Turn { context: "What?".into(), evidence: Some("Rain.".to_owned()), response: "It is so.".to_owned() };
        match which {
            0 => turn.context = Context::Text(long),
            1 => turn.evidence = Some(long),
            _ => turn.response = long + "x",
        }
        check_same(&MODELS[model], max_tokens, &turn);
    }
}

impl From<&str> for Context {
    fn from(text: &str) -> Context {
        Context::Text(text.to_owned())
    }
}

const MEBIBYTE: usize = 1 << 20;

/// What people who mean no good, or paste a file, put into a megabyte.
fn hostile() -> Vec<(&'static str, String)> {
    let filled = |text: &str| text.repeat(MEBIBYTE / text.len());
    vec![
        ("`. a`", filled(". a")),
        ("one word", filled("a")),
        ("spaces", filled(" ")),
        ("line feeds", filled("\n")),
        ("combining marks", format!("a{}", filled("\u{301}\u{316}"))),
        ("emoji", filled("🤔👩\u{200d}👩\u{200d}👧")),
        ("ideographs", filled("中文")),
        ("zero-width", filled("\u{200b}\u{ad}")),
        ("punctuation", filled("?!")),
        ("brackets", filled("[a]:")),
        ("Response: a", filled("Response: a ")),
        ("expanding", filled("ﷺ")),
        ("Cyrillic", filled("привет мир ")),
        ("English", filled("The film came out in 1998, and I liked it. ")),
        ("a word, spaces, a word", format!("a{}a", " ".repeat(MEBIBYTE - 2))),
    ]
}

/// Reading any megabyte costs about what the part costs that the model can use. The bound is far above the cost, for busy machines,
/// and far below that of the whole.
#[test]
fn a_megabyte_of_anything_costs_next_to_nothing() {
    for model in MODELS.iter() {
        for (name, text) in hostile() {
            for field in 0..3 {
                let mut turn = Turn::new("What?", "It is so.");
                match field {
                    0 => turn.context = Context::Text(text.clone()),
                    1 => turn.evidence = Some(text.clone()),
                    _ => turn.response = format!("x {text}"),
                }
                let start = Instant::now();
                let encoded = encode_turn(&model.template, &model.tokenizer, 256, &turn).unwrap();
                let took = start.elapsed();
                println!("{} {name} in field {field}: {took:.1?}, {} tokens", model.name, encoded.ids.len());
                // Evidence of spaces is none, and spaces around a response do not count.
                let is_blank = matches!(name, "spaces" | "line feeds") && field > 0;
                assert!(encoded.truncated || is_blank, "{} {name} in field {field}", model.name);
                assert!(took.as_millis() < 300, "{} {name} in field {field}: {took:?}", model.name);
            }
        }
    }
}

/// Tokens of spaces alone have no width where offsets are trimmed; they are tokens of their field all the same.
#[test]
fn a_response_full_of_spaces_is_cut_and_not_refused() {
    let bytes = &MODELS[3];
    let response = "b   c  ".repeat(100);
    let encoded = encode_turn(&bytes.template, &bytes.tokenizer, 64, &Turn::new("", response)).unwrap();
    assert!(encoded.truncated && encoded.ids.len() > 56, "{}", encoded.ids.len());
}

#[test]
fn what_the_tokenizer_does_not_know_is_counted_by_its_characters() {
    let share = |model: &Model, response: &str| {
        encode_turn(&model.template, &model.tokenizer, 64, &Turn::new("What?", response)).unwrap().unknown_share
    };
    let [mini, _, deberta, bytes] = &MODELS[..] else { unreachable!() };
    assert_eq!(share(mini, "It is so."), 0.0);
    assert_eq!(share(mini, "Yes ᚠᚢᚦᚨᚱᚲᚷᚹᚺ"), 0.75);
    assert_eq!(share(mini, &"x".repeat(400)), 1.0);
    assert!(share(mini, &format!("Yes, {}", "x".repeat(400))) > 0.98);
    assert_eq!(share(deberta, "ᚠᚢᚦ ᚨᚱᚲ"), 1.0);
    assert_eq!(share(bytes, "ᚠᚢᚦ ᚨᚱᚲ"), 0.0);
}

#[test]
fn a_response_of_which_nothing_is_read_is_refused() {
    let mini = &MODELS[0];
    let found = encode_turn(&mini.template, &mini.tokenizer, 64, &Turn::new("What?", "\u{fffd}\u{fffd}"));
    assert!(matches!(found, Err(Error::NoTokens { field: "response" })), "{found:?}");
}
