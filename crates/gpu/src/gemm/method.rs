//! The ways to make a product, and what each asks of a device.

use super::shaders;
use crate::recording::Shader;
use grice_model::Precision;
use serde::{Deserialize, Serialize};

/// Workgroups in a dimension, at most: WebGPU's limit, which no device exceeds.
pub(crate) const WORKGROUPS_MAX: u32 = 65_535;

/// What a device can do, as far as products go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Abilities {
    /// Whether shaders may hold f16 (`shader-f16`).
    pub(crate) f16: bool,
    /// Cooperative matrices, where there are any that a shader uses.
    pub(crate) cooperative: Option<Fragments>,
    /// Bytes that a workgroup shares.
    pub(crate) workgroup_bytes_max: u32,
    /// Invocations in a workgroup.
    pub(crate) invocations_max: u32,
    /// Bytes of a buffer that a shader sees.
    pub(crate) binding_bytes_max: u64,
}

/// Cooperative matrices of f16 that add up in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Fragments {
    /// Rows, columns and depth: 16 or 8.
    pub(crate) size: u32,
    /// Invocations of a subgroup, the same in all of them.
    pub(crate) subgroup: u32,
}

/// How operands are stored and multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Form {
    /// f32 throughout.
    F32,
    /// Weights in f16, two to a word; arithmetic in f32.
    F16Packed,
    /// Weights and rows in f16; sums in f32.
    F16,
    /// Weights and rows in 8 bits; exact sums.
    Int8,
}

/// A way to make a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Method {
    /// Tiles by way of workgroup memory.
    Tile { form: Form, size: TileSize },
    /// Few rows, shared out over columns and k.
    Rows { form: Form, size: RowsSize },
    /// Cooperative matrices, weights in f16.
    Cooperative { fragments: Fragments, size: CooperativeSize },
}

/// The sizes of `gemm_tile.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct TileSize {
    pub(crate) m: u32,
    pub(crate) n: u32,
    pub(crate) k: u32,
    /// Rows of an invocation.
    pub(crate) thread_m: u32,
    /// Columns of an invocation, in fours.
    pub(crate) thread_n4: u32,
}

/// The sizes of `gemm_rows.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct RowsSize {
    pub(crate) rows: u32,
    pub(crate) column_threads: u32,
    pub(crate) k_threads: u32,
}

/// The sizes of `gemm_cooperative.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct CooperativeSize {
    pub(crate) subgroups_m: u32,
    pub(crate) subgroups_n: u32,
    pub(crate) fragments_m: u32,
    pub(crate) fragments_n: u32,
    pub(crate) k: u32,
}

/// A method, and into how many shares k is cut so that a device has enough to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Choice {
    pub(crate) method: Method,
    pub(crate) shares: u32,
}

impl Form {
    /// The precision of the weights that it multiplies with.
    pub(crate) fn precision(self) -> Precision {
        match self {
            Form::F32 => Precision::Fp32,
            Form::F16Packed | Form::F16 => Precision::Fp16,
            Form::Int8 => Precision::Int8,
        }
    }
}

impl Method {
    /// The precision of the weights that it multiplies with.
    pub(crate) fn precision(&self) -> Precision {
        match self {
            Method::Tile { form, .. } | Method::Rows { form, .. } => form.precision(),
            Method::Cooperative { .. } => Precision::Fp16,
        }
    }

