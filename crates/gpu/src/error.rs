//! What can go wrong between a program and a GPU.

use grice_model::EngineError;

/// Why there is no GPU to run on, or why a model does not run on it. The texts name the adapter, limit or step and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// No adapter at all.
    #[error(
        "no GPU was found: natively it takes a driver for Vulkan, Metal or DirectX 12, in a browser WebGPU; run on the CPU instead"
    )]
    NoAdapter,
    /// No adapter of this index.
    #[error("there is no GPU {index}: the adapters found are 0 to {}", count.saturating_sub(1))]
    NoSuchAdapter {
        /// The index asked for.
        index: usize,
        /// How many adapters there are, at least one.
        count: usize,
    },
    /// An adapter that lacks what every shader needs.
    #[error("{adapter} cannot be used: {reason}")]
    Unfit {
        /// Its name.
        adapter: String,
        /// What it lacks.
        reason: String,
    },
    /// The driver gave no device.
    #[error("{adapter} gave no device: {reason}")]
    Device {
        /// The adapter's name.
        adapter: String,
        /// In the driver's words.
        reason: String,
    },
    /// A step that there is no shader for, or not in this size.
    #[error("the model cannot run on the GPU: {step}: {reason}")]
    Lowering {
        /// Which step of the program.
        step: String,
        /// What is in the way.
        reason: String,
    },
    /// A limit of the device is too small for the model.
    #[error("{what} needs {needed}, but the device allows {limit} ({name}); run on the CPU instead")]
    Limit {
        /// What is too large.
        what: String,
        /// How much it needs, in the limit's unit.
        needed: u64,
        /// What the device allows.
        limit: u64,
        /// The limit's name in WebGPU.
        name: &'static str,
    },
    /// Memory ran out.
    #[error("the GPU has no memory left for {what} ({bytes} bytes)")]
    OutOfMemory {
        /// What was to be kept there.
        what: String,
        /// How much.
        bytes: u64,
    },
    /// The driver or the API refused something that was thought to be right.
    #[error("the GPU refused {what}: {reason}")]
    Refused {
        /// What was asked for.
        what: String,
        /// In its words.
        reason: String,
    },
    /// A compiled engine that is not one for here.
    #[error("{path}: {reason}")]
    Compiled {
        /// The file.
        path: String,
        /// What is wrong with it, or what it was made for.
        reason: String,
    },
    /// The device went away.
    #[error("the GPU was lost: {0}")]
    Lost(String),
}

impl From<GpuError> for EngineError {
    fn from(error: GpuError) -> EngineError {
        match error {
            GpuError::Lost(reason) => EngineError::DeviceLost(reason),
            error => EngineError::Plan(error.to_string()),
        }
    }
}
