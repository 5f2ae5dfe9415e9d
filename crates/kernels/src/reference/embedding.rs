//! Embeddings.

use crate::{Embedding, EmbeddingTable, Table};

/// A row a token: that of its id, plus that of its position, plus the constant one, added in this order.
pub fn embed(ids: &[u32], positions: &[u32], embedding: &Embedding<'_>) -> Vec<f32> {
    let mut out = Vec::new();
    for (token, &id) in ids.iter().enumerate() {
        for column in 0..embedding.words.columns() {
            let mut x = number(embedding.words, id, column);
            if let Some(table) = embedding.positions {
                x += number(table, positions[token], column);
            }
            if let Some(row) = embedding.constant {
                x += row[column];
            }
            out.push(x);
        }
    }
    out
}

fn number(table: &EmbeddingTable, row: u32, column: usize) -> f32 {
    let at = row as usize * table.columns() + column;
    match table.table() {
        Table::Int8 { values, scales } => f32::from(values[at]) * scales[row as usize],
        Table::F32(values) => values[at],
        Table::F16(bits) => half::f16::from_bits(bits[at]).to_f32(),
        // The order of packed weights is known in one place only; tests compare with a table of rows.
        Table::Columns(weights) => {
            let mut numbers = vec![0.0; table.columns()];
            weights.read_column(row as usize, &mut numbers);
            numbers[column]
        }
    }
}
