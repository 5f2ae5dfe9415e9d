//! The face of the crate: an instruction set and the threads to use it on.

use crate::{Isa, Pool};

/// What runs kernels: an instruction set and a pool of threads. Calls from several threads at once take turns.
pub struct Kernels {
    isa: Isa,
    pool: Pool,
}

impl Kernels {
    /// The best instruction set, on `threads` threads with the caller's (0 counts as 1).
    pub fn new(threads: usize) -> Self {
        Self::with_isa(Isa::best(), threads)
    }

    /// The given instruction set, on `threads` threads with the caller's (0 counts as 1).
    pub fn with_isa(isa: Isa, threads: usize) -> Self {
        Self { isa, pool: Pool::new(threads) }
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The threads in use, the caller's among them; 1 in WebAssembly.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }
}
