//! The time of each step, by the device's clock.
#![allow(clippy::unwrap_used)]

mod adapter;

use adapter::{engine, open_gpu, open_gpu_with};
use grice_gpu::Settings;
use grice_model::{Batch, EngineError, Network};
use grice_testkit::fixtures::Fixture;
use std::time::Duration;

#[test]
fn every_step_is_timed() {
    let Some(gpu) = open_gpu_with(&Settings { timestamps: true, ..Settings::default() }) else { return };
    if !gpu.adapter().features.contains(&"timestamp-query") {
        println!("skipped: the adapter has no timestamps");
        return;
    }
    let mut engine = engine(&gpu, Network::import(Fixture::all()[1].onnx(), 4).unwrap());
    let batch = Batch::pack(&[vec![1; 40], vec![2; 7]]).unwrap();
    let (logits, trace) = pollster::block_on(engine.run_traced(&batch)).unwrap();
    assert_eq!(logits, pollster::block_on(engine.run(&batch)).unwrap());
    let spans = trace.spans();
    let ops = |layer: &str| -> Vec<&'static str> {
        spans.iter().filter(|span| span.name.starts_with(layer)).map(|span| span.op).collect()
    };
    assert_eq!(spans[0].name, "embed");
    for op in ["qkv", "attention", "output", "norm", "feed_forward"] {
        assert!(ops("layer 0").contains(&op), "{op} in {:?}", ops("layer 0"));
    }
    // Its head is three dense layers, which the device runs too.
    assert!(spans.iter().rev().take(3).all(|span| span.name == "head"), "{spans:?}");
    assert!(spans.iter().map(|span| span.duration).sum::<Duration>() > Duration::ZERO);
    assert!(spans.windows(2).all(|pair| pair[0].start <= pair[1].start), "{spans:?}");
    // Queries, keys and values of 47 tokens: as many operations as on the processor.
    let hidden = 32;
    let qkv = spans.iter().find(|span| span.name == "layer 0 qkv").unwrap();
    assert_eq!(qkv.operations, 2 * 47 * hidden * 3 * hidden);
}

#[test]
fn a_device_opened_without_timestamps_refuses_to_time() {
    let Some(gpu) = open_gpu() else { return };
    let mut engine = engine(&gpu, Network::import(Fixture::all()[0].onnx(), 4).unwrap());
    let batch = Batch::pack(&[vec![1; 4]]).unwrap();
    match pollster::block_on(engine.run_traced(&batch)) {
        Err(EngineError::Run(text)) if text.contains("timestamps") => {}
        other => panic!("{:?}", other.map(|(logits, _)| logits)),
    }
    pollster::block_on(engine.run(&batch)).unwrap();
}
