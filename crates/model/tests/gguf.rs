//! GGUF files: what opens, and what is refused by name.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_model::{Body, Folder, Generator, GgufModel, Linear, Precision, Source, Values};
use grice_testkit::gguf::{GGUF_MODELS, gguf, gguf_model};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io;

/// Files in memory. A read is at most as long as the file.
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

/// A file as it is written: fields and tensors, nothing checked.
#[derive(Clone)]
struct Writing {
    version: u32,
    fields: Vec<(String, Vec<u8>)>,
    tensors: Vec<Tensor>,
    alignment: usize,
}

#[derive(Clone)]
struct Tensor {
    name: String,
    axes: Vec<u64>,
    kind: u32,
    offset: Option<u64>,
    bytes: Vec<u8>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn word(number: u32) -> Vec<u8> {
    [4u32.to_le_bytes(), number.to_le_bytes()].concat()
}

fn single(number: f32) -> Vec<u8> {
    [6u32.to_le_bytes(), number.to_le_bytes()].concat()
}

fn string(value: &str) -> Vec<u8> {
    [&8u32.to_le_bytes()[..], &text(value)].concat()
}

fn list(kind: u32, count: u64, bytes: &[u8]) -> Vec<u8> {
    [&9u32.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes(), bytes].concat()
}

impl Writing {
    /// A LLaMA with one layer of 8 columns.
    fn tiny() -> Writing {
        let fields = [
            ("general.architecture", string("llama")),
            ("llama.embedding_length", word(8)),
            ("llama.feed_forward_length", word(8)),
            ("llama.block_count", word(1)),
            ("llama.attention.head_count", word(2)),
            ("llama.attention.head_count_kv", word(1)),
            ("llama.attention.layer_norm_rms_epsilon", single(1e-5)),
            ("llama.context_length", word(64)),
            ("tokenizer.ggml.eos_token_id", word(3)),
        ];
        let shapes: [(&str, &[u64]); 11] = [
            ("token_embd", &[8, 16]),
            ("output_norm", &[8]),
            ("blk.0.attn_norm", &[8]),
            ("blk.0.attn_q", &[8, 8]),
            ("blk.0.attn_k", &[8, 4]),
            ("blk.0.attn_v", &[8, 4]),
            ("blk.0.attn_output", &[8, 8]),
            ("blk.0.ffn_norm", &[8]),
            ("blk.0.ffn_gate", &[8, 8]),
            ("blk.0.ffn_up", &[8, 8]),
            ("blk.0.ffn_down", &[8, 8]),
        ];
        let tensors = shapes.iter().map(|(name, axes)| {
            let count = axes.iter().product::<u64>() as usize;
            let bytes = (0..count).flat_map(|at| ((at as f32).sin()).to_le_bytes()).collect();
            Tensor { name: format!("{name}.weight"), axes: axes.to_vec(), kind: 0, offset: None, bytes }
        });
        Writing {
            version: 3,
            fields: fields.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            tensors: tensors.collect(),
            alignment: 32,
        }
    }

    fn set(&mut self, name: &str, value: Vec<u8>) {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.to_owned(), value));
    }

    fn without(&mut self, name: &str) {
        self.fields.retain(|(known, _)| known != name);
    }

    fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = [&b"GGUF"[..], &self.version.to_le_bytes()].concat();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.fields.len() as u64).to_le_bytes());
        for (name, value) in &self.fields {
            out.extend(text(name));
            out.extend(value);
        }
        let mut offset = 0;
        let mut data = Vec::new();
        for tensor in &self.tensors {
            out.extend(text(&tensor.name));
            out.extend((tensor.axes.len() as u32).to_le_bytes());
            tensor.axes.iter().for_each(|axis| out.extend(axis.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(offset as u64).to_le_bytes());
            data.extend(&tensor.bytes);
            data.resize(data.len().next_multiple_of(self.alignment.max(1)), 0);
            offset = data.len();
        }
        out.resize(out.len().next_multiple_of(self.alignment.max(1)), 0);
        [out, data].concat()
    }

    fn open(&self) -> Result<GgufModel, String> {
        open(self.bytes())
    }
}

fn open(bytes: Vec<u8>) -> Result<GgufModel, String> {
    let files = Files(BTreeMap::from([("a.gguf".to_owned(), bytes)]));
    GgufModel::open(&files, "a.gguf", None).map_err(|error| error.to_string())
}

fn check(change: impl FnOnce(&mut Writing), expected: &str) {
    let mut writing = Writing::tiny();
    change(&mut writing);
    let error = writing.open().map(|_| ()).expect_err("it opened");
    assert!(error.contains(expected), "{error}\nlacks: {expected}");
    assert!(error.contains("a.gguf"), "{error}");
}

