//! Functions of one vector, and sums and maxima of slices.
//!
//! All of it gives the same bits on every instruction set: no arithmetic is fused, and sums have one order ([`Sum`]).
//!
//! Coefficients are our own minimax fits (Lawson's reweighted least squares) over the stated ranges. Not-a-number stays so
//! throughout.

use super::scalar::Scalar;
use super::simd::{LANES_MAX, Simd};

/// 1.5·2²³: adding it rounds to a whole number, which is then in the low bits.
const ROUND: f32 = 12_582_912.0;

/// `c[0] + c[1]·x + c[2]·x² + …`: even and odd powers by Horner's rule on x², side by side, since each step waits for the one before.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, coefficients: &[f32; N], x: S::V) -> S::V {
    let square = s.mul(x, x);
    let mut halves = [s.splat(coefficients[N - 2]), s.splat(coefficients[N - 1])];
    for i in (0..N - 2).rev() {
        let half = &mut halves[(N - i) % 2];
        *half = s.mul_add(*half, square, s.splat(coefficients[i]));
    }
    let [even, odd] = if N.is_multiple_of(2) { halves } else { [halves[1], halves[0]] };
    s.mul_add(odd, x, even)
}

/// eˣ to 3e-7 of itself; 0 below -87.33, where results would be subnormal, and at most e⁸⁸.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    const LOW: f32 = -87.33;
    const HIGH: f32 = 88.0;
    // ln 2 in two parts, the first short enough that its product with a whole number is exact without fused arithmetic.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // e^r for |r| <= ln(2) / 2 to 1e-7.
    const P: [f32; 6] = [1.0, 9.999_997e-1, 4.999_914e-1, 1.666_764_5e-1, 4.189_885e-2, 8.290_144e-3];
    let clamped = s.min(s.splat(HIGH), s.max(s.splat(LOW), x));
    let shifted = s.mul_add(clamped, s.splat(std::f32::consts::LOG2_E), s.splat(ROUND));
    let n = s.sub(shifted, s.splat(ROUND));
    let r = s.mul_add(n, s.splat(-LN2_HIGH), clamped);
    let r = s.mul_add(n, s.splat(-LN2_LOW), r);
    let y = s.mul(polynomial(s, &P, r), s.exp2_shifted(shifted));
    s.if_less(x, s.splat(LOW), s.splat(0.0), y)
}

/// 2ˣ for x up to 0, to 3e-7 of itself; below -126, 2⁻¹²⁶. Cheaper than `exp`, for what has a factor to put log₂ e into.
#[inline(always)]
pub(crate) fn exp2_of_negative<S: Simd>(s: S, x: S::V) -> S::V {
    // 2^f for |f| <= 1/2 to 1e-7: the coefficients of e^r with the powers of ln 2.
    #[allow(clippy::approx_constant, reason = "fitted: ln 2 itself would be a little worse")]
    const P: [f32; 6] = [1.0, 6.931_47e-1, 2.402_223_8e-1, 5.550_736_6e-2, 9.671_725e-3, 1.326_445_4e-3];
    let x = s.max(s.splat(-126.0), x);
    let shifted = s.add(x, s.splat(ROUND));
    let f = s.sub(x, s.sub(shifted, s.splat(ROUND)));
    s.mul(polynomial(s, &P, f), s.exp2_shifted(shifted))
}

/// 2ˣ for x up to 0, as every instruction set computes it.
pub(crate) fn exp2_of_negative_in_steps(x: f32) -> f32 {
    exp2_of_negative(Scalar, x)
}

/// tanh to 5e-7.
#[inline(always)]
pub(super) fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    // tanh(x) / x as a quotient of polynomials in x², |x| <= 8, to 6e-9; beyond, tanh is 1 to 3e-7.
    const P: [f32; 5] = [1.0, 1.344_110_5e-1, 3.567_587_8e-3, 2.182_900_2e-5, 1.513_884_7e-8];
    const Q: [f32; 5] = [1.0, 4.677_443e-1, 2.614_914e-2, 3.404_754_4e-4, 8.485_171e-7];
    let x = s.min(s.splat(8.0), s.max(s.splat(-8.0), x));
    let square = s.mul(x, x);
    let y = s.div(s.mul(x, polynomial(s, &P, square)), polynomial(s, &Q, square));
    s.min(s.splat(1.0), s.max(s.splat(-1.0), y))
}

