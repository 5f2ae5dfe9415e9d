//! Checkpoints in fewer bits: what is written, read again, against the model that it was made from.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod memory;

use grice_model::{Generator, Linear, Matrix, Precision, Stack};
use grice_quantize::Form;
use grice_testkit::generators::GENERATORS;
use memory::{Memory, WEIGHTS};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn stacks(generator: &Generator) -> Vec<&Stack> {
    generator.encoder.iter().chain([&generator.decoder]).collect()
}

fn linears(generator: &Generator) -> Vec<&Linear> {
    stacks(generator).into_iter().flat_map(Stack::linears).collect()
}

fn tables(generator: &Generator) -> Vec<&Matrix> {
    let words = stacks(generator).into_iter().map(|stack| &*stack.embedding.words);
    words.chain(generator.vocabulary.own().map(|own| &*own.weights)).collect()
}

/// All dense layers are in 8 bits as they are when the model is rounded while it loads, and nothing else changes.
#[test]
fn int8_is_what_rounding_at_load_makes() {
    for name in GENERATORS {
        let source = Memory::of(name);
        let exact = source.open().generator;
        let (out, converted) = source.try_converted(Form::Int8, u64::MAX).unwrap();
        let stored = out.open().generator;
        let is_int8 = |linear: &&Linear| linear.weights.precision() == Precision::Int8;
        assert!(linears(&stored).iter().all(is_int8), "{name}");
        assert_eq!(tables(&stored), tables(&exact), "{name}");
        assert!(converted.left.is_empty() && converted.bytes < converted.bytes_before, "{name}: {converted:?}");
        let rounded = exact.to_precision(Precision::Int8).unwrap();
        assert_eq!(linears(&stored), linears(&rounded), "{name}");
        let whole = stored.to_precision(Precision::Int8).unwrap();
        assert_eq!(tables(&whole), tables(&rounded), "{name}");
        assert_eq!(linears(&whole), linears(&rounded), "{name}");
        assert_eq!(out.open().defaults, source.open().defaults, "{name}");
    }
}

#[test]
fn casts_are_the_nearest_numbers_of_16_bits() {
    for (name, form) in GENERATORS.into_iter().flat_map(|name| [Form::Fp16, Form::Bf16].map(|form| (name, form))) {
        let nearest = |number: f32| match form {
            Form::Fp16 => half::f16::from_f32(number).to_f32(),
            _ => half::bf16::from_f32(number).to_f32(),
        };
        let source = Memory::of(name);
        let (exact, out) = (source.open().generator, source.converted(form));
        let cast = out.open().generator;
        let expected = |matrix: &Matrix| matrix.to_f32().into_iter().map(nearest).collect::<Vec<_>>();
        for (cast, exact) in linears(&cast).into_iter().zip(linears(&exact)) {
            assert_eq!(cast.weights.to_f32(), expected(&exact.weights), "{name} {form}");
            let bias = exact.bias.as_ref().map(|bias| bias.iter().copied().map(nearest).collect::<Vec<_>>());
            assert_eq!(cast.bias, bias, "{name} {form}");
        }
        for (cast, exact) in tables(&cast).into_iter().zip(tables(&exact)) {
            assert_eq!(cast.to_f32(), expected(exact), "{name} {form}");
        }
        let config = out.json("config.json");
        let dtype = if form == Form::Fp16 { "float16" } else { "bfloat16" };
        assert_eq!(config["dtype"], dtype, "{name}");
        assert!(config.get("quantization_config").is_none(), "{name}");
        let (header, _) = out.header(WEIGHTS);
        let dtypes: BTreeSet<&str> =
            header.as_object().unwrap().values().filter_map(|entry| entry["dtype"].as_str()).collect();
        assert_eq!(dtypes, BTreeSet::from([if form == Form::Fp16 { "F16" } else { "BF16" }]), "{name}");
    }
}

/// Each byte belongs to one tensor, aligned to its elements, and the index names each file.
#[test]
fn files_are_whole_in_one_piece_or_in_many() {
    for (name, form) in GENERATORS.into_iter().flat_map(|name| [(name, Form::Int8), (name, Form::Bf16)]) {
        let source = Memory::of(name);
        let whole = source.converted(form).open().generator;
        for bytes_max in [1, 9_000, u64::MAX] {
            let (out, converted) = source.try_converted(form, bytes_max).unwrap();
            let files: Vec<String> = out.names().into_iter().filter(|file| file.ends_with(".safetensors")).collect();
            assert_eq!(files.len() > 1, bytes_max < u64::MAX, "{name}");
            assert!(files.iter().all(|file| (file == WEIGHTS) == (files.len() == 1)), "{files:?}");
            let total: u64 = files.iter().map(|file| check_file(&out, file)).sum();
            assert_eq!(total, converted.bytes, "{name}");
            if files.len() > 1 {
                let index = out.json("model.safetensors.index.json");
                assert_eq!(index["metadata"]["total_size"], json!(total));
                let named: BTreeSet<&str> =
                    index["weight_map"].as_object().unwrap().values().filter_map(Value::as_str).collect();
                assert_eq!(named, files.iter().map(String::as_str).collect(), "{name}");
            }
            let read = out.open().generator;
            assert_eq!((linears(&read), tables(&read)), (linears(&whole), tables(&whole)), "{name} {form} {bytes_max}");
        }
    }
}

