//! Ids → text with real decoders: streams of any ids, in pieces, are the whole text.
#![allow(clippy::unwrap_used)]

use grice_core::generate::{DecodeOptions, Decoding, Finish, Start};
use grice_core::text::{Stream, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

/// GPT-2's letters for bytes: those that can be printed stand for themselves, the others for characters from 256 on.
fn byte_letters() -> Vec<String> {
    let is_printed = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256;
    let mut letter = |byte: u32| {
        if is_printed(byte) {
            return char::from_u32(byte);
        }
        next += 1;
        char::from_u32(next - 1)
    };
    (0..256).filter_map(|byte| letter(byte).map(String::from)).collect()
}

fn tokenizer(tokens: &[String], special: u32, decoder: Value) -> Arc<Tokenizer> {
    let vocabulary: serde_json::Map<_, _> = tokens.iter().cloned().zip((0..).map(|id| json!(id))).collect();
    let added = json!({"id": special, "content": tokens[special as usize], "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true});
    let model = json!({"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": []});
    let file = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [added], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": decoder, "model": model});
    Arc::new(Tokenizer::from_json(file.to_string().as_bytes()).unwrap())
}

/// As GPT-2's: 256 bytes, then the end of a text.
static BYTES: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
    let tokens: Vec<String> = byte_letters().into_iter().chain(["<|endoftext|>".to_owned()]).collect();
    let decoder = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    tokenizer(&tokens, 256, decoder)
});

/// As LLaMA's: 256 bytes, the end of a sequence, then words.
static WORDS: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
    let words = ["</s>", "▁a", "b", "▁", "▁▁", "é", "▁cd"].map(str::to_owned);
    let tokens: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).chain(words).collect();
    let decoder = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
    tokenizer(&tokens, 256, decoder)
});

fn streamed(tokenizer: &Arc<Tokenizer>, ids: &[u32]) -> String {
    let mut stream = Stream::new(tokenizer.speller(), &[]);
    let pieces: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
    pieces.concat() + &stream.finish()
}

/// Ids of a text's bytes, here and there with another id between.
fn ids() -> impl Strategy<Value = Vec<u32>> {
    let text = prop::sample::select(vec!["a", " b", "\n", "é", "€", "😀", "ab 😀😀 cd"]);
    let text = text.prop_map(|text| text.bytes().map(u32::from).collect::<Vec<_>>());
    let parts = prop_oneof![4 => text, 3 => prop::collection::vec(257..270_u32, 1..9), 1 => prop::collection::vec(0..257_u32, 1..4)];
    prop::collection::vec(parts, 0..30).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn streams_are_the_whole_text(ids in ids()) {
        prop_assert_eq!(streamed(&BYTES, &ids), BYTES.decode(&ids).unwrap());
        prop_assert_eq!(streamed(&WORDS, &ids), WORDS.decode(&ids).unwrap());
    }
}

#[test]
fn special_tokens_have_no_text() {
    for tokenizer in [&*BYTES, &*WORDS] {
        assert_eq!(tokenizer.decode(&[97, 256, 98, 9_999]).unwrap(), "ab");
    }
    let spelled = WORDS.decode(&[257, 258, 259, 262]).unwrap();
    assert_eq!(spelled, "ab  cd", "the space before the first word is left out");
}

#[test]
fn a_stop_string_ends_generation_in_the_middle_of_a_byte_run() {
    let options = Arc::new(DecodeOptions { stop_strings: vec!["\n".to_owned()], ..DecodeOptions::default() });
    let start = Start { prompt: Arc::from([257]), source: None, vocabulary: 263 };
    let mut decoding = Decoding::with_text(options, start, WORDS.speller()).unwrap();
    for token in [257, 0xC3, 0xA9, 0x0A] {
        let mut logits = vec![0.0; 263];
        logits[token] = 1.0;
        decoding.advance(&mut logits).unwrap();
    }
    assert_eq!(decoding.generated()[0].reason, Finish::StopString);
    assert_eq!(decoding.new_tokens(), [257, 0xC3, 0xA9, 0x0A]);
}
