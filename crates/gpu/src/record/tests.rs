//! What is recorded for a model, word for word; and what a model and its buffers weigh. No device is asked.

use super::record_forward;
use crate::buffers::{Buffers, Capacity, plan_arenas, tokens_max};
use crate::gemm::Abilities;
use crate::gemm::tests::validate::Translator;
use crate::geometry::Geometry;
use crate::model::Model;
use crate::recording::{Access, Arena, Buffer, Recording, UNIFORM_WORDS};
use crate::tune::{Class, Tiles};
use grice_kernels::{Activation, LayerNorm};
use grice_model::{
    Attention, Block, Body, Dense, Embedding, FeedForward, Head, Layer, Linear, Matrix, Place, Positions, Program,
    Readout, Relative, ScorePositions, Scores, Sees, Stack, Values,
};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// WebGPU's default.
const BINDING_BYTES_MAX: u64 = 128 << 20;

/// What WebGPU gives every device.
const ABILITIES: Abilities = Abilities {
    f16: false,
    cooperative: None,
    workgroup_bytes_max: 16 << 10,
    invocations_max: 256,
    binding_bytes_max: BINDING_BYTES_MAX,
};

/// The sizes of an encoder whose numbers are all alike.
#[derive(Clone, Copy)]
struct Sizes {
    layers: usize,
    heads: usize,
    head_dim: usize,
    inner: usize,
    /// Half the slots of relative positions, or 0 for none.
    span: usize,
    values: fn(usize, usize) -> Values,
}

const TINY: Sizes = Sizes { layers: 2, heads: 3, head_dim: 10, inner: 50, span: 8, values: f32_zeros };
/// DeBERTa-v3-base.
const DETECTOR: Sizes = Sizes { layers: 12, heads: 12, head_dim: 64, inner: 3072, span: 256, values: f16_zeros };

fn f32_zeros(rows: usize, columns: usize) -> Values {
    Values::F32(vec![0.0; rows * columns])
}

fn f16_zeros(rows: usize, columns: usize) -> Values {
    Values::F16(vec![0; rows * columns])
}

fn int8_zeros(rows: usize, columns: usize) -> Values {
    Values::Int8Columns { values: vec![0; rows * columns], scales: vec![1.0; columns] }
}

impl Sizes {
    fn hidden(&self) -> usize {
        self.heads * self.head_dim
    }

    fn norm(&self) -> LayerNorm {
        LayerNorm { gamma: vec![1.0; self.hidden()], beta: vec![0.0; self.hidden()], epsilon: 1e-7, centred: true }
    }

    fn linear(&self, k: usize, n: usize) -> Linear {
        let weights = Matrix::new(k, n, (self.values)(k, n)).unwrap();
        Linear { weights: Arc::new(weights), bias: Some(vec![0.0; n]) }
    }

    /// A few words, and positions where there are no relative ones.
    fn embedding(&self) -> Embedding {
        let table =
            |rows: usize| Matrix::new(rows, self.hidden(), Values::F32(vec![0.0; rows * self.hidden()])).unwrap();
        let values = (self.values)(5, self.hidden());
        let values = match values {
            Values::Int8Columns { values, .. } => Values::Int8Rows { values, scales: vec![1.0; 5] },
            values => values,
        };
        let is_plain = self.span == 0;
        Embedding {
            words: Arc::new(Matrix::new(5, self.hidden(), values).unwrap()),
            positions: is_plain.then(|| Positions { table: Arc::new(table(9)), offset: 2, uncounted: None }),
            constant: is_plain.then(|| vec![0.0; self.hidden()]),
            norm: Some(self.norm()),
            projection: None,
        }
    }

    /// A layer with numbers of its own.
    fn layer(&self) -> Layer {
        let hidden = self.hidden();
        let square = || self.linear(hidden, hidden);
        let table = || Some(Arc::new(vec![0.0; 2 * self.span * hidden]));
        let relative = || Relative {
            keys: table(),
            queries: table(),
            span: self.span,
            buckets: self.span,
            max_position: 2 * self.span,
        };
        let scores = Scores {
            heads: self.heads,
            key_heads: self.heads,
            head_dim: self.head_dim,
            scale: 0.125,
            sees: Sees::All,
            positions: if self.span > 0 { ScorePositions::Disentangled(relative()) } else { ScorePositions::None },
        };
        let attention = Attention { query: square(), key: square(), value: square(), output: square(), scores };
        let (up, down) = (self.linear(hidden, self.inner), self.linear(self.inner, hidden));
        let feed_forward = FeedForward { gate: None, up, activation: Activation::Gelu, down };
        let bodies = [Body::Attention(Box::new(attention)), Body::FeedForward(feed_forward)];
        bodies.map(|body| Block { norm: Some(self.norm()), place: Place::After, body }).into()
    }

    /// Three layers for each of four labels, as branches side by side.
    fn head(&self) -> Vec<Dense> {
        let widths = [self.hidden(), 2 * self.hidden(), self.hidden(), 4];
        let dense = |pair: &[usize]| Dense {
            linear: Sizes { values: f32_zeros, ..*self }.linear(pair[0], pair[1]),
            activation: if pair[1] == 4 { Activation::Identity } else { Activation::Gelu },
            norm: None,
        };
        widths.windows(2).map(dense).collect()
    }

