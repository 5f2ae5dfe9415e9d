//! From scores to shares: powers of their distances to the largest, and the sum of those.

use super::bias::BiasLine;
use crate::vector::{LANES_MAX, Simd, Sum, exp2_of_negative};
use std::ops::Range;

/// Replaces a row's scores by e^(scale · (score + by_key) + bias - largest), and returns their sum. What lies past the end, up to whole blocks of
/// [`LANES_MAX`], counts as minus infinity, whose power is next to 0: to the same blocks on every instruction set, so that sums are the same.
///
/// # Safety
/// `scores` has room for `length` elements rounded up to [`LANES_MAX`], and so has `by_key`.
#[inline(always)]
pub(super) unsafe fn exponentiate_scores<S: Simd>(
    s: S,
    scores: *mut f32,
    by_key: Option<*const f32>,
    bias: Option<&BiasLine<'_>>,
    length: usize,
    scale: f32,
) -> f32 {
    let end = length.next_multiple_of(LANES_MAX);
    // e^x = 2^(x · log₂ e).
    let scale = s.splat(scale * std::f32::consts::LOG2_E);
    let mut largest = s.splat(f32::NEG_INFINITY);
    // SAFETY: the caller's, for all of this.
    unsafe {
        for at in (0..length).step_by(S::LANES) {
            let mut x = s.load(scores.add(at));
            if let Some(by_key) = by_key {
                x = s.add(x, s.load(by_key.add(at)));
            }
            x = s.mul(x, scale);
            if let Some(bias) = bias {
                x = s.add(x, bias.load(s, at));
            }
            s.store(scores.add(at), x);
            if at + S::LANES > length {
                for past in length..at + S::LANES {
                    *scores.add(past) = f32::NEG_INFINITY;
                }
                x = s.load(scores.add(at));
            }
            largest = s.max(largest, x);
        }
        // Of narrow vectors the last whole one may end before the block does.
        for past in length.next_multiple_of(S::LANES)..end {
            *scores.add(past) = f32::NEG_INFINITY;
        }
        let largest = s.splat(s.largest(largest));
        let mut sum = Sum::zero(s);
        for block in (0..end).step_by(LANES_MAX) {
            for part in 0..Sum::<S>::PARTS {
                let at = scores.add(block + part * S::LANES);
                let x = exp2_of_negative(s, s.sub(s.load(at), largest));
                s.store(at, x);
                sum.add(s, part, x);
            }
        }
        sum.total(s)
    }
}

/// As [`exponentiate_scores`] for a row that sees only the keys of `seen`, at least one, among those of `keys`: the others become 0, and
/// so do those of the blocks of [`LANES_MAX`] where `seen` begins and ends.
///
/// # Safety
/// `scores` has room for `keys.end` elements rounded up to [`LANES_MAX`], and so has `by_key`; `keys` begins at a multiple of that.
#[inline(always)]
pub(super) unsafe fn exponentiate_window<S: Simd>(
    s: S,
    scores: *mut f32,
    by_key: Option<*const f32>,
    bias: Option<&BiasLine<'_>>,
    keys: &Range<usize>,
    seen: &Range<usize>,
    scale: f32,
) -> f32 {
    let blocks = seen.start / LANES_MAX * LANES_MAX..seen.end.next_multiple_of(LANES_MAX);
    let scale = s.splat(scale * std::f32::consts::LOG2_E);
    let mut largest = s.splat(f32::NEG_INFINITY);
    let is_whole = |block: usize| seen.start <= block && block + LANES_MAX <= seen.end;
    // SAFETY: the caller's, for all of this.
    unsafe {
        for block in blocks.clone().step_by(LANES_MAX) {
            for at in (block..block + LANES_MAX).step_by(S::LANES) {
                let mut x = s.load(scores.add(at));
                if let Some(by_key) = by_key {
                    x = s.add(x, s.load(by_key.add(at)));
                }
                x = s.mul(x, scale);
                if let Some(bias) = bias {
                    x = s.add(x, bias.load(s, at));
                }
                s.store(scores.add(at), x);
            }
            if !is_whole(block) {
                fill_unseen(scores, block, seen, f32::NEG_INFINITY);
            }
            for at in (block..block + LANES_MAX).step_by(S::LANES) {
                largest = s.max(largest, s.load(scores.add(at)));
            }
        }
        let largest = s.splat(s.largest(largest));
        fill(scores, keys.start..blocks.start, 0.0);
        fill(scores, blocks.end..keys.end, 0.0);
        let mut sum = Sum::zero(s);
        for block in blocks.step_by(LANES_MAX) {
            for at in (block..block + LANES_MAX).step_by(S::LANES) {
                s.store(scores.add(at), exp2_of_negative(s, s.sub(s.load(scores.add(at)), largest)));
            }
            if !is_whole(block) {
                fill_unseen(scores, block, seen, 0.0);
            }
            for part in 0..Sum::<S>::PARTS {
                sum.add(s, part, s.load(scores.add(block + part * S::LANES)));
            }
        }
        sum.total(s)
    }
}

/// Fills the places of a block of [`LANES_MAX`] that are not seen.
///
/// # Safety
/// `numbers` has room for the block.
#[inline(always)]
unsafe fn fill_unseen(numbers: *mut f32, block: usize, seen: &Range<usize>, number: f32) {
    // SAFETY: the caller's.
    unsafe {
        fill(numbers, block..seen.start.min(block + LANES_MAX), number);
        fill(numbers, seen.end.max(block)..block + LANES_MAX, number);
    }
}

/// # Safety
/// `numbers` has room for the range.
#[inline(always)]
unsafe fn fill(numbers: *mut f32, range: Range<usize>, number: f32) {
    for at in range {
        // SAFETY: the caller's.
        unsafe { *numbers.add(at) = number };
    }
}
