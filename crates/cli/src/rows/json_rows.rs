//! Reads JSON values in all usual forms: one per line, values over several lines, or one array.

use super::scanner::{Found, Scanner};
use super::{LINE_BYTES_MAX, Line, read_line};
use grice_core::{BOM, without_bom};
use std::collections::VecDeque;
use std::io::{self, BufRead};

/// A value and the line where it starts, counted from 1.
type Numbered = (u64, Line);

/// Reads values in order.
pub(super) struct JsonRows<R> {
    reader: R,
    /// Number of complete lines so far.
    lines: u64,
    /// Lines that were looked at but must be read again.
    ahead: VecDeque<Numbered>,
    layout: Layout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Nothing was read yet.
    Unknown,
    Lines,
    /// Inside an array; whether a value must be followed by a comma now.
    Array {
        needs_comma: bool,
    },
}

impl<R: BufRead> JsonRows<R> {
    pub(super) fn new(reader: R) -> JsonRows<R> {
        JsonRows { reader, lines: 0, ahead: VecDeque::new(), layout: Layout::Unknown }
    }

    /// The next line, from 1.
    pub(super) fn line(&self) -> u64 {
        self.ahead.front().map_or(self.lines + 1, |(number, _)| *number)
    }

    pub(super) fn reader(&self) -> &R {
        &self.reader
    }

    /// The next value, or `None` at the end. Skips blank lines and byte order marks.
    ///
    /// # Errors
    /// Errors of the reader; an array with wrong brackets or commas, after which its values cannot be separated.
    pub(super) fn next(&mut self) -> io::Result<Option<Numbered>> {
        if self.layout == Layout::Unknown {
            let is_array = self.skip_space()? == Some(b'[');
            self.layout = if is_array { Layout::Array { needs_comma: false } } else { Layout::Lines };
            self.reader.consume(usize::from(is_array));
        }
        if let Layout::Array { needs_comma } = self.layout
            && let Some(item) = self.next_item(needs_comma)?
        {
            return Ok(Some(item));
        }
        self.next_in_lines()
    }

    /// The next value of an array; `None` behind its end.
    fn next_item(&mut self, needs_comma: bool) -> io::Result<Option<Numbered>> {
        match (self.skip_space()?, needs_comma) {
            (Some(b']'), _) => {
                self.reader.consume(1);
                self.layout = Layout::Lines;
                Ok(None)
            }
            (Some(b','), true) => {
                self.reader.consume(1);
                match self.skip_space()? {
                    None => Err(cut_off()),
                    Some(_) => self.read_item().map(Some),
                }
            }
            (None, _) => Err(cut_off()),
            (Some(_), false) => self.read_item().map(Some),
            (Some(_), true) => Err(broken("a comma is missing between two values")),
        }
    }

    /// A value over any number of lines.
    fn read_item(&mut self) -> io::Result<Numbered> {
        let number = self.lines + 1;
        let mut scanner = Scanner::new();
        let (mut bytes, mut length) = (Vec::new(), 0);
        loop {
            let buffer = fill(&mut self.reader)?;
            if buffer.is_empty() {
                return Err(cut_off());
            }
            let found = scanner.feed(buffer);
            let used = match found {
                Found::More => buffer.len(),
                Found::End(used) => used,
                Found::Wrong(_) => return Err(broken("a value in it is not JSON")),
            };
            length += used;
            if length <= LINE_BYTES_MAX {
                bytes.extend_from_slice(&buffer[..used]);
            } else {
                bytes = Vec::new();
            }
            self.lines += line_feeds(&buffer[..used]);
            self.reader.consume(used);
            if found != Found::More {
                self.layout = Layout::Array { needs_comma: true };
                let line = match length > LINE_BYTES_MAX {
                    true => Line::TooLong { bytes: length as u64 },
                    false => Line::Whole { bytes: on_one_line(bytes.split(|&byte| byte == b'\n')), ended: true },
                };
                return Ok((number, line));
            }
        }
    }

