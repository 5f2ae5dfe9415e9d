//! Compares every encoder of a pack by `training/random_encoders.py` with ONNX Runtime's answers; a line of JSON for each.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_cpu::CpuEngine;
use grice_model::{Lengths, Network, Precision};
use grice_testkit::encoders::Encoder;
use std::path::Path;

fn main() {
    let path = std::env::args().nth(1).expect("the path of a pack");
    // What the importer gives up on is an answer here.
    std::panic::set_hook(Box::new(|_| {}));
    for encoder in Encoder::in_pack(Path::new(&path)) {
        let (fused, differs, text) = compare(&encoder);
        let fused = fused.map_or_else(|| "null".to_owned(), |fused| fused.to_string());
        println!(r#"{{"fused":{fused},"differs":{differs},"text":{text:?}}}"#, text = text.replace('\\', "/"));
    }
}

/// Whether it fused (`None`: was refused), whether its answers differ, and what is to be said of that.
fn compare(encoder: &Encoder) -> (Option<bool>, bool, String) {
    let network = match Network::import_for(&encoder.onnx, 4, &Lengths::up_to(encoder.longest)) {
        Ok(network) => network,
        Err(error) => return (None, false, error.to_string()),
    };
    let reason = network.program().err().map(|unfused| unfused.reason.clone());
    let fused = reason.is_none();
    match CpuEngine::new(network, Precision::Fp32, 1) {
        Err(error) => (None, false, error.to_string()),
        Ok(mut engine) => match encoder.compare(&mut engine, fused) {
            Ok(()) => (Some(fused), false, reason.unwrap_or_default()),
            Err(text) => (Some(fused), true, format!("{text}; {}", reason.unwrap_or_default())),
        },
    }
}
