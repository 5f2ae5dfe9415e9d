//! A device that goes away is an error that says so, and what is built anew works.
#![allow(clippy::unwrap_used)]

mod adapter;

use adapter::{engine, open_gpu};
use grice_gpu::{GpuError, GpuPlan};
use grice_model::{Batch, Engine, EngineError, Network};
use grice_testkit::fixtures::Fixture;

#[test]
fn a_lost_device_says_so_and_a_new_one_answers_alike() {
    let Some(gpu) = open_gpu() else { return };
    let network = Network::import(Fixture::all()[0].onnx(), 4).unwrap();
    let batch = Batch::pack(&[vec![1, 2, 3], vec![4]]).unwrap();
    let mut lost = engine(&gpu, network.clone());
    let before = lost.forward(&batch).unwrap();
    assert_eq!(gpu.lost(), None);

    gpu.destroy();
    for _ in 0..2 {
        match lost.forward(&batch) {
            Err(EngineError::DeviceLost(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(gpu.lost().is_some());
    let program = network.clone().into_program().ok().unwrap();
    match pollster::block_on(GpuPlan::new(&gpu, program, 4)) {
        Err(GpuError::Lost(_)) => {}
        other => panic!("{:?}", other.err()),
    }

    let gpu = open_gpu().unwrap();
    assert_eq!(engine(&gpu, network).forward(&batch).unwrap(), before);
}
