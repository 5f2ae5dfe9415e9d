//! Cooperative matrices are young, in drivers and in shader compilers: none is used before it made the same products as plain arithmetic.

use super::ladder;
use super::stand::Stand;
use crate::device::Gpu;
use crate::error::GpuError;
use crate::gemm::{
    Abilities, Choice, Form, Fragments, Method, PackedWeights, Product, Scratch, TileSize, quantized_bytes,
};
use crate::recording::{Arena, Buffer, Label, View};
use grice_kernels::Activation;
use grice_model::Slot;
use grice_model::{Linear, Matrix, Values};
use half::f16;
use std::sync::Arc;

/// No multiple of any tile, and more than one tile each way.
const ROWS: usize = 139;
const K: usize = 150;
const N: usize = 268;

/// Why cooperative matrices of this kind are not to be used here, or `None` if all methods that use them came out right. Compared with tiles
/// in f32 whose x is in f16 already, so that both multiply the same numbers.
///
/// # Errors
/// [`GpuError::Lost`] if the device did not survive it.
pub(crate) fn cooperative_fault(
    gpu: &Gpu,
    fragments: Fragments,
    abilities: &Abilities,
) -> Result<Option<String>, GpuError> {
    let abilities = Abilities { cooperative: Some(fragments), ..*abilities };
    let methods: Vec<Method> = ladder::all_methods(&abilities)
        .into_iter()
        .filter(|method| matches!(method, Method::Cooperative { .. }))
        .collect();
    if methods.is_empty() {
        return Ok(Some("no workgroup has room for them".to_owned()));
    }
    let size = TileSize { m: 32, n: 32, k: 32, thread_m: 4, thread_n4: 1 };
    let portable = Choice::from(Method::Tile { form: Form::F16Packed, size });
    let expected = match products(gpu, &portable) {
        Ok(products) => products,
        Err(error) => return Ok(Some(format!("nothing to compare them with: {error}"))),
    };
    for method in methods {
        for shares in [1, 2] {
            let choice = Choice { method, shares };
            let found = match products(gpu, &choice) {
                Ok(found) => found,
                Err(GpuError::Lost(reason)) => return Err(GpuError::Lost(reason)),
                Err(error) => return Ok(Some(error.to_string())),
            };
            if let Some(fault) = first_difference(&expected, &found) {
                return Ok(Some(format!("{fault}, by {choice:?}")));
            }
        }
    }
    Ok(None)
}

/// Sums of [`K`] products of numbers up to 1, in f32 either way but in another order.
fn first_difference(expected: &[f32], found: &[f32]) -> Option<String> {
    let differ = |(expected, found): (&f32, &f32)| (expected - found).abs() > 1e-3 || found.is_nan();
    let at = expected.iter().zip(found).position(differ)?;
    Some(format!("product ({}, {}) is {}, where {} is due", at / N, at % N, found[at], expected[at]))
}

fn products(gpu: &Gpu, choice: &Choice) -> Result<Vec<f32>, GpuError> {
    let (x, y) = (Buffer::Arena(Arena::Slot(Slot::Hidden)), Buffer::Arena(Arena::Slot(Slot::Wide)));
    let scratch = Scratch {
        quantized: Buffer::Arena(Arena::Quantized),
        scales: Buffer::Arena(Arena::Scales),
        shares: Buffer::Arena(Arena::Shares),
    };
    let mut stand = Stand::new(gpu);
    let values = (0..K * N).map(|index| f16::from_f32(number(index, 7919)).to_bits()).collect();
    let reason = "no weights to check with".to_owned();
    let weights =
        Matrix::new(K, N, Values::F16(values)).ok_or(GpuError::Refused { what: "a check".to_owned(), reason })?;
    let layer = Linear { weights: Arc::new(weights), bias: Some((0..N).map(|index| number(index, 31)).collect()) };
    let mut count = 0;
    let weights = PackedWeights::pack("a check", &[&layer], u64::MAX)?.upload(|words| {
        stand.put(Buffer::Weight(count), 0, bytemuck::cast_slice(&words))?;
        count += 1;
        Ok::<_, GpuError>(Buffer::Weight(count - 1))
    })?;
    let stride = K.next_multiple_of(4);
    let rows: Vec<f32> = (0..ROWS * stride).map(|index| f16::from_f32(number(index, 104_729)).to_f32()).collect();
    stand.put(x, 0, bytemuck::cast_slice(&rows))?;
    stand.put(y, (ROWS * N * 4) as u64, &[])?;
    stand.put(Buffer::Nothing, 16, &[])?;
    stand.put(scratch.quantized, quantized_bytes(1, K), &[])?;
    stand.put(scratch.scales, 16, &[])?;
    let product = Product {
        label: Label { layer: None, op: "a check", operations: 0 },
        x: View { buffer: x, rows: ROWS, columns: K, stride, offset: 0 },
        weights: &weights,
        activation: Activation::Identity,
        residual: None,
        y: View::whole(y, ROWS, N),
        scratch,
    };
    stand.put(scratch.shares, product.shares_bytes(choice), &[])?;
    stand.run(&product.record(choice)?, 1)?;
    let bytes = stand.read(y)?;
    Ok(bytes
        .chunks_exact(4)
        .map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .take(ROWS * N)
        .collect())
}

/// Between -1 and 1, as if at random.
fn number(index: usize, step: usize) -> f32 {
    (index * step % 2003) as f32 / 1001.0 - 1.0
}
