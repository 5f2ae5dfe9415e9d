//! Encoders of other families and from other tools fuse, and compute what ONNX Runtime says, fused or as the graph that they are.
#![allow(clippy::unwrap_used)]

use grice_cpu::CpuEngine;
use grice_model::{Network, Precision};
use grice_testkit::conformance::{check_export, check_exports};
use grice_testkit::fixtures::Export;

#[test]
fn every_export_fuses_and_meets_its_reference() {
    let mut unfused = Vec::new();
    for export in Export::all() {
        match Network::import(export.onnx(), 4) {
            Err(error) => unfused.push(format!("{}: {error}", export.name)),
            Ok(network) => {
                unfused.extend(network.program().err().map(|reason| format!("{}: {}", export.name, reason.reason)))
            }
        }
    }
    assert!(unfused.is_empty(), "{}", unfused.join("\n"));
    check_exports(|_, network| {
        let precision = network.precision();
        CpuEngine::new(network, precision, 2).unwrap()
    });
}

#[test]
fn every_export_meets_its_reference_as_a_graph() {
    for export in Export::all() {
        let network =
            Network::import_graph(export.onnx(), 4).unwrap_or_else(|error| panic!("{}: {error}", export.name));
        check_export(&export, &mut CpuEngine::new(network, Precision::Fp32, 1).unwrap());
    }
}
