//! `models/detector-mini`, compiled in.

use std::borrow::Cow;
use std::collections::BTreeMap;

macro_rules! embed {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_bytes!(concat!("../../../models/detector-mini/", $path)).as_slice())),*]
    };
}

pub(crate) fn files() -> BTreeMap<String, Cow<'static, [u8]>> {
    let files = embed!["grice.json", "config.json", "tokenizer.json", "onnx/model_int8.onnx"];
    files.into_iter().map(|(path, bytes)| (path.to_owned(), Cow::Borrowed(bytes))).collect()
}
