//! Folders of sentence-transformers: what opens, and what is refused by name.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_model::{Folder, Pooling, Program, Readout, SentenceModel, Source};
use grice_testkit::embedders::{EMBEDDERS, folder, reference, sentence_model};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

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

const POOLING: &str = "1_Pooling/config.json";
const SETTINGS: &str = "config_sentence_transformers.json";
const ENCODER_SETTINGS: &str = "sentence_bert_config.json";

impl Files {
    fn of(name: &str) -> Files {
        let mut files = Files(BTreeMap::new());
        files.add(&folder(name), "");
        files
    }

    fn add(&mut self, folder: &Path, prefix: &str) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
            match entry.path().is_dir() {
                true => self.add(&entry.path(), &format!("{name}/")),
                false => drop(self.0.insert(name, std::fs::read(entry.path()).unwrap())),
            }
        }
    }

    fn json(&mut self, file: &str, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::from_slice(&self.0[file]).unwrap();
        change(&mut value);
        self.0.insert(file.to_owned(), serde_json::to_vec(&value).unwrap());
    }

    fn set(&mut self, file: &str, field: &str, new: Value) {
        self.json(file, |value| value[field] = new);
    }

    /// Renames a tensor in the header, whose length stays.
    fn rename(&mut self, from: &str, to: &str) {
        assert_eq!(from.len(), to.len());
        let bytes = self.0.get_mut("model.safetensors").unwrap();
        let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).expect(from);
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    }

    fn open(&self) -> SentenceModel {
        SentenceModel::open(self).unwrap()
    }
}

fn refused(name: &str, change: impl FnOnce(&mut Files), expected: &[&str]) {
    let mut files = Files::of(name);
    change(&mut files);
    let error = SentenceModel::open(&files).expect_err("it opened").to_string();
    assert!(expected.iter().all(|part| error.contains(part)), "{error}\nlacks one of: {expected:?}");
}

#[test]
fn the_files_say_pooling_length_and_family() {
    let of = |name: &str| sentence_model(name).program.readout;
    for (name, expected, is_normalised) in [
        ("bert", Pooling::Mean, true),
        ("mpnet", Pooling::Mean, true),
        ("roberta", Pooling::Cls, false),
        ("distilbert", Pooling::Mean, false),
    ] {
        let Readout::Pooled { pooling, normalised } = of(name) else { panic!("{name}") };
        assert_eq!((pooling, normalised), (expected, is_normalised), "{name}");
    }
    for name in EMBEDDERS {
        let model = sentence_model(name);
        assert_eq!((model.family.as_str(), model.tokens_max), (name, reference(name).tokens_max));
        assert_eq!(model.tokenizer, "tokenizer.json");
    }
}

#[test]
fn an_encoder_may_lie_in_a_folder_of_its_own() {
    let plain = Files::of("bert");
    let mut files = Files(BTreeMap::new());
    for (name, bytes) in &plain.0 {
        let is_shared = name == "modules.json" || name == SETTINGS || name.contains('/');
        files.0.insert(if is_shared { name.clone() } else { format!("0_Transformer/{name}") }, bytes.clone());
    }
    files.json("modules.json", |modules| modules[0]["path"] = json!("0_Transformer"));
    assert_eq!(files.open().tokenizer, "0_Transformer/tokenizer.json");
    files.0.remove("0_Transformer/config.json");
    let error = SentenceModel::open(&files).unwrap_err().to_string();
    assert!(error.contains("0_Transformer/config.json is missing"), "{error}");
}

