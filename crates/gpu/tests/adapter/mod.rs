//! The adapter that tests run on.
#![allow(dead_code, reason = "not every test uses all of it")]

use grice_gpu::{Gpu, GpuEngine, GpuError, GpuPlan, Selector, Settings};
use grice_model::Network;

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

/// An engine for a network that fuses.
pub(crate) fn engine(gpu: &Gpu, network: Network) -> GpuEngine {
    let labels = network.labels();
    let program = network.into_program().unwrap_or_else(|network| panic!("{:?}", network.program().err()));
    pollster::block_on(GpuPlan::new(gpu, program, labels)).unwrap().engine().unwrap()
}