    fn program(&self) -> Program {
        let layers = (0..self.layers).map(|_| self.layer()).collect();
        let encoder = Stack { embedding: self.embedding(), layers, last: None };
        let head = Head { layers: Ok(self.head()), graph: Default::default() };
        Program { encoder, readout: Readout::Classes(head) }
    }

    /// The model, and the bytes of its weights.
    fn lower(&self) -> (Model, u64) {
        let (mut count, mut bytes) = (0, 0);
        let mut upload = |_name: String, words: Vec<u32>| {
            bytes += words.len() as u64 * 4;
            count += 1;
            Ok(Buffer::Weight(count - 1))
        };
        let (steps, parts) = self.program().into_steps(4);
        let (model, _) = Model::lower(steps, parts, BINDING_BYTES_MAX, &mut upload).unwrap();
        (model, bytes)
    }
}

fn record(model: &Model, lengths: &[usize]) -> Recording {
    record_forward(model, &geometry(lengths), &Tiles::new(Class::Unknown, ABILITIES)).unwrap()
}

fn geometry(lengths: &[usize]) -> Geometry {
    let mut offsets = vec![0];
    for &length in lengths {
        offsets.push(offsets[offsets.len() - 1] + length as u32);
    }
    Geometry::new(&offsets)
}

/// A line for each dispatch.
fn write_down(recording: &Recording) -> String {
    let mut text = String::new();
    for dispatch in &recording.dispatches {
        let label = dispatch.label;
        let layer = label.layer.map_or_else(String::new, |layer| format!("layer {layer} "));
        let buffers: Vec<String> = dispatch
            .buffers
            .iter()
            .map(|buffer| match buffer {
                Buffer::Weight(number) => format!("weight {number}"),
                Buffer::Arena(Arena::Slot(slot)) => format!("{slot:?}"),
                Buffer::Arena(arena) => format!("{arena:?}"),
                Buffer::Nothing => "-".to_owned(),
            })
            .collect();
        let constants: Vec<String> =
            dispatch.pipeline.constants.iter().map(|(name, value)| format!("{name} {value}")).collect();
        writeln!(text, "{layer}{}: {}", label.op, dispatch.pipeline.shader.name).unwrap();
        writeln!(text, "    constants  {}", constants.join(", ")).unwrap();
        writeln!(text, "    buffers    {}", buffers.join(", ")).unwrap();
        writeln!(text, "    workgroups {:?}, uniforms {:?}", dispatch.workgroups, dispatch.uniforms).unwrap();
        writeln!(text, "    operations {}", label.operations).unwrap();
    }
    text
}

