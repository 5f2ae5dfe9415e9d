//! Keeps what users write apart from what a chat template writes, while the template runs.
//!
//! Special tokens may be written by the template only, also where it puts them together from parts. So those in a user's text are replaced
//! by other words first; then the template runs; then its own special tokens get the names that the tokenizer reads
//! ([`Renamed::mark`]); then the user's words come back. The replacements hold a NUL, which no user's text does.

use super::specials::Renamed;

/// Stands between a user's text and the template's; no text holds it.
const RAIL: &str = "\0\u{1}\0";

/// The special tokens that users wrote, while a chat template runs.
#[derive(Debug, Default)]
pub(crate) struct Fence(Vec<String>);

impl Fence {
    /// What stands for a token.
    fn put(&mut self, token: &str) -> String {
        let known = self.0.iter().position(|known| known == token);
        let place = known.unwrap_or_else(|| {
            self.0.push(token.to_owned());
            self.0.len() - 1
        });
        format!("\0\u{1}{place}\0")
    }

    /// The text with what users wrote.
    pub(crate) fn take_down(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("\0\u{1}") {
            out += &rest[..at];
            rest = &rest[at + 2..];
            let (place, after) = rest.split_once('\0').unwrap_or((rest, ""));
            out += place.parse().ok().and_then(|place: usize| self.0.get(place)).map_or("", String::as_str);
            rest = after;
        }
        out + rest
    }
}

/// A user's text for a template. The fence keeps the special tokens that were in it.
pub(super) fn behind(fence: &mut Fence, specials: &Renamed, text: &str) -> String {
    let tokens = specials.tokens();
    let fenced = specials.replace(text, |token| fence.put(token));
    let inner = fenced.trim();
    // What stands around the text must not complete a token that it begins or ends with, or is the middle of.
    let is_inside = !inner.is_empty() && tokens.iter().any(|token| token.contains(inner));
    let begins = is_inside || tokens.iter().any(|token| ends_of(token).any(|end| inner.starts_with(end)));
    let ends = is_inside || tokens.iter().any(|token| starts_of(token).any(|start| inner.ends_with(start)));
    if !begins && !ends {
        return fenced;
    }
    let start = fenced.len() - fenced.trim_start().len();
    let (before, after) = (&fenced[..start], &fenced[start + inner.len()..]);
    let rail = |is_needed: bool| if is_needed { RAIL } else { "" };
    format!("{before}{}{inner}{}{after}", rail(begins), rail(ends))
}

/// The starts of a token, itself excluded.
fn starts_of(token: &str) -> impl Iterator<Item = &str> {
    token.char_indices().skip(1).map(|(at, _)| &token[..at])
}

/// The ends of a token, itself excluded.
fn ends_of(token: &str) -> impl Iterator<Item = &str> {
    token.char_indices().skip(1).map(|(at, _)| &token[at..])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::text::Tokenizer;
    use crate::text::fence::Fence;

    const JSON: &str = r#"{
        "version": "1.0", "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null, "decoder": null,
        "added_tokens": [
            {"id": 0, "content": "<|im_start|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
            {"id": 1, "content": "<|im_end|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
        ],
        "model": {"type": "BPE", "unk_token": null, "vocab": {"<|im_start|>": 0, "<|im_end|>": 1, "<": 2, "|": 3, "i": 4, "m": 5, "_": 6,
            "s": 7, "t": 8, "a": 9, "r": 10, ">": 11, "e": 12, "n": 13, "d": 14}, "merges": []}
    }"#;

    /// The ids of a text of a template around a text of a user.
    fn ids(before: &str, user: &str, after: &str) -> Vec<u32> {
        let tokenizer = Tokenizer::for_chat(JSON.as_bytes()).unwrap();
        let mut fence = Fence::default();
        let fenced = tokenizer.fence(user, &mut fence);
        let text = fence.take_down(&tokenizer.mark(&format!("{before}{fenced}{after}")));
        tokenizer.ids_as_written(&text).unwrap()
    }

    #[test]
    fn only_the_template_writes_special_tokens() {
        assert_eq!(ids("<|im_start|>", "a", "<|im_end|>"), [0, 9, 1]);
        let spelled = [2, 3, 4, 5, 6, 12, 13, 14, 3, 11];
        assert_eq!(ids("<|im_start|>", "<|im_end|>", "<|im_end|>"), [&[0][..], &spelled, &[1]].concat());
        assert_eq!(ids("", "a<|im_end|>a<|im_end|>", ""), [&[9][..], &spelled, &[9], &spelled].concat());
        // Halves of a token, one of which is the user's.
        for (before, user, after) in [("<|im_", "end|>", ""), ("", "<|im_e", "nd|>"), ("<|im_en", "d|", ">")] {
            assert_eq!(ids(before, user, after), spelled, "{before} {user} {after}");
        }
    }
}
