//! The tensors of a checkpoint: one safetensors file, or several with an index.

use super::config::Config;
use super::folder::{Folder, read_if};
use super::quantized::Quantized;
use crate::safetensors::{Entry, Header, Source};
use crate::weights::{Linear, Matrix, Values};
use grice_kernels::LayerNorm;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Tensors by name.
pub(super) struct Weights<'a> {
    shards: Vec<Shard<'a>>,
    /// Which shard a tensor is in.
    places: BTreeMap<String, usize>,
    quantized: Option<Quantized>,
    /// Tensors that were read.
    used: RefCell<BTreeSet<String>>,
}

struct Shard<'a> {
    file: String,
    source: Box<dyn Source + 'a>,
    header: Header,
}

/// Which axis of a weight is that of the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[outputs, inputs]`: PyTorch's `Linear`.
    OutputsFirst,
    /// `[inputs, outputs]`: GPT-2's `Conv1D`.
    InputsFirst,
}

impl<'a> Weights<'a> {
    /// Opens all files and checks their headers.
    pub(super) fn open(folder: &'a dyn Folder, quantized: Option<Quantized>) -> Result<Weights<'a>, String> {
        let mut weights = Weights { shards: Vec::new(), places: BTreeMap::new(), quantized, used: RefCell::default() };
        if let Some(index) = read_if(folder, INDEX)? {
            weights.open_shards(folder, &Config::parse(INDEX, &index)?)?;
        } else {
            let at = weights.open_shard(folder, WHOLE)?;
            let names = weights.shards[at].header.entries.keys().cloned();
            weights.places = names.map(|name| (name, at)).collect();
        }
        Ok(weights)
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

    /// Tensors that were not read, except those whose names `may_stay`.
    pub(super) fn unread(&self, may_stay: impl Fn(&str) -> bool) -> Vec<String> {
        let used = self.used.borrow();
        self.places.keys().filter(|name| !used.contains(*name) && !may_stay(name)).cloned().collect()
    }

    /// A dense layer `name.weight` with, if it has one, `name.bias`.
    pub(super) fn linear(&self, name: &str, inputs: usize, outputs: usize, layout: Layout) -> Result<Linear, String> {
        let weights = Arc::new(self.weight(name, inputs, outputs, layout)?);
        let bias = format!("{name}.bias");
        let bias = if self.has(&bias) { Some(self.numbers(&bias, &[outputs])?) } else { None };
        Ok(Linear { weights, bias })
    }

    /// `[inputs, outputs]`.
    fn weight(&self, name: &str, inputs: usize, outputs: usize, layout: Layout) -> Result<Matrix, String> {
        let weight = format!("{name}.weight");
        let [rows, columns] = match layout {
            Layout::OutputsFirst => [outputs, inputs],
            Layout::InputsFirst => [inputs, outputs],
        };
        let matrix = match &self.quantized {
            Some(quantized) if !quantized.ignores(name) => {
                let values = self.bytes_of(&weight, &[rows, columns], "I8")?;
                let scales = self.numbers(&format!("{name}.weight_scale"), &[rows, 1])?;
                Matrix::new(rows, columns, Values::Int8Rows { values: bytemuck::pod_collect_to_vec(&values), scales })
            }
            _ => self.elements(&weight, rows, columns)?,
        };
        let matrix = matrix.ok_or_else(|| format!("the tensor `{weight}` is empty"))?;
        Ok(if layout == Layout::OutputsFirst { matrix.transposed() } else { matrix })
    }

    /// A matrix as it is in the file, `[rows, columns]`.
    pub(super) fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Matrix, String> {
        self.elements(name, rows, columns)?.ok_or_else(|| format!("the tensor `{name}` is empty"))
    }

    fn elements(&self, name: &str, rows: usize, columns: usize) -> Result<Option<Matrix>, String> {
        let (_, entry) = self.entry(name, &[rows, columns])?;
        let values = if entry.dtype == "F16" {
            let bytes = self.bytes_of(name, &[rows, columns], "F16")?;
            let halves: Vec<u16> = bytemuck::pod_collect_to_vec(&bytes);
            let infinite = |bits: &u16| bits & 0x7c00 == 0x7c00;
            if halves.iter().any(infinite) {
                return Err(self.not_finite(name));
            }
            Values::F16(halves)
        } else {
            Values::F32(self.numbers(name, &[rows, columns])?)
        };
        Ok(Matrix::new(rows, columns, values))
    }

    /// A norm without a mean: `name.weight`.
    pub(super) fn rms_norm(&self, name: &str, columns: usize, epsilon: f32) -> Result<LayerNorm, String> {
        let gamma = self.numbers(&format!("{name}.weight"), &[columns])?;
        Ok(LayerNorm { gamma, beta: vec![0.0; columns], epsilon, centred: false })
    }

    /// `name.weight` and `name.bias`, or `name.gamma` and `name.beta`, as they are called in old files.
    pub(super) fn layer_norm(&self, name: &str, columns: usize, epsilon: f32) -> Result<LayerNorm, String> {
        let is_old = self.has(&format!("{name}.gamma"));
        let [gamma, beta] = if is_old { ["gamma", "beta"] } else { ["weight", "bias"] };
        let gamma = self.numbers(&format!("{name}.{gamma}"), &[columns])?;
        let beta = self.numbers(&format!("{name}.{beta}"), &[columns])?;
        Ok(LayerNorm { gamma, beta, epsilon, centred: true })
    }

    /// All elements of a tensor in single precision. None is infinite or no number.
    pub(super) fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let (_, entry) = self.entry(name, shape)?;
        let dtype = entry.dtype.clone();
        let bytes = self.bytes_of(name, shape, &dtype)?;
        let numbers: Vec<f32> = match dtype.as_str() {
            "F32" => bytemuck::pod_collect_to_vec(&bytes),
            "F16" => halves(&bytes).map(|bits| half::f16::from_bits(bits).to_f32()).collect(),
            "BF16" => halves(&bytes).map(|bits| half::bf16::from_bits(bits).to_f32()).collect(),
            _ => return Err(format!("{}: it has the type {dtype}; expected F32, F16 or BF16", self.named(name))),
        };
        if numbers.iter().all(|number| number.is_finite()) { Ok(numbers) } else { Err(self.not_finite(name)) }
    }

    fn bytes_of(&self, name: &str, shape: &[usize], dtype: &str) -> Result<Vec<u8>, String> {
        let (shard, entry) = self.entry(name, shape)?;
        if entry.dtype != dtype {
            return Err(format!("{}: it has the type {}; expected {dtype}", self.named(name), entry.dtype));
        }
        self.used.borrow_mut().insert(name.to_owned());
        let bytes = shard.source.read(shard.header.range(entry));
        bytes.map(std::borrow::Cow::into_owned).map_err(|error| format!("{}: {error}", self.named(name)))
    }

    fn entry(&self, name: &str, shape: &[usize]) -> Result<(&Shard<'a>, &Entry), String> {
        let place = self.places.get(name).map(|at| &self.shards[*at]);
        let found = place.and_then(|shard| Some((shard, shard.header.entries.get(name)?)));
        let (shard, entry) = found.ok_or_else(|| format!("the tensor `{name}` is missing"))?;
        if entry.shape != shape {
            return Err(format!("{}: it has the shape {:?}; expected {shape:?}", self.named(name), entry.shape));
        }
        Ok((shard, entry))
    }

    fn named(&self, name: &str) -> String {
        let file = self.places.get(name).map_or(WHOLE, |at| &self.shards[*at].file);
        format!("{file}: the tensor `{name}`")
    }

    fn not_finite(&self, name: &str) -> String {
        format!("{} holds a number that is infinite or NaN", self.named(name))
    }
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
}

/// Whether a name stays in its folder.
fn is_plain(file: &str) -> bool {
    !file.is_empty() && !file.contains(['/', '\\', ':']) && file != "." && file != ".."
}
