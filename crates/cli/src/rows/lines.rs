//! Bytes → lines, with a limit of their length.

use std::io::{self, BufRead};

/// The next part of the input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line, without its end.
    Whole {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Whether a line feed followed; only the last line of a file may lack it.
        ended: bool,
    },
    /// A line that was skipped because it is too long.
    TooLong {
        /// Its length.
        bytes: u64,
    },
}

/// The next line, or `None` at the end. For a line longer than `bytes_max`, returns only the length.
///
/// # Errors
/// Errors of the reader.
pub(crate) fn read_line(reader: &mut impl BufRead, bytes_max: usize) -> io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    let mut length: u64 = 0;
    loop {
        let buffer = match reader.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            return Ok((length > 0).then(|| line_of(bytes, length, bytes_max, false)));
        }
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        length += part.len() as u64;
        if length <= bytes_max as u64 {
            bytes.extend_from_slice(part);
        } else {
            bytes = Vec::new();
        }
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(Some(line_of(bytes, length, bytes_max, true)));
        }
    }
}

fn line_of(bytes: Vec<u8>, length: u64, bytes_max: usize, ended: bool) -> Line {
    if length > bytes_max as u64 { Line::TooLong { bytes: length } } else { Line::Whole { bytes, ended } }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn check(text: &str, expected: &[(&str, bool)]) {
        for capacity in [1, 3, 64] {
            let mut reader = BufReader::with_capacity(capacity, text.as_bytes());
            for &(bytes, ended) in expected {
                let line = Line::Whole { bytes: bytes.as_bytes().to_vec(), ended };
                assert_eq!(read_line(&mut reader, 8).unwrap(), Some(line), "{text:?}");
            }
            assert_eq!(read_line(&mut reader, 8).unwrap(), None);
        }
    }

    #[test]
    fn lines_are_split_at_line_feeds() {
        check("", &[]);
        check("\n", &[("", true)]);
        check("a", &[("a", false)]);
        check("a\n\nbc", &[("a", true), ("", true), ("bc", false)]);
        check("12345678\n", &[("12345678", true)]);
    }

    #[test]
    fn a_long_line_is_counted_and_skipped() {
        for capacity in [1, 3, 64] {
            let mut reader = BufReader::with_capacity(capacity, "123456789\nb\n1234567890".as_bytes());
            assert_eq!(read_line(&mut reader, 8).unwrap(), Some(Line::TooLong { bytes: 9 }));
            assert_eq!(read_line(&mut reader, 8).unwrap(), Some(Line::Whole { bytes: b"b".to_vec(), ended: true }));
            assert_eq!(read_line(&mut reader, 8).unwrap(), Some(Line::TooLong { bytes: 10 }));
            assert_eq!(read_line(&mut reader, 8).unwrap(), None);
        }
    }
}
