//! Generation from outside: beside transformers, beside a plain search, and where options are wrong.
#![allow(clippy::unwrap_used)]

mod cases;
mod engine;
mod parity;
mod properties;
mod toy;
mod twin;
