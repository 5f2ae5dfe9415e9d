//! The weights that become layers, and their form in the written file.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use grice_cpu::CpuEngine;
use grice_model::{Batch, Engine, Network, Precision};
use grice_quantize::{Activations, LayerKind, Method, Mode, Ranges, Source};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use support::{bytes, detector, floats, graph, node, node_named, parse, tensor, with_integer};
use tract_onnx::pb::ModelProto;
use tract_onnx::pb::tensor_proto::DataType;

fn names(source: &Source) -> Vec<(&str, LayerKind)> {
    source.layers().iter().map(|layer| (layer.name.as_str(), layer.kind)).collect()
}

fn left(model: &ModelProto, mode: Mode) -> BTreeMap<String, String> {
    let source = Source::read(&bytes(model), mode).unwrap();
    source.left().iter().map(|left| (left.name.clone(), left.reason.clone())).collect()
}

fn operators(model: &ModelProto) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for node in &model.graph.as_ref().unwrap().node {
        *counts.entry(node.op_type.clone()).or_default() += 1;
    }
    counts
}

fn samples() -> Vec<Vec<u32>> {
    (1..20u32).map(|row| (0..row).map(|place| (place * 7 + row * 13) % 64).collect()).collect()
}

fn logits(onnx: &[u8]) -> Vec<f32> {
    let network = Network::import(onnx, 4).unwrap();
    let mut engine = CpuEngine::new(network, Precision::Fp32, 1).unwrap();
    let rows = samples();
    rows.iter().flat_map(|ids| engine.forward(&Batch::pack(&[ids]).unwrap()).unwrap().row(0).to_vec()).collect()
}

/// Quantizes everything except `kept`, checks the file, and returns the distance of its logits from the source's: the root
/// mean square relative to that of the logits.
#[track_caller]
fn check_error(model: &ModelProto, mode: Mode, kept: &[usize], error_max: f64) -> ModelProto {
    let source = Source::read(&bytes(model), mode).unwrap();
    let ranges = match mode {
        Mode::Static => Activations::observe(&source, &samples(), || {}).unwrap().ranges(Method::MinMax),
        _ => Ranges::new(),
    };
    let onnx = source.write(&kept.iter().copied().collect::<BTreeSet<_>>(), &ranges).unwrap();
    let (before, after) = (logits(&bytes(model)), logits(&onnx));
    let squares = |values: &[f32]| values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
    let differences: Vec<f32> = before.iter().zip(&after).map(|(before, after)| before - after).collect();
    let error = (squares(&differences) / squares(&before)).sqrt();
    assert!(error <= error_max, "{mode:?}: logits are off by {error}");
    let written = parse(&onnx);
    check_sound(&written);
    written
}

/// Every value has one maker that comes before its readers, and nothing is kept that no one reads.
#[track_caller]
fn check_sound(model: &ModelProto) {
    let graph = model.graph.as_ref().unwrap();
    let mut made: HashSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
    let read: HashSet<&str> = graph.node.iter().flat_map(|node| node.input.iter().map(String::as_str)).collect();
    for tensor in &graph.initializer {
        assert!(made.insert(&tensor.name), "{} twice", tensor.name);
        assert!(read.contains(tensor.name.as_str()), "{} is not read", tensor.name);
    }
    let mut labels = HashSet::new();
    for node in &graph.node {
        assert!(node.input.iter().all(|input| made.contains(input.as_str())), "{} reads too early", node.name);
        assert!(node.output.iter().all(|output| made.insert(output)), "{} makes a value twice", node.name);
        assert!(labels.insert(&node.name), "two nodes are called {}", node.name);
        assert!(node.domain.is_empty());
    }
}

#[test]
fn the_layers_of_the_detector() {
    let model = bytes(&detector());
    let expected = [
        ("embed", LayerKind::Embedding),
        ("first", LayerKind::Linear),
        ("second", LayerKind::Linear),
        ("head", LayerKind::Linear),
    ];
    for mode in [Mode::Dynamic, Mode::Static, Mode::Fp16] {
        let source = Source::read(&model, mode).unwrap();
        assert_eq!(names(&source), expected, "{mode:?}");
        assert_eq!((source.columns(), source.vocabulary()), (Some(4), Some(64)));
    }
    assert!(left(&detector(), Mode::Dynamic)["columns"].contains("small"));
    let source = Source::read(&model, Mode::Dynamic).unwrap();
    assert_eq!(source.activations(), ["embedded", "b", "pooled"]);
}

