//! The GPU engine in a browser, through WebGPU: the references of the tiny models, awaited. Run by `cargo xtask test`, whose
//! Chromium has a software adapter.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_gpu::{Gpu, GpuEngine, GpuError, GpuPlan, Selector, Settings, list_adapters};
use grice_model::{Batch, EngineError, Network, Precision};
use grice_testkit::fixtures::Reference;
use grice_testkit::{FP16_TOLERANCE, FP32_TOLERANCE, assert_close};
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

macro_rules! fixture {
    ($path:expr) => {
        include_bytes!(concat!("../../testkit/fixtures/", $path)).as_slice()
    };
}

/// Name, ONNX file and references.
const FILES: [(&str, &[u8], &[u8]); 3] = [
    ("tiny-bert", fixture!("tiny-bert/onnx/model.onnx"), fixture!("tiny-bert/reference.json")),
    ("tiny-deberta", fixture!("tiny-deberta/onnx/model.onnx"), fixture!("tiny-deberta/reference.json")),
    ("tiny-int8", fixture!("tiny-int8/model.onnx"), fixture!("tiny-int8/reference.json")),
];

async fn open_gpu() -> Option<Gpu> {
    match Gpu::open(Selector::Auto, &Settings::default()).await {
        Ok(gpu) => {
            console_log!("on {}", gpu.adapter());
            Some(gpu)
        }
        Err(GpuError::NoAdapter) => {
            console_log!("skipped: no adapter");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

async fn engine(gpu: &Gpu, onnx: &[u8], precision: Option<Precision>) -> GpuEngine {
    let network = Network::import(onnx, 4).unwrap();
    let network = precision.map_or(Ok(network.clone()), |precision| network.to_precision(precision)).unwrap();
    let program = network.into_program().unwrap_or_else(|network| panic!("{:?}", network.program().err()));
    GpuPlan::new(gpu, program, 4).await.unwrap().engine().unwrap()
}

async fn check(name: &str, engine: &mut GpuEngine, references: &[u8], tolerance: f32) {
    let references: Vec<Reference> = serde_json::from_slice(references).unwrap();
    assert!(references.len() >= 8, "{name}: too few references");
    for (number, case) in references.iter().enumerate() {
        let logits = engine.run(&Batch::pack(&case.sequences()).unwrap()).await.unwrap();
        let expected = if case.logits_pytorch.is_empty() { &case.logits_onnxruntime } else { &case.logits_pytorch };
        assert_eq!(expected.len(), logits.rows());
        for (row, expected) in expected.iter().enumerate() {
            assert_close(&format!("{name} case {number} row {row}"), logits.row(row), expected, tolerance);
        }
    }
}

#[wasm_bindgen_test]
async fn logits_are_those_of_pytorch_and_onnx_runtime() {
    let Some(gpu) = open_gpu().await else { return };
    for (name, onnx, references) in FILES {
        let mut engine = engine(&gpu, onnx, None).await;
        assert_eq!((engine.info().device, engine.info().kernels), ("gpu", "wgpu webgpu"));
        let tolerance = if name.contains("int8") { grice_testkit::INT8_TOLERANCE } else { FP32_TOLERANCE };
        check(name, &mut engine, references, tolerance).await;
    }
}

#[wasm_bindgen_test]
async fn half_precision_is_close() {
    let Some(gpu) = open_gpu().await else { return };
    let (name, onnx, references) = FILES[1];
    let mut engine = engine(&gpu, onnx, Some(Precision::Fp16)).await;
    check(name, &mut engine, references, FP16_TOLERANCE).await;
}

#[wasm_bindgen_test]
async fn a_lost_device_says_so_and_a_new_one_answers() {
    let Some(gpu) = open_gpu().await else { return };
    let (_, onnx, _) = FILES[0];
    let batch = Batch::pack(&[vec![1, 2, 3], vec![4]]).unwrap();
    let mut lost = engine(&gpu, onnx, None).await;
    let before = lost.run(&batch).await.unwrap();
    gpu.destroy();
    match lost.run(&batch).await {
        Err(EngineError::DeviceLost(_)) => {}
        other => panic!("{other:?}"),
    }
    let gpu = open_gpu().await.unwrap();
    assert_eq!(engine(&gpu, onnx, None).await.run(&batch).await.unwrap(), before);
}

#[wasm_bindgen_test]
async fn a_browser_lists_one_adapter_at_most() {
    let adapters = list_adapters().await;
    assert!(adapters.len() <= 1, "{adapters:?}");
    for adapter in adapters {
        console_log!("{adapter:?}");
        assert_eq!((adapter.index, adapter.backend), (0, "webgpu"));
    }
}