/// x·Φ(x), Φ the normal distribution function, to 2e-6 of max(1, |x|).
#[inline(always)]
pub(super) fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    // (Φ(x) - 1/2) / x as a quotient of polynomials in x², so that x·Φ(x) is met to 4e-7 for |x| <= EDGE. There the steps below
    // come to 1/2 exactly; beyond, x·Φ(x) differs from max(x, 0) by 3e-7.
    const EDGE: f32 = 5.311_761_4;
    const P: [f32; 6] = [3.989_374_3e-1, 8.932_361e-2, 8.017_804e-3, 7.284_201_6e-4, 9.499_779e-6, -2.657e-8];
    const Q: [f32; 5] = [1.0, 3.905_160_4e-1, 6.025_76e-2, 5.030_036e-3, 2.502_218e-4];
    let x = s.max(s.splat(-EDGE), x);
    let near = s.min(s.splat(EDGE), x);
    let square = s.mul(near, near);
    let ratio = s.div(s.mul(near, polynomial(s, &P, square)), polynomial(s, &Q, square));
    s.mul(x, s.add(ratio, s.splat(0.5)))
}

/// x·(1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2, the older GELU, to 1e-6 of max(1, |x|).
#[inline(always)]
pub(super) fn gelu_tanh<S: Simd>(s: S, x: S::V) -> S::V {
    // (1 + tanh(u)) / 2 = 1 / (1 + e^-2u); these are -2u's coefficients.
    const LINEAR: f32 = -1.595_769;
    const CUBIC: f32 = -0.071_354_82;
    // e^-2u is beyond e⁸⁸ there, so that the quotient is 0 to any precision; and -∞ / ∞ is avoided.
    const EDGE: f32 = 10.0;
    let inner = s.mul(x, s.mul_add(s.mul(x, x), s.splat(CUBIC), s.splat(LINEAR)));
    let y = s.div(x, s.add(s.splat(1.0), exp(s, inner)));
    s.if_less(x, s.splat(-EDGE), s.splat(0.0), y)
}

/// x / (1 + e^-x), to 1e-6 of max(1, |x|).
#[inline(always)]
pub(super) fn silu<S: Simd>(s: S, x: S::V) -> S::V {
    // e^-x stays below e⁸⁸ as far as that; below, the quotient is 0 to any precision, and -∞ / ∞ is avoided.
    const EDGE: f32 = 87.0;
    let power = exp(s, s.sub(s.splat(0.0), x));
    let y = s.div(x, s.add(s.splat(1.0), power));
    s.if_less(x, s.splat(-EDGE), s.splat(0.0), y)
}

/// A sum in [`LANES_MAX`] lanes, so many on every instruction set, that its bits do not depend on which one it is: the number at i is added to
/// lane i mod `LANES_MAX`, one after another, and at the end the lanes are added in halves, lane i and lane i + `LANES_MAX` / 2, until
/// one is left. Zeros fill up what has no whole number of lanes.
///
/// Only the first [`Sum::PARTS`] vectors are used; the rest are never touched, and cost nothing.
#[derive(Clone, Copy)]
pub(crate) struct Sum<S: Simd>([S::V; LANES_MAX]);

impl<S: Simd> Sum<S> {
    /// Vectors that the lanes take.
    pub(crate) const PARTS: usize = LANES_MAX / S::LANES;

    #[inline(always)]
    pub(crate) fn zero(s: S) -> Self {
        Self([s.splat(0.0); LANES_MAX])
    }

    /// Adds `x` to the lanes from `part · LANES` on.
    #[inline(always)]
    pub(crate) fn add(&mut self, s: S, part: usize, x: S::V) {
        self.0[part] = s.add(self.0[part], x);
    }

    #[inline(always)]
    pub(crate) fn total(mut self, s: S) -> f32 {
        let mut parts = Self::PARTS;
        while parts > 1 {
            parts /= 2;
            for i in 0..parts {
                self.0[i] = s.add(self.0[i], self.0[i + parts]);
            }
        }
        s.sum(self.0[0])
    }
}

/// The sum of each row.
#[inline(always)]
pub(crate) fn sums_of<S: Simd, const ROWS: usize>(s: S, rows: [&[f32]; ROWS]) -> [f32; ROWS] {
    totals::<S, ROWS, false>(s, rows, [0.0; ROWS])
}

/// The sum of squares of each row's distances from its center.
#[inline(always)]
pub(crate) fn squared_distances_of<S: Simd, const ROWS: usize>(
    s: S,
    rows: [&[f32]; ROWS],
    centers: [f32; ROWS],
) -> [f32; ROWS] {
    totals::<S, ROWS, true>(s, rows, centers)
}

