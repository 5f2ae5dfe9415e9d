//! Operators of ONNX Runtime's own domain: what cannot be spelled out is refused by node, and no file hangs or panics.
//! What is spelled out is compared with ONNX Runtime in `grice-cpu`'s `exports.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_model::{Error, Network};
use grice_testkit::fixtures::Export;
use grice_testkit::that_ends;
use proptest::prelude::*;
use prost::Message;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto};

fn model(name: &str) -> ModelProto {
    let export = Export::all().into_iter().find(|export| export.name == name).expect(name);
    ModelProto::decode(export.onnx().as_slice()).unwrap()
}

fn set(node: &mut NodeProto, name: &str, value: i64) {
    node.attribute.retain(|attribute| attribute.name != name);
    node.attribute.push(AttributeProto { name: name.to_owned(), i: value, r#type: 2, ..AttributeProto::default() });
}

/// What is told of a model whose first node of an operator was changed.
fn check(name: &str, op: &str, change: impl Fn(&mut NodeProto), cause: &str) {
    let mut model = model(name);
    let node = model.graph.as_mut().unwrap().node.iter_mut().find(|node| node.op_type == op).expect(op);
    change(node);
    let output = node.output[0].clone();
    let what = format!("{name}: {op} changed");
    let error = that_ends(&what, move || Network::import(model.encode_to_vec(), 4)).map(|_| ()).expect_err(cause);
    assert!(matches!(error, Error::GraphNode { .. }), "{error}");
    let told = error.to_string();
    assert!(told.contains(op) && told.contains(&output) && told.contains(cause), "{told}");
}

#[test]
fn what_attention_cannot_do_is_refused_by_node() {
    let op = "Attention";
    check("bert-optimized", op, |node| set(node, "unidirectional", 1), "`unidirectional`");
    check("bert-optimized", op, |node| set(node, "do_rotary", 1), "`do_rotary`");
    for heads in [0, -1, i64::MIN] {
        check("bert-optimized", op, |node| set(node, "num_heads", heads), "`num_heads`");
    }
    for heads in [3, 5, i64::MAX] {
        check("bert-optimized", op, |node| set(node, "num_heads", heads), "16 columns into");
    }
    check("bert-optimized", op, |node| node.input[1] = node.input[0].clone(), "weights (input 1) as a constant");
    check("bert-optimized", op, |node| node.output.push("present".to_owned()), "output 1 (`present`)");
    let sizes = |ints: Vec<i64>| {
        move |node: &mut NodeProto| {
            let name = "qkv_hidden_sizes".to_owned();
            node.attribute.push(AttributeProto { name, ints: ints.clone(), r#type: 7, ..AttributeProto::default() });
        }
    };
    for ints in [vec![16, 16], vec![-16, 32, 32], vec![i64::MAX, i64::MAX, 50], vec![16, 16, 17]] {
        check("bert-optimized", op, sizes(ints), "into queries, keys and values");
    }
    check("bert-optimized-int8", "QAttention", |node| node.input[0] = node.input[3].clone(), "DynamicQuantizeLinear");
    check(
        "bert-optimized-heads",
        "MultiHeadAttention",
        |node| node.input.extend(["", "past"].map(str::to_owned)),
        "past",
    );
}

#[test]
fn weights_in_blocks_that_do_not_fit_are_refused_by_node() {
    let op = "MatMulNBits";
    for (bits, cause) in [(3, "3 bits"), (0, "0 bits"), (8, "do not fit")] {
        check("bert-q4", op, |node| set(node, "bits", bits), cause);
    }
    for size in [0, -16, 24, i64::MIN] {
        check("bert-q4", op, |node| set(node, "block_size", size), "`block_size`");
    }
    for (name, size) in [("K", 0), ("N", -1), ("K", 1 << 40), ("N", i64::MAX)] {
        check("bert-q4", op, |node| set(node, name, size), "which is no matrix");
    }
    check("bert-q4", op, |node| set(node, "N", 15), "do not fit");
    check("bert-q4-zero-points", op, |node| node.input[3] = node.input[1].clone(), "zero points");
    check("bert-nf4", "MatMulBnb4", |node| set(node, "quant_type", 7), "`quant_type`");
    check("bert-nf4", "MatMulBnb4", |node| set(node, "block_size", 32), "do not fit");
}

#[test]
fn other_operators_of_the_domain_are_refused_by_node() {
    let mut model = model("bert-optimized");
    let node = model.graph.as_mut().unwrap().node.iter_mut().find(|node| node.op_type == "Attention").unwrap();
    node.op_type = "DecoderMaskedSelfAttention".to_owned();
    let told = Network::import(model.encode_to_vec(), 4).unwrap_err().to_string();
    assert!(told.contains("operators that grice cannot run: DecoderMaskedSelfAttention"), "{told}");
}

/// Exports with the most operators of the domain.
const FUZZED: [&str; 6] =
    ["bert-optimized-int8", "bert-optimized-raw", "bert-int8-saved", "bert-q4-zero-points", "bert-fp4", "roberta"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_change_of_a_byte_gives_an_answer(export in 0..FUZZED.len(), at in 0.0..1.0f64, byte in any::<u8>()) {
        let name = FUZZED[export];
        let mut onnx = model(name).encode_to_vec();
        let at = (at * onnx.len() as f64) as usize;
        onnx[at] = byte;
        let _ = that_ends(&format!("the import of {name} with {byte} at {at}"), || Network::import(onnx, 4));
    }
}
