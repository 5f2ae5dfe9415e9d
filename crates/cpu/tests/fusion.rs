//! Every network of a supported family fuses and computes what its graph computes; what is something else does not fuse, says
//! why, and runs as a graph.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_cpu::{CpuEngine, CpuPlan};
use grice_model::{Batch, Engine, Network, Precision};
use grice_testkit::assert_close;
use grice_testkit::fixtures::{Fixture, QuantizedByOnnxRuntime, fixtures_folder};
use prost::Message;
use tract_onnx::pb::{ModelProto, NodeProto, TensorProto};

fn batches(fixture: &Fixture) -> Vec<Batch> {
    fixture.references().iter().map(|case| Batch::pack(&case.sequences()).unwrap()).collect()
}

/// Both engines on the fixture's batches.
fn compare(what: &str, fixture: &Fixture, one: Network, other: Network) {
    let mut one = CpuEngine::new(one, Precision::Fp32, 2).unwrap();
    let mut other = CpuEngine::new(other, Precision::Fp32, 1).unwrap();
    for batch in batches(fixture) {
        let (one, other) = (one.forward(&batch).unwrap(), other.forward(&batch).unwrap());
        for row in 0..batch.rows() {
            assert_close(&format!("{what} row {row}"), one.row(row), other.row(row), fixture.tolerance());
        }
    }
}

#[test]
fn every_fixture_fuses_and_computes_what_its_graph_computes() {
    for fixture in Fixture::all().into_iter().chain(Fixture::graphs()) {
        let network = Network::import(fixture.onnx(), 4).unwrap();
        let program = network.program().unwrap_or_else(|unfused| panic!("{}: {}", fixture.name, unfused.reason));
        assert_eq!(program.encoder.layers.len(), 2, "{}", fixture.name);
        let graph = Network::import_graph(fixture.onnx(), 4).unwrap();
        assert!(graph.program().is_err() && graph.typed().is_some());
        compare(fixture.name, &fixture, network, graph);
    }
}

#[test]
fn a_run_that_fails_leaves_nothing_behind() {
    let onnx = std::fs::read(fixtures_folder().join("broken/few_positions.onnx")).unwrap();
    let plan = CpuPlan::new(Network::import(&onnx, 4).unwrap(), Precision::Fp32).unwrap();
    let batch = |lengths: &[u32]| {
        Batch::pack(&lengths.iter().map(|&n| (5..5 + n).collect()).collect::<Vec<Vec<u32>>>()).unwrap()
    };
    let (short, long) = (batch(&[3, 9, 12, 30]), batch(&[40]));
    let expected = plan.engine(2).unwrap().forward(&short).unwrap();
    let mut engine = plan.engine(2).unwrap();
    for _ in 0..3 {
        let told = engine.forward(&long).unwrap_err().to_string();
        assert!(told.contains("an operator gave up"), "{told}");
        assert!(engine.forward(&batch(&[8, 40, 9])).is_err());
        assert_eq!(engine.forward(&short).unwrap(), expected);
    }
}

#[test]
fn engines_of_one_plan_answer_alike() {
    let fixture = &Fixture::all()[0];
    for network in [Network::import(fixture.onnx(), 4).unwrap(), Network::import_graph(fixture.onnx(), 4).unwrap()] {
        let plan = CpuPlan::new(network, Precision::Fp32).unwrap();
        let (mut engine, mut replica) = (plan.engine(1).unwrap(), plan.engine(3).unwrap());
        for batch in batches(fixture) {
            assert_eq!(engine.forward(&batch).unwrap(), replica.forward(&batch).unwrap());
        }
    }
}

