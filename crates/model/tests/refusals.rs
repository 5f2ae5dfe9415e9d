//! What cannot be a detector is refused with its cause, and nothing panics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_model::{Batch, Error, FixedAxes, Manifest, Maxim, Network, Precision};
use grice_testkit::fixtures::{Fixture, fixtures_folder, read};
use grice_testkit::that_ends;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use tract_onnx::pb::{AttributeProto, ModelProto};

fn manifest() -> Value {
    json!({
        "format": 1, "name": "test", "version": "1", "task": "detect", "family": "bert",
        "template": "{context} {evidence} {response}",
        "labels": ["quantity", "quality", "relation", "manner"],
        "max_tokens": 128, "models": {"fp32": "onnx/model.onnx"}
    })
}

fn parse(value: &Value) -> Result<Manifest, Error> {
    Manifest::parse(&serde_json::to_vec(value).unwrap())
}

#[test]
fn a_bare_manifest_gets_the_documented_defaults() {
    let manifest = parse(&manifest()).unwrap();
    assert_eq!(manifest.turn_template, "[{speaker}]: {text}");
    assert_eq!(*manifest.temperatures.get(Maxim::Quality), 1.0);
    assert_eq!(*manifest.thresholds.get(Maxim::Manner), 0.5);
    assert_eq!(manifest.default_precision(), Precision::Fp32);
}

#[test]
fn both_formats_are_read_alike() {
    let mut second = manifest();
    second["format"] = 2.into();
    let [mut first, second] = [parse(&manifest()).unwrap(), parse(&second).unwrap()];
    first.format = 2;
    assert_eq!(json!(first), json!(second));
}

#[test]
fn a_wrong_field_is_named() {
    let check = |field: &str, value: Value, cause: &str| {
        let mut manifest = manifest();
        manifest[field] = value;
        let told = parse(&manifest).expect_err(field).to_string();
        assert!(told.contains(field) && told.contains(cause), "{field}: {told}");
    };
    check("format", json!(3), "reads formats 1 to 2, found 3");
    check("task", json!("repair"), "the model is for `repair`, and a detector is needed here");
    check("task", json!("generate"), "see `grice generate --help`");
    check("labels", json!(["quantity", "quality", "relation"]), "found [quantity, quality, relation]");
    check("labels", json!(["quantity", "quality", "relation", "relation"]), "each once");
    check("labels", json!(["quantity", "quality", "relation", "style"]), "style");
    check("template", json!("{context}"), "`{response}` is missing");
    check("template", json!("{response} {response}"), "more than once");
    check("turn_template", json!("{speaker}"), "`{text}` is missing");
    check("max_tokens", json!(3), "16..=8192");
    check("max_tokens", json!(1_000_000), "16..=8192");
    check("models", json!({}), "no ONNX file");
    check("models", json!({"fp32": "../../etc/passwd"}), "inside the bundle");
    check("models", json!({"fp32": "/model.onnx"}), "inside the bundle");
    check(
        "temperatures",
        json!({"quantity": 0, "quality": 1, "relation": 1, "manner": 1}),
        "`quantity` must be a number above 0",
    );
    check("temperatures", json!({"quantity": 1e-300, "quality": 1, "relation": 1, "manner": 1}), "above 0");
    check(
        "thresholds",
        json!({"quantity": 0.5, "quality": 1.5, "relation": 0.5, "manner": 0.5}),
        "`quality` must be a number from 0 to 1",
    );
}

#[test]
fn a_wrong_type_or_missing_field_is_named() {
    for field in ["format", "name", "task", "family", "template", "labels", "max_tokens", "models"] {
        let mut manifest = manifest();
        manifest.as_object_mut().unwrap().remove(field);
        let told = parse(&manifest).expect_err(field).to_string();
        assert!(told.contains(field), "{told}");
    }
    let mut unknown = manifest();
    unknown["family"] = json!("llama");
    assert!(parse(&unknown).unwrap_err().to_string().contains("llama"));
}

fn import_error(file: &str) -> String {
    Network::import(read(&fixtures_folder().join("broken").join(file)), 4).expect_err(file).to_string()
}

#[test]
fn graphs_that_are_no_detector_are_refused_by_name() {
    assert!(import_error("other_task.onnx").contains("inputs [pixels]"), "{}", import_error("other_task.onnx"));
    let unsupported = import_error("unsupported_op.onnx");
    assert!(unsupported.contains("operators that grice cannot run"), "{unsupported}");
    let labels = import_error("wrong_labels.onnx");
    assert!(labels.contains("4 labels") && labels.contains('3'), "{labels}");
}

/// What is told of the fixtures after `change` was made to the attribute `name` of one node, for each node that has it.
fn told_of(name: &str, change: impl Fn(&mut AttributeProto)) -> Vec<String> {
    let mut told = Vec::new();
    for fixture in Fixture::all() {
        let model = ModelProto::decode(fixture.onnx().as_slice()).unwrap();
        for node in 0..model.graph.as_ref().unwrap().node.len() {
            let mut changed = model.clone();
            let node = &mut changed.graph.as_mut().unwrap().node[node];
            let attribute = node.attribute.iter_mut().find(|attribute| attribute.name == name);
            let Some(attribute) = attribute else { continue };
            change(attribute);
            let what = format!("{}: `{name}` of {} changed", fixture.name, node.name);
            let refused = that_ends(&what, move || Network::import(changed.encode_to_vec(), 4)).err();
            told.push(refused.unwrap_or_else(|| panic!("{what}, and it is taken")).to_string());
        }
    }
    assert!(told.len() > 10, "{name}: {} changes", told.len());
    told
}

