//! Which way to make a product on which kind of device, before anything is timed.

use crate::adapter::{Adapter, AdapterKind};
use crate::gemm::{Abilities, Choice, CooperativeSize, Form, Method, RowsSize, TileSize};
use grice_model::Precision;

/// Up to so many rows, columns and k are shared out instead of rows.
pub(crate) const FEW_ROWS: usize = 8;
/// Bytes that sums over shares of k may take.
const SHARES_BYTES_MAX: usize = 16 << 20;

/// Devices that want the same tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// A card by NVIDIA.
    Nvidia,
    /// A card by AMD, or another with memory of its own.
    Discrete,
    /// Shares the processor's memory.
    Integrated,
    /// Apple's.
    Apple,
    /// Nobody says, as in a browser.
    Unknown,
    /// A program on the processor.
    Software,
}

/// What is multiplied: `[m, k] · [k, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Size {
    pub(crate) m: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
}

/// Sizes of tiles, `(m, n, k, thread_m, thread_n4)`, the larger ones first. Larger ones read less, smaller ones give more workgroups.
const TILES: [(u32, u32, u32, u32, u32); 6] = [
    (128, 128, 16, 8, 2),
    (128, 64, 16, 8, 1),
    (64, 64, 16, 8, 2),
    (64, 64, 16, 4, 1),
    (32, 64, 32, 4, 1),
    (32, 32, 32, 4, 1),
];
/// The same for 8 bits, where a number takes a quarter of the room.
const INT8_TILES: [(u32, u32, u32, u32, u32); 6] = [
    (128, 128, 64, 8, 2),
    (128, 64, 32, 8, 1),
    (64, 64, 32, 8, 2),
    (64, 64, 32, 4, 1),
    (32, 64, 64, 4, 1),
    (32, 32, 64, 4, 1),
];
/// `(subgroups_m, subgroups_n, fragments_m, fragments_n, k)`.
const COOPERATIVE: [(u32, u32, u32, u32, u32); 3] = [(4, 2, 2, 4, 32), (2, 2, 2, 2, 32), (1, 2, 2, 2, 32)];

impl Class {
    /// The class of an adapter, as far as its name tells.
    pub(crate) fn of(adapter: &Adapter) -> Class {
        let name = adapter.name.to_lowercase();
        match adapter.kind {
            _ if name.contains("nvidia") || name.contains("geforce") || name.contains("tesla") => Class::Nvidia,
            _ if name.contains("apple") || adapter.backend == "metal" => Class::Apple,
            AdapterKind::Discrete => Class::Discrete,
            AdapterKind::Integrated => Class::Integrated,
            AdapterKind::Virtual | AdapterKind::Unknown => Class::Unknown,
            AdapterKind::Software => Class::Software,
        }
    }

    /// Workgroups that give a device of this class enough to do: about two for each of its processors.
    fn workgroups_wanted(self) -> usize {
        match self {
            Class::Nvidia | Class::Discrete => 192,
            Class::Apple => 64,
            Class::Integrated | Class::Unknown => 32,
            Class::Software => 1,
        }
    }
}

/// The ways worth a try for a product, the best guess first; none only for a device that lacks what WebGPU asks of all.
pub(crate) fn candidates(class: Class, precision: Precision, size: Size, abilities: &Abilities) -> Vec<Choice> {
    let mut choices: Vec<Choice> = methods(precision, size.m, abilities)
        .into_iter()
        .map(|method| Choice { method, shares: shares_wanted(class, &method, size) })
        .collect();
    // Stable: of two that leave equally little idle, the larger tile.
    choices.sort_by_key(|choice| cost(class, choice, size));
    choices
}

/// Every method that could be chosen on a device for any product.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn all_methods(abilities: &Abilities) -> Vec<Method> {
    let mut all = Vec::new();
    for precision in [Precision::Fp32, Precision::Fp16, Precision::Int8] {
        for m in [1, 2, 4, FEW_ROWS, FEW_ROWS + 1] {
            for method in methods(precision, m, abilities) {
                if !all.contains(&method) {
                    all.push(method);
                }
            }
        }
    }
    all
}

