//! Whether to look for the best way to make each product.

/// Whether products are timed when a model is made ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tuning {
    /// On a GPU, natively, with a folder to keep what was found in; not on a software adapter, which is for tests, nor in a browser.
    #[default]
    Auto,
    /// Not at all: the table for this kind of device decides.
    Off,
    /// On any adapter, natively.
    Always,
}
