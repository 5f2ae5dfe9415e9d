//! The tensors of a checkpoint as they are stored: one safetensors file, or several with an index.

use super::config::Config;
use super::folder::{Folder, read_if};
use crate::safetensors::{Entry, Header, Source};
use serde_json::Value;
use std::collections::BTreeMap;

const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Tensors by name. Their headers are checked, and their bytes are read one tensor at a time.
pub(super) struct Tensors<'a> {
    shards: Vec<Shard<'a>>,
    /// Which shard a tensor is in.
    places: BTreeMap<String, usize>,
}

struct Shard<'a> {
    file: String,
    source: Box<dyn Source + 'a>,
    header: Header,
}

impl<'a> Tensors<'a> {
    /// Opens all files and checks their headers.
    pub(super) fn open(folder: &'a dyn Folder) -> Result<Tensors<'a>, String> {
        let mut tensors = Tensors { shards: Vec::new(), places: BTreeMap::new() };
        if let Some(index) = read_if(folder, INDEX)? {
            tensors.open_shards(folder, &Config::parse(INDEX, &index)?)?;
        } else {
            let at = tensors.open_shard(folder, WHOLE)?;
            let names = tensors.shards[at].header.entries.keys().cloned();
            tensors.places = names.map(|name| (name, at)).collect();
        }
        Ok(tensors)
    }

    fn open_shards(&mut self, folder: &'a dyn Folder, index: &Config) -> Result<(), String> {
        let Some(Value::Object(map)) = index.get("weight_map") else {
            return Err(format!("{INDEX}: field `weight_map` is missing, or no object"));
        };
        let mut files = BTreeMap::new();
        for (name, file) in map {
            let file = file.as_str().filter(|file| is_plain(file));
            let file = file.ok_or_else(|| format!("{INDEX}: `{name}` must be in a file beside it"))?;
            let at = match files.get(file) {
                Some(at) => *at,
                None => {
                    let at = self.open_shard(folder, file)?;
                    files.insert(file.to_owned(), at);
                    at
                }
            };
            if !self.shards[at].header.entries.contains_key(name) {
                return Err(format!("{file}: the tensor `{name}`, which {INDEX} places there, is missing"));
            }
            self.places.insert(name.clone(), at);
        }
        Ok(())
    }

    fn open_shard(&mut self, folder: &'a dyn Folder, file: &str) -> Result<usize, String> {
        let source = folder.file(file).map_err(|error| format!("{file}: {error}"))?;
        let source = source.ok_or_else(|| format!("the file {file} is missing"))?;
        let header = Header::read(&*source).map_err(|problem| format!("{file}: {problem}"))?;
        self.shards.push(Shard { file: file.to_owned(), source, header });
        Ok(self.shards.len() - 1)
    }

    /// Whether there is a tensor of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// All names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.places.keys()
    }

    /// What the header says of a tensor.
    pub(super) fn entry(&self, name: &str) -> Result<&Entry, String> {
        Ok(self.place(name)?.1)
    }

    /// What the header says of a tensor, which must have that shape.
    pub(super) fn shaped(&self, name: &str, shape: &[usize]) -> Result<&Entry, String> {
        let entry = self.entry(name)?;
        if entry.shape != shape {
            return Err(format!("{}: it has the shape {:?}; expected {shape:?}", self.named(name), entry.shape));
        }
        Ok(entry)
    }

    /// The bytes of a tensor.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        let (shard, entry) = self.place(name)?;
        let bytes = shard.source.read(shard.header.range(entry));
        bytes.map(std::borrow::Cow::into_owned).map_err(|error| format!("{}: {error}", self.named(name)))
    }

    /// All elements of a tensor in single precision. None is infinite or no number.
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<f32>, String> {
        let dtype = self.entry(name)?.dtype.as_str();
        let single: fn(&[u8]) -> Vec<f32> = match dtype {
            "F32" => bytemuck::pod_collect_to_vec,
            "F16" => |bytes| halves(bytes).map(|bits| half::f16::from_bits(bits).to_f32()).collect(),
            "BF16" => |bytes| halves(bytes).map(|bits| half::bf16::from_bits(bits).to_f32()).collect(),
            _ => return Err(format!("{}: it has the type {dtype}; expected F32, F16 or BF16", self.named(name))),
        };
        let numbers = single(&self.bytes(name)?);
        if numbers.iter().all(|number| number.is_finite()) { Ok(numbers) } else { Err(self.not_finite(name)) }
    }

    /// A tensor and its file, for messages.
    pub(super) fn named(&self, name: &str) -> String {
        let file = self.places.get(name).map_or(WHOLE, |at| &self.shards[*at].file);
        format!("{file}: the tensor `{name}`")
    }

    /// What is said of a tensor with an infinite number or none.
    pub(super) fn not_finite(&self, name: &str) -> String {
        format!("{} holds a number that is infinite or NaN", self.named(name))
    }

    fn place(&self, name: &str) -> Result<(&Shard<'a>, &Entry), String> {
        let place = self.places.get(name).map(|at| &self.shards[*at]);
        let found = place.and_then(|shard| Some((shard, shard.header.entries.get(name)?)));
        found.ok_or_else(|| format!("the tensor `{name}` is missing"))
    }
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
}

/// Whether a name stays in its folder.
fn is_plain(file: &str) -> bool {
    !file.is_empty() && !file.contains(['/', '\\', ':']) && file != "." && file != ".."
}
