//! What a tile will read next.
//!
//! A tile of few rows does little with each weight, and waits for memory: the processor's own guesses stop at every page of memory. So
//! tiles ask for what lies a little farther on in the panel, or in the panel after it. With many rows too, the first tile of a panel waits.

/// Bytes between what a tile multiplies with and what it asks for: the time that memory takes to answer.
const AHEAD: usize = 4096;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for the lines that lie ahead of so many bytes of a panel.
#[inline(always)]
pub(super) fn fetch_ahead<T>(panel: *const T, bytes: usize) {
    for line in 0..bytes.div_ceil(LINE) {
        fetch(panel.cast::<u8>().wrapping_add(AHEAD + line * LINE));
    }
}

/// Asks for a cache line; any address will do.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch(line: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint; no address makes it fail.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
}

/// As above.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn fetch(line: *const u8) {
    // SAFETY: a hint; no address makes it fail.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{line}]", line = in(reg) line, options(readonly, nostack, preserves_flags));
    }
}

/// Other processors are not asked.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn fetch(line: *const u8) {
    let _ = line;
}
