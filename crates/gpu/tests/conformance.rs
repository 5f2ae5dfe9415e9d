//! The GPU engine passes the suite that every engine must pass, on whatever adapter there is: on a machine without a GPU, Mesa's software one.
#![allow(clippy::unwrap_used)]

mod adapter;

use adapter::open_gpu;
use grice_gpu::{Gpu, GpuEngine, GpuPlan};
use grice_model::{Network, Precision};
use grice_testkit::conformance;

fn engine(gpu: &Gpu, network: Network) -> GpuEngine {
    let labels = network.labels();
    let program = network.into_program().unwrap_or_else(|network| panic!("{:?}", network.program().err()));
    pollster::block_on(GpuPlan::new(gpu, program, labels)).unwrap().engine().unwrap()
}

#[test]
fn passes_the_suite() {
    let Some(gpu) = open_gpu() else { return };
    conformance::check_engine(|network| engine(&gpu, network.clone()));
}

#[test]
fn files_by_onnx_runtimes_quantizer() {
    let Some(gpu) = open_gpu() else { return };
    conformance::check_onnxruntime_int8(|network| {
        assert_eq!(network.precision(), Precision::Int8);
        engine(&gpu, network)
    });
}