/// Sums of rows of the same length side by side, since an addition takes several cycles before the next can use it.
#[inline(always)]
fn totals<S: Simd, const ROWS: usize, const SQUARED: bool>(
    s: S,
    rows: [&[f32]; ROWS],
    centers: [f32; ROWS],
) -> [f32; ROWS] {
    let mut sums = [Sum::zero(s); ROWS];
    let length = rows[0].len();
    for block in 0..length / LANES_MAX {
        for ((sum, row), center) in sums.iter_mut().zip(rows).zip(centers) {
            add_block::<S, SQUARED>(s, sum, &row.as_chunks().0[block], center);
        }
    }
    let mut totals = [0.0; ROWS];
    for (((total, mut sum), row), center) in totals.iter_mut().zip(sums).zip(rows).zip(centers) {
        let rest = row.as_chunks::<LANES_MAX>().1;
        if !rest.is_empty() {
            // Filled up with terms of 0.
            let mut last = [if SQUARED { center } else { 0.0 }; LANES_MAX];
            last[..rest.len()].copy_from_slice(rest);
            add_block::<S, SQUARED>(s, &mut sum, &last, center);
        }
        *total = sum.total(s);
    }
    totals
}

#[inline(always)]
fn add_block<S: Simd, const SQUARED: bool>(s: S, sum: &mut Sum<S>, block: &[f32; LANES_MAX], center: f32) {
    for part in 0..Sum::<S>::PARTS {
        // SAFETY: the block has LANES_MAX elements.
        let mut x = unsafe { s.load(block.as_ptr().add(part * S::LANES)) };
        if SQUARED {
            x = s.sub(x, s.splat(center));
            x = s.mul(x, x);
        }
        sum.add(s, part, x);
    }
}

/// The largest of `x`, minus infinity for none; what is not a number may be passed over.
#[inline(always)]
pub(crate) fn maximum_of<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut largest = s.splat(f32::NEG_INFINITY);
    let mut chunks = x.chunks_exact(S::LANES);
    for chunk in chunks.by_ref() {
        // SAFETY: the chunk has `LANES` elements.
        largest = s.max(largest, unsafe { s.load(chunk.as_ptr()) });
    }
    let mut largest = s.largest(largest);
    for &x in chunks.remainder() {
        largest = largest.max(x);
    }
    largest
}

/// Adds `x` to `to`, as far as the shorter goes.
#[inline(always)]
pub(crate) fn add_to<S: Simd>(s: S, to: &mut [f32], x: &[f32]) {
    let mut to_chunks = to.chunks_exact_mut(S::LANES);
    let mut x_chunks = x.chunks_exact(S::LANES);
    for (to, x) in to_chunks.by_ref().zip(x_chunks.by_ref()) {
        // SAFETY: the chunks have `LANES` elements.
        unsafe { s.store(to.as_mut_ptr(), s.add(s.load(to.as_ptr()), s.load(x.as_ptr()))) };
    }
    for (to, x) in to_chunks.into_remainder().iter_mut().zip(x_chunks.remainder()) {
        *to += x;
    }
}

/// A row's softmax, in place; a row with a not-a-number becomes all that.
#[inline(always)]
pub(crate) fn softmax_row<S: Simd>(s: S, row: &mut [f32]) {
    let inverse = 1.0 / exponentiate(s, row);
    let inverse_v = s.splat(inverse);
    let mut chunks = row.chunks_exact_mut(S::LANES);
    for chunk in chunks.by_ref() {
        // SAFETY: the chunk has `LANES` elements.
        unsafe { s.store(chunk.as_mut_ptr(), s.mul(s.load(chunk.as_ptr()), inverse_v)) };
    }
    for x in chunks.into_remainder() {
        *x *= inverse;
    }
}

/// Replaces each x of a row by e^(x - the largest) and returns the sum of those.
#[inline(always)]
fn exponentiate<S: Simd>(s: S, row: &mut [f32]) -> f32 {
    let largest = s.splat(maximum_of(s, row));
    let mut sum = Sum::zero(s);
    let (blocks, rest) = row.as_chunks_mut::<LANES_MAX>();
    for block in blocks {
        exponentiate_block(s, block, largest, &mut sum);
    }
    if !rest.is_empty() {
        // Lanes past the end are e^-∞ = 0.
        let mut last = [f32::NEG_INFINITY; LANES_MAX];
        last[..rest.len()].copy_from_slice(rest);
        exponentiate_block(s, &mut last, largest, &mut sum);
        rest.copy_from_slice(&last[..rest.len()]);
    }
    sum.total(s)
}

#[inline(always)]
fn exponentiate_block<S: Simd>(s: S, block: &mut [f32; LANES_MAX], largest: S::V, sum: &mut Sum<S>) {
    for part in 0..Sum::<S>::PARTS {
        // SAFETY: the block has LANES_MAX elements.
        unsafe {
            let at = block.as_mut_ptr().add(part * S::LANES);
            let y = exp(s, s.sub(s.load(at), largest));
            s.store(at, y);
            sum.add(s, part, y);
        }
    }
}
