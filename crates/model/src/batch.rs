//! Packed tokens: many sequences end to end, without padding.

use crate::{Error, Result};
use std::ops::Range;

/// Set on the id of a token that its caller masked out. Only graphs that do not hide padding get such ids: their answers
/// depend on how much padding there is.
pub const MASKED: u32 = 1 << 31;

/// `ids[ΣL]` plus where each sequence starts. Built only by [`Batch::pack`], so the offsets always fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    ids: Vec<u32>,
    cu_seqlens: Vec<u32>,
}

/// The sizes of axes that are not dynamic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FixedAxes {
    /// Rows of every batch.
    pub batch: Option<usize>,
    /// Tokens of every row, padding included.
    pub sequence: Option<usize>,
}

/// A batch with every sequence padded to the longest: row-major `[rows, length]`, for graphs that take a mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Padded {
    /// Token ids; 0 in the padding that fills up a row.
    pub input_ids: Vec<i64>,
    /// 1 for a token, 0 for padding and for a token that is [`MASKED`].
    pub attention_mask: Vec<i64>,
    /// How many sequences.
    pub rows: usize,
    /// Tokens in the longest sequence.
    pub length: usize,
}

impl Batch {
    /// Packs sequences end to end.
    ///
    /// # Errors
    /// [`Error::EmptyBatch`] without a sequence or with an empty one, [`Error::BatchTokens`] beyond `u32` offsets.
    pub fn pack<S: AsRef<[u32]>>(sequences: &[S]) -> Result<Batch> {
        let tokens: usize = sequences.iter().map(|sequence| sequence.as_ref().len()).sum();
        if sequences.is_empty() || sequences.iter().any(|sequence| sequence.as_ref().is_empty()) {
            return Err(Error::EmptyBatch);
        }
        if u32::try_from(tokens).is_err() {
            return Err(Error::BatchTokens(tokens));
        }
        let mut ids = Vec::with_capacity(tokens);
        let mut cu_seqlens = Vec::with_capacity(sequences.len() + 1);
        cu_seqlens.push(0);
        for sequence in sequences {
            ids.extend_from_slice(sequence.as_ref());
            cu_seqlens.push(ids.len() as u32);
        }
        Ok(Batch { ids, cu_seqlens })
    }

    /// Packs sequences that are end to end already, with their lengths.
    ///
    /// # Errors
    /// As [`Batch::pack`]; [`Error::Lengths`] for lengths that do not add up to the ids.
    pub fn of_lengths(ids: &[u32], lengths: &[u32]) -> Result<Batch> {
        let (mut rest, mut sequences) = (ids, Vec::with_capacity(lengths.len()));
        for &length in lengths {
            let cut = rest.split_at_checked(length as usize);
            let (sequence, after) = cut
                .ok_or_else(|| Error::Lengths(format!("`lengths` need more tokens than the {} of `ids`", ids.len())))?;
            sequences.push(sequence);
            rest = after;
        }
        match rest.len() {
            0 => Batch::pack(&sequences),
            more => Err(Error::Lengths(format!(
                "{more} of `ids` belong to no sequence: the sum of `lengths` is not {}",
                ids.len()
            ))),
        }
    }

    /// How many sequences.
    pub fn rows(&self) -> usize {
        self.cu_seqlens.len() - 1
    }

    /// How many tokens in all, ΣL.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The packed ids, `[ΣL]`.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Cumulative sequence lengths, `[rows + 1]`, the first of them 0.
    pub fn cu_seqlens(&self) -> &[u32] {
        &self.cu_seqlens
    }

    /// The ids of one sequence. Panics if `row` is not below [`Batch::rows`].
    pub fn sequence(&self, row: usize) -> &[u32] {
        &self.ids[self.cu_seqlens[row] as usize..self.cu_seqlens[row + 1] as usize]
    }

