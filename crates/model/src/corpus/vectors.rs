//! `vectors.safetensors` of a corpus: bytes, and a scale for each row.

use crate::safetensors::{Entry, Header, Source};
use grice_kernels::{ByteRows, round_to_bytes};
use serde_json::json;
use std::io::{self, Write};

const VALUES: &str = "vectors";
const SCALES: &str = "scales";

/// Vectors in 8 bits: element `[row, column]` is `values[row · columns + column] · scales[row]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CorpusVectors {
    values: Vec<i8>,
    scales: Vec<f32>,
    columns: usize,
}

impl CorpusVectors {
    /// No vectors yet, of so many numbers each.
    pub fn new(columns: usize) -> CorpusVectors {
        CorpusVectors { values: Vec::new(), scales: Vec::new(), columns }
    }

    /// Rounds a vector and appends it. `false` if it has another length, or a number that is infinite or NaN: then nothing changes.
    pub fn push(&mut self, vector: &[f32]) -> bool {
        if vector.len() != self.columns {
            return false;
        }
        let start = self.values.len();
        self.values.resize(start + self.columns, 0);
        match round_to_bytes(vector, &mut self.values[start..]) {
            Some(scale) => self.scales.push(scale),
            None => self.values.truncate(start),
        }
        self.values.len() > start
    }

    /// How many there are.
    pub fn rows(&self) -> usize {
        self.scales.len()
    }

    /// Numbers of a vector.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.values.len() + size_of_val(&self.scales[..])
    }

    /// For kernels.
    pub fn table(&self) -> ByteRows<'_> {
        ByteRows { values: &self.values, scales: &self.scales, columns: self.columns }
    }

    /// Reads a file that must hold exactly `rows` vectors of `columns` numbers.
    ///
    /// # Errors
    /// What is wrong, with the name of the tensor.
    pub fn read(source: &dyn Source, rows: usize, columns: usize) -> Result<CorpusVectors, String> {
        let header = Header::read(source)?;
        if let Some(other) = header.entries.keys().find(|name| *name != VALUES && *name != SCALES) {
            return Err(format!("the tensor `{other}` is no part of a corpus"));
        }
        // The header's check makes sure that so many bytes are there, before memory is asked for.
        let bytes = |name: &str, dtype: &str, shape: &[usize]| -> Result<Vec<u8>, String> {
            let entry = header.entries.get(name).ok_or_else(|| format!("the tensor `{name}` is missing"))?;
            if entry.dtype != dtype || entry.shape != shape {
                let Entry { dtype: found, shape: sides, .. } = entry;
                return Err(format!("the tensor `{name}` is {found} {sides:?}; expected {dtype} {shape:?}"));
            }
            let bytes = source.read(header.range(entry)).map_err(|error| format!("the tensor `{name}`: {error}"))?;
            Ok(bytes.into_owned())
        };
        let scales: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes(SCALES, "F32", &[rows])?);
        if let Some(row) = scales.iter().position(|scale| !scale.is_finite() || *scale < 0.0) {
            return Err(format!(
                "the tensor `{SCALES}`: row {row} is {}; expected a finite number from 0 on",
                scales[row]
            ));
        }
        let values = bytemuck::allocation::cast_vec(bytes(VALUES, "I8", &[rows, columns])?);
        Ok(CorpusVectors { values, scales, columns })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        let (rows, scales, values) = (self.rows(), size_of_val(&self.scales[..]), self.values.len());
        // The larger elements come first, so that both are aligned.
        let header = json!({
            "__metadata__": { "format": "grice-corpus" },
            SCALES: { "dtype": "F32", "shape": [rows], "data_offsets": [0, scales] },
            VALUES: { "dtype": "I8", "shape": [rows, self.columns], "data_offsets": [scales, scales + values] },
        });
        let mut text = header.to_string();
        text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
        writer.write_all(&(text.len() as u64).to_le_bytes())?;
        writer.write_all(text.as_bytes())?;
        writer.write_all(bytemuck::cast_slice(&self.scales))?;
        writer.write_all(bytemuck::cast_slice(&self.values))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn two() -> CorpusVectors {
        let mut vectors = CorpusVectors::new(3);
        assert!(vectors.push(&[1.27, -1.27, 0.01]) && vectors.push(&[0.0; 3]));
        vectors
    }

    fn file(vectors: &CorpusVectors) -> Vec<u8> {
        let mut bytes = Vec::new();
        vectors.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let vectors = two();
        assert_eq!(CorpusVectors::read(&file(&vectors).as_slice(), 2, 3).unwrap(), vectors);
        assert_eq!((vectors.table().values, vectors.table().scales), (&[127, -127, 1, 0, 0, 0][..], &[0.01, 0.0][..]));
        assert_eq!((vectors.rows(), vectors.columns(), vectors.bytes()), (2, 3, 14));
    }

    #[test]
    fn vectors_that_do_not_fit_change_nothing() {
        let mut vectors = two();
        for bad in [&[1.0; 2][..], &[1.0; 4], &[1.0, f32::NAN, 1.0], &[f32::INFINITY; 3]] {
            assert!(!vectors.push(bad));
        }
        assert_eq!(vectors, two());
    }

    #[test]
    fn files_that_do_not_fit_are_refused_by_tensor() {
        let refused = |bytes: &[u8], rows: usize, columns: usize, expected: &str| {
            let error = CorpusVectors::read(&bytes, rows, columns).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        let whole = file(&two());
        refused(&whole, 3, 3, "`scales` is F32 [2]; expected F32 [3]");
        refused(&whole, 2, 4, "`vectors` is I8 [2, 3]; expected I8 [2, 4]");
        refused(&whole, usize::MAX, usize::MAX, "`scales`");
        refused(&whole[..whole.len() - 1], 2, 3, "cut short");
        refused(b"", 2, 3, "no safetensors file");
        let mut nan = whole.clone();
        let at = whole.len() - 6 - 8;
        nan[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        refused(&nan, 2, 3, "`scales`: row 0 is NaN");
        nan[at..at + 4].copy_from_slice(&(-1f32).to_le_bytes());
        refused(&nan, 2, 3, "`scales`: row 0 is -1");
        let renamed = String::from_utf8_lossy(&whole).replace("\"vectors\"", "\"vektors\"").into_bytes();
        assert!(CorpusVectors::read(&renamed.as_slice(), 2, 3).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), rows in any::<usize>()) {
            _ = CorpusVectors::read(&bytes.as_slice(), rows, 3);
        }

        #[test]
        fn a_damaged_header_is_read_or_refused(at in 0usize..150, byte in any::<u8>()) {
            let mut bytes = file(&two());
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            _ = CorpusVectors::read(&bytes.as_slice(), 2, 3);
        }
    }
}
