//! The tokenizer of a GGUF file, written as the `tokenizer.json` that it came from: same text, same ids.

use grice_model::GgufVocabulary;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// How LLaMA 3 and Qwen2 split texts.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The kinds of tokens in a file.
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const ADDED: i64 = 4;
const UNUSED: i64 = 5;
/// What stands for a space in the pieces of sentencepiece.
const SPACE: &str = "▁";
/// More characters than a piece has.
const PIECE_MAX: usize = 256;

/// The bytes of a `tokenizer.json`.
///
/// # Errors
/// Why texts cannot be split as the model's makers split them.
pub(crate) fn tokenizer_json(vocabulary: &GgufVocabulary) -> Result<Vec<u8>, String> {
    let mut parts = match vocabulary.model.as_str() {
        "gpt2" => byte_pairs(vocabulary)?,
        "llama" => piece_pairs(vocabulary)?,
        "t5" => unigrams(vocabulary)?,
        other => {
            return Err(format!(
                "its kind of tokenizer, `{other}`, is not supported; supported are gpt2, llama and t5"
            ));
        }
    };
    parts["version"] = json!("1.0");
    parts["added_tokens"] = added(vocabulary);
    serde_json::to_vec(&parts).map_err(|error| error.to_string())
}

fn kind(vocabulary: &GgufVocabulary, id: usize) -> i64 {
    vocabulary.kinds.get(id).copied().unwrap_or(NORMAL)
}

/// Tokens that are found before a text is split, and control tokens, which no text means.
fn added(vocabulary: &GgufVocabulary) -> Value {
    let token = |(id, content): (usize, &String)| {
        let kind = kind(vocabulary, id);
        [UNKNOWN, CONTROL, ADDED].contains(&kind).then(|| {
            json!({
                "id": id, "content": content, "special": kind != ADDED,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            })
        })
    };
    vocabulary.tokens.iter().enumerate().filter_map(token).collect()
}

/// Ids by token. Rows of the model's table that no token has get a name that no text spells.
fn ids(vocabulary: &GgufVocabulary) -> Result<Map<String, Value>, String> {
    let mut ids = Map::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        if ids.insert(name(vocabulary, id, token), json!(id)).is_some() {
            return Err(format!("the token {token:?} appears twice"));
        }
    }
    Ok(ids)
}

fn name(vocabulary: &GgufVocabulary, id: usize, token: &str) -> String {
    if kind(vocabulary, id) == UNUSED { format!("\0unused {id}\0") } else { token.to_owned() }
}

/// Pairs of bytes, as GPT-2 has them.
fn byte_pairs(vocabulary: &GgufVocabulary) -> Result<Value, String> {
    let merges = vocabulary.merges.as_ref().ok_or("it lacks `tokenizer.ggml.merges`, the pairs that are joined")?;
    let pair = |merge: &String| match merge.split_once(' ') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
            Ok(json!([left, right]))
        }
        _ => Err(format!("its `tokenizer.ggml.merges` have {merge:?}, which is no pair")),
    };
    let merges = merges.iter().map(pair).collect::<Result<Vec<Value>, String>>()?;
    let regex = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let digits = json!({"type": "Digits", "individual_digits": true});
    let pre = vocabulary.pre.as_deref();
    let (splits, normalizer) = match pre {
        Some("gpt-2") => (vec![level(true)], Value::Null),
        Some("smollm" | "starcoder") => (vec![digits, level(true)], Value::Null),
        Some("llama3" | "llama-v3" | "llama-bpe") => (vec![regex(LLAMA3), level(false)], Value::Null),
        Some("qwen2" | "deepseek-r1-qwen") => (vec![regex(QWEN2), level(false)], json!({"type": "NFC"})),
        Some(other) => {
            return Err(format!("its way to split texts, `{other}` in `tokenizer.ggml.pre`, is not supported"));
        }
        None => return Err("it lacks `tokenizer.ggml.pre`, the way to split texts".to_owned()),
    };
    let is_llama3 = pre.is_some_and(|pre| pre.starts_with("llama"));
    if vocabulary.adds_space == Some(true) {
        return Err("a space before each text in a vocabulary of bytes is not supported".to_owned());
    }
    Ok(json!({
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits},
        "post_processor": ends(vocabulary, is_llama3, false)?,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": is_llama3, "vocab": ids(vocabulary)?, "merges": merges,
        },
    }))
}

/// Pairs of characters with a token for each byte, as LLaMA 2 has them.
fn piece_pairs(vocabulary: &GgufVocabulary) -> Result<Value, String> {
    if vocabulary.joins_spaces == Some(true) || !vocabulary.replaced.is_empty() {
        return Err("a vocabulary of pairs that replaces characters or joins spaces is not supported".to_owned());
    }
    let unknown = vocabulary.unknown.and_then(|id| vocabulary.tokens.get(id as usize));
    let adds_space = vocabulary.adds_space.unwrap_or(true);
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    let normalizers =
        if adds_space { vec![json!({"type": "Prepend", "prepend": SPACE}), spaces] } else { vec![spaces] };
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if adds_space {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(json!({
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": null,
        "post_processor": ends(vocabulary, true, false)?,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": ids(vocabulary)?, "merges": merges(vocabulary)?,
        },
    }))
}

