//! What is said of a text, and what both ways of writing share.

use crate::args::Generate;
use grice_core::Memory;
use grice_core::generate::Generated;

/// Memory for keys and values.
pub(super) fn memory(args: &Generate) -> Memory {
    Memory::Bytes(args.memory.get().saturating_mul(1 << 20))
}

/// A text as one JSON object.
pub(super) fn line_of(text: &str, prompt_tokens: usize, generated: &Generated) -> serde_json::Value {
    serde_json::json!({
        "generated": text,
        "finish_reason": generated.reason.name(),
        "prompt_tokens": prompt_tokens,
        "generated_tokens": generated.tokens.len(),
    })
}
