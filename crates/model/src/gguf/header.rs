//! The header of a GGUF file: fields, and tensors of which none lies beyond the file or on another.

use super::cursor::Cursor;
use super::kind::Kind;
use super::value::{self, Value};
use crate::safetensors::Source;
use std::collections::BTreeMap;
use std::ops::Range;

const MAGIC: &[u8; 4] = b"GGUF";
/// The field that says what the places of tensors are multiples of, and what they are without it.
const ALIGNMENT: &str = "general.alignment";
const ALIGNMENT_DEFAULT: u64 = 32;
/// The most axes that ggml knows.
const AXES_MAX: u32 = 4;

/// What a header says.
#[derive(Debug)]
pub(crate) struct Header {
    /// Fields by name.
    pub(crate) fields: BTreeMap<String, Value>,
    /// Tensors by name.
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// Where the tensors begin.
    start: u64,
}

/// A tensor in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tensor {
    /// The type of its numbers.
    pub(crate) kind: Kind,
    /// Its axes, the outermost first. Blocks lie along the last.
    pub(crate) shape: Vec<usize>,
    /// Its first byte, counted from where tensors begin.
    offset: u64,
    /// How many bytes it has.
    bytes: u64,
}

impl Header {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// What is wrong, with the name of the field or tensor.
    pub(crate) fn read(source: &dyn Source) -> Result<Header, String> {
        let mut cursor = Cursor::new(source);
        version(&mut cursor)?;
        let (tensors, fields) = (cursor.u64()?, cursor.u64()?);
        let fields = read_fields(&mut cursor, fields)?;
        let alignment = alignment(&fields)?;
        let tensors = read_tensors(&mut cursor, tensors)?;
        let start = cursor.at().div_ceil(alignment) * alignment;
        let available = source.length().saturating_sub(start);
        check(&tensors, alignment, available)?;
        Ok(Header { fields, tensors, start })
    }

    /// Where the bytes of a tensor are in the file.
    pub(crate) fn range(&self, tensor: &Tensor) -> Range<u64> {
        let start = self.start + tensor.offset;
        start..start + tensor.bytes
    }
}

fn version(cursor: &mut Cursor<'_>) -> Result<(), String> {
    if cursor.rest() < 24 || &cursor.array::<4>()? != MAGIC {
        return Err("it is no GGUF file: it does not begin with `GGUF`".to_owned());
    }
    match cursor.u32()? {
        2 | 3 => Ok(()),
        1 => Err("it is a GGUF file of version 1, which is no longer in use; convert the model again".to_owned()),
        // Versions are small, so the bytes stand in the other order.
        version if version.swap_bytes() <= 0xffff => {
            Err("it is a big-endian GGUF file; convert the model again as little-endian".to_owned())
        }
        version => Err(format!("it is a GGUF file of version {version}; supported are 2 and 3")),
    }
}

fn read_fields(cursor: &mut Cursor<'_>, count: u64) -> Result<BTreeMap<String, Value>, String> {
    // A field has 12 bytes beside its name and its value.
    if count > cursor.rest() / 12 {
        return Err(format!("it is cut short: {count} fields end beyond it"));
    }
    let mut fields = BTreeMap::new();
    for _ in 0..count {
        let name = cursor.text()?.to_owned();
        let value = value::read(cursor).map_err(|problem| format!("field `{name}`: {problem}"))?;
        if fields.contains_key(&name) {
            return Err(format!("the field `{name}` appears twice"));
        }
        fields.insert(name, value);
    }
    Ok(fields)
}

fn alignment(fields: &BTreeMap<String, Value>) -> Result<u64, String> {
    match fields.get(ALIGNMENT) {
        None => Ok(ALIGNMENT_DEFAULT),
        Some(Value::Whole(size)) if (8..=4096).contains(size) && size % 8 == 0 => Ok(*size as u64),
        Some(Value::Whole(size)) => Err(format!("field `{ALIGNMENT}`: {size} is no multiple of 8 from 8 to 4096")),
        Some(_) => Err(format!("field `{ALIGNMENT}`: it must be a whole number")),
    }
}

fn read_tensors(cursor: &mut Cursor<'_>, count: u64) -> Result<BTreeMap<String, Tensor>, String> {
    // A tensor has 24 bytes beside its name and its axes.
    if count > cursor.rest() / 24 {
        return Err(format!("it is cut short: the headers of {count} tensors end beyond it"));
    }
    let mut tensors = BTreeMap::new();
    for _ in 0..count {
        let name = cursor.text()?.to_owned();
        let tensor = read_tensor(cursor).map_err(|problem| format!("the tensor `{name}` {problem}"))?;
        if tensors.contains_key(&name) {
            return Err(format!("the tensor `{name}` appears twice"));
        }
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

fn read_tensor(cursor: &mut Cursor<'_>) -> Result<Tensor, String> {
    let axes = cursor.u32()?;
    if !(1..=AXES_MAX).contains(&axes) {
        return Err(format!("has {axes} axes; expected 1 to {AXES_MAX}"));
    }
    let mut shape = (0..axes).map(|_| cursor.u64()).collect::<Result<Vec<u64>, _>>()?;
    shape.reverse();
    let kind = Kind::of(cursor.u32()?)?;
    let offset = cursor.u64()?;
    let elements = shape.iter().try_fold(1_u64, |all, size| all.checked_mul(*size)).filter(|all| *all > 0);
    let elements = elements.ok_or_else(|| format!("has the shape {shape:?}, which is empty or too large"))?;
    let block = kind.block() as u64;
    if shape.last().is_none_or(|columns| !columns.is_multiple_of(block)) {
        return Err(format!("has the shape {shape:?}, and {kind:?} has blocks of {block}"));
    }
    let bytes = (elements / block).checked_mul(kind.bytes() as u64).ok_or("is too large")?;
    let sizes = shape.iter().map(|size| usize::try_from(*size)).collect::<Result<_, _>>();
    Ok(Tensor { kind, shape: sizes.map_err(|_| "is too large")?, offset, bytes })
}

fn check(tensors: &BTreeMap<String, Tensor>, alignment: u64, available: u64) -> Result<(), String> {
    let mut ranges = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(format!("the tensor `{name}` begins at byte {}, no multiple of {alignment}", tensor.offset));
        }
        let end = tensor.offset.checked_add(tensor.bytes).filter(|end| *end <= available);
        let end = end.ok_or_else(|| {
            format!(
                "it is cut short: the tensor `{name}` has {} bytes from byte {} on, of {available}",
                tensor.bytes, tensor.offset
            )
        })?;
        ranges.push((tensor.offset, end, name));
    }
    ranges.sort_unstable();
    match ranges.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        Some(pair) => Err(format!("the tensors `{}` and `{}` overlap", pair[0].2, pair[1].2)),
        None => Ok(()),
    }
}