/// The pairs that sentencepiece joins: any two tokens that make one, those that make the likeliest first.
fn merges(vocabulary: &GgufVocabulary) -> Result<Vec<Value>, String> {
    if vocabulary.scores.is_empty() {
        return Err("it lacks `tokenizer.ggml.scores`, which say what is joined first".to_owned());
    }
    let is_normal = |id: usize| kind(vocabulary, id) == NORMAL;
    let normal = || vocabulary.tokens.iter().enumerate().filter(|(id, _)| is_normal(*id));
    let ids: HashMap<&str, usize> = normal().map(|(id, token)| (token.as_str(), id)).collect();
    let mut found = Vec::new();
    for (id, token) in normal() {
        if token.len() > PIECE_MAX {
            return Err(format!("the token {id} has {} bytes; at most {PIECE_MAX} are supported", token.len()));
        }
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(first), Some(second)) = (ids.get(left), ids.get(right)) {
                found.push((vocabulary.scores[id], [*first, *second], [left, right]));
            }
        }
    }
    // Equal scores: in the order of the vocabulary, as sorting keeps it.
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(found.into_iter().map(|(_, _, pair)| json!(pair)).collect())
}

/// Pieces of which the likeliest sequence is taken, as T5 has them.
fn unigrams(vocabulary: &GgufVocabulary) -> Result<Value, String> {
    if vocabulary.scores.is_empty() {
        return Err("it lacks `tokenizer.ggml.scores`, the log-probabilities of its tokens".to_owned());
    }
    if vocabulary.joins_spaces != Some(true) || vocabulary.adds_space == Some(false) {
        return Err("a vocabulary of unigrams that keeps each space is not supported".to_owned());
    }
    ids(vocabulary)?;
    let piece = |((id, token), score): ((usize, &String), &f32)| json!([name(vocabulary, id, token), score]);
    let pieces: Vec<Value> = vocabulary.tokens.iter().enumerate().zip(&vocabulary.scores).map(piece).collect();
    let normalizer = match vocabulary.replaced.as_slice() {
        [] => Value::Null,
        replaced => json!({"type": "Precompiled", "precompiled_charsmap": in_base64(replaced)}),
    };
    let space = json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": true});
    Ok(json!({
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, space]},
        "post_processor": ends(vocabulary, false, true)?,
        "decoder": space,
        "model": {"type": "Unigram", "unk_id": vocabulary.unknown, "vocab": pieces, "byte_fallback": false},
    }))
}

/// What texts begin and end with, where the file does not say: the arguments.
fn ends(vocabulary: &GgufVocabulary, begins: bool, ends: bool) -> Result<Value, String> {
    let token = |id: Option<u32>, adds: bool, field: &str| match (adds, id) {
        (false, _) => Ok(None),
        (true, Some(id)) => Ok(Some((id, vocabulary.tokens[id as usize].as_str()))),
        (true, None) => Err(format!("it lacks `tokenizer.ggml.{field}`, which texts get")),
    };
    let begin = token(vocabulary.begin, vocabulary.adds_begin.unwrap_or(begins), "bos_token_id")?;
    let end = token(vocabulary.end, vocabulary.adds_end.unwrap_or(ends), "eos_token_id")?;
    if begin.is_none() && end.is_none() {
        return Ok(Value::Null);
    }
    let special = |(_, token): (u32, &str)| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    let around = |texts: Vec<Value>| -> Vec<Value> {
        begin.map(special).into_iter().chain(texts).chain(end.map(special)).collect()
    };
    let listed = |(id, token): (u32, &str)| (token.to_owned(), json!({"id": token, "ids": [id], "tokens": [token]}));
    Ok(json!({
        "type": "TemplateProcessing",
        "single": around(vec![text("A")]),
        "pair": around(vec![text("A"), text("B")]),
        "special_tokens": begin.into_iter().chain(end).map(listed).collect::<Map<String, Value>>(),
    }))
}

fn in_base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().chain([&0; 2]).take(3).fold(0, |word, &byte| word << 8 | usize::from(byte));
        let digits = [18, 12, 6, 0].map(|shift| char::from(DIGITS[(word >> shift) & 63]));
        text.extend(digits.into_iter().take(three.len() + 1));
        text.extend(std::iter::repeat_n('=', 3 - three.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_what_it_is_elsewhere() {
        let known = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("\u{ff}\u{bf}", "w7/Cvw=="),
        ];
        for (text, expected) in known {
            assert_eq!(in_base64(text.as_bytes()), expected);
        }
    }
}
