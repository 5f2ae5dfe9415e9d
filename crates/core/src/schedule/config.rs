//! Settings of a schedule.

use std::time::Duration;

/// When a batch that is not full may run while an engine is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Accumulate {
    /// At once: batches fill while all engines are busy, and no request waits while an engine is idle.
    #[default]
    Never,
    /// At once when every engine is idle; while another one runs, after [`Config::wait_max`].
    WhileBusy,
    /// After [`Config::wait_max`] in every case: fuller batches, but a slower first answer.
    Always,
}

/// Limits and behaviour of a schedule. [`Config::default`] suits one CPU engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Number of engines (replicas) that run batches in parallel; at least 1.
    pub engines: usize,
    /// Maximum number of waiting sequences.
    pub queue_rows_max: usize,
    /// Maximum number of waiting tokens. A single sequence may always wait.
    pub queue_tokens_max: usize,
    /// Maximum number of requests without an answer, including those that share a run.
    pub requests_max: usize,
    /// Maximum number of sequences in a batch; at least 1.
    pub batch_rows_max: usize,
    /// Maximum number of tokens in a batch. A longer sequence runs alone.
    pub batch_tokens_max: usize,
    /// Maximum share of padding, 0 to 1, for a sequence of another length to join a batch. Sequences
    /// that were passed over too often are exempt.
    pub padding_ratio_max: f64,
    /// When a batch that is not full may run.
    pub accumulate: Accumulate,
    /// Maximum delay of a sequence by [`Accumulate`].
    pub wait_max: Duration,
    /// Number of batches for which a sequence may be passed over in favour of others of a better length.
    pub passed_over_max: u64,
    /// After this number of batches the oldest sequence goes first, regardless of priority; at least 1.
    pub fair_batches: u64,
    /// Maximum size of the cache in bytes, overhead included. 0 turns it off.
    pub cache_bytes_max: u64,
}

/// More gains nothing on a processor: the activations would no longer fit in its cache.
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
