//! Generation from outside: beside transformers, beside itself uninterrupted, and where options are wrong.

mod engine;
mod parity;
mod toy;
