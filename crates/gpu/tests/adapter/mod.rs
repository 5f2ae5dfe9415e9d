//! The adapter that tests run on.

use grice_gpu::{Gpu, GpuError, Selector, Settings};

/// The best adapter, software included; `None`, and said so, where there is none. Any other error is one.
pub(crate) fn open_gpu() -> Option<Gpu> {
    open_gpu_with(&Settings::default())
}

/// As [`open_gpu`], opened in a way of its own.
pub(crate) fn open_gpu_with(settings: &Settings) -> Option<Gpu> {
    match pollster::block_on(Gpu::open(Selector::Auto, settings)) {
        Ok(gpu) => {
            println!("on {}", gpu.adapter());
            Some(gpu)
        }
        Err(GpuError::NoAdapter) => {
            println!("skipped: no adapter");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
