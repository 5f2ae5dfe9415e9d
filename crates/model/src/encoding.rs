//! How text files are encoded: UTF-8, with a byte order mark or without.

/// The byte order mark of UTF-8, which some editors put at the start of a file.
pub const BOM: &[u8] = b"\xef\xbb\xbf";

/// The bytes after a byte order mark of UTF-8, if there is one.
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BOM).unwrap_or(bytes)
}

/// What to do about a file in UTF-16, which some tools on Windows write; `None` for any other. It shows by its byte order mark, or by
/// a zero in every other byte of its first characters.
pub fn utf16_hint(bytes: &[u8]) -> Option<String> {
    let name = match bytes {
        [0xff, 0xfe, ..] | [1..=0x7f, 0] | [1..=0x7f, 0, 1..=0xff, 0, ..] => "UTF-16LE",
        [0xfe, 0xff, ..] | [0, 1..=0x7f] | [0, 1..=0x7f, 0, 1..=0xff, ..] => "UTF-16BE",
        _ => return None,
    };
    Some(format!("it is UTF-16, and must be UTF-8; save it as UTF-8, or convert it with `iconv -f {name} -t UTF-8`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf16_shows_with_and_without_its_mark() {
        for text in ["{\"a\": 1}", "é{", "a"] {
            let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            let marked = |mark: [u8; 2], bytes: &[u8]| utf16_hint(&[&mark, bytes].concat()).unwrap_or_default();
            assert!(marked([0xff, 0xfe], &le).contains("UTF-16LE"), "{text}");
            assert!(marked([0xfe, 0xff], &be).contains("UTF-16BE"), "{text}");
            if text.is_ascii() {
                assert!(utf16_hint(&le).is_some_and(|hint| hint.contains("UTF-16LE")), "{text}");
                assert!(utf16_hint(&be).is_some_and(|hint| hint.contains("UTF-16BE")), "{text}");
            }
            assert_eq!(utf16_hint(text.as_bytes()), None);
        }
        assert_eq!(utf16_hint(b"\xef\xbb\xbf{}"), None);
        assert_eq!(utf16_hint(b""), None);
    }
}
