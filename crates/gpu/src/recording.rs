//! What a pass is made of: buffers by their roles, views of them, and calls of shaders. Names only: nothing here holds a handle.

use grice_model::Slot;
use serde::{Deserialize, Serialize};

/// A buffer by its role; `submit` knows which handle that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Buffer {
    /// The n-th that was uploaded with the weights.
    Weight(usize),
    /// One of an engine's own, reused from step to step.
    Arena(Arena),
    /// A few bytes that no shader reads: stands where an operand is absent.
    Nothing,
}

/// The buffers of an engine. Planned for a number of tokens; rows follow each other without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Arena {
    /// What a step names, in f32. `Wide` also holds the rows of the tokens' words, as the model's file has them, before the first step.
    Slot(Slot),
    /// Rows in 8 bits, four to a word: u32 `[tokens, ⌈wide / 16⌉ · 4]`.
    Quantized,
    /// Their scales, and before that those of words in 8 bits: f32 `[tokens]`.
    Scales,
    /// Sums over shares of k, where products are cut along k.
    Shares,
    /// The position of each token: u32 `[tokens]`.
    Places,
    /// Where each sequence starts: u32 `[rows]`.
    Starts,
    /// The blocks of queries of [`Geometry`](crate::geometry::Geometry): u32 `[blocks, 4]`.
    Blocks,
    /// A block of uniforms for each dispatch.
    Uniforms,
    /// What is read back: f32 `[rows, labels]`, or `[rows, hidden]` for a head on the processor.
    Answers,
}

/// A matrix inside a buffer: element `(i, j)` is at `offset + i · stride + j`, counted in elements. Stride and offset are
/// multiples of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) buffer: Buffer,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) stride: usize,
    pub(crate) offset: usize,
}

/// How a shader uses a buffer. One buffer may not be both in one dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    Write,
}

/// A file of WGSL and what it binds: at `@group(0) @binding(0)` a uniform block of up to [`UNIFORM_WORDS`] words, from
/// `@binding(1)` on the storage buffers.
#[derive(Debug)]
pub(crate) struct Shader {
    /// Its name, as that of the file.
    pub(crate) name: &'static str,
    pub(crate) source: &'static str,
    pub(crate) entry: &'static str,
    pub(crate) bindings: &'static [Access],
}

/// Words of a uniform block.
pub(crate) const UNIFORM_WORDS: usize = 16;

/// What a pipeline is made from, and found again by.
#[derive(Clone, Debug)]
pub(crate) struct PipelineKey {
    pub(crate) shader: &'static Shader,
    /// Values of its `override` constants.
    pub(crate) constants: Vec<(&'static str, u32)>,
}

/// One call of a shader.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    pub(crate) label: Label,
    pub(crate) pipeline: PipelineKey,
    /// As many as the shader binds.
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) workgroups: [u32; 3],
    pub(crate) uniforms: Vec<u32>,
}

/// What a dispatch is part of, for traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) layer: Option<usize>,
    pub(crate) op: &'static str,
    /// Multiplications and additions.
    pub(crate) operations: u64,
}

/// Dispatches in their order.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) dispatches: Vec<Dispatch>,
    /// What [`Arena::Shares`] must hold.
    pub(crate) shares_bytes: u64,
}

impl View {
    /// All of a buffer of `[rows, columns]`, whose rows start at fours.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn whole(buffer: Buffer, rows: usize, columns: usize) -> View {
        View { buffer, rows, columns, stride: columns.next_multiple_of(4), offset: 0 }
    }
}

impl Recording {
    pub(crate) fn push(&mut self, dispatch: Dispatch) {
        self.dispatches.push(dispatch);
    }
}

impl Label {
    pub(crate) fn new(layer: Option<usize>, op: &'static str) -> Label {
        Label { layer, op, operations: 0 }
    }

    pub(crate) fn with_operations(self, operations: u64) -> Label {
        Label { operations, ..self }
    }
}

impl PartialEq for PipelineKey {
    fn eq(&self, other: &PipelineKey) -> bool {
        (self.shader.name, &self.constants) == (other.shader.name, &other.constants)
    }
}

impl Eq for PipelineKey {}

impl std::hash::Hash for PipelineKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.shader.name.hash(state);
        self.constants.hash(state);
    }
}