/// Bytes of the tensors of a file.
fn check_file(memory: &Memory, file: &str) -> u64 {
    let (header, end) = memory.header(file);
    assert_eq!((end % 8, &header["__metadata__"]["format"]), (0, &json!("pt")));
    let entries = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    let mut ranges: Vec<(u64, u64)> = entries
        .map(|(name, entry)| {
            let [start, stop] = [0, 1].map(|side| entry["data_offsets"][side].as_u64().unwrap());
            let size = match entry["dtype"].as_str().unwrap() {
                "F32" | "I32" => 4,
                "F16" | "BF16" => 2,
                "I64" => 8,
                _ => 1,
            };
            assert_eq!(start % size, 0, "{file}: {name}");
            (start, stop)
        })
        .collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0), "{file}");
    let length = memory.bytes(file).len() - end;
    assert_eq!((ranges[0].0, ranges[ranges.len() - 1].1), (0, length as u64), "{file}");
    length as u64
}

#[track_caller]
fn refused(memory: &Memory, form: Form, words: &str) {
    let error = match memory.try_converted(form, u64::MAX) {
        Ok(_) => panic!("it was converted"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains(words), "{error}\nlacks: {words}");
}

#[test]
fn what_cannot_be_converted_is_refused_by_name() {
    let gpt2 = || Memory::of("gpt2");
    let large = gpt2();
    large.poke(WEIGHTS, "transformer.h.1.ln_1.bias", &[0f32, 65_520.0].map(f32::to_le_bytes).concat());
    let words =
        "the tensor `transformer.h.1.ln_1.bias` holds 6.552e4, at position 1, which fp16 cannot hold; choose bf16";
    refused(&large, Form::Fp16, words);
    large.converted(Form::Bf16).open();
    large.poke(WEIGHTS, "transformer.h.1.ln_1.bias", &f32::MAX.to_le_bytes());
    refused(&large, Form::Bf16, "`transformer.h.1.ln_1.bias` holds 3.4028235e38, at position 0, which bf16");
    let broken = gpt2();
    broken.poke(WEIGHTS, "transformer.h.0.mlp.c_fc.weight", &f32::NAN.to_le_bytes());
    for form in [Form::Int8, Form::Fp16, Form::Bf16] {
        refused(&broken, form, "`transformer.h.0.mlp.c_fc.weight` holds a number that is infinite or NaN");
    }
    for form in [Form::Int8, Form::Fp16] {
        refused(&gpt2().converted(Form::Int8), form, "the weights are quantized already");
    }
    let typed = gpt2();
    typed.change_header(WEIGHTS, |header| {
        let entry = &mut header["transformer.wpe.weight"];
        (entry["dtype"], entry["shape"]) = (json!("I64"), json!([160, 16]));
    });
    refused(&typed, Form::Int8, "the tensor `transformer.wpe.weight` has the type I64; expected F32, F16 or BF16");
    let family = gpt2();
    family.change("config.json", |config| config["model_type"] = json!("bloom"));
    refused(&family, Form::Int8, "`bloom` is not supported");
    let cut = gpt2();
    let bytes = cut.bytes(WEIGHTS);
    cut.insert(WEIGHTS, bytes[..bytes.len() - 9].to_vec());
    refused(&cut, Form::Fp16, "cut short");
    let twice = gpt2();
    twice.change_header(WEIGHTS, |header| {
        let entry = header.as_object_mut().unwrap().remove("transformer.wpe.weight").unwrap();
        header["transformer.h.0.mlp.c_fc.weight_scale"] = entry;
    });
    refused(&twice, Form::Int8, "`transformer.h.0.mlp.c_fc.weight_scale` cannot be written: another one gets its name");
}

#[test]
fn damaged_int8_is_refused_by_name() {
    let int8 = |name: &str| Memory::of(name).converted(Form::Int8);
    let damaged = |name: &str, change: &dyn Fn(&mut Value), words: &str| {
        let memory = int8(name);
        memory.change_header(WEIGHTS, change);
        memory.refused(words);
    };
    let scale = "transformer.h.0.attn.c_attn.weight_scale";
    damaged("gpt2", &|header| header[scale]["shape"] = json!([96, 1]), "has the shape [96, 1]; expected [1, 96]");
    damaged("gpt2", &|header| header[scale]["shape"] = json!([96]), "has the shape [96]; expected [1, 96]");
    damaged("gpt2", &|header| drop(header.as_object_mut().unwrap().remove(scale)), "weight_scale` is missing");
    let weight = "model.layers.0.mlp.up_proj.weight";
    damaged("llama", &|header| header[weight]["dtype"] = json!("U8"), "has the type U8; expected I8");
    damaged("llama", &|header| header[weight]["shape"] = json!([36, 64]), "has the shape [36, 64]; expected [64, 36]");
    let cut = int8("t5");
    let bytes = cut.bytes(WEIGHTS);
    cut.insert(WEIGHTS, bytes[..bytes.len() - 1].to_vec());
    cut.refused("cut short");
    let infinite = int8("t5");
    infinite.poke(WEIGHTS, "decoder.block.1.layer.2.DenseReluDense.wo.weight_scale", &f32::INFINITY.to_le_bytes());
    infinite.refused("`decoder.block.1.layer.2.DenseReluDense.wo.weight_scale` holds a number that is infinite");
    let config = |path: &str, value: Value, words: &str| {
        let memory = int8("qwen2");
        memory.change("config.json", |config| *config["quantization_config"].pointer_mut(path).unwrap() = value);
        memory.refused(words);
    };
    config("/quant_method", json!("gptq"), "field `quant_method`: \"gptq\" is not supported");
    config("/config_groups/group_0/weights/num_bits", json!(3), "field `num_bits`: 3 is not supported");
    config("/config_groups/group_0/targets", json!(["Embedding"]), "field `targets`");
    config("/config_groups", json!(7), "field `config_groups`: expected an object");
}
