//! Folders of models that write text: what opens, and what is refused by name.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_model::{Checkpoint, Folder, Precision, Source};
use grice_testkit::generators::{GENERATORS, folder};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;

/// Files in memory.
#[derive(Clone)]
struct Files(BTreeMap<String, Vec<u8>>);

struct Bytes<'a>(&'a [u8]);

impl Source for Bytes<'_> {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: std::ops::Range<u64>) -> io::Result<std::borrow::Cow<'_, [u8]>> {
        Ok(self.0[range.start as usize..range.end as usize].into())
    }
}

impl Folder for Files {
    fn file(&self, name: &str) -> io::Result<Option<Box<dyn Source + '_>>> {
        Ok(self.0.get(name).map(|bytes| Box::new(Bytes(bytes)) as Box<dyn Source>))
    }
}

const WEIGHTS: &str = "model.safetensors";

impl Files {
    fn of(name: &str) -> Files {
        let entries = std::fs::read_dir(folder(name)).unwrap().map(Result::unwrap);
        Files(
            entries
                .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
                .collect(),
        )
    }

    fn json(&mut self, file: &str, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::from_slice(&self.0[file]).unwrap();
        change(&mut value);
        self.0.insert(file.to_owned(), serde_json::to_vec(&value).unwrap());
    }

    /// Changes the header of a safetensors file, and nothing after it.
    fn header(&mut self, file: &str, change: impl FnOnce(&mut Value)) {
        let bytes = &self.0[file];
        let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header: Value = serde_json::from_slice(&bytes[8..end]).unwrap();
        change(&mut header);
        self.raw_header(file, &header.to_string());
    }

    fn raw_header(&mut self, file: &str, text: &str) {
        let bytes = &self.0[file];
        let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let changed = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &bytes[end..]].concat();
        self.0.insert(file.to_owned(), changed);
    }

    fn refused(&self) -> String {
        Checkpoint::open(self).expect_err("it opened").to_string()
    }
}

fn check(name: &str, change: impl FnOnce(&mut Files), expected: &str) {
    let mut files = Files::of(name);
    change(&mut files);
    let error = files.refused();
    assert!(error.contains(expected), "{error}\nlacks: {expected}");
}

fn config(name: &str, field: &str, value: Value, expected: &str) {
    check(name, |files| files.json("config.json", |config| config[field] = value), expected);
}

#[test]
fn all_families_open() {
    for name in GENERATORS {
        let checkpoint = Checkpoint::open(&Files::of(name)).unwrap();
        assert_eq!(checkpoint.generator.vocabulary(), 96, "{name}");
        let ends: &[u32] = if name == "qwen2" { &[1, 5] } else { &[1] };
        assert_eq!(checkpoint.defaults.end_tokens, ends, "{name}");
        let start = match name {
            "t5" => Some(0),
            "t5-gated" => Some(3),
            _ => None,
        };
        assert_eq!(checkpoint.defaults.start_token, start, "{name}");
    }
}

#[test]
fn what_changes_the_arithmetic_is_refused_by_name() {
    config("gpt2", "model_type", json!("bloom"), "`bloom` is not supported; supported are t5, gpt2, llama");
    config("gpt2", "activation_function", json!("mish"), "field `activation_function`: the activation `mish`");
    config("gpt2", "add_cross_attention", json!(true), "field `add_cross_attention`: true is not supported");
    config("gpt2", "n_head", json!(5), "5 heads do not divide 32 columns");
    config("gpt2", "n_layer", json!(4), "the tensor `transformer.h.3.attn.c_attn.weight` is missing");
    config("gpt2", "n_layer", json!(2), "is no part of a gpt2 model");
    config("gpt2", "n_embd", json!(-1), "field `n_embd`: expected a whole number from 1 on, found -1");
    config("gpt2", "n_embd", json!(1u64 << 40), "field `n_embd`: expected a whole number");
    config("gpt2", "vocab_size", json!(97), "has the shape [96, 32]; expected [97, 32]");
    config("llama", "rope_parameters", json!({"rope_type": "yarn", "rope_theta": 1e4}), "`yarn` is not supported");
    config("llama", "num_key_value_heads", json!(4), "4 key heads do not divide 6 heads");
    config("llama", "pretraining_tp", json!(2), "field `pretraining_tp`: 2 is not supported");
    config("llama", "tie_word_embeddings", json!(false), "the tensor `lm_head.weight` is missing");
    config("qwen2", "layer_types", json!(["full_attention", "sliding_attention"]), "field `layer_types`");
    config("t5", "feed_forward_proj", json!("gated-mish"), "`gated-mish` is not supported");
    config("t5", "relative_attention_max_distance", json!(8), "does not fit 8 buckets");
    config("gpt2", "quantization_config", json!({"quant_method": "gptq"}), "field `quant_method`: \"gptq\"");
}

