//! How a schedule is to behave.

use std::time::Duration;

/// When a batch that is not full may leave while an engine is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Accumulate {
    /// At once: batches fill while all engines are busy, and nobody waits for an idle one.
    #[default]
    Never,
    /// At once when every engine is idle; while another one runs, after [`Config::wait_max`].
    WhileBusy,
    /// After [`Config::wait_max`], whatever the engines do: fuller batches for a slower first answer.
    Always,
}

/// Bounds and habits of a schedule. [`Config::default`] suits one CPU engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How many engines (replicas) there are to run batches side by side; at least 1.
    pub engines: usize,
    /// Sequences that may wait for a run.
    pub queue_rows_max: usize,
    /// Tokens that may wait for a run. One sequence may always wait, however long.
    pub queue_tokens_max: usize,
    /// Requests without an answer, those that share a run included.
    pub requests_max: usize,
    /// Sequences in a batch; at least 1.
    pub batch_rows_max: usize,
    /// Tokens in a batch. A longer sequence runs alone.
    pub batch_tokens_max: usize,
    /// The share of padding, 0 to 1, up to which a sequence of another length may join a batch. It does not hold for those
    /// that have been passed over too often.
    pub padding_ratio_max: f64,
    /// When a batch may leave that is not full.
    pub accumulate: Accumulate,
    /// How long [`Accumulate`] may hold a sequence back.
    pub wait_max: Duration,
    /// Batches in which a sequence may be passed over for others of a better length.
    pub passed_over_max: u64,
    /// Every so many batches the oldest sequence goes first, whatever its priority; at least 1.
    pub fair_batches: u64,
    /// Bytes that the cache may hold, bookkeeping included. 0 keeps nothing.
    pub cache_bytes_max: u64,
}

/// A processor gains nothing from more: the activations no longer stay in its cache.
const CPU_BATCH_TOKENS_MAX: usize = 1024;
/// 64 sequences of 128 tokens, which fill a large GPU.
const GPU_BATCH_TOKENS_MAX: usize = 8192;

impl Config {
    /// The [`Config::batch_tokens_max`] that suits a device, `"cpu"` or `"gpu"`.
    pub fn batch_tokens_for(device: &str) -> usize {
        if device == "gpu" { GPU_BATCH_TOKENS_MAX } else { CPU_BATCH_TOKENS_MAX }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            engines: 1,
            queue_rows_max: 1024,
            queue_tokens_max: 256 * 1024,
            requests_max: 8192,
            batch_rows_max: 64,
            batch_tokens_max: 8192,
            padding_ratio_max: 0.5,
            accumulate: Accumulate::Never,
            wait_max: Duration::from_millis(50),
            passed_over_max: 4,
            fair_batches: 8,
            cache_bytes_max: 64 << 20,
        }
    }
}
