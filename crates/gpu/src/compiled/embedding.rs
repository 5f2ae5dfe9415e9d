//! The embedding in a file: it stays with the processor, as it stood in the model.

use super::container::{Blob, Draft, Opened};
use grice_model::{Embedding, Matrix, Positions, Values};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;

#[derive(Serialize, Deserialize)]
pub(super) struct KeptEmbedding {
    words: KeptMatrix,
    positions: Option<KeptPositions>,
    constant: Option<Blob>,
}

#[derive(Serialize, Deserialize)]
struct KeptPositions {
    table: KeptMatrix,
    offset: usize,
    uncounted: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct KeptMatrix {
    rows: usize,
    columns: usize,
    values: KeptValues,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KeptValues {
    F32(Blob),
    F16(Blob),
    Int8Columns { values: Blob, scales: Blob },
    Int8Rows { values: Blob, scales: Blob },
}

impl KeptEmbedding {
    pub(super) fn write(embedding: &Embedding, draft: &mut Draft) -> io::Result<KeptEmbedding> {
        let positions = match &embedding.positions {
            None => None,
            Some(Positions { table, offset, uncounted }) => {
                Some(KeptPositions { table: KeptMatrix::write(table, draft)?, offset: *offset, uncounted: *uncounted })
            }
        };
        let mut numbers = |numbers: &[f32]| draft.push(bytemuck::cast_slice(numbers));
        Ok(KeptEmbedding {
            constant: embedding.constant.as_deref().map(&mut numbers).transpose()?,
            positions,
            words: KeptMatrix::write(&embedding.words, draft)?,
        })
    }

    /// The embedding, its parts as long as each other.
    pub(super) fn read(&self, opened: &Opened) -> Result<Embedding, String> {
        let positions = match &self.positions {
            None => None,
            Some(kept) => {
                let table = Arc::new(kept.table.read(opened)?);
                Some(Positions { table, offset: kept.offset, uncounted: kept.uncounted })
            }
        };
        let constant: Option<Vec<f32>> = self.constant.as_ref().map(|blob| opened.read(blob)).transpose()?;
        let words = self.words.read(opened)?;
        let columns = words.columns();
        let constant_fits = constant.as_ref().is_none_or(|row| row.len() == columns);
        let table_fits = positions.as_ref().is_none_or(|positions| {
            positions.table.columns() == columns && u32::try_from(positions.table.rows()).is_ok()
        });
        if !constant_fits || !table_fits {
            return Err("it is damaged: the parts of its embedding do not fit each other".to_owned());
        }
        // The norm and the projection run on the device, from what lies there.
        Ok(Embedding { words: Arc::new(words), positions, constant, norm: None, projection: None })
    }
}

impl KeptMatrix {
    fn write(matrix: &Matrix, draft: &mut Draft) -> io::Result<KeptMatrix> {
        let values = match matrix.values() {
            Values::F32(values) => KeptValues::F32(draft.push(bytemuck::cast_slice(values))?),
            Values::F16(values) => KeptValues::F16(draft.push(bytemuck::cast_slice(values))?),
            Values::Int8Shifted { .. } | Values::Int4Groups { .. } => {
                KeptValues::F32(draft.push(bytemuck::cast_slice(&matrix.to_f32()))?)
            }
            Values::Int8Columns { values, scales } => KeptValues::Int8Columns {
                values: draft.push(bytemuck::cast_slice(values))?,
                scales: draft.push(bytemuck::cast_slice(scales))?,
            },
            Values::Int8Rows { values, scales } => KeptValues::Int8Rows {
                values: draft.push(bytemuck::cast_slice(values))?,
                scales: draft.push(bytemuck::cast_slice(scales))?,
            },
        };
        Ok(KeptMatrix { rows: matrix.rows(), columns: matrix.columns(), values })
    }

    fn read(&self, opened: &Opened) -> Result<Matrix, String> {
        let values = match &self.values {
            KeptValues::F32(blob) => Values::F32(opened.read(blob)?),
            KeptValues::F16(blob) => Values::F16(opened.read(blob)?),
            KeptValues::Int8Columns { values, scales } => {
                Values::Int8Columns { values: opened.read(values)?, scales: opened.read(scales)? }
            }
            KeptValues::Int8Rows { values, scales } => {
                Values::Int8Rows { values: opened.read(values)?, scales: opened.read(scales)? }
            }
        };
        let unfit = || format!("it is damaged: a table is not {} by {}", self.rows, self.columns);
        Matrix::new(self.rows, self.columns, values).ok_or_else(unfit)
    }
}
