//! The schedule against a naive model, over hours that take milliseconds. The browser runs these same files
//! (`crates/wasm/tests/browser.rs`).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cache;
mod cases;
mod hours;
mod machine;
mod mixed;
mod mixed_hours;
mod mixed_world;
mod texts;
mod toy;
mod world;
