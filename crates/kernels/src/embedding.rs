//! Rows of embedding tables, gathered and added up.

use crate::pool::{Parts, share};
use crate::vector::{Operation, Simd, add_to, dispatch};
use crate::{Isa, Kernels, PackedLinear, ShapeError};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use std::sync::Arc;

/// The numbers of a table, row after row.
#[derive(Clone, Debug)]
pub enum Table {
    /// Integers, and a factor a row that gives the row back.
    Int8 {
        /// `[rows, columns]`.
        values: Vec<i8>,
        /// `[rows]`.
        scales: Vec<f32>,
    },
    /// Single precision.
    F32(Vec<f32>),
    /// IEEE half precision, as bits.
    F16(Vec<u16>),
    /// The columns of a weight `[columns, rows]`, which a product with the vocabulary reads too.
    Columns(Arc<PackedLinear>),
}

/// A table with a row for each id or position.
#[derive(Clone, Debug)]
pub struct EmbeddingTable {
    rows: usize,
    columns: usize,
    table: Table,
}

/// What an embedding adds up for each token.
#[derive(Clone, Copy, Debug)]
pub struct Embedding<'a> {
    /// A row for each token id.
    pub words: &'a EmbeddingTable,
    /// A row for each position, if the model has absolute ones.
    pub positions: Option<&'a EmbeddingTable>,
    /// `[columns]`, the same for every token: the row of token type 0, if the model has types.
    pub constant: Option<&'a [f32]>,
}

/// Tokens that make a task worth handing to another thread.
const TOKENS_PER_TASK: usize = 32;

impl EmbeddingTable {
    /// A table of `rows` by `columns`.
    ///
    /// # Errors
    /// A slice of the table has another length.
    pub fn new(rows: usize, columns: usize, table: Table) -> Result<Self, ShapeError> {
        let total = ShapeError::product("rows · columns", rows, columns)?;
        let what = "embedding table [rows, columns]";
        match &table {
            Table::Int8 { values, scales } => {
                ShapeError::check_length(what, values, total)?;
                ShapeError::check_length("embedding scales [rows]", scales, rows)?;
            }
            Table::F32(values) => ShapeError::check_length(what, values, total)?,
            Table::F16(bits) => ShapeError::check_length(what, bits, total)?,
            Table::Columns(weights) => weights.check_columns(rows, columns)?,
        }
        Ok(Self { rows, columns, table })
    }

    /// How many ids or positions it knows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The numbers.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Bytes of the numbers.
    pub fn bytes(&self) -> usize {
        match &self.table {
            Table::Int8 { values, scales } => values.len() + size_of_val(&scales[..]),
            Table::F32(values) => size_of_val(&values[..]),
            Table::F16(bits) => size_of_val(&bits[..]),
            Table::Columns(weights) => weights.bytes(),
        }
    }

    /// Writes row `index` to `to`.
    fn read_row(&self, index: usize, to: &mut [f32]) {
        let range = index * self.columns..(index + 1) * self.columns;
        match &self.table {
            Table::Int8 { values, scales } => {
                let scale = scales[index];
                for (to, &value) in to.iter_mut().zip(&values[range]) {
                    *to = f32::from(value) * scale;
                }
            }
            Table::F32(values) => to.copy_from_slice(&values[range]),
            Table::F16(bits) => bits[range].reinterpret_cast::<f16>().convert_to_f32_slice(to),
            Table::Columns(weights) => weights.read_column(index, to),
        }
    }

    fn check(&self, what: &'static str, ids: &[u32]) -> Result<(), ShapeError> {
        match ids.iter().max() {
            Some(&id) if id as usize >= self.rows => {
                Err(ShapeError::TooLarge { what, max: self.rows.saturating_sub(1), got: id as usize })
            }
            _ => Ok(()),
        }
    }
}

