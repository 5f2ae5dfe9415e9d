//! Values of options, and their syntax.

use clap::ValueEnum;
use grice_core::{Maxim, THRESHOLD_EXPECTED, is_threshold};
use std::num::NonZeroUsize;
use std::path::Path;
use std::str::FromStr;

/// Format of a file of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Auto,
    #[value(alias = "json", alias = "ndjson")]
    Jsonl,
    Csv,
    Tsv,
}

impl Format {
    /// The format by the file's extension, if that is known.
    pub(crate) fn of(path: &Path) -> Option<Format> {
        match path.extension()?.to_string_lossy().to_lowercase().as_str() {
            "jsonl" | "ndjson" | "json" => Some(Format::Jsonl),
            "csv" => Some(Format::Csv),
            "tsv" | "tab" => Some(Format::Tsv),
            _ => None,
        }
    }
}

/// The delimiter of a CSV file: `;` or `tab`, for example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delimiter(pub(crate) u8);

impl FromStr for Delimiter {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.as_bytes() {
            b"tab" | b"\\t" => Ok(Delimiter(b'\t')),
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r' | 0) => Ok(Delimiter(*byte)),
            _ => Err("it must be one character, such as `;`, or `tab`".to_owned()),
        }
    }
}

/// Rows and tokens of a batch, as in `8x128`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// At least 1.
    pub(crate) rows: usize,
    /// At least 1.
    pub(crate) tokens: usize,
}

/// Limit of tokens in one batch, against typing errors.
pub(crate) const SHAPE_TOKENS_MAX: usize = 1 << 20;

impl Shape {
    /// Of each sequence.
    pub(crate) fn lengths(self) -> Vec<usize> {
        vec![self.tokens; self.rows]
    }
}

impl FromStr for Shape {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = |(rows, tokens): (&str, &str)| -> Option<(usize, usize)> {
            Some((rows.parse().ok()?, tokens.parse().ok()?))
        };
        match text.split_once('x').and_then(numbers) {
            Some((rows @ 1.., tokens @ 1..)) if rows.saturating_mul(tokens) <= SHAPE_TOKENS_MAX => {
                Ok(Shape { rows, tokens })
            }
            Some(_) => Err(format!("it must have from 1 to {SHAPE_TOKENS_MAX} tokens in total")),
            None => Err("write it as 8x128, rows and tokens".to_owned()),
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.rows, self.tokens)
    }
}

/// One maxim's threshold, as in `quantity=0.6`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Threshold {
    /// Which maxim.
    pub(crate) maxim: Maxim,
    /// From 0 to 1.
    pub(crate) value: f32,
}

impl FromStr for Threshold {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("write it as quantity=0.6")?;
        let maxim = Maxim::ALL.into_iter().find(|maxim| maxim.name() == name.trim());
        let maxim = maxim.ok_or_else(|| format!("`{name}` is not one of quantity, quality, relation and manner"))?;
        match value.trim().parse::<f32>() {
            Ok(value) if is_threshold(value) => Ok(Threshold { maxim, value }),
            _ => Err(format!("`{value}` is not {THRESHOLD_EXPECTED}")),
        }
    }
}

/// Which part of the rows: the `index`-th of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// From 1 to `count`.
    index: usize,
    count: usize,
}

impl Shard {
    /// All rows.
    pub(crate) const WHOLE: Shard = Shard { index: 1, count: 1 };

    /// Whether the row with this number, counted from 0, belongs to it.
    pub(crate) fn holds(self, row: usize) -> bool {
        row % self.count == self.index - 1
    }
}

impl FromStr for Shard {
    type Err = String;
    /// `2/3`, or `1+1/3` for workers that are counted from 0.
    fn from_str(text: &str) -> Result<Self, String> {
        let index = |text: &str| match text.strip_suffix("+1") {
            Some(from_zero) => from_zero.parse::<usize>().ok()?.checked_add(1),
            None => text.parse().ok(),
        };
        let parsed = text.split_once('/').and_then(|(i, n)| Some((index(i)?, n.parse().ok()?)));
        match parsed {
            Some((index, count)) if index >= 1 && index <= count => Ok(Shard { index, count }),
            _ => Err("write it as 2/3, from 1/3 to 3/3; or as 1+1/3, from 0+1/3 to 2+1/3".to_owned()),
        }
    }
}

pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("it must be a number from 0 to 1".to_owned()),
    }
}

pub(super) fn parse_bound(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(bound) if (0.0..f64::INFINITY).contains(&bound) => Ok(bound),
        _ => Err("it must be a number, 0 or more".to_owned()),
    }
}

pub(super) fn parse_price(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(price) if price > 0.0 && price < f64::INFINITY => Ok(price),
        _ => Err("it must be a number above 0".to_owned()),
    }
}

/// Replaces the standard library's message, which names Rust types.
pub(super) fn parse_count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "it must be a whole number, at least 1".to_owned())
}

/// Limit of threads; far more threads than cores would only exhaust the memory.
pub(crate) const THREADS_MAX: usize = 1024;

pub(super) fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads) if (1..=THREADS_MAX).contains(&threads) => Ok(threads),
        _ => Err(format!("it must be a number from 1 to {THREADS_MAX}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_parsed_and_cover_each_row_once() {
        for bad in ["", "1", "0/3", "4/3", "a/b", "1/0", "-1/2", "1/2/3", "3+1/3", "0+2/3", "+1/3", "1++1/3"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
        let shards: Vec<Shard> = ["1/3", "2/3", "3/3"].iter().map(|text| text.parse().unwrap()).collect();
        let from_zero: Vec<Shard> = ["0+1/3", "1+1/3", "2+1/3"].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(from_zero, shards);
        for row in 0..100 {
            assert_eq!(shards.iter().filter(|shard| shard.holds(row)).count(), 1);
        }
    }

    #[test]
    fn delimiters_are_single_characters() {
        for (text, byte) in [(";", b';'), (",", b','), ("|", b'|'), ("tab", b'\t'), ("\\t", b'\t'), ("\t", b'\t')] {
            assert_eq!(text.parse(), Ok(Delimiter(byte)));
        }
        for bad in ["", "\"", "\n", ";;", "é", "space"] {
            assert!(bad.parse::<Delimiter>().is_err(), "{bad}");
        }
    }

    #[test]
    fn shapes_have_rows_and_tokens() {
        assert_eq!("8x128".parse(), Ok(Shape { rows: 8, tokens: 128 }));
        assert_eq!(Shape { rows: 8, tokens: 128 }.to_string(), "8x128");
        for bad in ["", "8", "x", "0x8", "8x0", "8X128", "-1x2", "2x99999999", "99999999999999999999x1"] {
            assert!(bad.parse::<Shape>().is_err(), "{bad}");
        }
    }

    #[test]
    fn thresholds_name_a_maxim_and_are_numbers_from_0_to_1() {
        let parsed: Threshold = "manner=0.25".parse().unwrap();
        assert_eq!(parsed, Threshold { maxim: Maxim::Manner, value: 0.25 });
        for (text, value) in [("manner=0", 0.0), ("manner=1", 1.0)] {
            assert_eq!(text.parse(), Ok(Threshold { maxim: Maxim::Manner, value }));
        }
        for bad in
            ["manner", "manners=0.5", "manner=-0.1", "manner=1.001", "manner=NaN", "manner=inf", "=0.5", "manner="]
        {
            assert!(bad.parse::<Threshold>().is_err(), "{bad}");
        }
    }
}