#[test]
fn damaged_files_are_refused_by_the_tensors_name() {
    let header =
        |change: fn(&mut Value), expected: &str| check("gpt2", |files| files.header(WEIGHTS, change), expected);
    header(
        |h| h["transformer.wpe.weight"]["shape"] = json!([160, 33]),
        "`transformer.wpe.weight` has other bytes than F32 [160, 33]",
    );
    header(|h| h["transformer.wpe.weight"]["dtype"] = json!("Q4"), "has the type Q4");
    header(|h| h["transformer.wpe.weight"]["shape"] = json!([usize::MAX, 3]), "has other bytes than");
    header(|h| h["transformer.wpe.weight"]["data_offsets"] = json!([0, 20480]), "overlap");
    header(|h| h["transformer.wpe.weight"]["data_offsets"] = json!([9, 3]), "has other bytes than");
    header(|h| h["transformer.wpe.weight"]["data_offsets"] = json!([u64::MAX - 20480, u64::MAX]), "cut short");
    header(|h| h["transformer.wpe.weight"] = json!(7), "the tensor `transformer.wpe.weight` in its header");
    header(
        |h| drop(h.as_object_mut().unwrap().remove("transformer.wpe.weight")),
        "`transformer.wpe.weight` is missing",
    );
    check("gpt2", |files| files.raw_header(WEIGHTS, "{\"a\": 1, \"a\": 2}"), "the tensor `a` appears twice");
    check("gpt2", |files| files.0.get_mut(WEIGHTS).unwrap().truncate(90_000), "cut short");
    check("gpt2", |files| files.0.get_mut(WEIGHTS).unwrap().truncate(5), "it is no safetensors file");
    check("gpt2", |files| drop(files.0.remove(WEIGHTS)), "the file model.safetensors is missing");
    check("gpt2", |files| drop(files.0.remove("config.json")), "the file config.json is missing");
    check(
        "gpt2",
        |files| drop(files.0.insert("config.json".to_owned(), b"[]".to_vec())),
        "config.json: it is no JSON object",
    );
    let nan = |files: &mut Files| {
        let bytes = files.0.get_mut(WEIGHTS).unwrap();
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    };
    check("gpt2", nan, "holds a number that is infinite or NaN");
}

#[test]
fn shards_are_read_where_the_index_says() {
    const INDEX: &str = "model.safetensors.index.json";
    let index = |change: fn(&mut Value), expected: &str| check("qwen2", |files| files.json(INDEX, change), expected);
    index(
        |index| index["weight_map"]["lm_head.weight"] = json!("../secret"),
        "`lm_head.weight` must be in a file beside it",
    );
    index(
        |index| index["weight_map"]["lm_head.weight"] = json!("none.safetensors"),
        "the file none.safetensors is missing",
    );
    index(|index| index["weight_map"]["stray"] = json!("model-00001-of-00003.safetensors"), "the tensor `stray`");
    index(|index| index["weight_map"] = json!(3), "field `weight_map`");
    index(
        |index| drop(index["weight_map"].as_object_mut().unwrap().remove("model.norm.weight")),
        "`model.norm.weight` is missing",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any change of bytes is an error or opens, and never a panic.
    #[test]
    fn changed_bytes_give_an_answer(at in any::<prop::sample::Index>(), new in any::<u8>(), in_header in any::<bool>(), cut in prop::option::of(any::<prop::sample::Index>())) {
        let mut files = Files::of("t5-gated");
        let bytes = files.0.get_mut(WEIGHTS).unwrap();
        let end = if in_header { 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize } else { bytes.len() };
        bytes[at.index(end)] = new;
        if let Some(cut) = cut {
            let length = cut.index(bytes.len());
            bytes.truncate(length);
        }
        _ = Checkpoint::open(&files);
    }
}

/// The tensors of a safetensors file with single precision, by name.
fn tensors(bytes: &[u8]) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&bytes[8..end]).unwrap();
    let tensor = |(name, entry): (String, Value)| {
        let size = |value: &Value| value.as_u64().unwrap() as usize;
        let [start, stop] = [0, 1].map(|side| end + size(&entry["data_offsets"][side]));
        let numbers = bytes[start..stop].chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
        (name, entry["shape"].as_array().unwrap().iter().map(size).collect(), numbers.collect())
    };
    header.into_iter().filter(|(name, _)| name != "__metadata__").map(tensor).collect()
}

