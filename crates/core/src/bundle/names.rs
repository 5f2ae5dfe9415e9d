//! What the files of every bundle are called.

pub(super) const MANIFEST: &str = "grice.json";
pub(super) const CONFIG: &str = "config.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