fn methods(precision: Precision, m: usize, abilities: &Abilities) -> Vec<Method> {
    let forms: &[Form] = match precision {
        Precision::Fp32 | Precision::Int4 => &[Form::F32],
        Precision::Fp16 => &[Form::F16, Form::F16Packed],
        Precision::Int8 => &[Form::Int8],
    };
    let mut methods = Vec::new();
    if m <= FEW_ROWS {
        let rows = m.next_power_of_two() as u32;
        for &form in forms {
            for (column_threads, k_threads) in [(32, 4), (16, 8), (64, 2)] {
                // With fewer rows there is room for more that share k.
                let k_threads = k_threads * (FEW_ROWS as u32 / rows).min(2);
                methods.push(Method::Rows { form, size: RowsSize { rows, column_threads, k_threads } });
            }
        }
    } else {
        if let (Precision::Fp16, Some(fragments)) = (precision, abilities.cooperative) {
            methods.extend(COOPERATIVE.map(|(subgroups_m, subgroups_n, fragments_m, fragments_n, k)| {
                let size = CooperativeSize { subgroups_m, subgroups_n, fragments_m, fragments_n, k };
                Method::Cooperative { fragments, size }
            }));
        }
        for &form in forms {
            let tiles = if form == Form::Int8 { INT8_TILES } else { TILES };
            methods.extend(tiles.map(|(m, n, k, thread_m, thread_n4)| Method::Tile {
                form,
                size: TileSize { m, n, k, thread_m, thread_n4 },
            }));
        }
    }
    methods.retain(|method| method.obstacle(abilities).is_none());
    methods
}

/// Shares of k so that all processors have something to do, as far as that leaves each enough of k.
fn shares_wanted(class: Class, method: &Method, size: Size) -> u32 {
    let (tile_m, tile_n) = method.tile();
    let workgroups = size.m.div_ceil(tile_m as usize) * size.n.div_ceil(tile_n as usize);
    let wanted = class.workgroups_wanted() / workgroups.max(1);
    let by_length = size.k / (4 * method.k_step() as usize);
    let by_bytes = SHARES_BYTES_MAX / (size.m * size.n.next_multiple_of(4) * 4).max(1);
    wanted.min(by_length).min(by_bytes).clamp(1, 16) as u32
}

