//! The embedding of a fused program, made ready: token ids in, what the first layer reads out. Every engine gathers words on
//! the processor, since their table is larger than what many devices bind at once.

use crate::{Embedding, EngineError, Matrix, Values};
use grice_kernels::{EmbeddingTable, Kernels, LayerNorm, ShapeError, Table};
use std::sync::Arc;

/// The tables of an embedding.
pub struct Lookup {
    words: EmbeddingTable,
    /// The table, and how many positions it has.
    positions: Option<(EmbeddingTable, usize)>,
    /// The table's row of the first token.
    offset: usize,
    constant: Option<Vec<f32>>,
    norm: LayerNorm,
}

impl Lookup {
    /// Takes over the tables, which are copied only if somebody else holds them.
    ///
    /// # Errors
    /// Tables of other sizes than they say.
    pub fn new(embedding: Embedding) -> Result<Lookup, ShapeError> {
        let (positions, offset) = match embedding.positions {
            None => (None, 0),
            Some(positions) => {
                let count = positions.table.rows().saturating_sub(positions.offset);
                (Some((table(positions.table)?, count)), positions.offset)
            }
        };
        let words = table(embedding.words)?;
        Ok(Lookup { words, positions, offset, constant: embedding.constant, norm: embedding.norm })
    }

    /// The norm that follows the sum.
    pub fn norm(&self) -> &LayerNorm {
        &self.norm
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
        self.words.bytes() + self.positions.as_ref().map_or(0, |(table, _)| table.bytes())
    }

    /// Says whether every sequence fits the positions and every id the words.
    ///
    /// # Errors
    /// [`EngineError::Positions`] or [`EngineError::TokenId`].
    pub fn check(&self, batch: &crate::Batch) -> Result<(), EngineError> {
        let rows = self.words.rows();
        if let Some(&id) = batch.ids().iter().find(|&&id| id as usize >= rows) {
            return Err(EngineError::TokenId { id, rows });
        }
        let Some((_, positions)) = self.positions else { return Ok(()) };
        match (0..batch.rows()).map(|row| batch.sequence(row).len()).max() {
            Some(tokens) if tokens > positions => Err(EngineError::Positions { tokens, positions }),
            _ => Ok(()),
        }
    }

    /// Sums of rows, `[tokens, columns]`, before the norm. `cu_seqlens` as in [`Batch::cu_seqlens`](crate::Batch::cu_seqlens).
    ///
    /// # Errors
    /// An id or position beyond its table, or `out` of another length.
    pub fn gather(
        &self,
        kernels: &Kernels,
        ids: &[u32],
        cu_seqlens: &[u32],
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let lengths = cu_seqlens.windows(2).map(|pair| pair[1] - pair[0]);
        let first = self.offset as u32;
        let positions: Vec<u32> = lengths.flat_map(|length| first..first + length).collect();
        let rows = grice_kernels::Embedding {
            words: &self.words,
            positions: self.positions.as_ref().map(|(table, _)| table),
            constant: self.constant.as_deref(),
        };
        kernels.embed(ids, &positions, &rows, out)
    }
}

fn table(matrix: Arc<Matrix>) -> Result<EmbeddingTable, ShapeError> {
    let (rows, columns) = (matrix.rows(), matrix.columns());
    if let Values::Int8Shifted { .. } = matrix.values() {
        return EmbeddingTable::new(rows, columns, Table::F32(matrix.to_f32()));
    }
    let table = match Arc::unwrap_or_clone(matrix).into_values() {
        Values::F32(values) => Table::F32(values),
        Values::F16(values) => Table::F16(values),
        Values::Int8Rows { values, scales } => Table::Int8 { values, scales },
        Values::Int8Columns { values, scales } | Values::Int8Shifted { values, scales, .. } => {
            let values = values.chunks_exact(columns);
            let values = values.flat_map(|row| row.iter().zip(&scales).map(|(&value, scale)| f32::from(value) * scale));
            Table::F32(values.collect())
        }
    };
    EmbeddingTable::new(rows, columns, table)
}
