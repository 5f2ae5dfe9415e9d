//! Numbers in, numbers out: the products, norms and activations of an encoder, for the processor at hand.
//!
//! This is the only place with `unsafe` code for the CPU. Every kernel has a naive twin in [`reference`](mod@reference), which is
//! what it must compute, and every instruction set is held to it. Leaves out: models, graphs, files, and the choice of where
//! a number comes from.

mod activation;
mod aligned;
mod attention;
mod embedding;
mod error;
mod feed_forward;
mod gate;
mod gemm;
mod isa;
mod kernels;
mod layer_norm;
mod linear;
mod memory;
#[cfg(not(target_family = "wasm"))]
mod nearest;
mod packed;
mod packed_groups;
mod pool;
mod pooling;
mod quantize_rows;
pub mod reference;
mod rotary;
mod rounding;
mod softmax;
pub mod vector;

pub use activation::Activation;
pub use attention::{
    AttentionShape, ByDistance, PAGE_TOKENS, PageCopy, PagedSequence, Queries, Relative, Rows, ScoreBias, Seen,
    SlotMap, page_len,
};
pub use embedding::{Embedding, EmbeddingTable, Table};
pub use error::ShapeError;
pub use isa::Isa;
pub use kernels::Kernels;
pub use layer_norm::LayerNorm;
pub use linear::Epilogue;
pub use memory::release_free_memory;
#[cfg(not(target_family = "wasm"))]
pub use nearest::{ByteRows, Near, round_to_bytes};
pub use packed::{PackedLinear, WeightData, WeightPart};
pub use packed_groups::{GroupScales, Int4Groups};
pub use pool::Pool;
pub use rotary::{Rotary, RotaryScaling, RotaryTable};
pub use rounding::Rounding;