impl Kernels {
    /// Writes to `out` `[tokens, columns]` for each token the row of its id, plus the row of its position, plus the constant row. Layer
    /// normalisation is for [`Kernels::layer_norm_in_place`].
    ///
    /// `positions` has one for each id where the embedding has positions; else it is not looked at.
    ///
    /// # Errors
    /// An id or position beyond its table, or slices and tables that do not fit each other.
    pub fn embed(
        &self,
        ids: &[u32],
        positions: &[u32],
        embedding: &Embedding<'_>,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let columns = embedding.words.columns;
        embedding.words.check("token id", ids)?;
        if let Some(table) = embedding.positions {
            ShapeError::check_length("positions [tokens]", positions, ids.len())?;
            table.check("position", positions)?;
            if table.columns != columns {
                let (what, against) = ("columns of the position table", "columns of the word table");
                return Err(ShapeError::Mismatch { what, against, expected: columns, got: table.columns });
            }
        }
        if let Some(row) = embedding.constant {
            ShapeError::check_length("constant row [columns]", row, columns)?;
        }
        ShapeError::check_length("out [tokens, columns]", out, ShapeError::product("out", ids.len(), columns)?)?;
        if out.is_empty() {
            return Ok(());
        }
        let tasks = ids.len().div_ceil(TOKENS_PER_TASK);
        let parts = Parts::new(out);
        self.pool().run(tasks, &|task| {
            let share = share(ids.len(), tasks, task);
            let mut row = vec![0.0; if embedding.positions.is_some() { columns } else { 0 }];
            for token in share {
                // SAFETY: each token is in one task's share.
                let to = unsafe { parts.part(token * columns, columns) };
                embedding.words.read_row(ids[token] as usize, to);
                if let Some(table) = embedding.positions {
                    table.read_row(positions[token] as usize, &mut row);
                    add(self.isa(), to, &row);
                }
                if let Some(constant) = embedding.constant {
                    add(self.isa(), to, constant);
                }
            }
        });
        Ok(())
    }
}

fn add(isa: Isa, to: &mut [f32], x: &[f32]) {
    dispatch(isa, Addition { to, x });
}

struct Addition<'a> {
    to: &'a mut [f32],
    x: &'a [f32],
}

