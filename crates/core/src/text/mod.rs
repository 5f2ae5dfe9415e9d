//! A turn → the model's text → token ids, within the model's length.

mod excerpt;
mod specials;
mod template;
mod tokenizer;
mod visible;
mod window;

pub use template::{Rendered, Template};
pub use tokenizer::Tokenizer;
pub(crate) use visible::is_blank;
pub use window::{Encoded, encode_turn};
