//! A turn → the model's text → token ids, within the model's length.

mod specials;
mod template;
mod tokenizer;
mod window;

pub use template::{Rendered, Template};
pub use tokenizer::Tokenizer;
pub use window::{Encoded, encode_turn};
