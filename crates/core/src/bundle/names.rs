//! The names of the files in every bundle.

pub(super) const MANIFEST: &str = "grice.json";
pub(super) const CONFIG: &str = "config.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
