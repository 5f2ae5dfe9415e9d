//! The embedding of a fused program, made ready: token ids in, what the first layer reads out. Every engine gathers words on
//! the processor, since their table is larger than what many devices bind at once.

use crate::{Embedding, EngineError, Matrix, Positions, Values};
use grice_kernels::{EmbeddingTable, Kernels, LayerNorm, ShapeError, Table};
use std::sync::Arc;

/// The tables of an embedding.
pub struct Lookup {
    words: EmbeddingTable,
    positions: Option<PositionRows>,
    constant: Option<Vec<f32>>,
    norm: Option<LayerNorm>,
    /// The longest sequence that layers take, where that is bounded.
    tokens_max: Option<usize>,
}

/// The table of positions, and which of its rows a token takes.
struct PositionRows {
    table: EmbeddingTable,
    /// The lowest row that any token takes.
    first: usize,
    /// The longest sequence.
    tokens_max: usize,
    uncounted: Option<u32>,
}

impl Lookup {
    /// Takes over the tables, which are copied only if somebody else holds them.
    ///
    /// # Errors
    /// Tables of other sizes than they say.
    pub fn new(embedding: Embedding) -> Result<Lookup, ShapeError> {
        let Embedding { words, positions, constant, norm, .. } = embedding;
        Ok(Lookup { words: table(words)?, positions: position_rows(positions)?, constant, norm, tokens_max: None })
    }

    /// The same with a table of words that is made already.
    ///
    /// # Errors
    /// As [`Lookup::new`].
    pub fn with_words(
        words: EmbeddingTable,
        positions: Option<Positions>,
        constant: Option<Vec<f32>>,
        norm: Option<LayerNorm>,
    ) -> Result<Lookup, ShapeError> {
        Ok(Lookup { words, positions: position_rows(positions)?, constant, norm, tokens_max: None })
    }

    /// The same for sequences of at most so many tokens, beside what its own positions bound.
    pub fn up_to(self, tokens_max: Option<usize>) -> Lookup {
        Lookup { tokens_max, ..self }
    }

    /// The norm that follows the sum, where there is one.
    pub fn norm(&self) -> Option<&LayerNorm> {
        self.norm.as_ref()
    }

    /// The rows of words.
    pub fn words(&self) -> &EmbeddingTable {
        &self.words
    }

    /// Columns of a row.
    pub fn columns(&self) -> usize {
        self.words.columns()
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        self.words.bytes() + self.positions.as_ref().map_or(0, |positions| positions.table.bytes())
    }

    /// Says whether every sequence fits the positions and every id the words.
    ///
    /// # Errors
    /// [`EngineError::Positions`] or [`EngineError::TokenId`].
    pub fn check(&self, batch: &crate::Batch) -> Result<(), EngineError> {
        self.check_ids(batch.ids())?;
        let Some(positions) = self.longest() else { return Ok(()) };
        match (0..batch.rows()).map(|row| batch.sequence(row).len()).max() {
            Some(tokens) if tokens > positions => Err(EngineError::Positions { tokens, positions }),
            _ => Ok(()),
        }
    }

    /// The longest sequence, where that is bounded.
    pub fn longest(&self) -> Option<usize> {
        let rows = self.positions.as_ref().map(|positions| positions.tokens_max);
        rows.into_iter().chain(self.tokens_max).min()
    }

    /// Says whether every id has a row of words.
    ///
    /// # Errors
    /// [`EngineError::TokenId`].
    pub fn check_ids(&self, ids: &[u32]) -> Result<(), EngineError> {
        let rows = self.words.rows();
        match ids.iter().find(|&&id| id as usize >= rows) {
            Some(&id) => Err(EngineError::TokenId { id, rows }),
            None => Ok(()),
        }
    }

    /// Which row each token takes of the position table, counted from the lowest that any token takes; none where there is no table.
    /// `cu_seqlens` as in [`Batch::cu_seqlens`](crate::Batch::cu_seqlens); `starts` are the positions of the sequences' first tokens, none
    /// where all are 0.
    pub fn places(&self, ids: &[u32], cu_seqlens: &[u32], starts: &[u32]) -> Vec<u32> {
        let Some(positions) = &self.positions else { return Vec::new() };
        let mut places = Vec::with_capacity(ids.len());
        for (sequence, ends) in cu_seqlens.windows(2).enumerate() {
            let start = starts.get(sequence).copied().unwrap_or(0);
            match positions.uncounted {
                None => places.extend(start..start + ends[1] - ends[0]),
                Some(uncounted) => {
                    let mut counted = 0;
                    places.extend(ids[ends[0] as usize..ends[1] as usize].iter().map(|&id| {
                        let is_counted = u32::from(id != uncounted);
                        counted += is_counted;
                        counted * is_counted
                    }));
                }
            }
        }
        places
    }

    /// Sums of rows, `[tokens, columns]`, before the norm. `cu_seqlens` and `starts` as in [`Lookup::places`].
    ///
    /// # Errors
    /// An id or position beyond its table, or `out` of another length.
    pub fn gather(
        &self,
        kernels: &Kernels,
        ids: &[u32],
        cu_seqlens: &[u32],
        starts: &[u32],
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let mut positions = self.places(ids, cu_seqlens, starts);
        let first = self.positions.as_ref().map_or(0, |positions| positions.first as u32);
        positions.iter_mut().for_each(|place| *place += first);
        let rows = grice_kernels::Embedding {
            words: &self.words,
            positions: self.positions.as_ref().map(|positions| &positions.table),
            constant: self.constant.as_deref(),
        };
        kernels.embed(ids, &positions, &rows, out)
    }
}

fn position_rows(positions: Option<Positions>) -> Result<Option<PositionRows>, ShapeError> {
    let rows = |positions: Positions| {
        let (first, tokens_max, uncounted) = (positions.first_row(), positions.tokens_max(), positions.uncounted);
        Ok(PositionRows { table: table(positions.table)?, first, tokens_max, uncounted })
    };
    positions.map(rows).transpose()
}

fn table(matrix: Arc<Matrix>) -> Result<EmbeddingTable, ShapeError> {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    if let Values::Int8Columns { .. } | Values::Int8Shifted { .. } | Values::Int4Groups { .. } = matrix.values() {
        return EmbeddingTable::new(rows, columns, Table::F32(matrix.to_f32()));
    }
    let table = match Arc::unwrap_or_clone(matrix).into_values() {
        Values::F32(values) => Table::F32(values),
        Values::F16(values) => Table::F16(values),
        Values::Int8Rows { values, scales } => Table::Int8 { values, scales },
        other => Table::F32(Matrix::new(rows, columns, other).map_or(Vec::new(), |matrix| matrix.to_f32())),
    };
    EmbeddingTable::new(rows, columns, table)
}