#[test]
fn the_longest_text_is_bounded_by_every_file() {
    let tokens = |change: fn(&mut Files)| {
        let mut files = Files::of("bert");
        change(&mut files);
        files.open().tokens_max
    };
    // The tokenizer's own limit is 16, the configuration's 40.
    assert_eq!(tokens(|_| {}), 24);
    assert_eq!(tokens(|files| files.set(ENCODER_SETTINGS, "max_seq_length", json!(512))), 40);
    assert_eq!(tokens(|files| files.set(ENCODER_SETTINGS, "max_seq_length", Value::Null)), 24);
    let without = |files: &mut Files, tokens: Value| {
        files.0.remove(ENCODER_SETTINGS);
        files.set("tokenizer_config.json", "model_max_length", tokens);
    };
    let mut files = Files::of("bert");
    without(&mut files, json!(1e30));
    assert_eq!(files.open().tokens_max, 40);
    without(&mut files, json!(12));
    assert_eq!(files.open().tokens_max, 12);
    // Two positions of RoBERTa's stand before the first.
    let mut files = Files::of("roberta");
    files.set("tokenizer_config.json", "model_max_length", json!(512));
    assert_eq!(files.open().tokens_max, 50);
}

#[test]
fn modules_and_settings_that_are_not_supported_are_named() {
    refused(
        "bert",
        |files| drop(files.0.remove("modules.json")),
        &["modules.json is missing", "sentence-transformers"],
    );
    let dense = json!({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"});
    refused(
        "roberta",
        |files| files.json("modules.json", |list| list.as_array_mut().unwrap().push(dense)),
        &["modules.json", "`2_Dense`", "sentence_transformers.models.Dense"],
    );
    let module = |at: usize, field: &'static str, value: Value| {
        move |files: &mut Files| files.json("modules.json", |list| list[at][field] = value)
    };
    refused("bert", module(1, "type", json!("custom_st.Pooling")), &["`1_Pooling`", "custom_st.Pooling"]);
    refused("bert", module(1, "path", json!("../1_Pooling")), &["`../1_Pooling`", "beside it"]);
    refused("bert", module(1, "path", json!(7)), &["`type` and a `path`"]);
    refused(
        "bert",
        |files| files.json("modules.json", |list| list.as_array_mut().unwrap().swap(1, 2)),
        &["Transformer, Normalize, Pooling"],
    );
    refused("bert", |files| drop(files.0.insert("modules.json".to_owned(), b"{}".to_vec())), &["modules.json"]);

    let pooling = |field: &'static str, value: Value| move |files: &mut Files| files.set(POOLING, field, value);
    refused("bert", |files| drop(files.0.remove(POOLING)), &["1_Pooling/config.json is missing"]);
    refused("bert", pooling("pooling_mode_max_tokens", json!(true)), &["1_Pooling/config.json", "mean with max"]);
    refused("bert", pooling("pooling_mode_mean_tokens", json!(false)), &["1_Pooling/config.json", "no pooling"]);
    refused("bert", pooling("word_embedding_dimension", json!(384)), &["`word_embedding_dimension`", "384", "24"]);
    refused("mpnet", pooling("pooling_mode", json!("weightedmean")), &["weightedmean is not supported"]);
    refused("mpnet", pooling("pooling_mode", json!(["mean", "cls"])), &["mean with cls"]);
    refused("mpnet", pooling("pooling_mode", json!(3)), &["1_Pooling/config.json", "`pooling_mode`"]);

    let prompt = |files: &mut Files| {
        files.set(SETTINGS, "prompts", json!({"query": "query: ", "none": ""}));
        files.set(SETTINGS, "default_prompt_name", json!("query"));
    };
    refused("mpnet", prompt, &["`default_prompt_name`", "`query`"]);
    refused(
        "mpnet",
        |files| files.set(SETTINGS, "model_type", json!("SparseEncoder")),
        &["`model_type`", "SparseEncoder"],
    );
    refused("bert", |files| files.set(ENCODER_SETTINGS, "do_lower_case", json!(true)), &["`do_lower_case`"]);
    refused(
        "mpnet",
        |files| files.set(ENCODER_SETTINGS, "transformer_task", json!("fill-mask")),
        &["`transformer_task`"],
    );
    refused(
        "mpnet",
        |files| files.set("tokenizer_config.json", "truncation_side", json!("left")),
        &["`truncation_side`"],
    );
}

#[test]
fn prompts_are_read_by_their_names() {
    let mut files = Files::of("mpnet");
    files.set(SETTINGS, "prompts", json!({"query": "query: ", "none": ""}));
    files.set(SETTINGS, "default_prompt_name", json!("none"));
    let model = files.open();
    assert_eq!(
        model.prompts.iter().collect::<Vec<_>>(),
        [(&"none".to_owned(), &String::new()), (&"query".to_owned(), &"query: ".to_owned())]
    );
    assert!(model.pools_prompt && sentence_model("bert").prompts.is_empty());
    files.set(POOLING, "include_prompt", json!(false));
    assert!(!files.open().pools_prompt);
    refused(
        "mpnet",
        |files| files.set(SETTINGS, "prompts", json!({"query": 1})),
        &["`prompts`", "`query` must be a text"],
    );
    refused("mpnet", |files| files.set(POOLING, "include_prompt", json!("no")), &[POOLING, "`include_prompt`"]);
}

#[test]
fn encoders_that_do_not_fit_are_refused_by_field_or_tensor() {
    let config = |field: &'static str, value: Value| move |files: &mut Files| files.set("config.json", field, value);
    refused("bert", config("model_type", json!("deberta-v2")), &["`model_type`", "deberta-v2", "xlm-roberta"]);
    refused("bert", config("position_embedding_type", json!("relative_key")), &["`position_embedding_type`"]);
    refused("bert", config("is_decoder", json!(true)), &["`is_decoder`"]);
    refused("bert", config("hidden_act", json!("mish")), &["`hidden_act`", "mish"]);
    refused("bert", config("num_attention_heads", json!(5)), &["`num_attention_heads`", "5 heads"]);
    refused("bert", config("num_hidden_layers", json!(3)), &["encoder.layer.2.attention.self.query.weight", "missing"]);
    refused("bert", config("num_hidden_layers", json!(1)), &["encoder.layer.1.", "no part of a bert encoder"]);
    refused(
        "bert",
        config("intermediate_size", json!(41)),
        &["encoder.layer.0.intermediate.dense.weight", "[40, 24]", "[41, 24]"],
    );
    refused("bert", config("vocab_size", json!(97)), &["word_embeddings.weight", "97"]);
    refused("bert", config("hidden_size", json!(-1)), &["`hidden_size`"]);
    refused("mpnet", config("relative_attention_num_buckets", json!(16)), &["`relative_attention_num_buckets`"]);
    refused("roberta", config("pad_token_id", json!(51)), &["`pad_token_id`"]);
    refused(
        "mpnet",
        |files| files.rename("encoder.relative_attention_bias.weight", "encoder.relative_attention_bios.weight"),
        &["encoder.relative_attention_bias.weight", "missing"],
    );
    // Beside the encoder of a model that was saved with a head stands the head, but nothing of the encoder's may be left over.
    refused(
        "roberta",
        |files| files.rename("roberta.encoder.layer.0.output.dense.bias", "roberta.encoder.layer.0.output.dense.bios"),
        &["roberta.encoder.layer.0.output.dense.bios"],
    );
    for bytes in [&b""[..], b"{", b"[1]"] {
        refused("bert", |files| drop(files.0.insert("config.json".to_owned(), bytes.to_vec())), &["config.json"]);
    }
    refused("bert", |files| files.0.get_mut("model.safetensors").unwrap().truncate(3000), &["model.safetensors"]);
}

/// The tensors of a safetensors file with single precision: name, shape, numbers.
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

/// Dense layers in 8 bits with a scale for each output, and the table of words with one for each word.
fn compressed(files: &mut Files) {
    let (mut header, mut data) = (json!({}), Vec::new());
    let mut push = |name: String, dtype: &str, shape: &[usize], bytes: Vec<u8>| {
        header[name] = json!({"dtype": dtype, "shape": shape, "data_offsets": [data.len(), data.len() + bytes.len()]});
        data.extend(bytes);
    };
    let little = |numbers: &[f32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    for (name, shape, numbers) in tensors(&files.0["model.safetensors"]) {
        if shape.len() != 2 || name.contains("position") || name.contains("bias") {
            push(name, "F32", &shape, little(&numbers));
            continue;
        }
        let rows = numbers.chunks_exact(shape[1]);
        let scales: Vec<f32> =
            rows.clone().map(|row| row.iter().fold(0f32, |most, x| most.max(x.abs() / 127.0))).collect();
        let whole = rows.zip(&scales).flat_map(|(row, scale)| row.iter().map(move |x| (x / scale).round() as i8 as u8));
        push(name.clone(), "I8", &shape, whole.collect());
        push(format!("{name}_scale"), "F32", &[shape[0], 1], little(&scales));
    }
    let header = header.to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    files.0.insert("model.safetensors".to_owned(), bytes);
    let weights = json!({"num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel", "dynamic": false});
    let activations = json!({"num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true});
    files.json("config.json", |config| {
        config["quantization_config"] = json!({
            "quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed",
            "ignore": ["embeddings.position_embeddings"],
            "config_groups": {
                "group_0": {"targets": ["Linear"], "weights": weights, "input_activations": activations},
                "group_1": {"targets": ["Embedding"], "weights": weights, "input_activations": null},
            },
        });
    });
}

#[test]
fn tables_and_layers_in_8_bits_are_those_that_rounding_makes() {
    let mut files = Files::of("mpnet");
    let rounded = files.open().program.to_precision(grice_model::Precision::Int8).unwrap().encoder;
    let exact = files.open().program.encoder;
    compressed(&mut files);
    let stored = files.open().program.encoder;
    assert_eq!(stored.embedding.words, rounded.embedding.words);
    // It is left as it is.
    let positions = |stack: &grice_model::Stack| stack.embedding.positions.as_ref().unwrap().table.clone();
    assert_eq!(positions(&stored), positions(&exact));
    assert!(stored.linears().count() == 2 * 6 && stored.linears().eq(rounded.linears()));
}

#[test]
fn other_tables_in_8_bits_are_refused_by_name() {
    let table = |path: &'static str, value: Value, expected: &str| {
        let change = |files: &mut Files| {
            compressed(files);
            files.json("config.json", |config| {
                *config["quantization_config"]["config_groups"].pointer_mut(path).unwrap() = value;
            });
        };
        refused("mpnet", change, &[expected]);
    };
    table("/group_1/targets", json!(["Linear"]), "`group_1` must have the target Embedding");
    table("/group_1/targets", Value::Null, "`group_1` must have the target Embedding");
    table("/group_1/weights/num_bits", json!(4), "`num_bits`");
    table("/group_1/weights/strategy", json!("tensor"), "`strategy`");
    table("/group_1/weights", Value::Null, "only one group");
    table("/group_1/input_activations", json!({"num_bits": 8}), "`input_activations`");
    table("", json!({"group_0": {}, "group_2": {}}), "only one group");
    // Without the group the table must be whole.
    let alone = |files: &mut Files| {
        compressed(files);
        files.json("config.json", |config| {
            drop(config["quantization_config"]["config_groups"].as_object_mut().unwrap().remove("group_1"));
        });
    };
    refused("mpnet", alone, &["embeddings.word_embeddings.weight", "type I8"]);
}

proptest! {
    /// Whatever the files hold, they open or say why not.
    #[test]
    fn damaged_files_do_not_panic(file in 0usize..9, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut files = Files::of("bert");
        let name = files.0.keys().nth(file % files.0.len()).unwrap().clone();
        let bytes = files.0.get_mut(&name).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(model) = SentenceModel::open(&files) {
            let Program { encoder, .. } = &model.program;
            prop_assert!(model.tokens_max <= 40 && encoder.hidden() == 24);
        }
    }
}
