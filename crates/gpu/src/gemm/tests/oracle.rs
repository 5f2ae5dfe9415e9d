//! Products on a device against what `grice_kernels::reference` makes of the same numbers.

use super::device;
use crate::device::Gpu;
use crate::error::GpuError;
use crate::gemm::{Abilities, Choice, Form, Method, PackedWeights, Product, Scratch, quantized_bytes};
use crate::recording::{Arena, Buffer, Label, View};
use crate::tune::{ladder, stand::Stand};
use grice_kernels::{Activation, Epilogue, reference};
use grice_model::Slot;
use grice_model::{Linear, Matrix, Precision, Values};
use half::f16;
use std::sync::Arc;

const X: Buffer = Buffer::Arena(Arena::Slot(Slot::Hidden));
const Y: Buffer = Buffer::Arena(Arena::Slot(Slot::Wide));
const RESIDUAL: Buffer = Buffer::Arena(Arena::Slot(Slot::Attended));
const SCRATCH: Scratch = Scratch {
    quantized: Buffer::Arena(Arena::Quantized),
    scales: Buffer::Arena(Arena::Scales),
    shares: Buffer::Arena(Arena::Shares),
};
/// What padding and gaps hold before, which must not get into any result.
const FOREIGN: f32 = f32::NAN;

#[derive(Clone, Copy, Debug)]
struct Case {
    choice: Choice,
    m: usize,
    k: usize,
    n: usize,
    activation: Activation,
    residual: bool,
    /// Bytes of a buffer of weights, at most.
    binding_bytes_max: u64,
}

/// Between -1 and 1, as if at random.
fn number(index: usize, seed: usize) -> f32 {
    let mixed = (index + seed * 1_000_003).wrapping_mul(2_654_435_761) >> 7;
    (mixed % 20_011) as f32 / 10_005.0 - 1.0
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| number(index, seed)).collect()
}

fn layer_of(case: &Case) -> Linear {
    let (k, n) = (case.k, case.n);
    let values = match case.choice.method.precision() {
        Precision::Fp32 => Values::F32(numbers(k * n, 1)),
        Precision::Fp16 => Values::F16(numbers(k * n, 1).into_iter().map(|x| f16::from_f32(x).to_bits()).collect()),
        Precision::Int4 => unreachable!("4-bit weights become f32 on a GPU"),
        Precision::Int8 => {
            let values = numbers(k * n, 1).into_iter().map(|x| (x * 127.0) as i8).collect();
            Values::Int8Columns { values, scales: numbers(n, 4).into_iter().map(|x| x.abs() / 127.0).collect() }
        }
    };
    Linear { weights: Arc::new(Matrix::new(k, n, values).unwrap()), bias: Some(numbers(n, 2)) }
}

/// Rows and what is beyond them, at a stride that is no row's length.
fn spread(rows: &[f32], m: usize, columns: usize, view: &View) -> Vec<f32> {
    let mut out = vec![FOREIGN; view.offset + m * view.stride];
    for row in 0..m {
        out[view.offset + row * view.stride..][..columns].copy_from_slice(&rows[row * columns..][..columns]);
    }
    out
}

fn view(buffer: Buffer, m: usize, columns: usize, gap: usize) -> View {
    View { buffer, rows: m, columns, stride: columns.next_multiple_of(4) + gap, offset: gap }
}

