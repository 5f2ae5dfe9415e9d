//! The built-in model, `models/detector-mini`: its compiled program, which opens faster than its ONNX file.

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
