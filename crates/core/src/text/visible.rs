//! Whether a text shows anything.

use regex::Regex;
use std::sync::LazyLock;

/// Spaces, controls, formats, marks without a letter to stand on, what Unicode calls ignorable by default (Hangul fillers, variation
/// selectors and the like), and the empty Braille pattern.
const BLANK: &str = "^[\\s\\p{M}\\p{Z}\\p{Cc}\\p{Cf}\
    \\u{115F}\\u{1160}\\u{2065}\\u{2800}\\u{3164}\\u{FFA0}\\u{FFF0}-\\u{FFF8}\\u{E0000}-\\u{E0FFF}]*$";

/// None if the pattern were wrong; a test holds it to what it is for.
static IS_BLANK: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(BLANK).ok());

/// Whether a text has no visible character.
pub(crate) fn is_blank(text: &str) -> bool {
    // Most texts show at once that they are not, and the pattern takes a moment to build.
    if text.bytes().take(64).any(|byte| byte.is_ascii_graphic()) {
        return false;
    }
    match &*IS_BLANK {
        Some(pattern) => pattern.is_match(text),
        None => text.trim().is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_nothing_is_blank() {
        let blank = [
            "",
            " \t\r\n\u{b}\u{c}\u{85}\u{a0}\u{1680}\u{2000}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}",
            "\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2060}\u{2061}\u{2064}\u{2065}\u{2066}\u{206f}\u{feff}",
            "\u{ad}\u{34f}\u{61c}\u{115f}\u{1160}\u{17b4}\u{17b5}\u{180b}\u{180e}\u{180f}\u{3164}\u{ffa0}\u{fff0}",
            "\u{fe00}\u{fe0f}\u{e0100}\u{e01ef}\u{e0000}\u{e0001}\u{e0020}\u{e0fff}\u{1bca0}\u{1d173}",
            "\u{301}\u{20dd}\u{903}\u{488}\u{1f}\u{7f}\u{9f}\u{fff9}\u{2800}",
        ];
        for text in blank {
            assert!(is_blank(text), "{text:?}");
            assert!(!is_blank(&format!("{text}é")) && !is_blank(&format!("é{text}")), "{text:?}");
            assert!(text.chars().all(|c| is_blank(&c.to_string())), "{text:?}");
        }
        for text in ["a", ".", "é", "中", "🙂", "\u{fffd}", "\u{e000}", "e\u{301}", "❤\u{fe0f}", "٣", "_"] {
            assert!(!is_blank(text), "{text:?}");
        }
        let late = "\u{200b}".repeat(1000) + "x";
        assert!(!is_blank(&late));
    }
}
