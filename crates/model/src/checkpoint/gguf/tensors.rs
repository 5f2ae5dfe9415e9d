//! The tensors of GGUF files as transformers shapes them.

use super::super::weights::{Layout, Named};
use super::families;
use super::files::Files;
use crate::gguf::{Kind, Tensor};
use crate::weights::{Matrix, Values, rounded_to_int8, transpose};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// How rounded numbers are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In single precision, as they are.
    Exact,
    /// Numbers of 4 bits around zero as they are, others in 8 bits with a scale for each output.
    Packed,
}

/// Tensors by the names that transformers gives them.
pub(super) struct Tensors<'f> {
    files: &'f Files<'f>,
    names: families::Tensors<'f>,
    form: Form,
    /// Tensors that were read.
    used: RefCell<BTreeSet<String>>,
}

/// Numbers of a group that shares a factor in the form Q4_0.
const GROUP: usize = 32;

impl<'f> Tensors<'f> {
    pub(super) fn new(files: &'f Files<'f>, names: families::Tensors<'f>, form: Form) -> Tensors<'f> {
        Tensors { files, names, form, used: RefCell::default() }
    }

    /// A tensor that must have that shape, and its name in the file.
    fn shaped(&self, name: &str, shape: &[usize]) -> Result<(&'f Tensor, &'f str), String> {
        let own = *self.names.own.get(name).ok_or_else(|| self.missing(name))?;
        let tensor = self.files.tensor(own).ok_or_else(|| self.missing(name))?;
        if tensor.shape != shape {
            return Err(format!("{}: it has the shape {:?}; expected {shape:?}", self.files.named(own), tensor.shape));
        }
        self.used.borrow_mut().insert(name.to_owned());
        Ok((tensor, own))
    }

    fn missing(&self, name: &str) -> String {
        format!("{}: the tensor for `{name}` is missing", self.files.name())
    }

    /// The bytes of a tensor whose rows have so many, in the order that transformers has.
    fn bytes(&self, name: &str, own: &str, row: usize) -> Result<Vec<u8>, String> {
        let bytes = self.files.bytes(own)?;
        let is_turned = [".q_proj.", ".k_proj."].iter().any(|part| name.contains(part));
        Ok(match self.names.turned.filter(|_| is_turned) {
            Some(head_dim) => apart(&bytes, row, head_dim),
            None => bytes,
        })
    }

    /// All numbers.
    fn decoded(&self, kind: Kind, bytes: &[u8], own: &str) -> Result<Vec<f32>, String> {
        let mut numbers = Vec::with_capacity(bytes.len() / kind.bytes() * kind.block());
        kind.decode(bytes, &mut numbers);
        self.finite(&numbers, own)?;
        Ok(numbers)
    }

    fn finite(&self, numbers: &[f32], own: &str) -> Result<(), String> {
        match numbers.iter().all(|number| number.is_finite()) {
            true => Ok(()),
            false => Err(format!("{} holds a number that is infinite or NaN", self.files.named(own))),
        }
    }

    /// A matrix `[rows, columns]`, rounded numbers in 8 bits with a scale for each row.
    fn rows(&self, name: &str, rows: usize, columns: usize) -> Result<Matrix, String> {
        let (tensor, own) = self.shaped(name, &[rows, columns])?;
        let (kind, row) = (tensor.kind, columns / tensor.kind.block() * tensor.kind.bytes());
        let bytes = self.bytes(name, own, row)?;
        let values = match (kind, self.form) {
            (Kind::F16, Form::Packed) => {
                self.decoded(kind, &bytes, own)?;
                Values::F16(bytemuck::pod_collect_to_vec(&bytes))
            }
            (kind, Form::Packed) if kind.is_rounded() => {
                let (mut values, mut scales) = (Vec::with_capacity(rows * columns), Vec::with_capacity(rows));
                for row in bytes.chunks_exact(row) {
                    let (row, scale) = rounded_to_int8(&self.decoded(kind, row, own)?);
                    values.extend(row);
                    scales.push(scale);
                }
                Values::Int8Rows { values, scales }
            }
            _ => Values::F32(self.decoded(kind, &bytes, own)?),
        };
        Matrix::new(rows, columns, values).ok_or_else(|| format!("{} is empty", self.files.named(own)))
    }

    /// Numbers of 4 bits around zero, as they are: `[inputs, outputs]` with a factor for each 32 inputs of an output.
    fn groups(&self, name: &str, inputs: usize, outputs: usize) -> Result<Matrix, String> {
        let (tensor, own) = self.shaped(name, &[outputs, inputs])?;
        let row = inputs / GROUP * tensor.kind.bytes();
        let bytes = self.bytes(name, own, row)?;
        let (mut values, mut scales) = (Vec::with_capacity(inputs * outputs), Vec::new());
        for block in bytes.chunks_exact(tensor.kind.bytes()) {
            let (scale, numbers) = Kind::nibbles(block);
            values.extend(numbers);
            scales.push(scale);
        }
        self.finite(&scales, own)?;
        let (values, scales) = (transpose(&values, outputs, inputs), transpose(&scales, outputs, inputs / GROUP));
        let matrix = Matrix::new(inputs, outputs, Values::Int4Groups { values, scales, group: GROUP });
        matrix.ok_or_else(|| format!("{} is empty", self.files.named(own)))
    }

    fn is_in_groups(&self, name: &str) -> bool {
        let tensor = self.names.own.get(name).and_then(|own| self.files.tensor(own));
        self.form == Form::Packed && tensor.is_some_and(|tensor| tensor.kind == Kind::Q4_0)
    }
}

impl Named for Tensors<'_> {
    fn has(&self, name: &str) -> bool {
        self.names.own.contains_key(name)
    }

    fn unread(&self) -> Vec<String> {
        let used = self.used.borrow();
        let own = self.names.own.iter().filter(|(name, _)| !used.contains(*name)).map(|(_, own)| *own);
        self.names.strange.iter().copied().chain(own).map(str::to_owned).collect()
    }

    /// Outputs come first in every family.
    fn weight(&self, layer: &str, inputs: usize, outputs: usize, _: Layout) -> Result<Matrix, String> {
        let name = format!("{layer}.weight");
        match self.is_in_groups(&name) {
            true => self.groups(&name, inputs, outputs),
            false => Ok(self.rows(&name, outputs, inputs)?.transposed()),
        }
    }

    fn table(&self, name: &str, rows: usize, columns: usize) -> Result<Matrix, String> {
        self.rows(name, rows, columns)
    }

    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let (tensor, own) = self.shaped(name, shape)?;
        let (block, size) = (tensor.kind.block(), tensor.kind.bytes());
        // Of a list each number is a row.
        let columns = if shape.len() > 1 { shape.last().copied().unwrap_or(block) } else { block };
        let bytes = self.bytes(name, own, columns / block * size)?;
        self.decoded(tensor.kind, &bytes, own)
    }
}

/// Rows of queries or keys in transformers' order, in which a column of the first half of a head turns with one of the second half. In the
/// file those that turn together are neighbours.
fn apart(bytes: &[u8], row: usize, head_dim: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for head in bytes.chunks(row * head_dim) {
        for side in [0, 1] {
            let rows = head.chunks_exact(row).skip(side).step_by(2);
            rows.for_each(|row| out.extend_from_slice(row));
        }
    }
    out
}
