//! The engines: one enum for all, and opening a network on a device.

mod any;
#[cfg(feature = "gpu")]
mod comparison;
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
mod compiled;
mod open;
mod plan;
#[cfg(all(feature = "onnx", not(target_arch = "wasm32")))]
mod program;

pub use any::AnyEngine;
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
pub(crate) use compiled::reuse_compiled;
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
pub use compiled::{Compilation, compile};
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
pub use open::find_adapters;
#[cfg(feature = "onnx")]
pub use open::plan_engine;
#[cfg(not(all(feature = "gpu", not(target_arch = "wasm32"))))]
pub(crate) use open::reuse_compiled;
pub(crate) use open::wait_for;
pub use plan::{Bounds, Plan};
#[cfg(all(feature = "onnx", not(target_arch = "wasm32")))]
pub use program::{ProgramCompilation, compile_program};
