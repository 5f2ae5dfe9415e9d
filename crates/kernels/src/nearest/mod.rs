//! The rows of a table that are nearest to a vector, by inner products of bytes.
//!
//! Every row is looked at, so the result is exact for the bytes. Products and sums are those of integers, and what follows is done in one
//! order: the same bits on every instruction set and with any number of threads.

mod best;
mod dots;
#[cfg(target_arch = "aarch64")]
mod neon;
mod products;
mod scan;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use best::Near;
pub use scan::{ByteRows, round_to_bytes};
