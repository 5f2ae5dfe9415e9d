//! Encoders of other families and from other tools fuse, and compute what ONNX Runtime says, fused or as the graph that they are.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_cpu::CpuEngine;
use grice_kernels::Activation;
use grice_model::{Attention, Body, FeedForward, Network, Place, Precision, Program, ScorePositions, Sees};
use grice_testkit::conformance::{check_export, check_exports};
use grice_testkit::fixtures::Export;
use prost::Message;
use tract_onnx::pb::{ModelProto, NodeProto};

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

/// The programs of an architecture, however it was exported.
fn programs(architecture: &str) -> Vec<(String, Program)> {
    let exports = Export::all().into_iter().filter(|export| export.name.split('-').next() == Some(architecture));
    let programs = exports.map(|export| {
        let program = Network::import(export.onnx(), 4).unwrap().into_program();
        (export.name, program.ok().unwrap())
    });
    let programs: Vec<_> = programs.collect();
    assert!(programs.len() >= 2, "{architecture}");
    programs
}

fn attentions(program: &Program) -> Vec<&Attention> {
    let blocks = program.encoder.blocks();
    blocks
        .filter_map(|block| match &block.body {
            Body::Attention(attention) => Some(&**attention),
            Body::FeedForward(_) => None,
        })
        .collect()
}

#[test]
fn layers_that_share_weights_are_packed_once() {
    for (name, program) in programs("albert") {
        assert_eq!(program.encoder.layers.len(), 3, "{name}");
        assert!(program.encoder.embedding.projection.is_some(), "{name}");
        for precision in [Precision::Fp32, Precision::Int8] {
            let (steps, parts) = program.clone().to_precision(precision).unwrap().into_steps(4);
            // The projection, four of the layers, the pooler and the classifier; and queries apart from keys and values for the last layer,
            // where only token 0 asks.
            assert_eq!(steps.linears.len(), 7 + 2, "{name} {precision}");
            assert_eq!((parts.norms.len(), parts.attentions.len()), (2, 1), "{name} {precision}");
        }
    }
}

#[test]
fn modern_bert_is_what_its_configuration_says() {
    for (name, program) in programs("modernbert") {
        let encoder = &program.encoder;
        let rotary = |base, sees| (base, 8, sees);
        let (all, near) = (rotary(160_000.0, Sees::All), rotary(10_000.0, Sees::Window(12)));
        let found: Vec<_> = attentions(&program)
            .iter()
            .map(|attention| {
                let rotary = attention.scores.rotary().unwrap();
                (rotary.base, rotary.columns, attention.scores.sees)
            })
            .collect();
        assert_eq!(found, [all, near, near, all], "{name}");
        assert!(encoder.embedding.norm.is_some() && encoder.embedding.positions.is_none() && encoder.last.is_some());
        let places: Vec<bool> = encoder.blocks().map(|block| block.norm.is_some()).collect();
        assert_eq!(places, [false, true, true, true, true, true, true, true], "{name}");
        assert!(encoder.blocks().all(|block| block.place == Place::Before), "{name}");
        assert!(encoder.linears().all(|linear| linear.bias.is_none()), "{name}");
        let expected = if name == "modernbert-14" { Activation::Silu } else { Activation::Gelu };
        for block in encoder.blocks() {
            if let Body::FeedForward(FeedForward { gate, activation, .. }) = &block.body {
                assert!(gate.is_some() && *activation == expected, "{name}: {activation:?}");
            }
        }
        let head = program.head().unwrap().layers.as_ref().unwrap();
        assert!(head.len() == 2 && head[0].norm.is_some() && head[1].norm.is_none(), "{name}");
    }
}

#[test]
fn mpnet_has_a_bias_by_distance_and_counts_positions() {
    for (name, program) in programs("mpnet") {
        let positions = program.encoder.embedding.positions.as_ref().unwrap();
        assert_eq!((positions.offset, positions.uncounted), (2, Some(1)), "{name}");
        let [first, second] = attentions(&program)[..] else { panic!("{name}: two layers") };
        let biases = [first, second].map(|attention| match &attention.scores.positions {
            ScorePositions::Bias(bias) => bias,
            other => panic!("{name}: {other:?}"),
        });
        for distance in -400..400 {
            assert_eq!(biases[0].at(1, distance), biases[1].at(1, distance), "{name}");
        }
        // T5's buckets: distances apart up to 7, the last bucket from 128 at the latest, sides apart.
        let at = |distance| biases[0].at(0, distance);
        assert!((0..7).all(|distance| at(distance) != at(distance + 1)), "{name}");
        assert!(at(128) == at(400) && at(-128) == at(-400) && at(128) != at(-128) && at(60) != at(128), "{name}");
    }
}

/// The export with a change is no longer what it was taken for: it does not fuse, says why, and runs as a graph.
fn check_changed(name: &str, cause: &str, change: impl Fn(&mut Vec<NodeProto>)) {
    let export = Export::all().into_iter().find(|export| export.name == name).unwrap();
    let mut model = ModelProto::decode(export.onnx().as_slice()).unwrap();
    change(&mut model.graph.as_mut().unwrap().node);
    let network = Network::import(model.encode_to_vec(), 4).unwrap();
    let reason = network.program().expect_err(cause).reason.clone();
    assert!(reason.contains(cause), "`{reason}` does not say `{cause}`");
    assert!(CpuEngine::new(network, Precision::Fp32, 1).is_ok(), "{reason}");
}

/// Node number `place` of an operator.
fn rename(nodes: &mut [NodeProto], op: &str, place: usize, other: &str) {
    nodes.iter_mut().filter(|node| node.op_type == op).nth(place).unwrap().op_type = other.to_owned();
}

#[test]
fn what_is_something_else_does_not_fuse_and_says_where() {
    let something_else = "is something else in sequences of";
    // A window to one side only.
    check_changed("modernbert-sdpa", something_else, |nodes| rename(nodes, "Abs", 0, "Identity"));
    check_changed("modernbert", "of a kind unknown to grice", |nodes| rename(nodes, "Sin", 0, "Cos"));
    // The sum of the gate and what it would let through.
    check_changed("modernbert-dynamo", "no activation that grice knows", |nodes| {
        let erf = nodes.iter().position(|node| node.op_type == "Erf").unwrap();
        let muls: Vec<usize> = (erf..nodes.len()).filter(|&place| nodes[place].op_type == "Mul").collect();
        nodes[muls[2]].op_type = "Add".to_owned();
    });
    // A bias by the sum of two places.
    check_changed("mpnet", "of a kind unknown to grice", |nodes| rename(nodes, "Sub", 0, "Add"));
    check_changed("modernbert", "no layer norm of", |nodes| {
        let erf = nodes.iter().position(|node| node.op_type == "Erf").unwrap();
        let add = (0..erf).rfind(|&place| nodes[place].op_type == "LayerNormalization").unwrap() - 2;
        assert_eq!(nodes[add].op_type, "Add");
        nodes[add].op_type = "Sub".to_owned();
    });
}
