//! GGUF, the files of llama.cpp (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>), read as untrusted input: fields by
//! name, and where each tensor lies.
//!
//! ```text
//! cursor ─► value ─► header        kind: bytes of a tensor ─► numbers
//! ```

mod blocks;
mod cursor;
mod header;
mod kind;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use header::{Header, Tensor};
pub(crate) use kind::Kind;
pub(crate) use value::{List, Value};
