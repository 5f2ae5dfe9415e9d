//! Rust source as words and signs, without comments, strings and code that only tests compile.

/// A word (`::` is one too) or a sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    /// `::`
    Path,
    Sign(char),
}

impl Token {
    pub(super) fn word(&self) -> Option<&str> {
        match self {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(super) fn is(&self, sign: char) -> bool {
        *self == Token::Sign(sign)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.word() == Some(word)
    }
}

/// The tokens of a file that a build without tests compiles.
pub(super) fn product_tokens(text: &str) -> Vec<Token> {
    without_tests(&tokens(text))
}

fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        at = match c {
            '/' if next == Some('/') => end_of_line(&chars, at),
            '/' if next == Some('*') => end_of_comment(&chars, at),
            '"' => end_of_text(&chars, at + 1),
            '\'' => end_of_char(&chars, at),
            ':' if next == Some(':') => {
                found.push(Token::Path);
                at + 2
            }
            _ if c.is_alphanumeric() || c == '_' => {
                let length = chars[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
                let word: String = chars[at..at + length].iter().collect();
                let end = at + length;
                match raw_text_hashes(&word, &chars[end..]) {
                    Some(hashes) => end_of_raw_text(&chars, end + hashes + 1, hashes),
                    // A prefix of a string, such as the `b` of b"…".
                    None if matches!(word.as_str(), "b" | "c") && chars.get(end) == Some(&'"') => end,
                    None => {
                        found.push(Token::Word(word));
                        end
                    }
                }
            }
            _ => {
                if !c.is_whitespace() {
                    found.push(Token::Sign(c));
                }
                at + 1
            }
        };
    }
    found
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| at + length)
}

/// Comments of this kind nest.
fn end_of_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match chars[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_text(chars: &[char], mut at: usize) -> usize {
    while let Some(c) = chars.get(at) {
        match c {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// The end of a character literal, or of the sign before a lifetime's name.
fn end_of_char(chars: &[char], at: usize) -> usize {
    match chars[at + 1..] {
        ['\\', _, ..] => {
            chars[at + 3..].iter().position(|c| *c == '\'').map_or(chars.len(), |length| at + 3 + length + 1)
        }
        [_, '\'', ..] => at + 3,
        _ => at + 1,
    }
}

/// The number of `#` that open a raw string after this word; `None` if none begins there.
fn raw_text_hashes(word: &str, after: &[char]) -> Option<usize> {
    let hashes = after.iter().take_while(|c| **c == '#').count();
    (matches!(word, "r" | "br" | "cr") && after.get(hashes) == Some(&'"')).then_some(hashes)
}

fn end_of_raw_text(chars: &[char], mut at: usize, hashes: usize) -> usize {
    while at < chars.len() {
        let closes = chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        at += 1;
        if closes {
            return at + hashes;
        }
    }
    at
}

fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        match attribute_length(&tokens[at..]) {
            Some(length) if is_for_tests(&tokens[at..at + length]) => {
                at += length;
                at += item_length(&tokens[at..]);
            }
            // An attribute names nothing of the crate.
            Some(length) => at += length,
            None => {
                kept.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    kept
}

/// The tokens of `#[…]` or `#![…]`, if they begin with one.
fn attribute_length(tokens: &[Token]) -> Option<usize> {
    let open = match tokens {
        [hash, open, ..] if hash.is('#') && open.is('[') => 1,
        [hash, bang, open, ..] if hash.is('#') && bang.is('!') && open.is('[') => 2,
        _ => return None,
    };
    Some(open + group_length(&tokens[open..]))
}

/// The tokens of a group, from its opening sign to its closing one.
pub(super) fn group_length(tokens: &[Token]) -> usize {
    let mut depth = 0usize;
    for (place, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return place + 1;
        }
    }
    tokens.len()
}

/// `#[cfg(test)]`, or `#[cfg(all(test, …))]`.
fn is_for_tests(attribute: &[Token]) -> bool {
    let words: Vec<&str> = attribute.iter().filter_map(Token::word).collect();
    matches!(words.as_slice(), ["cfg", "test"] | ["cfg", "all", "test", ..])
}

/// The tokens of the item that follows an attribute: up to its `;`, or its braces.
fn item_length(tokens: &[Token]) -> usize {
    let mut at = 0;
    // Further attributes of the same item.
    while let Some(length) = attribute_length(&tokens[at..]) {
        at += length;
    }
    let ends_with_sign = tokens[at..].iter().find_map(Token::word).is_some_and(|_| {
        let mut words = tokens[at..].iter().filter_map(Token::word).filter(|word| *word != "pub");
        words
            .find(|word| !matches!(*word, "crate" | "super"))
            .is_some_and(|word| matches!(word, "use" | "const" | "static" | "type" | "let"))
    });
    while let Some(token) = tokens.get(at) {
        match token {
            Token::Sign(';') => return at + 1,
            Token::Sign('{') if !ends_with_sign => return at + group_length(&tokens[at..]),
            Token::Sign('(' | '[' | '{') => at += group_length(&tokens[at..]),
            // The end of the group around a field, an arm or an expression.
            Token::Sign(')' | ']' | '}') => return at,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        product_tokens(text).iter().filter_map(Token::word).map(str::to_owned).collect()
    }

    #[test]
    fn comments_texts_and_characters_hold_no_words() {
        assert_eq!(words("a // b\nc /* d /* e */ f */ g"), ["a", "c", "g"]);
        assert_eq!(words("a \"b \\\" c\" d r#\"e \" f\"# g b\"h\" i br\"j\" k"), ["a", "d", "g", "i", "k"]);
        assert_eq!(words("'a' b '\\'' c '\\u{1F600}' d '{' e"), ["b", "c", "d", "e"]);
        assert_eq!(words("fn a<'b>(c: &'b str)"), ["fn", "a", "b", "c", "b", "str"]);
    }

    #[test]
    fn what_only_tests_compile_is_left_out() {
        assert_eq!(words("a #[cfg(test)] mod b { c { d } } e"), ["a", "e"]);
        assert_eq!(words("a #[cfg(test)] use b::{c, d}; e"), ["a", "e"]);
        assert_eq!(words("a #[cfg(test)] #[path = \"x.rs\"] mod b; e"), ["a", "e"]);
        assert_eq!(words("a #[cfg(all(test, unix))] pub(crate) fn b<C, D>(d: [u8; 3]) -> E { f } e"), ["a", "e"]);
        assert_eq!(words("a #[cfg(test)] pub(crate) const B: [u8; 2] = [c; 2]; e"), ["a", "e"]);
    }

    #[test]
    fn what_a_product_compiles_too_is_kept() {
        assert_eq!(words("#[cfg(not(test))] a #[cfg(any(test, fuzz))] b #[derive(C)] d"), ["a", "b", "d"]);
    }
}