/// A model that differs from a fixture in one place.
fn check(fixture: &Fixture, cause: &str, change: impl Fn(&mut ModelProto)) {
    let mut model = ModelProto::decode(fixture.onnx().as_slice()).unwrap();
    change(&mut model);
    let onnx = model.encode_to_vec();
    let network = Network::import(&onnx, 4).unwrap();
    let reason = network.program().expect_err("it should not fuse").reason.clone();
    assert!(reason.contains(cause), "`{reason}` does not say `{cause}`");
    compare(&reason, fixture, network, Network::import_graph(&onnx, 4).unwrap());
}

/// A quantizer that does not take back what the other one did, or rounds to steps that swallow what is there, is more than rounding.
#[test]
fn quantizers_that_do_more_than_round_are_not_passed_over() {
    let onnx = QuantizedByOnnxRuntime::all().into_iter().find(|model| model.name == "tiny-bert-static").unwrap().onnx();
    let fuses = |scale: Option<(&str, f32)>| {
        let mut model = ModelProto::decode(onnx.as_slice()).unwrap();
        let graph = model.graph.as_mut().unwrap();
        let made: Vec<NodeProto> = graph.node.clone();
        let is_pair = |node: &&NodeProto| {
            let quantized = made.iter().find(|other| other.output.first() == node.input.first());
            node.op_type == "DequantizeLinear" && quantized.is_some_and(|node| node.op_type == "QuantizeLinear")
        };
        // Between the embedding and the first layer.
        let pair = made.iter().find(is_pair).unwrap();
        if let Some((of, scale)) = scale {
            let name = format!("{of}.scale");
            graph.initializer.push(TensorProto {
                name: name.clone(),
                data_type: 1,
                float_data: vec![scale],
                ..TensorProto::default()
            });
            for node in &mut graph.node {
                let is_it = node.output == pair.output || (of == "both" && node.output.first() == pair.input.first());
                if is_it {
                    node.input[1] = name.clone();
                }
            }
        }
        let network = Network::import(model.encode_to_vec(), 4).unwrap();
        network.program().map(|_| ()).map_err(|unfused| unfused.reason.clone())
    };
    assert_eq!(fuses(None), Ok(()));
    assert_eq!(fuses(Some(("both", 0.01))), Ok(()));
    assert!(fuses(Some(("one", 0.01))).is_err());
    assert!(fuses(Some(("both", 39.2))).is_err());
}

fn node(model: &mut ModelProto, find: impl Fn(&NodeProto) -> bool) -> &mut NodeProto {
    model.graph.as_mut().unwrap().node.iter_mut().rev().find(|node| find(node)).unwrap()
}

fn constant<'m>(model: &'m mut ModelProto, name: &str) -> &'m mut TensorProto {
    let node = node(model, |node| node.output.first().is_some_and(|output| output.ends_with(name)));
    node.attribute[0].t.as_mut().unwrap()
}

#[test]
fn what_is_something_else_does_not_fuse_and_says_where() {
    let [bert, deberta] = <[Fixture; 2]>::try_from(Fixture::all()).ok().unwrap();
    check(&bert, "attention `", |model| {
        constant(model, "layer.1/attention/self/Constant_8_output_0").raw_data = 0.5f32.to_le_bytes().to_vec();
    });
    check(&bert, "no activation that grice knows", |model| {
        node(model, |node| node.op_type == "Erf").op_type = "Tanh".to_owned();
    });
    check(&bert, "no layer norm of", |model| {
        node(model, |node| node.op_type == "Add" && node.name.ends_with("layer.1/output/Add")).op_type =
            "Sub".to_owned();
    });
    check(&bert, "token 0", |model| {
        node(model, |node| node.name.ends_with("pooler/Gather")).input[1] = "last".to_owned();
        let last =
            TensorProto { name: "last".to_owned(), data_type: 7, int64_data: vec![-1], ..TensorProto::default() };
        model.graph.as_mut().unwrap().initializer.push(last);
    });
    check(&deberta, "relative positions", |model| {
        // One bucket function for both layers: the logarithm's denominator.
        constant(model, "encoder/Constant_17_output_0").raw_data = 11.0f32.to_le_bytes().to_vec();
    });
}