fn field(name: &str, value: Vec<u8>, expected: &str) {
    check(|writing| writing.set(name, value), expected);
}

#[test]
fn a_tiny_file_opens() {
    let model = Writing::tiny().open().unwrap();
    assert_eq!((model.checkpoint.generator.vocabulary(), model.checkpoint.generator.longest()), (16, Some(64)));
    assert_eq!((model.checkpoint.defaults.end_tokens, model.vocabulary), (vec![3], None));
    let old = Writing { version: 2, ..Writing::tiny() };
    assert!(old.open().is_ok());
}

#[test]
fn all_alignments_and_lengths_of_headers_are_read() {
    let expected = Writing::tiny().open().unwrap().checkpoint.generator;
    for alignment in [8, 16, 24, 32, 64, 256, 4096] {
        for length in 0..40 {
            let mut writing = Writing { alignment, ..Writing::tiny() };
            writing.set("general.alignment", word(alignment as u32));
            writing.set("general.description", string(&"x".repeat(length)));
            let found = writing.open().unwrap().checkpoint.generator;
            assert_eq!(found.decoder.embedding.words, expected.decoder.embedding.words, "{alignment}, {length}");
        }
    }
    for wrong in [0, 4, 12, 4104, u32::MAX] {
        field("general.alignment", word(wrong), "is no multiple of 8 from 8 to 4096");
    }
    field("general.alignment", string("32"), "field `general.alignment`: it must be a whole number");
}

#[test]
fn versions_and_byte_orders_are_named() {
    check(|writing| writing.version = 1, "version 1, which is no longer in use");
    check(|writing| writing.version = 4, "version 4; supported are 2 and 3");
    check(|writing| writing.version = 3u32.swap_bytes(), "it is a big-endian GGUF file");
    check(|writing| writing.version = 2u32.swap_bytes(), "it is a big-endian GGUF file");
    let no = |bytes: &[u8]| open(bytes.to_vec()).map(|_| ()).unwrap_err();
    assert!(no(b"").contains("it is no GGUF file"));
    assert!(no(&[0; 100]).contains("it is no GGUF file"));
    assert!(no(&Writing::tiny().bytes()[..40]).contains("it is cut short"));
}