#[test]
fn permutations_that_are_none_are_refused_by_name() {
    for perm in [vec![0, 2, 3, 2], vec![0, 1, 2, 4], vec![-1, 0, 1, 2], vec![i64::MIN, 0, i64::MAX, 1]] {
        for told in told_of("perm", |attribute| attribute.ints = perm.clone()) {
            assert!(told.contains("`perm` of Transpose (node `/") && told.contains(&format!("{perm:?}")), "{told}");
        }
    }
}

#[test]
fn axes_that_no_tensor_has_are_refused() {
    for axis in [i64::MIN, -1 << 40, -65, 64, i64::MAX] {
        for told in told_of("axis", |attribute| attribute.i = axis) {
            assert!(told.contains("`axis` of ") && told.contains(&axis.to_string()), "{told}");
        }
    }
    // Few enough for some tensor, too many for those that are normalised here.
    for fixture in Fixture::all() {
        let mut model = ModelProto::decode(fixture.onnx().as_slice()).unwrap();
        let nodes = &mut model.graph.as_mut().unwrap().node;
        let norm = nodes.iter_mut().find(|node| node.op_type == "LayerNormalization").unwrap();
        norm.attribute.iter_mut().find(|attribute| attribute.name == "axis").unwrap().i = -4;
        let told = that_ends(fixture.name, move || Network::import(model.encode_to_vec(), 4)).unwrap_err().to_string();
        assert!(told.contains("axis -4 of a tensor with 3 axes"), "{told}");
    }
}

#[test]
fn ranges_too_long_to_count_are_refused() {
    let fixture = &Fixture::all()[1];
    let model = ModelProto::decode(fixture.onnx().as_slice()).unwrap();
    let nodes = &model.graph.as_ref().unwrap().node;
    let range = nodes.iter().position(|node| node.op_type == "Range").unwrap();
    let [start, _, step] = nodes[range].input.as_slice() else { panic!("{} counts no positions", fixture.name) };
    for bound in [start, step] {
        let constant = nodes.iter().position(|node| node.output.contains(bound)).unwrap();
        for value in [i64::MIN, -1 << 40, -1 << 32, -1 << 30, 1 << 30, 1 << 32, 1 << 40, i64::MAX] {
            for limit_is_constant in [false, true] {
                let mut changed = model.clone();
                let nodes = &mut changed.graph.as_mut().unwrap().node;
                nodes[constant].attribute[0].t.as_mut().unwrap().raw_data = value.to_le_bytes().into();
                if limit_is_constant {
                    nodes[range].input[1] = step.clone();
                }
                let what = format!("{bound} of {value}");
                let told = that_ends(&what, move || Network::import(changed.encode_to_vec(), 4)).expect_err(&what);
                let told = told.to_string();
                assert!(told.contains("Range") && told.contains("a range "), "{what}: {told}");
                assert!(told.contains(&format!(" {value}; ")), "{what}: {told}");
            }
        }
    }
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let onnx = Fixture::all()[0].onnx();
    for end in (0..onnx.len()).step_by(onnx.len() / 97) {
        let told = Network::import(&onnx[..end], 4).expect_err("truncated").to_string();
        assert!(told.contains("ONNX"), "{end}: {told}");
    }
}

#[test]
fn batches_are_never_empty() {
    assert!(matches!(Batch::pack::<Vec<u32>>(&[]), Err(Error::EmptyBatch)));
    assert!(matches!(Batch::pack(&[vec![1], vec![]]), Err(Error::EmptyBatch)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_as_a_manifest_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Manifest::parse(&bytes);
    }

    #[test]
    fn any_change_of_a_byte_of_a_model_gives_an_answer(at in 0.0..1.0f64, byte in any::<u8>()) {
        let mut onnx = Fixture::all()[0].onnx();
        let at = (at * onnx.len() as f64) as usize;
        onnx[at] = byte;
        let _ = that_ends(&format!("the import with {byte} at {at}"), || Network::import(onnx, 4));
    }

    #[test]
    fn packing_and_padding_keep_every_token(
        sequences in prop::collection::vec(prop::collection::vec(0..grice_model::MASKED, 1..20), 1..9),
    ) {
        let batch = Batch::pack(&sequences).unwrap();
        prop_assert_eq!(batch.rows(), sequences.len());
        prop_assert_eq!(batch.tokens(), sequences.iter().map(Vec::len).sum::<usize>());
        let rows: Vec<usize> = (0..batch.rows()).rev().collect();
        let padded = batch.padded(&rows, FixedAxes::default());
        for (place, &row) in rows.iter().enumerate() {
            prop_assert_eq!(batch.sequence(row), sequences[row].as_slice());
            let slots = place * padded.length..(place + 1) * padded.length;
            let real: usize = padded.attention_mask[slots.clone()].iter().sum::<i64>() as usize;
            prop_assert_eq!(real, sequences[row].len());
            let ids: Vec<i64> = sequences[row].iter().map(|&id| i64::from(id)).collect();
            prop_assert_eq!(&padded.input_ids[slots][..real], ids.as_slice());
        }
    }
}
