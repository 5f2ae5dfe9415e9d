//! Files of weights: safetensors, and an index if they are several.

use super::plan::{Job, Piece, Plan, size_of_type};
use super::round;
use crate::{Error, Result};
use grice_model::RawCheckpoint;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io::{self, Seek, SeekFrom, Write};

/// Where files are written.
pub trait Place {
    /// A new file.
    ///
    /// # Errors
    /// Those of the file system.
    fn file(&self, name: &str) -> io::Result<Box<dyn Sink + '_>>;
}

/// A file that is written in any order.
pub trait Sink: Write + Seek {}

impl<T: Write + Seek> Sink for T {}

/// Writes the weights of a plan.
pub(super) fn write(place: &dyn Place, source: &RawCheckpoint<'_>, plan: &Plan, bytes_max: u64) -> Result<()> {
    let shards = split(&plan.jobs, bytes_max);
    let mut map = Map::new();
    for (number, jobs) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        write_shard(place, &name, source, jobs)?;
        map.extend(jobs.iter().flat_map(|job| &job.pieces).map(|piece| (piece.name.clone(), json!(name))));
    }
    if shards.len() > 1 {
        let total: u64 = plan.jobs.iter().map(Job::bytes).sum();
        let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
        write_json(place, "model.safetensors.index.json", &index)?;
    }
    Ok(())
}

/// Writes a JSON file.
pub(super) fn write_json(place: &dyn Place, name: &str, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    let write = || {
        let mut file = place.file(name)?;
        file.write_all(text.as_bytes())?;
        file.flush()
    };
    write().map_err(|source| Error::Write { file: name.to_owned(), source })
}

impl Job {
    fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.bytes).sum()
    }
}

/// Jobs in order, so many in a file as its limit allows.
fn split(jobs: &[Job], bytes_max: u64) -> Vec<&[Job]> {
    let (mut shards, mut start, mut filled) = (Vec::new(), 0, 0u64);
    for (at, job) in jobs.iter().enumerate() {
        if at > start && filled.saturating_add(job.bytes()) > bytes_max {
            shards.push(&jobs[start..at]);
            (start, filled) = (at, 0);
        }
        filled += job.bytes();
    }
    shards.push(&jobs[start..]);
    shards
}

/// One file: a header that says where each tensor is, and the tensors, those with the largest elements first so that all are aligned.
fn write_shard(place: &dyn Place, name: &str, source: &RawCheckpoint<'_>, jobs: &[Job]) -> Result<()> {
    let unwritten = |source| Error::Write { file: name.to_owned(), source };
    let (header, offsets) = header(jobs);
    let mut file = place.file(name).map_err(unwritten)?;
    file.write_all(&header).map_err(unwritten)?;
    for job in jobs {
        for (piece, bytes) in job.pieces.iter().zip(round::bytes(source, job)?) {
            let at = SeekFrom::Start(header.len() as u64 + offsets[piece.name.as_str()]);
            let written = file.seek(at).and_then(|_| file.write_all(&bytes));
            written.map_err(unwritten)?;
        }
    }
    file.flush().map_err(unwritten)
}

/// The header with its length before it, and where after it each tensor begins.
fn header(jobs: &[Job]) -> (Vec<u8>, HashMap<&str, u64>) {
    let mut pieces: Vec<&Piece> = jobs.iter().flat_map(|job| &job.pieces).collect();
    pieces.sort_by_key(|piece| std::cmp::Reverse(size_of_type(piece.dtype)));
    // transformers reads no file without this.
    let mut entries = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
    let (mut offsets, mut at) = (HashMap::new(), 0);
    for piece in pieces {
        let end = at + piece.bytes;
        let entry = json!({ "dtype": piece.dtype, "shape": piece.shape, "data_offsets": [at, end] });
        entries.insert(piece.name.clone(), entry);
        offsets.insert(piece.name.as_str(), at);
        at = end;
    }
    let mut text = Value::Object(entries).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    ([&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat(), offsets)
}
