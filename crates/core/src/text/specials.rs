//! Special tokens that a text could spell, put out of its reach.
//!
//! A user who writes `</s>` means those four characters. The library leaves special tokens alone where it looks for added ones, but
//! not in the vocabulary itself (a Unigram vocabulary holds `<s>` as a piece like any other), and not where a file lists them as
//! ordinary added tokens. Such tokens get another name here, one with a NUL, which no text holds: a turn with one is refused.
//! Ids stay as they are, and so does every text that spells no such token. A template may spell special tokens, and
//! means them: it is written with the other names. A chat template may put them together from parts, so with one all special tokens
//! are renamed. It is written after it has run: see `fence.rs`.

use crate::{Error, Result};
use serde_json::{Value, json};
use tokenizers::Model;
use tokenizers::models::ModelWrapper;

/// What special tokens are called, in `<>` or `[]`, with or without `|` and `/`.
const NAMES: [&str; 11] = ["s", "cls", "sep", "pad", "unk", "mask", "bos", "eos", "endoftext", "im_start", "im_end"];
/// As pieces of a vocabulary, where nothing else says that they are special.
const PIECES: [&str; 14] = [
    "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", "<s>", "</s>", "<pad>", "<unk>", "<mask>", "<cls>", "<sep>", "<bos>",
    "<eos>",
];

/// The special tokens that got another name.
#[derive(Clone, Debug, Default)]
pub(super) struct Renamed(Vec<String>);

impl Renamed {
    /// A template's text, its special tokens by their other names.
    pub(super) fn mark(&self, text: &str) -> String {
        self.replace(text, stand_in)
    }

    /// The text with something else in place of its special tokens.
    pub(super) fn replace(&self, text: &str, mut other: impl FnMut(&str) -> String) -> String {
        let mut firsts = [false; 256];
        self.0.iter().filter_map(|token| token.bytes().next()).for_each(|first| firsts[usize::from(first)] = true);
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| firsts[usize::from(byte)]) {
            replaced += &rest[..at];
            rest = &rest[at..];
            // Longest first, so that a token inside another does not tear it.
            match self.0.iter().find(|token| rest.starts_with(token.as_str())) {
                Some(token) => {
                    replaced += &other(token);
                    rest = &rest[token.len()..];
                }
                None => {
                    let first = rest.chars().next().map_or(rest.len(), char::len_utf8);
                    replaced += &rest[..first];
                    rest = &rest[first..];
                }
            }
        }
        replaced + rest
    }

    /// The special tokens, by their own names.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn tokens(&self) -> &[String] {
        &self.0
    }

    /// What the special tokens are called now.
    pub(super) fn stand_ins(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|token| stand_in(token))
    }
}

/// No text holds it.
fn stand_in(token: &str) -> String {
    format!("\0{token}\0")
}

/// Which special tokens templates may spell.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spelled<'a> {
    /// Those in these texts.
    In(&'a [&'a str]),
    /// Any.
    #[cfg(not(target_arch = "wasm32"))]
    All,
}

/// The tokenizer with its special tokens out of reach, and which of them were within it or are spelled by templates.
pub(super) fn put_out_of_reach(
    tokenizer: tokenizers::Tokenizer,
    json: &[u8],
    spelled: Spelled<'_>,
) -> Result<(tokenizers::Tokenizer, Renamed)> {
    let mut found: Vec<(String, u32)> = find_specials(&tokenizer);
    let is_spelled = |token: &str| match spelled {
        Spelled::In(templates) => templates.iter().any(|template| template.contains(token)),
        #[cfg(not(target_arch = "wasm32"))]
        Spelled::All => true,
    };
    found.retain(|(token, id)| is_spelled(token) || is_within_reach(&tokenizer, token, *id));
    if found.is_empty() {
        return Ok((tokenizer, Renamed::default()));
    }
    found.sort_by_key(|(token, _)| std::cmp::Reverse(token.len()));
    let broken = |error: String| Error::Tokenizer(error);
    let mut written: Value = serde_json::from_slice(json).map_err(|error| broken(error.to_string()))?;
    rename_in(&mut written, &found);
    let text = serde_json::to_vec(&written).map_err(|error| broken(error.to_string()))?;
    drop(written);
    let tokenizer = tokenizers::Tokenizer::from_bytes(text).map_err(|error| broken(error.to_string()))?;
    for (token, id) in &found {
        if tokenizer.token_to_id(&stand_in(token)) != Some(*id) {
            return Err(broken(format!(
                "the special token `{token}` is listed with another id than {id}; write the file again"
            )));
        }
    }
    Ok((tokenizer, Renamed(found.into_iter().map(|(token, _)| token).collect())))
}

/// Tokens that are special by what the file says of them, by their part in the post-processor or the model, or by their name.
fn find_specials(tokenizer: &tokenizers::Tokenizer) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    let mut add = |token: &str, id: Option<u32>| {
        if let Some(id) = id.filter(|_| !token.is_empty())
            && found.iter().all(|(known, _)| known != token)
        {
            found.push((token.to_owned(), id));
        }
    };
    for (id, token) in tokenizer.get_added_tokens_decoder() {
        if token.special || is_special_name(&token.content) {
            add(&token.content, Some(id));
        }
    }
    let processor = tokenizer.get_post_processor().and_then(|processor| serde_json::to_value(processor).ok());
    let mut ids = Vec::new();
    ids_of_processor(&processor.unwrap_or_default(), &mut ids);
    for id in ids {
        add(&tokenizer.id_to_token(id).unwrap_or_default(), Some(id));
    }
    let unknown = match tokenizer.get_model() {
        ModelWrapper::Unigram(_) => None,
        ModelWrapper::BPE(model) => model.unk_token.clone(),
        ModelWrapper::WordPiece(model) => Some(model.unk_token.clone()),
        ModelWrapper::WordLevel(model) => Some(model.unk_token.clone()),
    };
    if let Some(unknown) = unknown {
        add(&unknown, tokenizer.token_to_id(&unknown));
    }
    // A byte-pair vocabulary may have learnt such a piece from markup.
    if !matches!(tokenizer.get_model(), ModelWrapper::BPE(_)) {
        PIECES.iter().for_each(|token| add(token, tokenizer.token_to_id(token)));
    }
    found
}

