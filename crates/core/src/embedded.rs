//! The built-in models: `models/detector-mini`, as its compiled program, which opens faster than its ONNX file, and `models/repair-mini`.

use std::borrow::Cow;
use std::collections::BTreeMap;

macro_rules! embed {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_bytes!(concat!("../../../models/detector-mini/", $path)).as_slice())),*]
    };
}

pub(crate) fn files() -> BTreeMap<String, Cow<'static, [u8]>> {
    let files = embed!["grice.json", "config.json", "tokenizer.json", "onnx/model_int8.grice"];
    files.into_iter().map(|(path, bytes)| (path.to_owned(), Cow::Borrowed(bytes))).collect()
}

#[cfg(not(target_arch = "wasm32"))]
macro_rules! embed_repairer {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../models/repair-mini/", $name)).as_slice())),*]
    };
}

/// The files of `models/repair-mini`.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) const REPAIRER: Held =
    Held(embed_repairer!["grice.json", "config.json", "generation_config.json", "tokenizer.json", "model.safetensors"]);

/// Files in memory, with their names.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) struct Held(&'static [(&'static str, &'static [u8])]);

#[cfg(not(target_arch = "wasm32"))]
impl grice_model::Folder for Held {
    fn file(&self, name: &str) -> std::io::Result<Option<Box<dyn grice_model::Source + '_>>> {
        let found = self.0.iter().find(|(held, _)| *held == name);
        Ok(found.map(|(_, bytes)| -> Box<dyn grice_model::Source> { Box::new(*bytes) }))
    }
}