#[test]
fn what_is_written_in_their_place() {
    let written = check_error(&detector(), Mode::Dynamic, &[], 0.03);
    let ops = operators(&written);
    assert_eq!((ops["DynamicQuantizeLinear"], ops["MatMulInteger"], ops["MatMul"], ops.get("Gemm")), (3, 3, 1, None));
    let written = check_error(&detector(), Mode::Static, &[], 0.03);
    let ops = operators(&written);
    assert_eq!((ops["QuantizeLinear"], ops["DequantizeLinear"], ops["MatMul"], ops.get("Gemm")), (3, 6, 4, None));
    let written = check_error(&detector(), Mode::Fp16, &[], 0.001);
    let ops = operators(&written);
    assert_eq!((ops["Cast"], ops["MatMul"], ops["Gemm"], ops["Gather"]), (5, 3, 1, 1));
}

#[test]
fn weights_take_a_byte_each_and_tables_are_scaled_by_row() {
    let mut written = check_error(&detector(), Mode::Dynamic, &[], 0.03);
    let table = tensor(&mut written, "table_int8");
    assert_eq!((table.dims.clone(), table.raw_data.len()), (vec![64, 32], 64 * 32));
    assert_eq!(tensor(&mut written, "table_scale").dims, [64, 1]);
    // `[outputs, inputs]` in the source, turned around because MatMulInteger cannot.
    assert_eq!(tensor(&mut written, "w3_int8").dims, [64, 32]);
    assert_eq!(tensor(&mut written, "w3_scale").dims, [32]);
    let zeros = tensor(&mut written, "w3_zero");
    assert!(zeros.dims == [32] && zeros.raw_data.iter().all(|&byte| byte == 0));
    let mut written = check_error(&detector(), Mode::Fp16, &[], 0.001);
    let table = tensor(&mut written, "table_fp16");
    assert_eq!((table.data_type, table.raw_data.len()), (DataType::Float16 as i32, 64 * 32 * 2));
}

#[test]
fn with_everything_kept_the_graph_is_the_old_one() {
    for mode in [Mode::Dynamic, Mode::Static, Mode::Fp16] {
        let mut written = check_error(&detector(), mode, &[0, 1, 2, 3], 0.0);
        assert_eq!(written.metadata_props.len(), 1);
        written.metadata_props.clear();
        assert_eq!(written, detector());
    }
}

#[test]
fn kept_layers_stay_as_they_are() {
    let mut written = check_error(&detector(), Mode::Dynamic, &[1, 3], 0.03);
    assert_eq!(tensor(&mut written, "w1"), &floats("w1", &[32, 32], 2));
    assert_eq!(node_named(&mut written, "head/Gemm").input, ["pooled", "w3", "b3"]);
    assert_eq!(operators(&written)["MatMulInteger"], 1);
}

/// As in DeBERTa: one weight multiplies the text and, through `Identity`, a constant.
#[test]
fn a_weight_shared_with_a_product_of_constants() {
    let mut model = detector();
    graph(&mut model).initializer.push(floats("positions", &[3, 32], 9));
    let nodes = [
        node("Identity", "alias", &["w1"], "w1_again"),
        node("MatMul", "first_again/MatMul", &["positions", "w1_again"], "e"),
        with_integer(node("ReduceSum", "sum_again", &["e", "first_axis"], "f"), "keepdims", 0),
        node("Add", "add_again", &["a", "f"], "a_and_f"),
    ];
    graph(&mut model).initializer.push(support::integers("first_axis", &[0]));
    graph(&mut model).node.splice(2..2, nodes);
    node_named(&mut model, "first/Add").input[0] = "a_and_f".to_owned();
    for mode in [Mode::Dynamic, Mode::Static] {
        let source = Source::read(&bytes(&model), mode).unwrap();
        assert_eq!(names(&source)[1], ("first", LayerKind::Linear));
        let written = check_error(&model, mode, &[], 0.03);
        assert!(!operators(&written).contains_key("Identity"));
        let mut written = check_error(&model, mode, &[1], 0.03);
        assert_eq!(operators(&written)["Identity"], 1);
        assert_eq!(node_named(&mut written, "alias").input, ["w1"]);
    }
    check_error(&model, Mode::Fp16, &[], 0.001);
}

