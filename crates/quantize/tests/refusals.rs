//! What cannot be quantized is refused with the tensor or node at fault.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use grice_quantize::{Activations, Error, Mode, Ranges, Source};
use std::collections::BTreeSet;
use support::{bytes, detector, graph, node, node_named, parse, tensor};
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto};

const MODES: [Mode; 3] = [Mode::Dynamic, Mode::Static, Mode::Fp16];

fn convert(onnx: &[u8], mode: Mode) -> Result<Vec<u8>, Error> {
    let source = Source::read(onnx, mode)?;
    let ranges: Ranges = match mode {
        Mode::Static => {
            source.activations().into_iter().map(|name| (name, grice_quantize::Range::new(-1.0, 1.0))).collect()
        }
        _ => Ranges::new(),
    };
    source.write(&BTreeSet::new(), &ranges)
}

#[track_caller]
fn check(change: impl Fn(&mut ModelProto), words: &[&str]) {
    for mode in MODES {
        let mut model = detector();
        change(&mut model);
        let told = convert(&bytes(&model), mode).expect_err("refused").to_string();
        for word in words {
            assert!(told.contains(word), "{mode:?}: `{word}` is not in: {told}");
        }
    }
}

#[test]
fn the_detector_itself_is_fine() {
    for mode in MODES {
        convert(&bytes(&detector()), mode).unwrap();
    }
}

#[test]
fn weights_in_other_files() {
    check(
        |model| {
            let weights = tensor(model, "w1");
            weights.float_data.clear();
            weights.data_location = Some(DataLocation::External as i32);
        },
        &["`w1`", "another file", "one ONNX file"],
    );
}

#[test]
fn weights_that_are_missing() {
    check(|model| graph(model).initializer.retain(|tensor| tensor.name != "w2"), &["`second/MatMul`", "`w2`"]);
}

#[test]
fn weights_of_another_size_than_they_claim() {
    check(|model| tensor(model, "w2").dims[0] = 33, &["`w2`", "[33, 64]", "2048"]);
    check(
        |model| {
            let weights = tensor(model, "w2");
            weights.raw_data = vec![0; weights.float_data.len() * 4 + 3];
        },
        &["`w2`", "2049"],
    );
}

#[test]
fn weights_that_are_not_fp32() {
    for kind in [DataType::Float16, DataType::Bfloat16, DataType::Double] {
        let name = format!("{kind:?}").to_lowercase();
        check(|model| tensor(model, "w1").data_type = kind as i32, &["`w1`", &name, "not fp32"]);
        check(|model| tensor(model, "table").data_type = kind as i32, &["`table`", &name]);
    }
}

#[test]
fn weights_that_are_no_numbers() {
    check(|model| tensor(model, "w1").float_data[7] = f32::NAN, &["`w1`", "position 7"]);
    check(|model| tensor(model, "table").float_data[9] = f32::INFINITY, &["`table`", "position 9"]);
}

#[test]
fn what_is_quantized_already() {
    for mode in [Mode::Dynamic, Mode::Static] {
        let onnx = convert(&bytes(&detector()), mode).unwrap();
        for again in MODES {
            let told = convert(&onnx, again).unwrap_err().to_string();
            assert!(told.contains("quantized already"), "{mode:?} then {again:?}: {told}");
        }
    }
    let half = convert(&bytes(&detector()), Mode::Fp16).unwrap();
    for again in MODES {
        convert(&half, again).expect_err("fp16 is not quantized again");
    }
}

#[test]
fn graphs_that_a_rewrite_cannot_see_through() {
    check(
        |model| {
            let body = AttributeProto { g: Some(GraphProto::default()), ..AttributeProto::default() };
            node_named(model, "sum").attribute.push(body);
        },
        &["control flow", "`sum`"],
    );
    check(|model| model.functions.push(Default::default()), &["functions"]);
    check(|model| graph(model).sparse_initializer.push(Default::default()), &["sparse"]);
}

#[test]
fn old_operator_sets() {
    check(|model| model.opset_import[0].version = 12, &["opset 12", "13"]);
    check(|model| model.opset_import.clear(), &["opset 1;"]);
}

#[test]
fn what_is_no_onnx() {
    let onnx = bytes(&detector());
    for mode in MODES {
        assert!(matches!(convert(b"not onnx", mode), Err(Error::Syntax(_))));
        assert!(matches!(convert(b"", mode), Err(Error::Syntax(_))));
        assert!(matches!(convert(&onnx[..onnx.len() / 2], mode), Err(Error::Syntax(_))));
    }
}

#[test]
fn graphs_without_a_layer() {
    check(
        |model| {
            let graph = graph(model);
            graph.node = vec![node("Identity", "same", &["attention_mask"], "logits")];
            graph.initializer.clear();
        },
        &["no layer to quantize"],
    );
}

#[test]
fn static_layers_without_a_range() {
    let source = Source::read(&bytes(&detector()), Mode::Static).unwrap();
    let told = source.write(&BTreeSet::new(), &Ranges::new()).unwrap_err().to_string();
    assert!(told.contains("no range") && told.contains("`embedded`"), "{told}");
}

#[test]
fn calibration_without_samples() {
    let source = Source::read(&bytes(&detector()), Mode::Static).unwrap();
    for samples in [vec![], vec![vec![]]] {
        assert!(matches!(Activations::observe(&source, &samples, || {}), Err(Error::NoSamples)));
    }
}

#[test]
fn calibration_with_ids_that_are_not_there() {
    let source = Source::read(&bytes(&detector()), Mode::Static).unwrap();
    let told = Activations::observe(&source, &[vec![1], vec![3, 64]], || {}).unwrap_err().to_string();
    assert!(told.contains("sample 2") && told.contains("64"), "{told}");
}

#[test]
fn calibration_of_a_model_that_overflows() {
    let mut model = detector();
    tensor(&mut model, "w1").float_data.iter_mut().for_each(|value| *value = 3e38);
    tensor(&mut model, "table").float_data.iter_mut().for_each(|value| *value = 10.0);
    let source = Source::read(&bytes(&model), Mode::Static).unwrap();
    let told = Activations::observe(&source, &[vec![1, 2]], || {}).unwrap_err().to_string();
    assert!(told.contains("`b`") && told.contains("not a finite number"), "{told}");
}

#[test]
fn calibration_of_another_task() {
    let mut model = detector();
    graph(&mut model).input[1].name = "pixels".to_owned();
    node_named(&mut model, "mask/Cast").input[0] = "pixels".to_owned();
    let source = Source::read(&bytes(&model), Mode::Static).unwrap();
    let told = Activations::observe(&source, &[vec![1, 2]], || {}).unwrap_err().to_string();
    assert!(told.contains("pixels"), "{told}");
}

/// Any byte changed gives an answer, never a panic.
#[test]
fn damaged_files_give_an_answer() {
    let onnx = bytes(&detector());
    for at in (0..onnx.len()).step_by(onnx.len() / 400) {
        for byte in [0, 0x7f, 0xff] {
            let mut damaged = onnx.clone();
            damaged[at] = byte;
            for mode in MODES {
                if let Ok(onnx) = convert(&damaged, mode) {
                    parse(&onnx);
                }
            }
        }
    }
}