/// As llm-compressor writes 8-bit weights: the dense layers in I8 with a scale for each output.
fn compressed(files: &mut Files) {
    let (mut header, mut data) = (json!({}), Vec::new());
    let mut push = |name: String, dtype: &str, shape: &[usize], bytes: Vec<u8>| {
        header[name] = json!({"dtype": dtype, "shape": shape, "data_offsets": [data.len(), data.len() + bytes.len()]});
        data.extend(bytes);
    };
    for (name, shape, numbers) in tensors(&files.0[WEIGHTS]) {
        if !name.ends_with("_proj.weight") {
            push(name, "F32", &shape, numbers.iter().flat_map(|number| number.to_le_bytes()).collect());
            continue;
        }
        let rows = numbers.chunks_exact(shape[1]);
        let scales: Vec<f32> =
            rows.clone().map(|row| row.iter().fold(0f32, |most, x| most.max(x.abs() / 127.0))).collect();
        let whole = rows.zip(&scales).flat_map(|(row, scale)| row.iter().map(move |x| (x / scale).round() as i8 as u8));
        push(name.clone(), "I8", &shape, whole.collect());
        push(
            format!("{name}_scale"),
            "F32",
            &[shape[0], 1],
            scales.iter().flat_map(|scale| scale.to_le_bytes()).collect(),
        );
    }
    let header = header.to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    files.0.insert(WEIGHTS.to_owned(), bytes);
    files.json("config.json", |config| {
        config["quantization_config"] = json!({
            "quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed",
            "kv_cache_scheme": null, "ignore": ["lm_head"],
            "config_groups": {"group_0": {
                "targets": ["Linear"], "output_activations": null,
                "weights": {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel", "dynamic": false, "group_size": null},
                "input_activations": {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true},
            }},
        });
    });
}

#[test]
fn compressed_tensors_are_the_weights_that_rounding_makes() {
    let mut files = Files::of("llama");
    let rounded = Checkpoint::open(&files).unwrap().generator.to_precision(Precision::Int8).unwrap();
    compressed(&mut files);
    let stored = Checkpoint::open(&files).unwrap().generator;
    assert_eq!(stored.precision(), Precision::Int8);
    let linears = || stored.decoder.linears().zip(rounded.decoder.linears());
    assert_eq!(linears().count(), 3 * 7);
    assert!(linears().all(|(stored, rounded)| stored == rounded));
}

#[test]
fn other_schemes_are_refused_by_name() {
    let scheme = |path: &str, value: Value, expected: &str| {
        let change = |files: &mut Files| {
            compressed(files);
            files.json("config.json", |config| *config["quantization_config"].pointer_mut(path).unwrap() = value);
        };
        check("llama", change, expected);
    };
    scheme("/format", json!("float-quantized"), "field `format`: \"float-quantized\" is not supported");
    scheme("/format", json!("pack-quantized"), "field `input_activations`");
    scheme("/config_groups/group_0/weights/num_bits", json!(4), "field `num_bits`: 4 is not supported");
    scheme("/config_groups/group_0/weights/symmetric", json!(false), "field `symmetric`: false");
    scheme("/config_groups/group_0/weights/strategy", json!("tensor"), "field `strategy`: \"tensor\"");
    scheme("/config_groups/group_0/input_activations/dynamic", json!(false), "field `dynamic`: false");
    scheme("/kv_cache_scheme", json!({"num_bits": 8}), "field `kv_cache_scheme`");
    scheme("/config_groups", json!({"group_0": {}, "group_1": {}}), "only one group of quantized weights");
    let field = |name: &str, value: Value, expected: &str| {
        let change = |files: &mut Files| {
            compressed(files);
            files.json("config.json", |config| config["quantization_config"][name] = value);
        };
        check("llama", change, expected);
    };
    field("transform_config", json!({"config_groups": {"u": {"type": "hadamard"}}}), "field `transform_config`");
    field("sparsity_config", json!({"format": "sparse-24-bitmask"}), "field `format`: \"sparse-24-bitmask\"");
    scheme("/config_groups/group_0", Value::Null, "only one group of quantized weights");
}
