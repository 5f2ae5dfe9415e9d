//! The header of a safetensors file (<https://huggingface.co/docs/safetensors>), checked as untrusted input: a length, JSON, tensors one
//! after another.

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

/// More bytes than any header has.
const HEADER_BYTES_MAX: u64 = 64 << 20;
/// The name of the metadata among the tensors of a header.
pub(crate) const METADATA_KEY: &str = "__metadata__";

/// Where the bytes of a file come from.
pub trait Source {
    /// How many there are.
    fn length(&self) -> u64;

    /// Some of them. `range` lies within the file.
    ///
    /// # Errors
    /// Those of the file.
    fn read(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>>;

    /// As [`Source::read`], into memory of the caller. `bytes` has the length of `range`.
    ///
    /// # Errors
    /// Those of the file.
    fn read_into(&self, range: Range<u64>, bytes: &mut [u8]) -> io::Result<()> {
        let part = self.read(range)?;
        if part.len() != bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.copy_from_slice(&part);
        Ok(())
    }
}

impl Source for &[u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
        let part = self.get(range.start as usize..range.end as usize);
        part.map(Cow::Borrowed).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// A tensor in a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The type of its elements, as safetensors calls it.
    pub(crate) dtype: String,
    /// Its axes.
    pub(crate) shape: Vec<usize>,
    /// Its first byte and the one after its last, counted from the end of the header.
    pub(crate) data_offsets: [u64; 2],
}

/// What a header says.
#[derive(Debug)]
pub(crate) struct Header {
    /// By name.
    pub(crate) entries: BTreeMap<String, Entry>,
    /// Texts about the file.
    pub(crate) metadata: Option<Value>,
    /// Where the tensors begin.
    pub(crate) start: u64,
}

impl Header {
    /// Reads the header of a file. Each name may appear once, no tensor may end beyond the file or overlap another, and each has as many
    /// bytes as its shape and type say.
    ///
    /// # Errors
    /// What is wrong, with the name of the tensor.
    pub(crate) fn read(source: &dyn Source) -> Result<Header, String> {
        let told = |error: io::Error| format!("it cannot be read: {error}");
        if source.length() < 8 {
            return Err("it is no safetensors file: it is shorter than 8 bytes".to_owned());
        }
        let length: [u8; 8] = source.read(0..8).map_err(told)?.as_ref().try_into().unwrap_or_default();
        let start = u64::from_le_bytes(length).checked_add(8);
        let start = start.filter(|start| *start <= source.length() && *start <= HEADER_BYTES_MAX);
        let start = start.ok_or("it is no safetensors file, or it is cut short: its header ends beyond it")?;
        let header = source.read(8..start).map_err(told)?;
        let Names(mut names) =
            serde_json::from_slice(&header).map_err(|error| format!("its header cannot be read: {error}"))?;
        let metadata = names.remove(METADATA_KEY);
        let entry = |(name, value)| match serde_json::from_value::<Entry>(value) {
            Ok(entry) => Ok((name, entry)),
            Err(error) => Err(format!("the tensor `{name}` in its header: {error}")),
        };
        let entries = names.into_iter().map(entry).collect::<Result<BTreeMap<_, _>, _>>()?;
        check(&entries, source.length() - start)?;
        Ok(Header { entries, metadata, start })
    }

    /// Where the bytes of a tensor are in the file.
    pub(crate) fn range(&self, entry: &Entry) -> Range<u64> {
        self.start + entry.data_offsets[0]..self.start + entry.data_offsets[1]
    }
}

impl Entry {
    /// How many elements it has; `None` if no number holds them.
    pub(crate) fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1_usize, |all, size| all.checked_mul(*size))
    }

    fn bytes(&self) -> Option<u64> {
        let bits = bits_of(&self.dtype)?;
        (self.elements()? as u64).checked_mul(bits)?.checked_div(8)
    }
}

/// Bits of an element.
fn bits_of(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F64" | "I64" | "U64" | "C64" => 64,
        "F32" | "I32" | "U32" => 32,
        "F16" | "BF16" | "I16" | "U16" => 16,
        "I8" | "U8" | "BOOL" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" => 8,
        "F4" => 4,
        _ => return None,
    })
}

fn check(entries: &BTreeMap<String, Entry>, available: u64) -> Result<(), String> {
    let mut ranges = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let Entry { dtype, shape, data_offsets: [start, end] } = entry;
        if bits_of(dtype).is_none() {
            return Err(format!("the tensor `{name}` has the type {dtype}, which this grice does not know"));
        }
        if end > &available {
            return Err(format!("it is cut short: the tensor `{name}` ends at byte {end} of {available}"));
        }
        if end.checked_sub(*start) != entry.bytes() {
            return Err(format!("the tensor `{name}` has other bytes than {dtype} {shape:?} takes"));
        }
        ranges.push((*start, *end, name));
    }
    ranges.sort_unstable();
    let overlap = ranges.windows(2).find(|pair| pair[0].1 > pair[1].0);
    match overlap {
        Some(pair) => Err(format!("the tensors `{}` and `{}` overlap", pair[0].2, pair[1].2)),
        None => Ok(()),
    }
}

/// A map in which each name appears once.
struct Names(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
        deserializer.deserialize_map(Once)
    }
}

struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Names;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let mut names = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if names.contains_key(&name) {
                return Err(A::Error::custom(format!("the tensor `{name}` appears twice")));
            }
            names.insert(name, value);
        }
        Ok(Names(names))
    }
}
