//! A device for tests, if there is one.

use crate::adapter::Selector;
use crate::device::{Gpu, Settings};
use crate::error::GpuError;
use crate::gemm::Abilities;

/// The best adapter, or a word that there is none: a test that did not run must not look as if it had passed.
pub(crate) fn gpu(test: &str) -> Option<Gpu> {
    match pollster::block_on(Gpu::open(Selector::Auto, &Settings::default())) {
        Ok(gpu) => Some(gpu),
        Err(GpuError::NoAdapter) => {
            eprintln!("skipped: no adapter for {test}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// What the device can do, cooperative matrices included.
pub(crate) fn abilities(gpu: &Gpu) -> Abilities {
    gpu.abilities()
}
