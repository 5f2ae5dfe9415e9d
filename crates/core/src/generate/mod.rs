//! Logits → tokens: how the next token is chosen, when a sequence ends, and what the engine is to run next. Pure: no clock, no thread,
//! and no randomness but what a seed gives.
//!
//! ```text
//! Decoding::wants ─► engine ─► rows of logits ─► Decoding::advance ─► Progress::More, and again
//!                                                                └──► Progress::Done
//! ```
//!
//! A step of a single sequence adjusts the logits (`adjust.rs`), then takes the largest or draws (`sample.rs`), for each token of a
//! draft (`draft.rs`) in turn. A step of a beam makes log-probabilities first, then adjusts those (`beam.rs`).

mod adjust;
mod beam;
mod bounds;
mod choice;
mod choose;
mod course;
mod courses;
mod decoding;
mod draft;
mod numbers;
mod options;
mod outcome;
mod pages;
mod sample;
mod single;
mod stops;
#[cfg(test)]
mod tests;

pub use bounds::{Bounds, Refused};
pub use choice::Choice;
pub use course::Work;
pub(crate) use course::{Course, Size};
pub use courses::{CourseId, Courses, Event};
pub use decoding::Decoding;
pub use options::{DecodeOptions, EarlyStopping, OptionError, Search, WIDTH_MAX};
pub use outcome::{DecodeError, Finish, Generated, Progress, Start, TokenLog, Want};
pub use pages::PagePool;
