//! The file itself: a length, a header in JSON, tensors one after another.

use crate::safetensors::{Entry, Header, METADATA_KEY, Source};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The name of the description's hash among the metadata.
const HASH_KEY: &str = "blake3";

/// Elements that a tensor may have.
pub(super) trait Element: bytemuck::Pod {
    /// As safetensors calls it.
    const DTYPE: &'static str;
}

impl Element for f32 {
    const DTYPE: &'static str = "F32";
}

impl Element for u16 {
    // Bits of IEEE half precision.
    const DTYPE: &'static str = "F16";
}

impl Element for i8 {
    const DTYPE: &'static str = "I8";
}

impl Tensor {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// A tensor in a description: its name, and the hash of its bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Tensor {
    name: String,
    blake3: String,
}

/// A file that is not written yet.
pub struct StoredFile<'a> {
    header: Vec<u8>,
    tensors: Vec<Cow<'a, [u8]>>,
}

impl StoredFile<'_> {
    /// The pieces of the file, in their order.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        [self.header.as_slice()].into_iter().chain(self.tensors.iter().map(AsRef::as_ref))
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.pieces().map(|piece| piece.len() as u64).sum()
    }

    /// The file in memory.
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces().flatten().copied().collect()
    }
}

#[derive(Default)]
pub(super) struct Writer<'a> {
    entries: Map<String, Value>,
    tensors: Vec<Cow<'a, [u8]>>,
    /// By where its elements lie in memory: what layers share is written once.
    known: BTreeMap<(usize, usize), Tensor>,
    end: u64,
}

impl<'a> Writer<'a> {
    /// Adds a tensor, unless it is there already.
    pub(super) fn push<T: Element>(&mut self, name: &str, shape: &[usize], elements: &'a [T]) -> Tensor {
        let place = (elements.as_ptr() as usize, elements.len());
        if let Some(known) = self.known.get(&place) {
            return known.clone();
        }
        let tensor = self.add::<T>(name, shape, Cow::Borrowed(bytemuck::cast_slice(elements)));
        self.known.insert(place, tensor.clone());
        tensor
    }

    /// Adds a tensor that was made for the file.
    pub(super) fn push_made<T: Element>(&mut self, name: &str, shape: &[usize], elements: &[T]) -> Tensor {
        self.add::<T>(name, shape, Cow::Owned(bytemuck::cast_slice(elements).to_vec()))
    }

    fn add<T: Element>(&mut self, name: &str, shape: &[usize], bytes: Cow<'a, [u8]>) -> Tensor {
        let (start, end) = (self.end, self.end + bytes.len() as u64);
        let entry = Entry { dtype: T::DTYPE.to_owned(), shape: shape.to_vec(), data_offsets: [start, end] };
        self.entries.insert(name.to_owned(), serde_json::to_value(entry).unwrap_or_default());
        let tensor = Tensor { name: name.to_owned(), blake3: blake3::hash(&bytes).to_hex().to_string() };
        self.tensors.push(bytes);
        self.end = end;
        tensor
    }

    pub(super) fn finish(self, key: &str, text: &str) -> serde_json::Result<StoredFile<'a>> {
        let mut all = Map::new();
        all.insert(METADATA_KEY.to_owned(), serde_json::json!({ key: text, HASH_KEY: hash_of(text) }));
        all.extend(self.entries);
        let mut json = serde_json::to_vec(&all)?;
        // Elements of four bytes start at fours.
        json.resize(json.len().next_multiple_of(8), b' ');
        let header = [&(json.len() as u64).to_le_bytes(), json.as_slice()].concat();
        Ok(StoredFile { header, tensors: self.tensors })
    }
}

pub(super) struct Reader<'a> {
    source: &'a dyn Source,
    header: Header,
    verify: bool,
}

impl<'a> Reader<'a> {
    /// Reads the header, and the metadata under `key`.
    pub(super) fn open(source: &'a dyn Source, key: &str, verify: bool) -> Result<(Reader<'a>, String), String> {
        let header = Header::read(source)?;
        let value = |key: &str| header.metadata.as_ref().and_then(|metadata| metadata.get(key)?.as_str());
        let text = value(key).ok_or_else(|| "it is no file of a compiled program".to_owned())?.to_owned();
        if value(HASH_KEY) != Some(hash_of(&text).as_str()) {
            return Err("it is damaged: its description is not the one that was written".to_owned());
        }
        Ok((Reader { source, header, verify }, text))
    }

    /// The elements of a tensor of this shape.
    pub(super) fn read<T: Element>(&self, tensor: &Tensor, shape: &[usize]) -> Result<Vec<T>, String> {
        let Tensor { name, blake3 } = tensor;
        let damaged = |what: &str| format!("it is damaged: its tensor `{name}` {what}");
        let entry = self.header.entries.get(name).ok_or_else(|| damaged("is not there"))?;
        if entry.dtype != T::DTYPE || entry.shape != shape {
            return Err(damaged(&format!("is not {} {shape:?}", T::DTYPE)));
        }
        let count = entry.elements().ok_or_else(|| damaged("is larger than memory"))?;
        let mut elements = vec![T::zeroed(); count];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut elements);
        let read = self.source.read_into(self.header.range(entry), bytes);
        read.map_err(|error| damaged(&format!("cannot be read: {error}")))?;
        if self.verify && blake3::hash(bytes).to_hex().as_str() != blake3 {
            return Err(damaged("has other bytes than when it was written"));
        }
        Ok(elements)
    }

    /// How many elements a tensor has, for those whose length nothing else tells.
    pub(super) fn elements(&self, tensor: &Tensor) -> usize {
        self.header.entries.get(&tensor.name).and_then(Entry::elements).unwrap_or(0)
    }
}

fn hash_of(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}