    /// Ranges of rows with up to `tokens_max` tokens each, or of one row with more.
    pub fn split(&self, tokens_max: usize) -> Vec<Range<usize>> {
        let mut parts: Vec<Range<usize>> = Vec::new();
        let mut tokens = 0;
        for row in 0..self.rows() {
            let length = self.sequence(row).len();
            match parts.last_mut() {
                Some(part) if tokens + length <= tokens_max => {
                    part.end = row + 1;
                    tokens += length;
                }
                _ => {
                    parts.push(row..row + 1);
                    tokens = length;
                }
            }
        }
        parts
    }

    /// Ids of a range of rows, and their offsets from its first token, `[rows.len() + 1]`. Panics if `rows` is empty or ends
    /// beyond [`Batch::rows`].
    pub fn part(&self, rows: Range<usize>) -> (&[u32], Vec<u32>) {
        let offsets = &self.cu_seqlens[rows.start..=rows.end];
        let start = offsets[0];
        let ids = &self.ids[start as usize..offsets[rows.len()] as usize];
        (ids, offsets.iter().map(|offset| offset - start).collect())
    }

    /// Some of its rows as a batch. Panics if `rows` is empty or ends beyond [`Batch::rows`].
    pub fn slice(&self, rows: Range<usize>) -> Batch {
        let (ids, cu_seqlens) = self.part(rows);
        Batch { ids: ids.to_vec(), cu_seqlens }
    }

    /// The given rows, padded to the longest of them, or to the sizes that a graph's axes are fixed to: rows that are missing are the
    /// first one again. Panics if `rows` are more, or longer, than the sizes.
    pub fn padded(&self, rows: &[usize], axes: FixedAxes) -> Padded {
        let longest = rows.iter().map(|&row| self.sequence(row).len()).max().unwrap_or(0);
        let (count, length) = (axes.batch.unwrap_or(rows.len()), axes.sequence.unwrap_or(longest));
        let mut input_ids = vec![0; count * length];
        let mut attention_mask = vec![0; count * length];
        let rows = rows.iter().chain(std::iter::repeat_n(&rows[0], count.saturating_sub(rows.len())));
        for (place, &row) in rows.enumerate() {
            for (column, &id) in self.sequence(row).iter().enumerate() {
                input_ids[place * length + column] = i64::from(id & !MASKED);
                attention_mask[place * length + column] = i64::from(id & MASKED == 0);
            }
        }
        Padded { input_ids, attention_mask, rows: count, length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lengths: &[usize], tokens_max: usize, expected: &[Range<usize>]) {
        let sequences: Vec<Vec<u32>> = lengths.iter().map(|&length| (0..length as u32).collect()).collect();
        let batch = Batch::pack(&sequences).unwrap();
        let parts = batch.split(tokens_max);
        assert_eq!(parts, expected, "{lengths:?} by {tokens_max}");
        for rows in parts {
            let (ids, offsets) = batch.part(rows.clone());
            assert_eq!(batch.slice(rows.clone()), Batch::pack(&sequences[rows.clone()]).unwrap());
            assert_eq!((offsets[0], offsets.len()), (0, rows.len() + 1));
            for (pair, row) in offsets.windows(2).zip(rows) {
                assert_eq!(&ids[pair[0] as usize..pair[1] as usize], batch.sequence(row));
            }
        }
    }

    #[test]
    fn tokens_that_a_caller_masked_keep_their_ids() {
        let batch = Batch::pack(&[vec![7, 8, 5 | MASKED], vec![9]]).unwrap();
        let padded = batch.padded(&[0, 1], FixedAxes::default());
        assert_eq!(padded.input_ids, [7, 8, 5, 9, 0, 0]);
        assert_eq!(padded.attention_mask, [1, 1, 0, 1, 0, 0]);
    }

    #[test]
    fn parts_hold_every_row_once_and_up_to_so_many_tokens() {
        check(&[1], 8, std::slice::from_ref(&(0..1)));
        check(&[3, 5, 1, 8, 2], 8, &[0..2, 2..3, 3..4, 4..5]);
        check(&[3, 20, 1], 8, &[0..1, 1..2, 2..3]);
        check(&[2, 2, 2], 1, &[0..1, 1..2, 2..3]);
    }
}
