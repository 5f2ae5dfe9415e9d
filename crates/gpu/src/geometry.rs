//! What of a batch the dispatches depend on: how many tokens, and where the sequences are.

use grice_model::Extent;

/// Queries that a workgroup of `attention` takes.
pub(crate) const BLOCK_QUERIES: usize = 32;

/// The sequences of a part of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// In all of them.
    pub(crate) tokens: usize,
    /// Where each starts.
    pub(crate) starts: Vec<u32>,
    /// First token, length, first query and row of the first query: of every block of every sequence, where all tokens ask;
    /// then one of every sequence, where only its first token does.
    pub(crate) blocks: Vec<[u32; 4]>,
    /// Pairs of a query and a key, where all tokens ask.
    pub(crate) pairs: u64,
}

impl Geometry {
    /// Its sizes.
    pub(crate) fn extent(&self) -> Extent {
        Extent { tokens: self.tokens, sequences: self.rows(), pairs: self.pairs, source_pairs: 0 }
    }

    /// Of sequences by their offsets, `[rows + 1]`, the first of them 0.
    pub(crate) fn new(cu_seqlens: &[u32]) -> Geometry {
        let sequences = || cu_seqlens.windows(2).map(|pair| (pair[0], pair[1] - pair[0]));
        let mut blocks = Vec::new();
        for (start, length) in sequences() {
            blocks.extend((0..length).step_by(BLOCK_QUERIES).map(|query| [start, length, query, start]));
        }
        blocks.extend((0..).zip(sequences()).map(|(row, (start, length))| [start, length, 0, row]));
        Geometry {
            tokens: cu_seqlens.last().map_or(0, |&end| end as usize),
            starts: sequences().map(|(start, _)| start).collect(),
            blocks,
            pairs: sequences().map(|(_, length)| u64::from(length).pow(2)).sum(),
        }
    }

    /// How many sequences.
    pub(crate) fn rows(&self) -> usize {
        self.starts.len()
    }

    /// How many blocks there are where all tokens ask.
    pub(crate) fn query_blocks(&self) -> usize {
        self.blocks.len() - self.rows()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_every_query_once() {
        let geometry = Geometry::new(&[0, 1, 33, 98, 610]);
        assert_eq!((geometry.tokens, geometry.rows(), geometry.query_blocks()), (610, 4, 1 + 1 + 3 + 16));
        let mut asked = vec![0; geometry.tokens];
        for &[start, length, first, row] in &geometry.blocks[..geometry.query_blocks()] {
            assert_eq!(start, row);
            for query in first..length.min(first + BLOCK_QUERIES as u32) {
                asked[(row + query) as usize] += 1;
            }
        }
        assert!(asked.iter().all(|&times| times == 1), "{asked:?}");
        assert_eq!(geometry.blocks[21..], [[0, 1, 0, 0], [1, 32, 0, 1], [33, 65, 0, 2], [98, 512, 0, 3]]);
        assert_eq!(geometry.pairs, 1 + 32 * 32 + 65 * 65 + 512 * 512);
    }
}