    pub(crate) fn shader(&self) -> &'static Shader {
        match self {
            Method::Tile { form, .. } => tile_shader(*form),
            Method::Rows { form, .. } => rows_shader(*form),
            Method::Cooperative { fragments: Fragments { size: 8, .. }, .. } => &shaders::COOPERATIVE_8,
            Method::Cooperative { .. } => &shaders::COOPERATIVE_16,
        }
    }

    /// Values of the shader's `override` constants.
    pub(crate) fn constants(&self) -> Vec<(&'static str, u32)> {
        match *self {
            Method::Tile { size, .. } => vec![
                ("TILE_M", size.m),
                ("TILE_N", size.n),
                ("TILE_K", size.k),
                ("THREAD_M", size.thread_m),
                ("THREAD_N4", size.thread_n4),
            ],
            Method::Rows { size, .. } => {
                vec![("ROWS", size.rows), ("COLUMN_THREADS", size.column_threads), ("K_THREADS", size.k_threads)]
            }
            Method::Cooperative { fragments, size } => vec![
                ("SUBGROUP", fragments.subgroup),
                ("SUBGROUPS_M", size.subgroups_m),
                ("SUBGROUPS_N", size.subgroups_n),
                ("FRAGMENTS_M", size.fragments_m),
                ("FRAGMENTS_N", size.fragments_n),
                ("TILE_K", size.k),
            ],
        }
    }

    /// Rows and columns that a workgroup makes.
    pub(crate) fn tile(&self) -> (u32, u32) {
        match *self {
            Method::Tile { size, .. } => (size.m, size.n),
            Method::Rows { size, .. } => (size.rows, 4 * size.column_threads),
            Method::Cooperative { fragments, size } => (
                size.subgroups_m * size.fragments_m * fragments.size,
                size.subgroups_n * size.fragments_n * fragments.size,
            ),
        }
    }

    /// What the length of a share of k is a multiple of.
    pub(crate) fn k_step(&self) -> u32 {
        match *self {
            Method::Tile { size, .. } => size.k.next_multiple_of(16),
            Method::Rows { size, .. } => (size.k_threads * 4).next_multiple_of(16),
            Method::Cooperative { size, .. } => size.k.next_multiple_of(16),
        }
    }

    /// Invocations of a workgroup.
    pub(crate) fn invocations(&self) -> u32 {
        match *self {
            Method::Tile { size, .. } => (size.m / size.thread_m) * (size.n / 4 / size.thread_n4),
            Method::Rows { size, .. } => size.column_threads * size.k_threads,
            Method::Cooperative { fragments, size } => fragments.subgroup * size.subgroups_m * size.subgroups_n,
        }
    }

    /// Bytes that a workgroup shares.
    pub(crate) fn workgroup_bytes(&self) -> u32 {
        match *self {
            Method::Tile { form, size } => {
                let bytes = match form {
                    Form::F32 | Form::F16Packed => 4,
                    Form::F16 => 2,
                    Form::Int8 => 1,
                };
                (size.m + size.n) * size.k * bytes
            }
            Method::Rows { size, .. } => size.rows * size.column_threads * size.k_threads * 16,
            Method::Cooperative { fragments, size } => {
                let (m, n) = self.tile();
                let stage = size.subgroups_m * size.subgroups_n * fragments.size * fragments.size * 4;
                (m * (size.k + 8) + size.k * (n + 8)) * 2 + stage
            }
        }
    }

    /// Why a device cannot do it, or why nobody can.
    pub(crate) fn obstacle(&self, abilities: &Abilities) -> Option<&'static str> {
        self.misfit().or_else(|| {
            let f16 = matches!(self, Method::Tile { form: Form::F16, .. } | Method::Rows { form: Form::F16, .. });
            match self {
                _ if f16 && !abilities.f16 => Some("the adapter has no shader-f16"),
                Method::Cooperative { fragments, .. } if abilities.cooperative != Some(*fragments) => {
                    Some("the adapter has no cooperative matrices of this size")
                }
                _ if self.invocations() > abilities.invocations_max => Some("more invocations than a workgroup has"),
                _ if self.workgroup_bytes() > abilities.workgroup_bytes_max => {
                    Some("more memory than a workgroup shares")
                }
                _ => None,
            }
        })
    }

    /// What in its sizes contradicts the shader. Sizes may come from a file.
    fn misfit(&self) -> Option<&'static str> {
        let powers = |sizes: &[u32]| sizes.iter().all(|size| size.is_power_of_two() && *size <= 256);
        let fits = match *self {
            Method::Tile { form, size } => {
                powers(&[size.m, size.n, size.k, size.thread_m, size.thread_n4])
                    && size.k >= if form == Form::Int8 { 16 } else { 4 }
                    && (size.thread_m <= 8 && size.thread_m <= size.m)
                    && (size.thread_n4 <= 2 && size.thread_n4 * 4 <= size.n)
            }
            Method::Rows { size, .. } => powers(&[size.rows, size.column_threads, size.k_threads]) && size.rows <= 8,
            Method::Cooperative { fragments, size } => {
                let CooperativeSize { subgroups_m, subgroups_n, fragments_m, fragments_n, k } = size;
                let sizes = [subgroups_m, subgroups_n, fragments_m, fragments_n, k, fragments.subgroup];
                powers(&sizes)
                    && matches!(fragments.size, 8 | 16)
                    && (k >= fragments.size && subgroups_m <= 8 && subgroups_n <= 8)
                    && (fragments_m <= 4 && fragments_n <= 4 && fragments_m * fragments_n <= 8)
                    && self.fetched() <= 8
            }
        };
        (!fits).then_some("sizes that the shader has no room for")
    }

    /// Fours that an invocation of the cooperative method holds while they are on their way.
    fn fetched(&self) -> u32 {
        let Method::Cooperative { size, .. } = self else { return 0 };
        let (m, n) = self.tile();
        (m.max(n) * size.k / 4).div_ceil(self.invocations())
    }
}

impl Choice {
    /// Shares of k and the length of each; the last may be shorter. None is empty.
    pub(crate) fn shares_of(&self, k: u32) -> (u32, u32) {
        let step = self.method.k_step();
        let length = k.div_ceil(self.shares.max(1)).next_multiple_of(step).max(step);
        (k.div_ceil(length).clamp(1, WORKGROUPS_MAX), length)
    }
}

impl Choice {
    /// Whether a device can make it; choices may come from a file.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn is_sound(&self, abilities: &Abilities) -> bool {
        (1..=64).contains(&self.shares) && self.method.obstacle(abilities).is_none()
    }
}

/// The tiled product of a form.
fn tile_shader(form: Form) -> &'static Shader {
    match form {
        Form::F32 => &shaders::TILE_F32,
        Form::F16Packed => &shaders::TILE_F16_PACKED,
        Form::F16 => &shaders::TILE_F16,
        Form::Int8 => &shaders::TILE_INT8,
    }
}

/// The product of a form with few rows.
fn rows_shader(form: Form) -> &'static Shader {
    match form {
        Form::F32 => &shaders::ROWS_F32,
        Form::F16Packed => &shaders::ROWS_F16_PACKED,
        Form::F16 => &shaders::ROWS_F16,
        Form::Int8 => &shaders::ROWS_INT8,
    }
}