#[test]
fn headers_that_lie_are_refused() {
    check(
        |w| w.tensor("output_norm.weight").axes = vec![0],
        "the tensor `output_norm.weight` has the shape [0], which is empty",
    );
    check(|w| w.tensor("output_norm.weight").axes = vec![u64::MAX, 3], "which is empty or too large");
    check(|w| w.tensor("output_norm.weight").axes = vec![1 << 62], "is too large");
    check(
        |w| w.tensor("output_norm.weight").axes = vec![1 << 40],
        "it is cut short: the tensor `output_norm.weight` has",
    );
    check(|w| w.tensor("output_norm.weight").axes = vec![1; 5], "has 5 axes");
    check(|w| w.tensor("output_norm.weight").axes = vec![], "has 0 axes");
    check(|w| w.tensor("output_norm.weight").kind = 8, "has the shape [8], and Q8_0 has blocks of 32");
    check(|w| w.tensor("output_norm.weight").kind = 17, "has the type IQ2_XS (17), which is not supported");
    check(|w| w.tensor("output_norm.weight").kind = 99, "has the type 99, which is not supported");
    check(
        |w| w.tensor("output_norm.weight").offset = Some(0),
        "the tensors `output_norm.weight` and `token_embd.weight` overlap",
    );
    check(|w| w.tensor("output_norm.weight").offset = Some(8), "begins at byte 8, no multiple of 32");
    check(
        |w| w.tensor("output_norm.weight").offset = Some(u64::MAX - 31),
        "it is cut short: the tensor `output_norm.weight`",
    );
    check(
        |w| w.tensor("output_norm.weight").name = "token_embd.weight".to_owned(),
        "the tensor `token_embd.weight` appears twice",
    );
    check(|w| w.fields.push(w.fields[0].clone()), "the field `general.architecture` appears twice");
    check(|w| w.tensors.clear(), "it holds no tensors");
    field("x", 13u32.to_le_bytes().to_vec(), "field `x`: it holds a value of the type 13");
    field("x", list(4, u64::MAX, &[]), "field `x`: it is cut short: a list of");
    field("x", list(8, 1 << 60, &[]), "field `x`: it is cut short: a list of");
    field("x", list(13, 1, &[]), "field `x`: it holds a list of the type 13");
    let nested = (0..6).fold(list(4, 0, &[])[4..].to_vec(), |inner, _| list(9, 1, &inner)[4..].to_vec());
    field("x", [&9u32.to_le_bytes()[..], &nested].concat(), "lists in lists, 4 deep");
    field("x", [&8u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat(), "it is cut short");
    field("x", [&8u32.to_le_bytes()[..], &1u64.to_le_bytes(), &[0xff]].concat(), "is no UTF-8");
    let nan = |w: &mut Writing| w.tensor("blk.0.ffn_up.weight").bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    check(nan, "the tensor `blk.0.ffn_up.weight` holds a number that is infinite or NaN");
}

#[test]
fn what_changes_the_arithmetic_is_refused_by_name() {
    field("general.architecture", string("mamba"), "`mamba` is not supported; supported are llama, qwen2, gpt2 and t5");
    field(
        "llama.embedding_length",
        word(16),
        "the tensor `token_embd.weight`: it has the shape [16, 8]; expected [16, 16]",
    );
    field("llama.embedding_length", string("8"), "field `llama.embedding_length`: expected a whole number");
    field(
        "llama.attention.head_count",
        word(0),
        "field `llama.attention.head_count`: expected a whole number from 1 on",
    );
    field("llama.attention.head_count", word(3), "3 heads do not divide 8 columns");
    field("llama.attention.head_count", list(4, 2, &[1, 0, 0, 0, 2, 0, 0, 0]), "layers of different sizes");
    field(
        "llama.attention.head_count_kv",
        word(4),
        "field `llama.attention.head_count_kv`: 4 key heads do not divide 2 heads",
    );
    field(
        "llama.attention.head_count_kv",
        word(2),
        "the tensor `blk.0.attn_k.weight`: it has the shape [4, 8]; expected [8, 8]",
    );
    field("llama.attention.layer_norm_rms_epsilon", single(0.0), "it must be a number above 0");
    field("llama.block_count", word(2), "the tensor for `model.layers.1.self_attn.q_proj.weight` is missing");
    field("llama.context_length", word(1 << 27), "field `llama.context_length`: 134217728 is more than");
    field(
        "llama.vocab_size",
        word(15),
        "field `llama.vocab_size`: it is 15, and the tensor `token_embd.weight` has 16 rows",
    );
    field("llama.rope.dimension_count", word(2), "field `llama.rope.dimension_count`: 2 is not supported");
    field("llama.rope.scaling.type", string("yarn"), "field `llama.rope.scaling.type`: `yarn` is not supported");
    field("llama.rope.freq_base", single(f32::NAN), "field `llama.rope.freq_base`: expected a number");
    field("llama.expert_count", word(8), "field `llama.expert_count`: Whole(8) is not supported");
    field("llama.attention.sliding_window", word(16), "field `llama.attention.sliding_window`");
    field("llama.logit_scale", single(0.5), "field `llama.logit_scale`");
    field("llama.something_new", word(1), "field `llama.something_new`: it may change the arithmetic");
    field("tokenizer.ggml.eos_token_id", string("end"), "field `tokenizer.ggml.eos_token_id`");
    field("tokenizer.ggml.model", word(1), "field `tokenizer.ggml.model`: it must be a text");
    field("tokenizer.ggml.model", string("gpt2"), "field `tokenizer.ggml.tokens`: it is missing");
    check(|w| w.without("llama.context_length"), "field `llama.context_length` is missing");
    check(|w| w.without("general.architecture"), "field `general.architecture` is missing");
    check(
        |w| w.tensor("blk.0.ffn_up.weight").name = "blk.00.ffn_up.weight".to_owned(),
        "`model.layers.0.mlp.up_proj.weight` is missing",
    );
    let extra = |w: &mut Writing| {
        let more = Tensor { name: "blk.0.ffn_gate_exps.weight".to_owned(), ..w.tensor("output_norm.weight").clone() };
        w.tensors.push(more);
    };
    check(extra, "the tensor `blk.0.ffn_gate_exps.weight` is no part of a llama model");
    let scaled = |w: &mut Writing| {
        let bytes = [2.0f32, 3.0].iter().flat_map(|number| number.to_le_bytes()).collect();
        w.tensors.push(Tensor { name: "rope_freqs.weight".to_owned(), axes: vec![2], kind: 0, offset: None, bytes });
    };
    check(scaled, "the tensor `rope_freqs.weight` holds divisors of frequencies that are not LLaMA 3's");
}

/// Parts by their names.
fn parts() -> Files {
    let entries = std::fs::read_dir(gguf("split")).unwrap().map(Result::unwrap);
    let parts = entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()));
    Files(parts.filter(|(name, _)| name.ends_with(".gguf")).collect())
}

