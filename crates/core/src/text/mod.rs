//! A turn → the model's text → token ids, within the model's length; and token ids → text, as they come.

mod excerpt;
#[cfg(not(target_arch = "wasm32"))]
mod fence;
#[cfg(not(target_arch = "wasm32"))]
mod gguf;
mod specials;
mod start;
mod stream;
mod template;
mod tokenizer;
mod visible;
mod window;
#[cfg(not(target_arch = "wasm32"))]
mod words;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use fence::Fence;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use gguf::tokenizer_json;
pub(crate) use start::{Start, encode_start};
pub use stream::{Speller, Stream};
pub use template::{Rendered, Template};
pub use tokenizer::Tokenizer;
pub(crate) use visible::is_blank;
#[cfg(any(feature = "generation", not(target_arch = "wasm32")))]
pub(crate) use window::encode_prompt;
pub use window::{Encoded, encode_turn};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use words::without;
#[cfg(not(target_arch = "wasm32"))]
pub use words::words;
