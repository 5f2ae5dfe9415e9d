//! A head that is no dense layers: hidden states of token 0 in, logits out. It is small, and in whatever operators it was exported with, so
//! tract runs it for every engine. Without the feature `onnx` there are no such heads.

#[cfg(feature = "onnx")]
mod graph;
#[cfg(not(feature = "onnx"))]
mod none;

#[cfg(feature = "onnx")]
pub use graph::{HeadGraph, HeadPlan, HeadRunner};
#[cfg(feature = "onnx")]
pub(crate) use graph::{constant_bytes, operators};
#[cfg(not(feature = "onnx"))]
pub use none::{HeadGraph, HeadPlan, HeadRunner};