impl Operation for Addition<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        add_to(s, self.to, self.x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GroupScales, Int4Groups, Rounding, WeightData, WeightPart, reference};

    const ROWS: usize = 40;

    /// A table of each kind, all of them of the same numbers as far as their precision goes.
    fn tables(columns: usize) -> [Table; 3] {
        let values: Vec<i8> = (0..ROWS * columns).map(|i| (i * 37 % 255) as u8 as i8).collect();
        let scales: Vec<f32> = (0..ROWS).map(|row| 0.001 * (row + 1) as f32).collect();
        let floats: Vec<f32> = (0..ROWS * columns).map(|i| (i * 53 % 211) as f32 * 0.37 - 30.0).collect();
        let halves = floats.iter().map(|&x| f16::from_f32(x).to_bits()).collect();
        [Table::Int8 { values, scales }, Table::F32(floats), Table::F16(halves)]
    }

    fn table(columns: usize, kind: usize) -> EmbeddingTable {
        EmbeddingTable::new(ROWS, columns, tables(columns)[kind].clone()).unwrap()
    }

    /// Sums of three f32 in the same order as the reference: equal.
    fn check(columns: usize, words: usize, positions: Option<usize>, constant: bool) {
        let words = table(columns, words);
        let position_table = positions.map(|kind| table(columns, kind));
        let constant: Option<Vec<f32>> = constant.then(|| (0..columns).map(|i| i as f32 * 0.01).collect());
        let embedding = Embedding { words: &words, positions: position_table.as_ref(), constant: constant.as_deref() };
        let ids: Vec<u32> = (0..70).map(|i| (i * 17 % ROWS) as u32).collect();
        let positions: Vec<u32> = (0..70).map(|i| (i % ROWS) as u32).collect();
        let expected = reference::embed(&ids, &positions, &embedding);
        for isa in Isa::available() {
            for threads in [1, 2, 5] {
                let mut out = vec![f32::NAN; ids.len() * columns];
                Kernels::with_isa(isa, threads).embed(&ids, &positions, &embedding, &mut out).unwrap();
                assert_eq!(out, expected, "{}: {columns} columns", isa.name());
            }
        }
    }

    #[test]
    fn meets_the_reference() {
        for columns in [1, 7, 32, 45, 384] {
            for words in 0..3 {
                check(columns, words, None, false);
                check(columns, words, Some(words), true);
                check(columns, words, Some(1), false);
            }
        }
    }

    /// The table as the columns of a weight packed for `isa`.
    fn as_columns(columns: usize, table: &Table, isa: Isa, rounding: Rounding) -> EmbeddingTable {
        fn turned<T: Copy>(values: &[T], columns: usize) -> Vec<T> {
            (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
        }
        let (bytes, floats, halves);
        let data = match table {
            Table::Int8 { values, scales } => {
                bytes = turned(values, columns);
                WeightData::Int8 { values: &bytes, scales }
            }
            Table::F32(values) => {
                floats = turned(values, columns);
                WeightData::F32(&floats)
            }
            Table::F16(bits) => {
                halves = turned(bits, columns);
                WeightData::F16(&halves)
            }
            Table::Columns(_) => unreachable!("the tables of `tables` are rows"),
        };
        let weights = PackedLinear::pack(isa, columns, &[WeightPart { n: ROWS, data, bias: None }], rounding).unwrap();
        assert!(weights.has_readable_columns());
        EmbeddingTable::new(ROWS, columns, Table::Columns(Arc::new(weights))).unwrap()
    }

    #[test]
    fn columns_of_a_weight_are_the_rows_of_the_table() {
        let ids: Vec<u32> = (0..ROWS as u32).rev().collect();
        for (columns, isa) in [1, 7, 32, 45, 200]
            .into_iter()
            .flat_map(|columns| Isa::available().into_iter().map(move |isa| (columns, isa)))
        {
            for (table, rounding) in
                tables(columns).iter().flat_map(|table| [Rounding::Fused, Rounding::Stepwise].map(|how| (table, how)))
            {
                let rows = EmbeddingTable::new(ROWS, columns, table.clone()).unwrap();
                let embed = |words: &EmbeddingTable| {
                    let mut out = vec![f32::NAN; ids.len() * columns];
                    let embedding = Embedding { words, positions: Some(&rows), constant: None };
                    Kernels::with_isa(isa, 2).embed(&ids, &ids, &embedding, &mut out).unwrap();
                    out
                };
                assert_eq!(
                    embed(&as_columns(columns, table, isa, rounding)),
                    embed(&rows),
                    "{columns} on {}",
                    isa.name()
                );
            }
        }
    }

    #[test]
    fn weights_that_are_no_table_are_refused() {
        let pack = |data| {
            PackedLinear::pack(Isa::best(), 8, &[WeightPart { n: 2, data, bias: None }], Rounding::Fused).unwrap()
        };
        let refusal = |weights, rows, columns| {
            EmbeddingTable::new(rows, columns, Table::Columns(Arc::new(weights))).unwrap_err().to_string()
        };
        assert!(refusal(pack(WeightData::F32(&[0.0; 16])), 3, 8).contains("columns of a weight"));
        assert!(refusal(pack(WeightData::F32(&[0.0; 16])), 2, 7).contains("rows of a weight"));
        let zeros = WeightData::Int8Shifted { values: &[0; 16], scales: &[1.0; 2], zeros: &[1, 0] };
        assert!(refusal(pack(zeros), 2, 8).contains("read by columns"));
        let groups = Int4Groups { values: &[8; 16], scales: GroupScales::F32(&[1.0; 2]), zeros: None, group: 8 };
        assert!(refusal(pack(WeightData::Int4Groups(groups)), 2, 8).contains("read by columns"));
    }

    #[test]
    fn every_half_becomes_its_single() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let table = EmbeddingTable::new(256, 256, Table::F16(bits.clone())).unwrap();
        let embedding = Embedding { words: &table, positions: None, constant: None };
        let mut out = vec![0.0; 1 << 16];
        let ids: Vec<u32> = (0..256).collect();
        Kernels::new(1).embed(&ids, &[], &embedding, &mut out).unwrap();
        for (bits, got) in bits.iter().zip(out) {
            let expected = f16::from_bits(*bits).to_f32();
            assert!(got == expected || (got.is_nan() && expected.is_nan()), "{bits:#06x}: {got}");
        }
    }

    #[test]
    fn refuses_ids_beyond_the_table_and_shapes_that_do_not_fit() {
        let kernels = Kernels::new(1);
        let (words, positions) = (table(4, 0), table(4, 1));
        let embedding = Embedding { words: &words, positions: Some(&positions), constant: Some(&[0.0; 4]) };
        let embed = |ids: &[u32], positions: &[u32], embedding: &Embedding<'_>, out: usize| {
            kernels.embed(ids, positions, embedding, &mut vec![0.0; out])
        };
        assert_eq!(embed(&[39, 0], &[0, 39], &embedding, 8), Ok(()));
        let error = embed(&[40], &[0], &embedding, 4).unwrap_err();
        assert_eq!(error.to_string(), "token id is 40, more than 39");
        assert!(embed(&[u32::MAX], &[0], &embedding, 4).is_err());
        assert!(embed(&[0], &[40], &embedding, 4).is_err());
        assert!(embed(&[0, 1], &[0], &embedding, 8).is_err());
        assert!(embed(&[0], &[0], &embedding, 5).is_err());
        let narrow = table(3, 1);
        assert!(embed(&[0], &[0], &Embedding { positions: Some(&narrow), ..embedding }, 4).is_err());
        assert!(embed(&[0], &[0], &Embedding { constant: Some(&[0.0; 3]), ..embedding }, 4).is_err());
        assert_eq!(embed(&[], &[], &embedding, 0), Ok(()));

        assert!(EmbeddingTable::new(2, 3, Table::F32(vec![0.0; 5])).is_err());
        assert!(EmbeddingTable::new(2, 3, Table::F16(vec![0; 7])).is_err());
        assert!(EmbeddingTable::new(2, 3, Table::Int8 { values: vec![0; 6], scales: vec![1.0; 3] }).is_err());
        assert!(EmbeddingTable::new(usize::MAX, 3, Table::F32(Vec::new())).is_err());
    }
}
