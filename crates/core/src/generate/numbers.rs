//! Passes over a row of logits. Plain arithmetic in one order: every target computes the same bits.

use super::outcome::DecodeError;
use std::cmp::Ordering;

/// Values that are looked at together.
const LANES: usize = 16;

/// Whether a test holds for any value, without a branch for each.
#[inline]
fn any(values: &[f32], test: impl Fn(f32) -> bool) -> bool {
    values.iter().fold(false, |any, &value| any | test(value))
}

/// Visits the chunks that hold a value for which a test holds, with where they stand.
#[inline]
pub(super) fn visit(values: &[f32], test: impl Fn(f32) -> bool, mut take: impl FnMut(usize, &[f32])) {
    // The length of a chunk is known when it is compiled; that of the rest is not.
    let (chunks, rest) = values.as_chunks::<LANES>();
    for (chunk, at) in chunks.iter().zip((0..).step_by(LANES)) {
        if any(chunk, &test) {
            take(at, chunk);
        }
    }
    if any(rest, &test) {
        take(chunks.len() * LANES, rest);
    }
}

/// Checks that a row holds finite numbers.
///
/// # Errors
/// [`DecodeError::NotFinite`] with the first that is not.
pub(super) fn check_finite(values: &[f32], row: usize) -> Result<(), DecodeError> {
    if !any(values, |value| !value.is_finite()) {
        return Ok(());
    }
    let token = values.iter().position(|value| !value.is_finite()).unwrap_or(0);
    Err(DecodeError::NotFinite { row, token })
}

/// The largest value; −∞ of none.
pub(super) fn largest(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// The index of the largest value, the first of equal ones; `None` if all are −∞.
pub(super) fn index_of_largest(values: &[f32]) -> Option<usize> {
    let top = largest(values);
    if top == f32::NEG_INFINITY {
        return None;
    }
    let (chunks, _) = values.as_chunks::<LANES>();
    let before = chunks.iter().take_while(|chunk| !any(*chunk, |value| value == top)).count() * LANES;
    values[before..].iter().position(|&value| value == top).map(|at| before + at)
}

/// The sum, in double precision.
pub(super) fn sum(values: &[f32]) -> f64 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(value);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|&value| f64::from(value)).sum::<f64>()
}

/// The logarithm of the sum of the exponentials, and the largest value on the way.
fn log_sum(values: &[f32]) -> (f32, f32) {
    let top = largest(values);
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += exp(value - top);
        }
    }
    let rest: f64 = rest.iter().map(|&value| f64::from(exp(value - top))).sum();
    let sum = lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>() + rest;
    (top, ln(sum) as f32)
}

/// The natural logarithm of a normal number above 0, to about twelve digits. The standard library's may differ between targets.
pub(super) fn ln(x: f64) -> f64 {
    const FRACTION: u64 = (1 << 52) - 1;
    const ONE: u64 = 1.0_f64.to_bits();
    let fraction = f64::from_bits(x.to_bits() & FRACTION | ONE);
    let exponent = (x.to_bits() >> 52) as f64 - 1023.0;
    let is_large = fraction > std::f64::consts::SQRT_2;
    let (fraction, exponent) = if is_large { (fraction / 2.0, exponent + 1.0) } else { (fraction, exponent) };
    // ln f = 2 (z + z³/3 + z⁵/5 + …), with z = (f − 1) / (f + 1) of at most 0.172.
    let z = (fraction - 1.0) / (fraction + 1.0);
    let series = (0..8).rev().fold(0.0, |series, term| series * z * z + 1.0 / f64::from(2 * term + 1));
    exponent * std::f64::consts::LN_2 + 2.0 * z * series
}

/// Logits → log-probabilities, in place.
pub(super) fn log_softmax(values: &mut [f32]) {
    let (top, log) = log_sum(values);
    values.iter_mut().for_each(|value| *value = *value - top - log);
}

/// `e^x` for x of at most 0, to two units in the last place; 0 below −87.
pub(super) fn exp(x: f32) -> f32 {
    // Adding and taking it away again rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let r = (x - whole * LN2_HIGH) - whole * LN2_LOW;
    // Cephes' polynomial for e^r − 1 − r, over r².
    let mut p = 1.987_569_1e-4;
    for term in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + term;
    }
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    let value = (p * r * r + r + 1.0) * f32::from_bits(exponent << 23);
    if x < -87.0 { 0.0 } else { value }
}

/// A value and where it stood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ranked {
    pub(super) value: f32,
    pub(super) at: usize,
}

impl Ranked {
    /// The larger value first; of equal ones the one that stood first.
    pub(super) fn order(&self, other: &Ranked) -> Ordering {
        other.value.total_cmp(&self.value).then(self.at.cmp(&other.at))
    }
}

/// The largest of the values that it is shown, without sorting them. Its memory is used again.
#[derive(Clone, Debug, Default)]
pub(super) struct Top {
    room: usize,
    floor: f32,
    found: Vec<Ranked>,
}

impl Top {
    /// Forgets what it saw; from now on it keeps the `room` largest.
    pub(super) fn begin(&mut self, room: usize) {
        *self = Top { room, floor: f32::NEG_INFINITY, found: std::mem::take(&mut self.found) };
        self.found.clear();
    }

    /// Looks at values, each plus `add`, that stand from `at` on. −∞ is never kept.
    pub(super) fn show(&mut self, values: &[f32], add: f32, at: usize) {
        let (chunks, rest) = values.as_chunks::<LANES>();
        for (chunk, offset) in chunks.iter().zip((0..).step_by(LANES)) {
            let floor = self.floor;
            if any(chunk, |value| value + add > floor) {
                self.take(chunk, add, at + offset);
            }
        }
        self.take(rest, add, at + chunks.len() * LANES);
    }

    fn take(&mut self, values: &[f32], add: f32, at: usize) {
        for (offset, value) in values.iter().enumerate() {
            let value = value + add;
            if value > self.floor {
                self.found.push(Ranked { value, at: at + offset });
            }
        }
        if self.found.len() >= self.room.saturating_mul(2).saturating_add(LANES) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.room == 0 {
            self.found.clear();
        } else if self.found.len() > self.room {
            let (_, last, _) = self.found.select_nth_unstable_by(self.room - 1, Ranked::order);
            self.floor = last.value;
            self.found.truncate(self.room);
        }
    }

    /// The largest, best first: fewer than `room` if fewer were seen.
    pub(super) fn ranked(&mut self) -> &[Ranked] {
        self.cut();
        self.found.sort_unstable_by(Ranked::order);
        &self.found
    }

    /// The smallest of the largest; −∞ if none was seen.
    pub(super) fn last(&mut self) -> f32 {
        self.cut();
        self.found.iter().map(|ranked| ranked.value).min_by(f32::total_cmp).unwrap_or(f32::NEG_INFINITY)
    }
}
