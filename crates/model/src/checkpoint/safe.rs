//! The tensors of safetensors files, plain or quantized.

use super::folder::Folder;
use super::quantized::{Quantized, Scheme, TRANSPOSED};
use super::tensors::Tensors;
use super::weights::{Layout, Named};
use crate::weights::{Matrix, Values, transpose};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Tensors by name.
pub(super) struct Safe<'a> {
    tensors: Tensors<'a>,
    quantized: Option<Quantized>,
    /// Tensors that were read.
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Safe<'a> {
    /// Opens all files and checks their headers.
    pub(super) fn open(folder: &'a dyn Folder, quantized: Option<Quantized>) -> Result<Safe<'a>, String> {
        Ok(Safe { tensors: Tensors::open(folder)?, quantized, used: RefCell::default() })
    }

    /// A weight in 8 bits with a scale for each output.
    fn int8(&self, name: &str, inputs: usize, outputs: usize, layout: Layout) -> Result<Matrix, String> {
        let (weight, scale) = (format!("{name}.weight"), format!("{name}.weight_scale"));
        let values = |shape: [usize; 2]| -> Result<Vec<i8>, String> {
            Ok(bytemuck::pod_collect_to_vec(&self.bytes_of(&weight, &shape, "I8")?))
        };
        let matrix = match layout {
            Layout::OutputsFirst => {
                let (values, scales) = (values([outputs, inputs])?, self.numbers(&scale, &[outputs, 1])?);
                Matrix::new(outputs, inputs, Values::Int8Rows { values, scales }).map(|matrix| matrix.transposed())
            }
            Layout::InputsFirst => {
                let (values, scales) = (values([inputs, outputs])?, self.numbers(&scale, &[1, outputs])?);
                Matrix::new(inputs, outputs, Values::Int8Columns { values, scales })
            }
        };
        matrix.ok_or_else(|| format!("the tensor `{weight}` is empty"))
    }

    /// A weight in 4 bits with a scale for each group of inputs. Eight numbers are in a word, the first in its lowest bits, and 8 stands for 0.
    /// The outputs come first.
    fn int4(&self, name: &str, inputs: usize, outputs: usize, group: usize) -> Result<Matrix, String> {
        let (packed, shape) = (format!("{name}.weight_packed"), format!("{name}.weight_shape"));
        if !inputs.is_multiple_of(group) {
            return Err(format!("{}: groups of {group} do not divide {inputs} inputs", self.tensors.named(&packed)));
        }
        let words = self.bytes_of(&packed, &[outputs, inputs.div_ceil(8)], "I32")?;
        let scales = self.numbers(&format!("{name}.weight_scale"), &[outputs, inputs / group])?;
        if self.has(&shape) {
            let sides: Vec<u64> = bytemuck::pod_collect_to_vec(&self.bytes_of(&shape, &[2], "I64")?);
            if sides != [outputs as u64, inputs as u64] {
                return Err(format!(
                    "{}: it says {sides:?}; expected {:?}",
                    self.tensors.named(&shape),
                    [outputs, inputs]
                ));
            }
        }
        let number = |nibble: u8| nibble as i8 - 8;
        let rows = words.chunks_exact(inputs.div_ceil(8) * 4);
        let values: Vec<i8> = rows
            .flat_map(|row| row.iter().flat_map(|byte| [number(byte & 15), number(byte >> 4)]).take(inputs))
            .collect();
        let (values, scales) = (transpose(&values, outputs, inputs), transpose(&scales, outputs, inputs / group));
        let matrix = Matrix::new(inputs, outputs, Values::Int4Groups { values, scales, group });
        matrix.ok_or_else(|| format!("the tensor `{packed}` is empty"))
    }

    fn elements(&self, name: &str, rows: usize, columns: usize) -> Result<Option<Matrix>, String> {
        let values = if self.tensors.shaped(name, &[rows, columns])?.dtype == "F16" {
            let bytes = self.bytes_of(name, &[rows, columns], "F16")?;
            let halves: Vec<u16> = bytemuck::pod_collect_to_vec(&bytes);
            let infinite = |bits: &u16| bits & 0x7c00 == 0x7c00;
            if halves.iter().any(infinite) {
                return Err(self.tensors.not_finite(name));
            }
            Values::F16(halves)
        } else {
            Values::F32(self.numbers(name, &[rows, columns])?)
        };
        Ok(Matrix::new(rows, columns, values))
    }

    fn bytes_of(&self, name: &str, shape: &[usize], dtype: &str) -> Result<Vec<u8>, String> {
        let entry = self.tensors.shaped(name, shape)?;
        if entry.dtype != dtype {
            return Err(format!("{}: it has the type {}; expected {dtype}", self.tensors.named(name), entry.dtype));
        }
        self.used.borrow_mut().insert(name.to_owned());
        self.tensors.bytes(name)
    }
}

impl Named for Safe<'_> {
    fn has(&self, name: &str) -> bool {
        self.tensors.has(name)
    }

    fn unread(&self) -> Vec<String> {
        let used = self.used.borrow();
        self.tensors.names().filter(|name| !used.contains(*name)).cloned().collect()
    }

    fn weight(&self, name: &str, inputs: usize, outputs: usize, layout: Layout) -> Result<Matrix, String> {
        let weight = format!("{name}.weight");
        let quantized = self.quantized.as_ref().filter(|quantized| !quantized.ignores(name));
        match (quantized.map(|quantized| quantized.scheme), layout) {
            (Some(Scheme::Int8), _) => self.int8(name, inputs, outputs, layout),
            (Some(Scheme::Int4 { group, transposed }), _) if transposed == (layout == Layout::InputsFirst) => {
                self.int4(name, inputs, outputs, group)
            }
            (Some(Scheme::Int4 { transposed, .. }), _) => Err(format!(
                "config.json: field `{TRANSPOSED}`: 4-bit weights of this family need {}, and it is {transposed}",
                !transposed
            )),
            (None, Layout::OutputsFirst) => Ok(self.table(&weight, outputs, inputs)?.transposed()),
            (None, Layout::InputsFirst) => self.table(&weight, inputs, outputs),
        }
    }

    fn table(&self, name: &str, rows: usize, columns: usize) -> Result<Matrix, String> {
        self.elements(name, rows, columns)?.ok_or_else(|| format!("the tensor `{name}` is empty"))
    }

    fn embeddings(&self, module: &str, rows: usize, columns: usize) -> Result<Matrix, String> {
        let weight = format!("{module}.weight");
        if !self.quantized.as_ref().is_some_and(|quantized| quantized.has_table(module)) {
            return self.table(&weight, rows, columns);
        }
        let values = bytemuck::pod_collect_to_vec(&self.bytes_of(&weight, &[rows, columns], "I8")?);
        let scales = self.numbers(&format!("{module}.weight_scale"), &[rows, 1])?;
        let matrix = Matrix::new(rows, columns, Values::Int8Rows { values, scales });
        matrix.ok_or_else(|| format!("the tensor `{weight}` is empty"))
    }

    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        self.tensors.shaped(name, shape)?;
        self.used.borrow_mut().insert(name.to_owned());
        self.tensors.numbers(name)
    }
}
