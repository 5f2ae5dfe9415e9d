//! A line of JSON → a row.

use super::turn::kind_of;
use super::{Fields, Line, Parsed, RowError};
use serde_json::Value;

/// Reads one line, and by `read` what is asked of its fields. Every line gives a row, with any bytes.
pub(crate) fn parse_line<T>(number: u64, line: Line, read: impl FnOnce(&Fields) -> Result<T, RowError>) -> Parsed<T> {
    match parse_fields(line) {
        Ok(fields) => Parsed { line: number, value: read(&fields), fields },
        Err(error) => Parsed { line: number, fields: Fields::default(), value: Err(error) },
    }
}

fn parse_fields(line: Line) -> Result<Fields, RowError> {
    let (bytes, ended) = match line {
        Line::Whole { bytes, ended } => (bytes, ended),
        Line::TooLong { bytes } => return Err(RowError::TooLong(bytes)),
    };
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| RowError::NotUtf8 { place: "the line".to_owned(), at: error.valid_up_to() })?;
    serde_json::from_str(text).or_else(|error| match null_for_nan(text) {
        Some(text) => serde_json::from_str(&text).map(Fields::with_nan).map_err(|error| explain(&text, &error, ended)),
        None => Err(explain(text, &error, ended)),
    })
}

/// The same text with null instead of NaN, Infinity and -Infinity, which Python writes but JSON does not have. `None` if there
/// are none outside strings.
fn null_for_nan(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let ends = |word: &str| !rest[word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let word = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| rest.starts_with(word) && ends(word));
        let used = match word {
            Some(word) => {
                found = true;
                out.push_str("null");
                rest = &rest[word.len()..];
                continue;
            }
            None if rest.starts_with('"') => text_length(rest),
            None => 1,
        };
        out.push_str(&rest[..used]);
        rest = &rest[used..];
    }
    out.push_str(rest);
    found.then_some(out)
}

/// Length of the string that begins here, with quotes; if it does not end, the rest of the line.
fn text_length(json: &str) -> usize {
    let mut escaped = false;
    let end = json.bytes().enumerate().skip(1).find(|&(_, byte)| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(json.len(), |(at, _)| at + 1)
}

/// For another kind of JSON, names the kind; for invalid JSON, uses serde_json's message.
fn explain(text: &str, error: &serde_json::Error, ended: bool) -> RowError {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if !value.is_object() => RowError::NotAnObject(kind_of(&value)),
        _ if error.is_eof() && !ended => RowError::CutOff(without_line(error)),
        _ => RowError::NotJson(without_line(error)),
    }
}

/// serde_json reports line 1 for every row, so its line number is removed.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::rows::turn::read_turn;
    use grice_core::{Context, Turn, Utterance};
    use proptest::prelude::*;

    fn parse(text: &str) -> Parsed<Turn> {
        parse_line(7, Line::Whole { bytes: text.as_bytes().to_vec(), ended: true }, read_turn)
    }

    fn check_refused(text: &str, expected: &str) {
        let row = parse(text);
        let error = row.value.expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }

    #[test]
    fn what_cannot_be_judged_is_named() {
        check_refused("", "not JSON");
        check_refused("{\"response\": \"a\"", "not JSON: EOF while parsing an object at column 16");
        check_refused("{\"response\": \"a\"} x", "trailing characters");
        check_refused("[1]", "expected an object, found a list");
        check_refused("\"text\"", "expected an object, found text");
        check_refused("{}", "no field `response`");
        check_refused("{\"response\": null}", "no field `response`");
        check_refused("{\"response\": 1}", "`response` must be text, found a number");
        check_refused("{\"response\": \"a\", \"evidence\": []}", "`evidence` must be text, found a list");
        check_refused("{\"response\": \"a\", \"context\": {}}", "`context` must be text, or a list");
        check_refused("{\"response\": \"a\", \"context\": [\"a\", 2]}", "`context[1]` must be text or");
        check_refused("{\"response\": \"a\", \"context\": [{\"text\": \"b\"}]}", "`context[0].speaker` must be text");
        check_refused("{\"response\": \"\\ud800\"}", "in `response`");
    }

    #[test]
    fn a_row_that_is_cut_off_says_so() {
        let row = parse_line(1, Line::Whole { bytes: b"{\"response\": \"a".to_vec(), ended: false }, read_turn);
        assert!(row.value.unwrap_err().to_string().contains("cut off"));
    }

    #[test]
    fn every_form_of_context_is_read() {
        let context =
            |json: &str| parse(&format!("{{\"response\": \"a\", \"context\": {json}}}")).value.unwrap().context;
        assert_eq!(context("null"), Context::default());
        assert_eq!(context("\"hello\""), Context::Text("hello".to_owned()));
        let spoken = Utterance::Spoken { speaker: "A".to_owned(), text: "x".to_owned() };
        let expected = Context::Utterances(vec![Utterance::Text("y".to_owned()), spoken]);
        assert_eq!(context("[\"y\", {\"text\": \"x\", \"speaker\": \"A\", \"id\": 3}]"), expected);
    }

    #[test]
    fn fields_keep_order_and_spelling_and_the_last_of_two_counts() {
        let row = parse("{\"z\": 1e400, \"response\": \"a\", \"b\": [1,  2], \"z\": 12345678901234567890123}");
        let fields: Vec<_> = row.fields.iter().map(|field| (field.name.as_str(), field.json.get())).collect();
        assert_eq!(fields, [("z", "12345678901234567890123"), ("response", "\"a\""), ("b", "[1,  2]")]);
    }

    #[test]
    fn numbers_that_json_does_not_have_become_null_outside_texts() {
        let row = parse(
            "{\"a\": NaN, \"b\": [-Infinity, {\"c\":Infinity}], \"response\": \"NaN \\\\\\\" -Infinity\", \"evidence\": NaN}",
        );
        let turn = row.value.unwrap();
        assert_eq!((turn.response.as_str(), turn.evidence), ("NaN \\\" -Infinity", None));
        assert_eq!((row.fields.json("a"), row.fields.json("b")), (None, Some("[null, {\"c\":null}]")));
        assert!(row.fields.had_nan() && !parse("{\"response\": \"NaN\"}").fields.had_nan());
        check_refused("{\"response\": NaN}", "no field `response`");
        check_refused("{\"response\": \"a\", \"b\": NaNs}", "not JSON");
        check_refused("{\"response\": \"a\", \"b\": nan}", "not JSON");
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_row(bytes in proptest::collection::vec(any::<u8>(), 0..200), ended: bool) {
            let row = parse_line(3, Line::Whole { bytes, ended }, read_turn);
            prop_assert_eq!(row.line, 3);
        }

        #[test]
        fn any_text_that_looks_like_json_makes_a_row(text in "[\\[\\]{}:,\"\\\\a-cresponse0-9 \n\u{0}é]{0,120}") {
            _ = parse(&text);
        }
    }
}