#[test]
fn any_part_opens_all_and_a_missing_one_is_named() {
    let part = |number: u32| format!("tiny-{number:05}-of-00003.gguf");
    for first in 1..=3 {
        for missing in (1..=3).filter(|missing| *missing != first) {
            let mut files = parts();
            files.0.remove(&part(missing));
            let error = GgufModel::open(&files, &part(first), None).unwrap_err().to_string();
            let expected = format!("the file {} is missing: part {missing} of 3 of the model", part(missing));
            assert!(error.contains(&expected), "{error}");
        }
        assert!(GgufModel::open(&parts(), &part(first), None).is_ok());
    }
    let mut files = parts();
    files.0.insert("other.gguf".to_owned(), files.0[&part(2)].clone());
    let error = GgufModel::open(&files, "other.gguf", None).unwrap_err().to_string();
    assert!(error.contains("other.gguf: it is one of 3 parts, and its name does not end in"), "{error}");
    files.0.insert(part(2), files.0[&part(3)].clone());
    let error = GgufModel::open(&files, &part(1), None).unwrap_err().to_string();
    assert!(error.contains("tiny-00002-of-00003.gguf: field `split.no` is 2; expected 1"), "{error}");
}

fn linears(generator: &Generator) -> Vec<&Linear> {
    generator
        .decoder
        .layers
        .iter()
        .flatten()
        .flat_map(|block| match &block.body {
            Body::Attention(attention) => vec![&attention.query, &attention.key, &attention.value, &attention.output],
            Body::FeedForward(inner) => inner.gate.iter().chain([&inner.up, &inner.down]).collect(),
        })
        .collect()
}

/// Numbers of 4 bits around zero are kept to the bit.
#[test]
fn q4_0_is_kept_as_it_is() {
    for name in ["llama", "gpt2", "t5"] {
        let packed = gguf_model(name, "q4_0", None).checkpoint.generator;
        let exact = gguf_model(name, "q4_0", Some(Precision::Fp32)).checkpoint.generator;
        for (packed, exact) in linears(&packed).into_iter().zip(linears(&exact)) {
            assert!(matches!(packed.weights.values(), Values::Int4Groups { group: 32, .. }), "{name}");
            assert_eq!(packed.weights.to_f32(), exact.weights.to_f32(), "{name}");
            assert_eq!(packed.bias, exact.bias, "{name}");
        }
    }
}

/// Other rounded numbers get 8 bits: at most half a step of each output's largest from them.
#[test]
fn what_is_rounded_again_is_near() {
    for kind in ["q8_0", "q4_1"] {
        let packed = gguf_model("llama", kind, None).checkpoint.generator;
        let exact = gguf_model("llama", kind, Some(Precision::Fp32)).checkpoint.generator;
        for (packed, exact) in linears(&packed).into_iter().zip(linears(&exact)) {
            let Values::Int8Columns { scales, .. } = packed.weights.values() else { panic!("{kind}") };
            let (found, expected) = (packed.weights.to_f32(), exact.weights.to_f32());
            let columns = scales.iter().cycle();
            let near = found.iter().zip(&expected).zip(columns).all(|((a, b), scale)| (a - b).abs() <= 0.501 * scale);
            assert!(near, "{kind}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Any change of bytes is an error or opens, and never a panic.
    #[test]
    fn changed_bytes_give_an_answer(
        model in 0..GGUF_MODELS.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        in_header in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (name, kinds) = GGUF_MODELS[model];
        let mut bytes = std::fs::read(gguf("models").join(name).join(format!("{}.gguf", kinds.last().unwrap()))).unwrap();
        for (at, new) in changes {
            let end = if in_header { bytes.len().min(3500) } else { bytes.len() };
            bytes[at.index(end)] = new;
        }
        if let Some(cut) = cut {
            let length = cut.index(bytes.len());
            bytes.truncate(length);
        }
        _ = open(bytes);
    }

    /// Fields and tensors of any shape, and numbers of any size where counts stand.
    #[test]
    fn headers_of_any_form_give_an_answer(
        values in prop::collection::vec((0u32..14, any::<u64>(), prop::collection::vec(any::<u8>(), 0..24)), 0..4),
        axes in prop::collection::vec(prop_oneof![0u64..40, any::<u64>()], 0..6),
        kind in 0u32..40,
        offset in prop::option::of(any::<u64>()),
        which in any::<prop::sample::Index>(),
    ) {
        let mut writing = Writing::tiny();
        for (number, (kind, count, bytes)) in values.into_iter().enumerate() {
            let value = match kind {
                9 => list(kind % 13, count, &bytes),
                _ => [&kind.to_le_bytes()[..], &count.to_le_bytes(), &bytes].concat(),
            };
            writing.set(&format!("llama.field{number}"), value);
        }
        let tensors = writing.tensors.len();
        let tensor = &mut writing.tensors[which.index(tensors)];
        (tensor.axes, tensor.kind, tensor.offset) = (axes, kind, offset);
        _ = writing.open();
    }

    #[test]
    fn random_bytes_give_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(open(bytes.clone()).is_err());
        prop_assert!(open([&b"GGUF\x03\0\0\0"[..], &bytes].concat()).is_err());
    }
}
