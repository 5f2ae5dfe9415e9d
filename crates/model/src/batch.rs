//! Packed tokens: many sequences end to end, without padding.

use crate::{Error, Result};

/// `ids[ΣL]` plus where each sequence starts. Built only by [`Batch::pack`], so the offsets always fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    ids: Vec<u32>,
    cu_seqlens: Vec<u32>,
}

/// A batch with every sequence padded to the longest: row-major `[rows, length]`, for graphs that take a mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Padded {
    /// Token ids; 0 in the padding, which the mask hides.
    pub input_ids: Vec<i64>,
    /// 1 for a token, 0 for padding.
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

    /// The given rows, padded to the longest of them.
    pub fn padded(&self, rows: &[usize]) -> Padded {
        let length = rows.iter().map(|&row| self.sequence(row).len()).max().unwrap_or(0);
        let mut input_ids = vec![0; rows.len() * length];
        let mut attention_mask = vec![0; rows.len() * length];
        for (place, &row) in rows.iter().enumerate() {
            for (column, &id) in self.sequence(row).iter().enumerate() {
                input_ids[place * length + column] = i64::from(id);
                attention_mask[place * length + column] = 1;
            }
        }
        Padded { input_ids, attention_mask, rows: rows.len(), length }
    }
}