    /// Peeks at the next byte that is neither a space nor part of a byte order mark. It misses a mark at the edge of the reader's buffer,
    /// which cannot be the mark at the start of a file.
    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = fill(&mut self.reader)?;
            let Some(&first) = buffer.first() else { return Ok(None) };
            if buffer.starts_with(BOM) {
                self.reader.consume(BOM.len());
                continue;
            }
            if !first.is_ascii_whitespace() {
                return Ok(Some(first));
            }
            self.lines += u64::from(first == b'\n');
            self.reader.consume(1);
        }
    }

    fn next_in_lines(&mut self) -> io::Result<Option<Numbered>> {
        loop {
            let next = match self.ahead.pop_front() {
                Some(line) => Some(line),
                None => self.read_line()?,
            };
            let Some((number, line)) = next else { return Ok(None) };
            let Line::Whole { bytes, ended } = &line else { return Ok(Some((number, line))) };
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let mut scanner = Scanner::new();
            if *ended && bytes.trim_ascii_start().starts_with(b"{") && scanner.feed(bytes) == Found::More {
                let (first, size) = (bytes.clone(), bytes.len());
                if let Some(joined) = self.look_ahead(scanner, &first, size)? {
                    return Ok(Some((number, joined)));
                }
            }
            return Ok(Some((number, line)));
        }
    }

    /// A value that begins on one line and ends on another. `None` if the lines form no value; then the first line is a row of its own, and
    /// the others are read again.
    fn look_ahead(&mut self, mut scanner: Scanner, first: &[u8], mut size: usize) -> io::Result<Option<Line>> {
        for count in 0.. {
            if self.ahead.len() == count {
                match self.read_line()? {
                    Some(line) => self.ahead.push_back(line),
                    None => return Ok(None),
                }
            }
            let Some((_, Line::Whole { bytes, ended })) = self.ahead.get(count) else { return Ok(None) };
            size += bytes.len();
            if size > LINE_BYTES_MAX || scanner.feed(b"\n") != Found::More {
                return Ok(None);
            }
            match scanner.feed(bytes) {
                Found::More => {}
                Found::End(at) if bytes[at..].trim_ascii().is_empty() => {
                    let ended = *ended;
                    let others: Vec<Numbered> = self.ahead.drain(..=count).collect();
                    let rest = others.iter().map(|(_, line)| match line {
                        Line::Whole { bytes, .. } => bytes.as_slice(),
                        Line::TooLong { .. } => &[],
                    });
                    let bytes = on_one_line(std::iter::once(first).chain(rest));
                    return Ok(Some(Line::Whole { bytes, ended }));
                }
                Found::End(_) | Found::Wrong(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    fn read_line(&mut self) -> io::Result<Option<Numbered>> {
        let Some(mut line) = read_line(&mut self.reader, LINE_BYTES_MAX)? else { return Ok(None) };
        self.lines += 1;
        if let Line::Whole { bytes, .. } = &mut line {
            // Concatenated files have marks in the middle.
            let mark = bytes.len() - without_bom(bytes).len();
            bytes.drain(..mark);
        }
        Ok(Some((self.lines, line)))
    }
}

/// Joins the lines of one value, which has line feeds only between its parts.
fn on_one_line<'l>(lines: impl Iterator<Item = &'l [u8]>) -> Vec<u8> {
    let trimmed: Vec<&[u8]> = lines.map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
    trimmed.join(&b' ')
}

fn fill(reader: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match reader.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // Get it again, because the borrow checker does not allow returning it from the loop. It exists.
    reader.fill_buf()
}

fn line_feeds(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

fn broken(what: &str) -> io::Error {
    let remedy = "so its values cannot be separated from here on; fix it, or write one object per line";
    io::Error::new(io::ErrorKind::InvalidData, format!("the file is a JSON array, and {what}, {remedy}"))
}

fn cut_off() -> io::Error {
    let cause = "the file is a JSON array, and ends in the middle of it; it may have been cut off";
    io::Error::new(io::ErrorKind::UnexpectedEof, cause)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::io::BufReader;

    fn read(text: &[u8], capacity: usize) -> (Vec<(u64, String)>, Option<String>) {
        let mut rows = JsonRows::new(BufReader::with_capacity(capacity, text));
        let mut found = Vec::new();
        loop {
            match rows.next() {
                Ok(Some((number, Line::Whole { bytes, .. }))) => {
                    found.push((number, String::from_utf8_lossy(&bytes).into_owned()));
                }
                Ok(Some((number, Line::TooLong { .. }))) => found.push((number, "too long".to_owned())),
                Ok(None) => return (found, None),
                Err(error) => return (found, Some(format!("{}: {error}", rows.line()))),
            }
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[(u64, &str)], error: Option<&str>) {
        for capacity in [3, 5, 64, 4096] {
            let (found, told) = read(text.as_bytes(), capacity);
            let found: Vec<(u64, &str)> = found.iter().map(|(number, text)| (*number, text.as_str())).collect();
            assert_eq!(found, expected, "{text:?} by {capacity}");
            match (error, &told) {
                (None, None) => {}
                (Some(words), Some(told)) => assert!(told.contains(words), "{told}"),
                _ => panic!("{text:?}: {told:?}"),
            }
        }
    }

    #[test]
    fn a_line_is_a_value_whatever_it_holds() {
        check("{\"a\":1}\n\n x \n{\"b\":2}", &[(1, "{\"a\":1}"), (3, " x "), (4, "{\"b\":2}")], None);
        check("\u{feff}{}\n\u{feff}{\"b\":2}\n\u{feff}\n", &[(1, "{}"), (2, "{\"b\":2}")], None);
        check("", &[], None);
        check(" \n\n", &[], None);
    }

    #[test]
    fn objects_go_over_several_lines() {
        let text = "{\n  \"a\": [\n    {\"b\": \"x\"},\n\n    1\n  ]\n}\n{\"c\": 1}\n{\"d\":\r\n2}";
        check(text, &[(1, "{ \"a\": [ {\"b\": \"x\"}, 1 ] }"), (8, "{\"c\": 1}"), (9, "{\"d\": 2}")], None);
        check("{\n\"a\": [\n{\n},\n{\n}\n]\n}", &[(1, "{ \"a\": [ { }, { } ] }")], None);
    }

    #[test]
    fn a_row_that_is_cut_off_costs_no_other() {
        for cut in
            ["{\"a\": 1", "{\"a\": 1,", "{\"a\": \"x", "{\"a\"", "{\"a\":", "{\"a\": [", "{\"a\": [{\"b\": 1},", "{"]
        {
            let text = format!("{cut}\n{{\"b\": 2}}\n{{\"c\": 3}}\nx\n");
            check(&text, &[(1, cut), (2, "{\"b\": 2}"), (3, "{\"c\": 3}"), (4, "x")], None);
        }
    }

    #[test]
    fn an_array_is_read_value_by_value() {
        check("[]", &[], None);
        check("[{\"a\":1},{\"b\":2}]", &[(1, "{\"a\":1}"), (1, "{\"b\":2}")], None);
        check(
            "\u{feff}\n[ {\n\"a\": 1\n} ,\n 7, \"x\" , null ]\n",
            &[(2, "{ \"a\": 1 }"), (5, "7"), (5, "\"x\""), (5, "null")],
            None,
        );
        check("[1]\n{\"a\": 1}\n[2]", &[(1, "1"), (2, "{\"a\": 1}"), (3, "[2]")], None);
    }

    #[test]
    fn an_array_that_is_broken_says_where() {
        let cut = "ends in the middle";
        check("[{\"a\":1},\n{\"b\":", &[(1, "{\"a\":1}")], Some(cut));
        check("[{\"a\":1},", &[(1, "{\"a\":1}")], Some(cut));
        check("[{\"a\":1}\n", &[(1, "{\"a\":1}")], Some(cut));
        check("[", &[], Some(cut));
        check(
            "[{\"a\":1}\n{\"b\":2}]",
            &[(1, "{\"a\":1}")],
            Some("2: the file is a JSON array, and a comma is missing"),
        );
        check(
            "[{\"a\":1},\n{\"b\" 2}]",
            &[(1, "{\"a\":1}")],
            Some("2: the file is a JSON array, and a value in it is not JSON"),
        );
    }

    #[test]
    fn a_value_that_is_too_long_is_skipped_and_counted() {
        let long = format!("[\"{}\", {{\"a\": 1}}]", "x".repeat(LINE_BYTES_MAX));
        assert_eq!(read(long.as_bytes(), 4096).0, [(1, "too long".to_owned()), (1, "{\"a\": 1}".to_owned())]);
    }

    proptest! {
        #[test]
        fn the_same_values_come_in_every_form(
            texts in prop::collection::vec("[\\PC\"\\\\\n\\[\\]{},: ]{0,9}", 1..6), capacity in 3usize..200,
        ) {
            let values: Vec<Value> = texts.iter().map(|text| json!({"a": [text, {"b": text}], "c": 1.5})).collect();
            let lines = |show: fn(&Value) -> String| values.iter().map(show).collect::<Vec<_>>().join("\n");
            let forms = [
                lines(|value| value.to_string()),
                lines(|value| serde_json::to_string_pretty(value).unwrap()),
                serde_json::to_string(&values).unwrap(),
                serde_json::to_string_pretty(&values).unwrap(),
            ];
            for form in forms {
                let (found, error) = read(form.as_bytes(), capacity);
                let found: Vec<Value> = found.iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
                prop_assert_eq!((found, error), (values.clone(), None), "{}", form);
            }
        }

        #[test]
        fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200), capacity in 3usize..64) {
            _ = read(&bytes, capacity);
        }
    }
}
