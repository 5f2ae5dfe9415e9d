//! Checkpoints in 4 bits: what is written, read again, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod memory;

use grice_model::{Linear, Precision, Stack};
use grice_quantize::Form;
use grice_testkit::generators::GENERATORS;
use memory::{Memory, WEIGHTS};
use serde_json::{Value, json};

const FORM: Form = Form::Int4 { group: 32 };

fn linears(memory: &Memory) -> Vec<Linear> {
    let generator = memory.open().generator;
    generator.encoder.iter().chain([&generator.decoder]).flat_map(Stack::linears).cloned().collect()
}

/// What PyTorch's arithmetic makes of weights `[inputs, outputs]`: the largest of a group is 7.5 steps, halves go to the even number.
fn expected(linear: &Linear, group: usize) -> Vec<f32> {
    let (weights, columns) = (linear.weights.to_f32(), linear.outputs());
    let mut rounded = weights.clone();
    for (row, column) in (0..linear.inputs()).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        let first = row / group * group;
        let largest = (first..first + group).map(|row| weights[row * columns + column].abs()).fold(0.0, f32::max);
        let scale = largest / 7.5;
        let at = row * columns + column;
        rounded[at] = (weights[at] / scale).clamp(-8.0, 7.0).round_ties_even() * scale;
    }
    rounded
}

#[test]
fn weights_are_the_nearest_of_sixteen() {
    for (name, group) in GENERATORS.into_iter().flat_map(|name| [8, 32].map(|group| (name, group))) {
        let source = Memory::of(name);
        let Ok((out, converted)) = source.try_converted(Form::Int4 { group }, u64::MAX) else {
            panic!("{name} in groups of {group}");
        };
        let (mut packed, mut left) = (0, 0);
        for (stored, exact) in linears(&out).iter().zip(linears(&source)) {
            if exact.inputs().is_multiple_of(group) {
                packed += 1;
                assert_eq!(stored.weights.precision(), Precision::Int4, "{name}");
                assert_eq!(stored.weights.to_f32(), expected(&exact, group), "{name} in groups of {group}");
                assert_eq!(stored.bias, exact.bias, "{name}");
            } else {
                left += 1;
                assert_eq!(stored, &exact, "{name}");
            }
        }
        // The three parts of GPT-2's attention are one layer in the file.
        let apart = if name == "gpt2" { packed / 6 * 2 } else { 0 };
        assert_eq!((converted.layers, converted.left.len()), (packed - apart, left), "{name} in groups of {group}");
        assert!(converted.left.iter().all(|layer| layer.reason.contains("do not divide")), "{:?}", converted.left);
        let ignored = &out.json("config.json")["quantization_config"]["ignore"];
        assert_eq!(ignored.as_array().unwrap().len(), 1 + left, "{name}");
    }
}

#[test]
fn groups_that_fit_no_layer_are_refused() {
    let error = Memory::of("qwen2").try_converted(Form::Int4 { group: 128 }, u64::MAX).err().unwrap().to_string();
    assert!(error.contains("no layer can be quantized to int4") && error.contains("groups of 128"), "{error}");
}

#[test]
fn a_group_of_zeros_stays_zeros() {
    let source = Memory::of("gpt2");
    let weight = "transformer.h.0.mlp.c_fc.weight";
    let length = source.range(WEIGHTS, weight).len();
    source.poke(WEIGHTS, weight, &vec![0; length]);
    let (out, _) = source.try_converted(FORM, u64::MAX).unwrap();
    let zeros = linears(&out).into_iter().filter(|linear| linear.weights.to_f32().iter().all(|weight| *weight == 0.0));
    assert_eq!(zeros.count(), 1);
}

#[test]
fn damaged_files_are_refused_by_name() {
    let damaged = |name: &str, change: &dyn Fn(&Memory), words: &str| {
        let memory = Memory::of(name).converted(FORM);
        change(&memory);
        memory.refused(words);
    };
    let layer = "transformer.h.1.mlp.c_fc";
    let header = |part: &str, field: &str, value: Value, words: &str| {
        let name = format!("{layer}.{part}");
        let change = |memory: &Memory| memory.change_header(WEIGHTS, |header| header[&name][field] = value.clone());
        damaged("gpt2", &change, words);
    };
    header(
        "weight_packed",
        "shape",
        json!([64, 8]),
        "`transformer.h.1.mlp.c_fc.weight_packed`: it has the shape [64, 8]; expected [128, 4]",
    );
    header("weight_packed", "dtype", json!("F32"), "has the type F32; expected I32");
    header("weight_scale", "shape", json!([64, 2]), "has the shape [64, 2]; expected [128, 1]");
    header("weight_scale", "dtype", json!("I32"), "it has the type I32; expected F32, F16 or BF16");
    header("weight_shape", "shape", json!([1, 2]), "has the shape [1, 2]; expected [2]");
    let shape = [128u64, 40].map(u64::to_le_bytes).concat();
    let poke = |memory: &Memory| memory.poke(WEIGHTS, &format!("{layer}.weight_shape"), &shape);
    damaged("gpt2", &poke, "weight_shape`: it says [128, 40]; expected [128, 32]");
    let poke = |memory: &Memory| memory.poke(WEIGHTS, &format!("{layer}.weight_scale"), &f32::NAN.to_le_bytes());
    damaged("gpt2", &poke, "`transformer.h.1.mlp.c_fc.weight_scale` holds a number that is infinite or NaN");
    let remove = |memory: &Memory| {
        memory.change_header(WEIGHTS, |header| {
            drop(header.as_object_mut().unwrap().remove(&format!("{layer}.weight_packed")));
        });
    };
    damaged("gpt2", &remove, "`transformer.h.1.mlp.c_fc.weight_packed` is missing");
    let cut = |memory: &Memory| {
        let bytes = memory.bytes(WEIGHTS);
        memory.insert(WEIGHTS, bytes[..bytes.len() - 1].to_vec());
    };
    damaged("llama", &cut, "cut short");
    let config = |path: &str, value: Value, words: &str| {
        let change = |memory: &Memory| {
            memory.change("config.json", |config| {
                *config["quantization_config"].pointer_mut(path).unwrap() = value.clone();
            });
        };
        damaged("gpt2", &change, words);
    };
    config("/config_groups/group_0/weights/group_size", json!(12), "field `group_size`: 12 is no multiple of 8");
    config("/config_groups/group_0/weights/group_size", json!(48), "groups of 48 do not divide 32 inputs");
    config(
        "/config_groups/group_0/weights/transposed",
        json!(false),
        "4-bit weights of this family need true, and it is false",
    );
    config("/config_groups/group_0/weights/group_size", Value::Null, "field `group_size` is missing");
    config("/config_groups/group_0/weights/symmetric", json!(false), "field `symmetric`: false is not supported");
    config("/config_groups/group_0/weights/num_bits", json!(8), "field `num_bits`: 8 is not supported");
    config("/config_groups/group_0/weights/strategy", json!("channel"), "field `strategy`: \"channel\"");
    config("/config_groups/group_0/input_activations", json!({"num_bits": 8}), "field `input_activations`");
}