fn run(gpu: &Gpu, case: &Case) -> Result<Vec<f32>, GpuError> {
    let Case { choice, m, k, n, activation, residual, binding_bytes_max } = *case;
    let mut stand = Stand::new(gpu);
    let mut count = 0;
    let weights = PackedWeights::pack("a test", &[&layer_of(case)], binding_bytes_max)?.upload(|words| {
        stand.put(Buffer::Weight(count), 0, bytemuck::cast_slice(&words))?;
        count += 1;
        Ok::<_, GpuError>(Buffer::Weight(count - 1))
    })?;
    let (x, y, added) = (view(X, m, k, 8), view(Y, m, n, 4), view(RESIDUAL, m, n, 12));
    stand.put(X, 0, bytemuck::cast_slice(&spread(&numbers(m * k, 3), m, k, &x)))?;
    stand.put(RESIDUAL, 0, bytemuck::cast_slice(&spread(&numbers(m * n, 5), m, n, &added)))?;
    stand.put(Y, 0, bytemuck::cast_slice(&vec![FOREIGN; y.offset + m * y.stride]))?;
    stand.put(Buffer::Nothing, 16, &[])?;
    stand.put(SCRATCH.quantized, quantized_bytes(m, k), &vec![0xff; quantized_bytes(m, k) as usize])?;
    stand.put(SCRATCH.scales, 4 * m as u64, &[])?;
    let residual = residual.then_some(added);
    let label = Label { layer: None, op: "a test", operations: 0 };
    let product = Product { label, x, weights: &weights, activation, residual, y, scratch: SCRATCH };
    let shares_bytes = product.shares_bytes(&choice);
    stand.put(SCRATCH.shares, shares_bytes, &vec![0xff; shares_bytes as usize])?;
    stand.run(&product.record(&choice)?, 1)?;
    let bytes = stand.read(Y)?;
    let all: Vec<f32> = bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect();
    let rows = (0..m).flat_map(|row| all[y.offset + row * y.stride..][..n].to_vec());
    let beyond = (0..m).flat_map(|row| all[y.offset + row * y.stride..][n..y.stride].to_vec());
    let (foreign, padding): (Vec<f32>, Vec<f32>) = beyond.partition(|number| number.is_nan());
    // With a residual, the padding holds what its padding held.
    if residual.is_none() {
        assert!(padding.iter().all(|&number| number == 0.0), "{case:?}: padding {padding:?}");
        assert_eq!(foreign.len(), m * (y.stride - n.next_multiple_of(4)), "{case:?}: written beyond the columns");
    }
    Ok(rows.collect())
}

fn expected(case: &Case) -> Vec<f32> {
    let Case { m, k, n, .. } = *case;
    let layer = layer_of(case);
    let (x, bias) = (numbers(m * k, 3), layer.bias.as_deref());
    let mut y = match layer.weights.values() {
        Values::Int8Columns { values, scales } => reference::linear_int8(&x, values, scales, bias, m, k, n),
        _ => reference::matmul(&x, &layer.weights.to_f32(), bias, m, k, n),
    };
    let residual = numbers(m * n, 5);
    let residual = case.residual.then_some(residual.as_slice());
    reference::epilogue(&mut y, n, &Epilogue { activation: case.activation, residual, norm: None });
    y
}

/// How far a number may be off. Sums in f32 in another order: k roundings of products below 1. Rows in f16: each number is off by up to
/// 2^-12 of itself, at random. 8 bits: sums are exact, but a number of x between two integers may fall to either where a device divides
/// inexactly (WGSL allows 2.5 units in the last place), which makes a product of up to one step of both.
fn tolerance(case: &Case) -> f32 {
    let k = case.k as f32;
    let activation = 4e-6;
    activation
        + match case.choice.method {
            Method::Cooperative { .. } | Method::Tile { form: Form::F16, .. } => k.sqrt() * 2.5e-4 * 2.0,
            Method::Rows { form: Form::Int8, .. } | Method::Tile { form: Form::Int8, .. } => 1.0 / 127.0,
            _ => k.sqrt() * 2e-6,
        }
}