/// A guess at how long a choice takes: what the busiest processor does, in products, and what all of them read, in numbers, weighed.
fn cost(class: Class, choice: &Choice, size: Size) -> u64 {
    let (tile_m, tile_n) = choice.method.tile();
    let (tile_m, tile_n) = (tile_m as usize, tile_n as usize);
    let (shares, share_k) = choice.shares_of(size.k as u32);
    let workgroups = size.m.div_ceil(tile_m) * size.n.div_ceil(tile_n) * shares as usize;
    let waves = workgroups.div_ceil(class.workgroups_wanted()) as u64;
    let products = (tile_m * tile_n) as u64 * u64::from(share_k);
    // A multiplication waits for what the workgroup's memory hands over: the larger an invocation's share of a tile, the less.
    let reuse = match choice.method {
        // Sixteen times the multiplications of the others at the same time.
        Method::Cooperative { .. } => 64,
        Method::Tile { form, size } => {
            let (m, n) = (u64::from(size.thread_m), u64::from(size.thread_n4 * 4));
            m * n * 4 / (m + n) * if form == Form::F16 { 5 } else { 4 } / 4
        }
        Method::Rows { form, .. } => {
            if form == Form::F16 {
                5
            } else {
                4
            }
        }
    };
    waves * products * 16 / reuse
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::AdapterLimits;
    use crate::gemm::Fragments;

    const PLAIN: Abilities = Abilities {
        f16: false,
        cooperative: None,
        workgroup_bytes_max: 16 << 10,
        invocations_max: 256,
        binding_bytes_max: 128 << 20,
    };

    fn check_class(name: &str, backend: &'static str, kind: AdapterKind, expected: Class) {
        let limits =
            AdapterLimits { buffer_bytes_max: 0, binding_bytes_max: 0, workgroup_bytes_max: 0, invocations_max: 0 };
        let (name, driver) = (name.to_owned(), String::new());
        let adapter = Adapter { index: 0, name, backend, driver, kind, features: Vec::new(), limits, unfit: None };
        assert_eq!(Class::of(&adapter), expected);
    }

    #[test]
    fn adapters_have_classes() {
        check_class("NVIDIA H100 PCIe", "vulkan", AdapterKind::Discrete, Class::Nvidia);
        check_class("AMD Radeon RX 7900 XTX (RADV NAVI31)", "vulkan", AdapterKind::Discrete, Class::Discrete);
        check_class("Apple M2", "metal", AdapterKind::Integrated, Class::Apple);
        check_class("Intel(R) UHD Graphics", "vulkan", AdapterKind::Integrated, Class::Integrated);
        check_class("llvmpipe (LLVM 15.0.6, 256 bits)", "vulkan", AdapterKind::Software, Class::Software);
        check_class("GPU without a name", "webgpu", AdapterKind::Unknown, Class::Unknown);
    }

    /// The best guess for a product is of this kind, and all others are possible.
    fn check(class: Class, precision: Precision, size: (usize, usize, usize), abilities: &Abilities, kind: &str) {
        let size = Size { m: size.0, k: size.1, n: size.2 };
        let choices = candidates(class, precision, size, abilities);
        let first = format!("{:?}", choices[0].method);
        assert!(first.starts_with(kind), "{class:?} {precision} {size:?}: {first}, expected {kind}");
        for choice in choices {
            assert_eq!(choice.method.precision(), precision);
            assert_eq!(choice.method.obstacle(abilities), None);
            let (shares, length) = choice.shares_of(size.k as u32);
            assert!((shares - 1) * length < size.k as u32 && shares * length >= size.k as u32, "{choice:?} {size:?}");
        }
    }

    #[test]
    fn the_first_guess_suits_rows_and_device() {
        let f16 = Abilities { f16: true, ..PLAIN };
        let cooperative = Some(Fragments { size: 16, subgroup: 32 });
        let all = Abilities { cooperative, workgroup_bytes_max: 32 << 10, ..f16 };
        check(Class::Nvidia, Precision::Fp32, (1, 768, 768), &PLAIN, "Rows { form: F32");
        check(Class::Nvidia, Precision::Fp32, (128, 768, 3072), &PLAIN, "Tile { form: F32");
        check(Class::Nvidia, Precision::Fp16, (8, 768, 768), &PLAIN, "Rows { form: F16Packed");
        check(Class::Nvidia, Precision::Fp16, (8, 768, 768), &f16, "Rows { form: F16,");
        check(Class::Nvidia, Precision::Fp16, (8192, 768, 768), &f16, "Tile { form: F16,");
        check(Class::Nvidia, Precision::Fp16, (8192, 768, 768), &all, "Cooperative");
        check(Class::Nvidia, Precision::Fp16, (128, 768, 768), &all, "Cooperative");
        check(Class::Integrated, Precision::Int8, (128, 768, 768), &all, "Tile { form: Int8");
        check(Class::Software, Precision::Int8, (2, 3072, 768), &all, "Rows { form: Int8");
        check(Class::Unknown, Precision::Fp32, (9, 1, 1), &PLAIN, "Tile { form: F32");
    }

    #[test]
    fn little_work_is_cut_into_shares() {
        let shares = |class, m, k, n| candidates(class, Precision::Fp32, Size { m, k, n }, &PLAIN)[0].shares;
        assert!(shares(Class::Nvidia, 1, 768, 768) > 1);
        assert!(shares(Class::Nvidia, 128, 3072, 768) > 1);
        assert_eq!(shares(Class::Nvidia, 8192, 768, 768), 1);
        assert_eq!(shares(Class::Software, 1, 768, 768), 1);
    }
}