/// Against the committed file; `GRICE_BLESS=1` writes it anew, to be read like code.
fn check_snapshot(name: &str, sizes: &Sizes, lengths: &[usize]) {
    let (model, _) = sizes.lower();
    let text = write_down(&record(&model, lengths));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/record/snapshots").join(format!("{name}.txt"));
    if std::env::var_os("GRICE_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(text == expected, "{} differs from what is recorded:\n{text}", path.display());
}

#[test]
fn recordings_are_those_written_down() {
    check_snapshot("relative", &TINY, &[5, 70]);
    check_snapshot("plain", &Sizes { span: 0, ..TINY }, &[1]);
    check_snapshot("half", &Sizes { values: f16_zeros, ..TINY }, &[33]);
    check_snapshot("int8", &Sizes { values: int8_zeros, ..TINY }, &[3, 3]);
}

/// Each shader with every set of constants is valid, and translates for Vulkan and Metal.
#[test]
fn shaders_translate() {
    for shader in super::shaders::ALL {
        assert_eq!(Translator::new(shader).translate(&[]), [64, 1, 1], "{}", shader.name);
    }
    let embed = Translator::new(&super::shaders::EMBED);
    for (form, positions, constant) in [(0, 1, 0), (1, 0, 0), (1, 1, 1), (2, 0, 1), (2, 1, 0)] {
        embed.translate(&[("FORM", form), ("POSITIONS", positions), ("CONSTANT", constant)]);
    }
    for shader in [&super::shaders::EMBED, &super::shaders::LAYER_NORM] {
        Translator::new(shader).translate(&[("CENTRED", 0)]);
    }
    for activation in 0..5 {
        Translator::new(&super::shaders::GATE).translate(&[("ACTIVATION", activation)]);
    }
    let attention = Translator::new(&super::shaders::ATTENTION);
    for others in [vec![("GROUP", 3)], vec![("SIGHT", 64)], vec![("GROUP", 2), ("SIGHT", 0), ("FIRST", 1)]] {
        attention.translate(&others);
    }
    for sides in 0..16 {
        for (head4, fours, keys) in [(2, 1, 32), (16, 2, 32), (17, 3, 16), (32, 4, 16)] {
            let flags = ["KEYS", "QUERIES", "HALF", "FIRST"].into_iter().enumerate();
            let mut constants: Vec<(&str, u32)> = flags.map(|(bit, name)| (name, sides >> bit & 1)).collect();
            constants.extend([("HEAD4", head4), ("FOURS", fours), ("VALUE_KEYS", keys)]);
            attention.translate(&constants);
        }
    }
}

/// Whatever the batch, a dispatch stays within what every device allows, and binds as many buffers as its shader.
#[test]
fn dispatches_stay_within_limits() {
    for sizes in [TINY, Sizes { values: int8_zeros, ..TINY }, DETECTOR] {
        let (model, _) = sizes.lower();
        for lengths in [vec![1], vec![512; 16], vec![1; 8192], vec![8192], vec![1, 511, 33, 2]] {
            let recording = record(&model, &lengths);
            for dispatch in &recording.dispatches {
                assert!(dispatch.workgroups.iter().all(|&count| (1..=65_535).contains(&count)), "{dispatch:?}");
                assert_eq!(dispatch.buffers.len(), dispatch.pipeline.shader.bindings.len(), "{dispatch:?}");
                assert!(dispatch.buffers.len() <= 8 && dispatch.uniforms.len() <= UNIFORM_WORDS, "{dispatch:?}");
                let uses = dispatch.buffers.iter().zip(dispatch.pipeline.shader.bindings);
                let written: Vec<&Buffer> =
                    uses.filter(|(_, access)| **access == Access::Write).map(|(buffer, _)| buffer).collect();
                for buffer in written {
                    let times = dispatch.buffers.iter().filter(|other| *other == buffer).count();
                    assert_eq!(times, 1, "{buffer:?} is written and bound twice: {dispatch:?}");
                }
            }
        }
    }
}

/// The detector in f16 at 64 sequences of 128 tokens: at most 0.6 GB; and what is allocated is at most 1.3 times what the batch
/// asks for.
#[test]
fn the_detector_fits_its_memory() {
    let (model, weights) = DETECTOR.lower();
    let limit = tokens_max(&model, BINDING_BYTES_MAX);
    for lengths in [vec![128; 64], vec![128; 32], vec![128; 8], vec![32], vec![512; 16]] {
        let geometry = geometry(&lengths);
        let recording = record(&model, &lengths);
        let bytes = |capacity: &Capacity| plan_arenas(&model, capacity).values().sum::<u64>();
        let exact = Capacity {
            tokens: geometry.tokens,
            rows: geometry.rows(),
            dispatches: recording.dispatches.len(),
            shares_bytes: recording.shares_bytes,
        };
        let allocated = Capacity::of(&geometry, &recording, limit);
        let (exact, allocated) = (weights + bytes(&exact), weights + bytes(&allocated));
        assert!(allocated <= 600_000_000, "{} tokens: {allocated} bytes", geometry.tokens);
        assert!(allocated * 10 <= exact * 13, "{} tokens: {allocated} bytes for {exact}", geometry.tokens);
    }
    // Its layers' weights in two bytes each, its head's in four, and little beside.
    let head = 4 * (768 * 1536 + 1536 * 768 + 768 * 4);
    let least = 2 * (12 * (4 * 768 * 768 + 2 * 768 * 3072) + 12 * 2 * 512 * 768) + head;
    assert!(
        (least..least + least / 50).contains(&weights),
        "{weights} bytes of weights, where numbers alone are {least}"
    );
}

/// The same on a device, by its allocator's own books: what it set aside is at most 1.3 times the weights and buffers, and 0.6 GB.
#[cfg(not(target_arch = "wasm32"))]
#[test]
fn the_device_sets_aside_little_more_than_is_planned() {
    let Some(gpu) = crate::gemm::tests::device::gpu("memory") else { return };
    let mut uploaded = crate::uploaded::Uploaded::new(&gpu);
    let mut upload = |name: String, words: Vec<u32>| uploaded.upload(&name, &words);
    let (steps, parts) = DETECTOR.program().into_steps(4);
    let (model, _) = Model::lower(steps, parts, BINDING_BYTES_MAX, &mut upload).unwrap();
    let lengths = [128; 64];
    let capacity = Capacity::of(&geometry(&lengths), &record(&model, &lengths), tokens_max(&model, BINDING_BYTES_MAX));
    let buffers = pollster::block_on(Buffers::allocate(&gpu, &model, capacity)).unwrap();
    // What was staged on the way goes when it has arrived.
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    let Some(books) = gpu.device().generate_allocator_report() else {
        println!("skipped: this driver keeps no books");
        return;
    };
    let planned = uploaded.bytes() + buffers.bytes();
    println!("{} bytes set aside for {planned} planned", books.total_reserved_bytes);
    assert!(books.total_reserved_bytes >= planned, "{} of {planned} bytes", books.total_reserved_bytes);
    assert!(books.total_reserved_bytes * 10 <= planned * 13, "{} for {planned} bytes", books.total_reserved_bytes);
    assert!(books.total_reserved_bytes <= 600_000_000, "{} bytes", books.total_reserved_bytes);
}