#[test]
fn products_of_one_activation_share_its_quantization() {
    let mut model = detector();
    graph(&mut model).initializer.push(floats("w1b", &[32, 32], 11));
    let nodes = [node("MatMul", "twin/MatMul", &["embedded", "w1b"], "e"), node("Add", "join", &["a", "e"], "a_and_e")];
    graph(&mut model).node.splice(2..2, nodes);
    node_named(&mut model, "first/Add").input[0] = "a_and_e".to_owned();
    let ops = operators(&check_error(&model, Mode::Dynamic, &[], 0.03));
    assert_eq!((ops["DynamicQuantizeLinear"], ops["MatMulInteger"]), (3, 4));
    let ops = operators(&check_error(&model, Mode::Static, &[], 0.03));
    assert_eq!(ops["QuantizeLinear"], 3);
}

#[test]
fn weights_in_constant_nodes() {
    let mut model = detector();
    let value = tensor(&mut model, "w2").clone();
    graph(&mut model).initializer.retain(|tensor| tensor.name != "w2");
    let mut constant = node("Constant", "w2_constant", &[], "w2");
    constant.attribute.push(tract_onnx::pb::AttributeProto {
        name: "value".to_owned(),
        r#type: tract_onnx::pb::attribute_proto::AttributeType::Tensor as i32,
        t: Some(value),
        ..Default::default()
    });
    graph(&mut model).node.insert(0, constant);
    for mode in [Mode::Dynamic, Mode::Static] {
        let written = check_error(&model, mode, &[], 0.03);
        assert!(!operators(&written).contains_key("Constant"));
    }
}

/// Other axes than the first have no rows to look up; fp16 does not mind.
#[test]
fn lookups_that_are_none() {
    let mut model = detector();
    node_named(&mut model, "embed/Gather").input.truncate(1);
    assert!(left(&model, Mode::Dynamic)["embed"].contains("without indices"));
    let source = Source::read(&bytes(&model), Mode::Fp16).unwrap();
    assert_eq!(names(&source)[0], ("embed", LayerKind::Constant));
    parse(&source.write(&BTreeSet::new(), &Ranges::new()).unwrap());
    let mut model = detector();
    let gather = node_named(&mut model, "embed/Gather");
    *gather = with_integer(gather.clone(), "axis", 1);
    assert!(left(&model, Mode::Static)["embed"].contains("another axis"));
    let source = Source::read(&bytes(&model), Mode::Fp16).unwrap();
    let written = parse(&source.write(&BTreeSet::new(), &Ranges::new()).unwrap());
    let gather = written.graph.unwrap().node.into_iter().find(|node| node.op_type == "Gather").unwrap();
    assert_eq!(gather.attribute.iter().find(|attribute| attribute.name == "axis").unwrap().i, 1);
}

#[test]
fn names_that_are_taken() {
    let mut model = detector();
    node_named(&mut model, "first/Add").output[0] = "embedded_uint8".to_owned();
    node_named(&mut model, "second/MatMul").input[0] = "embedded_uint8".to_owned();
    tensor(&mut model, "b1").name = "w1_int8".to_owned();
    node_named(&mut model, "first/Add").input[1] = "w1_int8".to_owned();
    for mode in [Mode::Dynamic, Mode::Static, Mode::Fp16] {
        check_error(&model, mode, &[], 0.03);
    }
}

#[test]
fn what_stays_fp32_is_named_with_its_reason() {
    let check = |change: &dyn Fn(&mut ModelProto), mode: Mode, layer: &str, reason: &str| {
        let mut model = detector();
        change(&mut model);
        let left = left(&model, mode);
        let told = left.get(layer).unwrap_or_else(|| panic!("{layer} is not among {left:?}"));
        assert!(told.contains(reason), "{told}");
        check_error(&model, mode, &[], 0.03);
    };
    let tied = |model: &mut ModelProto| {
        let at = graph(model).node.len();
        graph(model).node.insert(at, node("Neg", "negated", &["table"], "elsewhere"));
    };
    check(&tied, Mode::Dynamic, "embed", "`negated`, a Neg");
    let scaled = |model: &mut ModelProto| {
        node_named(model, "head/Gemm").attribute.push(tract_onnx::pb::AttributeProto {
            name: "alpha".to_owned(),
            r#type: tract_onnx::pb::attribute_proto::AttributeType::Float as i32,
            f: 0.5,
            ..Default::default()
        });
    };
    check(&scaled, Mode::Static, "head", "alpha or beta");
    let output =
        |model: &mut ModelProto| graph(model).output.push(support::value("w1", DataType::Float, &["32", "32"]));
    check(&output, Mode::Dynamic, "first", "also the output `w1`");
    let huge = |model: &mut ModelProto| tensor(model, "w1").float_data[0] = 65_505.0;
    check(&huge, Mode::Fp16, "first", "beyond fp16");
}