fn is_special_name(token: &str) -> bool {
    let inner = token.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    let inner = inner.or_else(|| token.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')));
    inner.is_some_and(|inner| {
        let name = inner.trim_matches('|').trim_start_matches('/').to_lowercase();
        NAMES.contains(&name.as_str())
    })
}

/// `"ids": [2]` of a template, `["[SEP]", 102]` of BERT's and RoBERTa's own.
fn ids_of_processor(part: &Value, ids: &mut Vec<u32>) {
    let number = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match part {
        Value::Object(fields) => {
            if let Some(listed) = fields.get("ids").and_then(Value::as_array) {
                ids.extend(listed.iter().filter_map(number));
            }
            for name in ["sep", "cls"] {
                ids.extend(fields.get(name).and_then(|pair| number(pair.get(1)?)));
            }
            fields.values().for_each(|value| ids_of_processor(value, ids));
        }
        Value::Array(values) => values.iter().for_each(|value| ids_of_processor(value, ids)),
        _ => {}
    }
}

/// Whether some text could come out as the token. A Unigram model takes a piece wherever it scores best, so none is safe there; other models
/// see only what the pre-tokenizer leaves together, which a few surroundings show.
fn is_within_reach(tokenizer: &tokenizers::Tokenizer, token: &str, id: u32) -> bool {
    if matches!(tokenizer.get_model(), ModelWrapper::Unigram(_)) {
        let is_left_alone = tokenizer.get_added_tokens_decoder().get(&id).is_some_and(|added| added.special);
        return !is_left_alone || tokenizer.get_model().token_to_id(token).is_some();
    }
    let surroundings = [
        token.to_owned(),
        format!(" {token} "),
        format!("a{token}b"),
        format!("a {token} b"),
        format!("({token}){token}.{token}"),
        format!("1{token}1"),
    ];
    // What is unknown in itself is unknown with or without the token.
    let unknown_anyway = |text: &str| {
        let without = text.replace(token, &token.chars().map(|c| format!("{c} ")).collect::<String>());
        ids_of(tokenizer, &without).contains(&id)
    };
    surroundings.iter().any(|text| ids_of(tokenizer, text).contains(&id) && !unknown_anyway(text))
}

fn ids_of(tokenizer: &tokenizers::Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, false).map(|encoding| encoding.get_ids().to_vec()).unwrap_or_default()
}

/// The other names, wherever the file says the first ones.
fn rename_in(written: &mut Value, found: &[(String, u32)]) {
    let is_one = |text: &str| found.iter().any(|(token, _)| token == text);
    if let Some(added) = written["added_tokens"].as_array_mut() {
        for token in added.iter_mut() {
            let content = token["content"].as_str().unwrap_or_default().to_owned();
            if is_one(&content) {
                token["content"] = json!(stand_in(&content));
                // A normalizer may change the name; and the template's are to be found.
                token["normalized"] = json!(false);
                token["special"] = json!(false);
            }
        }
        for (token, id) in found {
            let listed = added.iter().any(|entry| entry["content"] == json!(stand_in(token)));
            if !listed {
                let flags = json!({"single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false});
                let mut entry = json!({"id": id, "content": stand_in(token)});
                entry
                    .as_object_mut()
                    .into_iter()
                    .for_each(|entry| entry.extend(flags.as_object().cloned().unwrap_or_default()));
                added.push(entry);
            }
        }
    }
    let model = &mut written["model"];
    if let Some(unknown) = model["unk_token"].as_str().filter(|unknown| is_one(unknown)) {
        model["unk_token"] = json!(stand_in(unknown));
    }
    match &mut model["vocab"] {
        Value::Object(pieces) => {
            let entries = std::mem::take(pieces).into_iter();
            *pieces = entries.map(|(piece, id)| (if is_one(&piece) { stand_in(&piece) } else { piece }, id)).collect();
        }
        Value::Array(pieces) => {
            for piece in pieces.iter_mut().filter_map(|pair| pair.get_mut(0)) {
                if piece.as_str().is_some_and(is_one) {
                    *piece = json!(stand_in(piece.as_str().unwrap_or_default()));
                }
            }
        }
        _ => {}
    }
    if let Some(merges) = model["merges"].as_array_mut() {
        merges.retain(|merge| !merges_to(merge, &is_one));
    }
}

/// Whether a merge makes or uses one of the tokens: `"a b"`, or `["a", "b"]`.
fn merges_to(merge: &Value, is_one: &impl Fn(&str) -> bool) -> bool {
    let pair = match merge {
        Value::String(text) => text.split_once(' '),
        Value::Array(parts) => parts.first().and_then(Value::as_str).zip(parts.get(1).and_then(Value::as_str)),
        _ => None,
    };
    pair.is_some_and(|(left, right)| is_one(left) || is_one(right) || is_one(&format!("{left}{right}")))
}
