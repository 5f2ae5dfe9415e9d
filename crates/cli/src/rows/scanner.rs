//! Finds the end of a JSON value, byte by byte: for values over several lines, and for values in an array of any length.
//!
//! It only checks the structure. The parser checks the rest, because its messages are better.

/// Maximum depth, the same as the parser's.
const DEPTH_MAX: usize = 128;

/// The position inside a value.
#[derive(Debug)]
pub(super) struct Scanner {
    /// For each open bracket, whether it belongs to an object.
    open: Vec<bool>,
    state: State,
}

/// The state after the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The beginning of a value.
    More,
    /// A complete value, which ends before this index of the last bytes.
    End(usize),
    /// Not a value, because of the byte at this index of the last bytes.
    Wrong(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A value must follow.
    Value,
    /// A value, or the end of its array.
    FirstItem,
    /// A name must follow.
    Name,
    /// A name, or the end of its object.
    FirstName,
    Colon,
    /// A comma, or a closing bracket.
    Next,
    Text {
        is_name: bool,
        escaped: bool,
    },
    /// A number, true, false or null.
    Word,
    Done,
}

impl Scanner {
    /// Before a value.
    pub(super) fn new() -> Scanner {
        Scanner { open: Vec::new(), state: State::Value }
    }

    /// Reads the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Found {
        for (at, &byte) in bytes.iter().enumerate() {
            if self.state == State::Word {
                if is_of_word(byte) {
                    continue;
                }
                self.close_value();
                if self.state == State::Done {
                    return Found::End(at);
                }
            }
            let Some(next) = self.step(byte) else { return Found::Wrong(at) };
            self.state = next;
            if next == State::Done {
                return Found::End(at + 1);
            }
        }
        Found::More
    }

    /// The state after a byte; `None` if the byte is invalid here.
    fn step(&mut self, byte: u8) -> Option<State> {
        if let State::Text { is_name, escaped } = self.state {
            return match byte {
                0..=0x1f => None,
                b'"' if !escaped => Some(if is_name { State::Colon } else { self.after_value() }),
                _ => Some(State::Text { is_name, escaped: byte == b'\\' && !escaped }),
            };
        }
        if byte.is_ascii_whitespace() {
            return Some(self.state);
        }
        match (self.state, byte) {
            (State::Value | State::FirstItem, b'{') => self.open(true),
            (State::Value | State::FirstItem, b'[') => self.open(false),
            (State::Value | State::FirstItem, b'"') => Some(State::Text { is_name: false, escaped: false }),
            (State::Value | State::FirstItem, _) if is_of_word(byte) => Some(State::Word),
            (State::Name | State::FirstName, b'"') => Some(State::Text { is_name: true, escaped: false }),
            (State::Colon, b':') => Some(State::Value),
            (State::Next, b',') => Some(if *self.open.last()? { State::Name } else { State::Value }),
            (State::Next | State::FirstName, b'}') => self.close(true),
            (State::Next | State::FirstItem, b']') => self.close(false),
            _ => None,
        }
    }

    fn open(&mut self, is_object: bool) -> Option<State> {
        self.open.push(is_object);
        (self.open.len() <= DEPTH_MAX).then_some(if is_object { State::FirstName } else { State::FirstItem })
    }

    fn close(&mut self, is_object: bool) -> Option<State> {
        (self.open.pop()? == is_object).then(|| self.after_value())
    }

    fn close_value(&mut self) {
        self.state = self.after_value();
    }

    fn after_value(&self) -> State {
        if self.open.is_empty() { State::Done } else { State::Next }
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[track_caller]
    fn check(text: &str, expected: Found) {
        assert_eq!(Scanner::new().feed(text.as_bytes()), expected, "{text}");
        // One byte at a time gives the same result.
        let mut scanner = Scanner::new();
        let mut found = Found::More;
        for (at, byte) in text.bytes().enumerate() {
            found = match scanner.feed(&[byte]) {
                Found::More => continue,
                Found::End(used) => Found::End(at + used),
                Found::Wrong(used) => Found::Wrong(at + used),
            };
            break;
        }
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_value_ends_where_its_last_bracket_closes() {
        check("{}", Found::End(2));
        check(" {\"a\": [1, {\"b\": \"}\\\"]\"}, NaN, -Infinity]} x", Found::End(42));
        check("\"a\",", Found::End(3));
        check("-1.5e+3,", Found::End(7));
        check("[[], {}]]", Found::End(8));
        check("{\"a\": [", Found::More);
        check("{\n", Found::More);
        check("1", Found::More);
    }

    #[test]
    fn what_cannot_go_on_is_told_at_once() {
        check("{\"a\" 1", Found::Wrong(5));
        check("{\"a\": 1 \"b\"", Found::Wrong(8));
        check("{\"a\": 1\n{", Found::Wrong(8));
        check("{\"a\": 1,}", Found::Wrong(8));
        check("{\"a\": \"b\n", Found::Wrong(8));
        check("[1 2", Found::Wrong(3));
        check("[1}", Found::Wrong(2));
        check("}", Found::Wrong(0));
        assert!(matches!(Scanner::new().feed(&[b'['; 200]), Found::Wrong(DEPTH_MAX)));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[\\PC\"\\\\\n\u{1}\\[\\]{}]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec(("[a-z\"\\\\]{0,3}", inner), 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_json_ends_at_its_end(value in values(), pretty: bool) {
            let mut text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let length = text.len();
            text.push(',');
            prop_assert_eq!(Scanner::new().feed(text.as_bytes()), Found::End(length), "{}", text);
        }
    }
}
