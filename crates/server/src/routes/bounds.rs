//! Limits of inference requests.

/// Limits of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) rows_max: usize,
    pub(crate) tokens_max: usize,
    /// Number of columns of an output.
    pub(crate) labels: usize,
    /// Whether the model's answers depend on padding.
    pub(crate) keeps_padding: bool,
}
