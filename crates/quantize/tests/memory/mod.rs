//! Folders in memory, and the models in them.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use grice_model::{Checkpoint, Folder, Source};
use grice_quantize::checkpoint::{Converted, Place, Sink, convert};
use grice_quantize::{Error, Form};
use serde_json::Value;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::ops::Range;

pub(crate) const WEIGHTS: &str = "model.safetensors";

/// Files by name.
#[derive(Clone, Default)]
pub(crate) struct Memory(RefCell<BTreeMap<String, Cursor<Vec<u8>>>>);

struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> io::Result<Cow<'_, [u8]>> {
        let part = self.0.get(range.start as usize..range.end as usize);
        part.map(Into::into).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Folder for Memory {
    fn file(&self, name: &str) -> io::Result<Option<Box<dyn Source + '_>>> {
        Ok(self.0.borrow().get(name).map(|file| Box::new(Bytes(file.get_ref().clone())) as Box<dyn Source>))
    }
}

struct File<'m> {
    memory: &'m Memory,
    name: String,
}

impl Write for File<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.memory.0.borrow_mut().get_mut(&self.name).unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.memory.0.borrow_mut().get_mut(&self.name).unwrap().seek(to)
    }
}

impl Place for Memory {
    fn file(&self, name: &str) -> io::Result<Box<dyn Sink + '_>> {
        self.0.borrow_mut().insert(name.to_owned(), Cursor::default());
        Ok(Box::new(File { memory: self, name: name.to_owned() }))
    }
}

impl Memory {
    /// The files of a fixture.
    pub(crate) fn of(name: &str) -> Memory {
        let memory = Memory::default();
        for entry in std::fs::read_dir(grice_testkit::generators::folder(name)).unwrap().map(Result::unwrap) {
            memory.insert(&entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap());
        }
        memory
    }

    pub(crate) fn insert(&self, name: &str, bytes: Vec<u8>) {
        self.0.borrow_mut().insert(name.to_owned(), Cursor::new(bytes));
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.borrow().keys().cloned().collect()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        self.0.borrow()[name].get_ref().clone()
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).unwrap()
    }

    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut value = self.json(name);
        change(&mut value);
        self.insert(name, serde_json::to_vec(&value).unwrap());
    }

    /// The header of a file of weights, and where it ends.
    pub(crate) fn header(&self, name: &str) -> (Value, usize) {
        let bytes = self.bytes(name);
        let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        (serde_json::from_slice(&bytes[8..end]).unwrap(), end)
    }

    /// Changes the header of a file of weights, and nothing after it.
    pub(crate) fn change_header(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let (mut header, end) = self.header(name);
        change(&mut header);
        let text = header.to_string();
        let bytes = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &self.bytes(name)[end..]].concat();
        self.insert(name, bytes);
    }

    /// Where the bytes of a tensor are in its file.
    pub(crate) fn range(&self, name: &str, tensor: &str) -> Range<usize> {
        let (header, end) = self.header(name);
        let offset = |side: usize| end + header[tensor]["data_offsets"][side].as_u64().unwrap() as usize;
        offset(0)..offset(1)
    }

    /// Overwrites the first bytes of a tensor.
    pub(crate) fn poke(&self, name: &str, tensor: &str, bytes: &[u8]) {
        let at = self.range(name, tensor).start;
        let mut all = self.bytes(name);
        all[at..at + bytes.len()].copy_from_slice(bytes);
        self.insert(name, all);
    }

    pub(crate) fn open(&self) -> Checkpoint {
        Checkpoint::open(self).unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    pub(crate) fn refused(&self, words: &str) {
        let error = Checkpoint::open(self).expect_err("it opened").to_string();
        assert!(error.contains(words), "{error}\nlacks: {words}");
    }

    pub(crate) fn try_converted(&self, form: Form, file_bytes_max: u64) -> Result<(Memory, Converted), Error> {
        let out = Memory::default();
        let converted = convert(self, form, file_bytes_max, &out)?;
        out.insert("generation_config.json", self.bytes("generation_config.json"));
        Ok((out, converted))
    }

    pub(crate) fn converted(&self, form: Form) -> Memory {
        self.try_converted(form, u64::MAX).unwrap_or_else(|error| panic!("{error}")).0
    }
}
