//! Rows → token ids and, if present, labels.

use crate::args::Format;
use crate::error::{CliError, Result};
use crate::eval::read_labels;
use crate::rows::{Row, RowError, RowReader, kind_of, value_of};
use grice_core::{Detector, PerMaxim};
use serde_json::Value;
use std::path::Path;

const IDS_EXPECTED: &str = "a list of token ids, at least one and at most the model's limit";

/// Turns a row into token ids.
pub(crate) enum Encoder {
    /// A bundle's template and tokenizer.
    Detector(Box<Detector>),
    /// None: the rows have token ids.
    IdsOnly,
}

/// Rows as token ids.
#[derive(Debug, PartialEq)]
pub(crate) struct Samples {
    /// Token ids of each row.
    pub(crate) ids: Vec<Vec<u32>>,
    /// The violated maxims of each row; either all rows have labels, or none.
    pub(crate) labels: Option<Vec<PerMaxim<bool>>>,
}

/// Reads a file of rows, at most `count_max` of them, spread evenly over the file.
///
/// # Errors
/// [`CliError::BadSample`] with the line, [`CliError::NoTokenizer`], [`CliError::NoRows`].
pub(crate) fn read_samples(path: &Path, encoder: &Encoder, count_max: Option<usize>) -> Result<Samples> {
    let mut reader = RowReader::open(path, Format::of(path).unwrap_or(Format::Jsonl), None)?;
    let mut rows = Spread::new(count_max.unwrap_or(usize::MAX));
    while let Some(row) = reader.next()? {
        rows.push(row);
    }
    let (mut ids, mut labels) = (Vec::new(), Vec::new());
    for raw in rows.finish() {
        let row = reader.parse(raw);
        let line = row.line;
        let bad = |cause: RowError| CliError::BadSample { place: reader.place().to_owned(), line, cause };
        // The first row decides whether there are labels.
        let labelled = if ids.is_empty() { row.fields.json("labels").is_some() } else { !labels.is_empty() };
        if labelled {
            labels.push(read_labels(&row.fields).map_err(bad)?.violated);
        }
        match encode(row, encoder) {
            Ok(Some(row)) => ids.push(row),
            Ok(None) => return Err(CliError::NoTokenizer { place: reader.place().to_owned(), line }),
            Err(cause) => return Err(bad(cause)),
        }
    }
    if ids.is_empty() {
        return Err(CliError::NoSamples(reader.place().to_owned()));
    }
    Ok(Samples { ids, labels: (!labels.is_empty()).then_some(labels) })
}

/// Token ids of a row; `None` for text without a tokenizer.
fn encode(row: Row, encoder: &Encoder) -> Result<Option<Vec<u32>>, RowError> {
    let tokens_max = match encoder {
        Encoder::Detector(detector) => detector.manifest().max_tokens,
        Encoder::IdsOnly => usize::MAX,
    };
    if let Some(value) = value_of(&row.fields, "input_ids")? {
        return read_ids(&value, tokens_max).map(Some);
    }
    match (encoder, row.turn) {
        (Encoder::Detector(detector), turn) => Ok(Some(detector.encode(&turn?)?.ids)),
        // An invalid row is reported before a missing field.
        (Encoder::IdsOnly, Err(cause)) if !matches!(cause, RowError::MissingField(_)) => Err(cause),
        (Encoder::IdsOnly, _) => Ok(None),
    }
}

fn read_ids(value: &Value, tokens_max: usize) -> Result<Vec<u32>, RowError> {
    let wrong = |found: String| RowError::FieldType { field: "input_ids".to_owned(), expected: IDS_EXPECTED, found };
    let Value::Array(values) = value else { return Err(wrong(kind_of(value).to_owned())) };
    if values.is_empty() || values.len() > tokens_max {
        return Err(wrong(format!("{} of them", values.len())));
    }
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = values.iter().map(|value| id(value).ok_or_else(|| wrong(format!("{value} among them"))));
    ids.collect()
}

/// Keeps a limited number of items, evenly spread, without knowing the total.
struct Spread<T> {
    kept: Vec<T>,
    count_max: usize,
    /// The distance between kept items.
    stride: usize,
    seen: usize,
}

impl<T> Spread<T> {
    fn new(count_max: usize) -> Spread<T> {
        Spread { kept: Vec::new(), count_max, stride: 1, seen: 0 }
    }

    fn push(&mut self, item: T) {
        if self.seen.is_multiple_of(self.stride) {
            self.kept.push(item);
            if self.kept.len() == self.count_max.saturating_mul(2) {
                let mut place = 0..;
                self.kept.retain(|_| place.next().is_some_and(|place: usize| place.is_multiple_of(2)));
                self.stride *= 2;
            }
        }
        self.seen += 1;
    }

    fn finish(self) -> Vec<T> {
        let (all, few) = (self.kept.len(), self.count_max);
        if all <= few {
            return self.kept;
        }
        // The first item at or after each of `few` even steps.
        let chosen = |place: usize| place * few / all != (place + 1) * few / all;
        self.kept.into_iter().enumerate().filter(|(place, _)| chosen(*place)).map(|(_, item)| item).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn samples_are_spread_over_everything(count in 0usize..3000, count_max in 1usize..700) {
            let mut spread = Spread::new(count_max);
            (0..count).for_each(|item| spread.push(item));
            let kept = spread.finish();
            prop_assert_eq!(kept.len(), count.min(count_max));
            let gap_max = 3 * count.div_ceil(count_max);
            let gaps = kept.windows(2).map(|pair| pair[1] - pair[0]);
            prop_assert!(gaps.chain(kept.first().copied()).all(|gap| gap <= gap_max));
            prop_assert!(kept.last().is_none_or(|last| count - last <= gap_max));
            prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    fn ids(json: &str) -> Result<Vec<u32>, String> {
        read_ids(&serde_json::from_str(json).unwrap(), 3).map_err(|error| error.to_string())
    }

    #[test]
    fn ids_are_whole_numbers_and_some() {
        assert_eq!(ids("[0, 7, 4294967295]").unwrap(), [0, 7, u32::MAX]);
        for (json, words) in [
            ("[]", "0 of them"),
            ("[1,2,3,4]", "4 of them"),
            ("[1,-2]", "-2 among them"),
            ("[1.5]", "1.5 among them"),
            ("[4294967296]", "4294967296 among them"),
            ("\"1 2\"", "found text"),
        ] {
            let told = ids(json).unwrap_err();
            assert!(told.contains(words) && told.contains("`input_ids`"), "{told}");
        }
    }
}
