//! Any bytes as a GGUF file: an error or a model whose parts fit, and no memory beyond what the file takes.
#![no_main]

use grice_core::{Folder, GgufModel, Source};
use libfuzzer_sys::fuzz_target;
use std::io;

struct One<'a>(&'a [u8]);

impl Folder for One<'_> {
    fn file(&self, _: &str) -> io::Result<Option<Box<dyn Source + '_>>> {
        Ok(Some(Box::new(self.0)))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = GgufModel::open(&One(bytes), "a.gguf", None) else { return };
    assert!(model.checkpoint.generator.check().is_ok());
});
