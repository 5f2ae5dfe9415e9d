//! `texts.jsonl` of a corpus: a JSON object with a `text` on each line.

use crate::text::is_blank;
use serde::Deserialize;
use std::borrow::Cow;

/// The lines of the file, each checked.
pub(super) struct Texts {
    lines: String,
    /// Where lines end, without their line feeds.
    ends: Vec<usize>,
}

/// What is read of a line.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

impl Texts {
    /// Takes the bytes of a file.
    ///
    /// # Errors
    /// What is wrong, with the number of the line.
    pub(super) fn read(bytes: Vec<u8>) -> Result<Texts, String> {
        let lines = String::from_utf8(bytes)
            .map_err(|error| format!("it is not UTF-8 from byte {}", error.utf8_error().valid_up_to()))?;
        let mut ends = Vec::new();
        let mut start = 0;
        for line in lines.split_inclusive('\n') {
            let number = ends.len() + 1;
            let row = line.strip_suffix('\n').ok_or_else(|| format!("line {number} has no end; it is cut short"))?;
            let Line { text } = serde_json::from_str(row).map_err(|error| format!("line {number}: {error}"))?;
            if is_blank(&text) {
                return Err(format!("line {number}: `text` is empty"));
            }
            ends.push(start + row.len());
            start += line.len();
        }
        Ok(Texts { lines, ends })
    }

    /// How many there are.
    pub(super) fn rows(&self) -> usize {
        self.ends.len()
    }

    /// A line.
    pub(super) fn row(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] + 1);
        self.lines.get(start..end)
    }

    /// The text of a line.
    pub(super) fn text(&self, index: usize) -> Option<Cow<'_, str>> {
        serde_json::from_str(self.row(index)?).ok().map(|Line { text }| text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_their_numbers() {
        let texts = Texts::read("{\"text\":\"a\\n\\u00e9\",\"id\":1}\n{\"id\":2,\"text\":\"日本\"}\n".into()).unwrap();
        assert_eq!(texts.rows(), 2);
        assert_eq!((texts.text(0).as_deref(), texts.text(1).as_deref()), (Some("a\né"), Some("日本")));
        assert_eq!((texts.row(1), texts.row(2)), (Some("{\"id\":2,\"text\":\"日本\"}"), None));
        assert_eq!((Texts::read(Vec::new()).unwrap().rows(), texts.text(2)), (0, None));
    }

    #[test]
    fn bad_lines_are_refused_by_number() {
        for (file, expected) in [
            (&b"{\"text\":\"a\"}\n{\"text\":\"b\"}"[..], "line 2 has no end"),
            (b"{\"text\":\"a\"}\n\n", "line 2"),
            (b"{\"text\":\" \xe2\x80\x8b\"}\n", "line 1: `text` is empty"),
            (b"{\"text\":1}\n", "line 1"),
            (b"{\"id\":1}\n", "line 1: missing field `text`"),
            (b"[]\n", "line 1"),
            (b"{\"text\":\"a\"}\n\xff\n", "not UTF-8 from byte 13"),
        ] {
            let error = Texts::read(file.to_vec()).err().unwrap();
            assert!(error.contains(expected), "{error}");
        }
    }
}