fn check(gpu: &Gpu, case: &Case) {
    let found = run(gpu, case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
    let tolerance = tolerance(case);
    for (index, (found, expected)) in found.into_iter().zip(expected(case)).enumerate() {
        let (row, column) = (index / case.n, index % case.n);
        let off = (found - expected).abs();
        assert!(off <= tolerance, "{case:?}: ({row}, {column}) is {found}, expected {expected} within {tolerance}");
    }
}

/// No multiples of any tile, more than one tile each way, and the least there is.
const SIZES: [(usize, usize, usize); 4] = [(1, 1, 1), (37, 83, 70), (131, 52, 133), (67, 150, 5)];
const FEW: [(usize, usize); 3] = [(1, 1), (83, 70), (300, 133)];

fn check_methods(gpu: &Gpu, abilities: &Abilities, wanted: impl Fn(&Method) -> bool) {
    let methods = ladder::all_methods(abilities).into_iter().filter(wanted);
    let mut tried = 0;
    for (number, method) in methods.enumerate() {
        let few = match method {
            Method::Rows { size, .. } => Some(size.rows as usize),
            _ => None,
        };
        let sizes: Vec<_> = match few {
            // As many rows as it takes at once, and one fewer.
            Some(rows) => FEW.iter().map(|&(k, n)| (rows.max(2) - k % 2, k, n)).collect(),
            None => SIZES.to_vec(),
        };
        let activations = [
            Activation::Identity,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Relu,
            Activation::Tanh,
            Activation::Silu,
        ];
        for (turn, (m, k, n)) in sizes.into_iter().enumerate() {
            let shares = 1 + (turn + number) as u32 % 2 * 3;
            let choice = Choice { method, shares };
            let activation = activations[(number + turn) % activations.len()];
            let residual = (number + turn) % 2 == 0;
            check(gpu, &Case { choice, m, k, n, activation, residual, binding_bytes_max: 1 << 27 });
        }
        tried += 1;
    }
    assert!(tried > 0, "no method was tried");
}

macro_rules! form_test {
    ($name:ident, $form:pat) => {
        #[test]
        fn $name() {
            let Some(gpu) = device::gpu(stringify!($name)) else { return };
            let abilities = Abilities { cooperative: None, ..device::abilities(&gpu) };
            check_methods(&gpu, &abilities, |method| {
                matches!(method, Method::Tile { form: $form, .. } | Method::Rows { form: $form, .. })
            });
        }
    };
}

form_test!(f32_products, Form::F32);
form_test!(packed_f16_products, Form::F16Packed);
form_test!(int8_products, Form::Int8);

#[test]
fn f16_products() {
    let Some(gpu) = device::gpu("f16_products") else { return };
    let abilities = device::abilities(&gpu);
    if !abilities.f16 {
        eprintln!("skipped: the adapter has no shader-f16");
        return;
    }
    let f16 =
        |method: &Method| matches!(method, Method::Tile { form: Form::F16, .. } | Method::Rows { form: Form::F16, .. });
    check_methods(&gpu, &Abilities { cooperative: None, ..abilities }, f16);
}

#[test]
fn cooperative_products() {
    let Some(gpu) = device::gpu("cooperative_products") else { return };
    let abilities = device::abilities(&gpu);
    if abilities.cooperative.is_none() {
        eprintln!("skipped: the adapter has no cooperative matrix");
        return;
    }
    check_methods(&gpu, &abilities, |method| matches!(method, Method::Cooperative { .. }));
}

#[test]
fn weights_in_parts() {
    let Some(gpu) = device::gpu("weights_in_parts") else { return };
    let abilities = Abilities { cooperative: None, ..device::abilities(&gpu) };
    for precision in [Precision::Fp32, Precision::Fp16, Precision::Int8] {
        for m in [3, 40] {
            let size = crate::tune::Size { m, k: 48, n: 50 };
            let choices = ladder::candidates(crate::tune::Class::Unknown, precision, size, &abilities);
            for shares in [1, 2] {
                let choice = Choice { shares, ..choices[0] };
                let (activation, residual) = (Activation::Gelu, true);
                check(&gpu, &Case { choice, m, k: 48, n: 50, activation, residual, binding_bytes_max: 48 * 4 * 12 });
            }
        }
    }
}
