//! Buffers that begin on a cache line.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::memory::{Block, LINE};

/// Types for which any bytes are a value.
///
/// # Safety
/// Every bit pattern is valid, there is no padding, and the alignment divides 64.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: numbers of a machine's word or less; all bit patterns are values.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for i8 {}
// SAFETY: as above.
unsafe impl Plain for i16 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}

/// A vector of numbers whose first element is aligned to 64 bytes, a cache line and the widest SIMD register.
#[derive(Clone, Default)]
pub(crate) struct Aligned<T> {
    block: Block,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Plain> Aligned<T> {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut buffer = Self { block: Block::default(), len: 0, element: PhantomData };
        buffer.resize(len);
        buffer
    }

    /// Makes it `len` elements long. What is new is zero, or left over from a longer past.
    pub(crate) fn resize(&mut self, len: usize) {
        self.block.grow((len * size_of::<T>()).next_multiple_of(LINE));
        self.len = len;
    }
}

impl<T: Plain> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `block` holds at least `len` elements (`resize`), aligned to 64, and any bytes are a `T` (`Plain`).
        unsafe { std::slice::from_raw_parts(self.block.start().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.block.start().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_on_a_cache_line_and_keeps_its_length() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let mut buffer = Aligned::<f32>::zeros(len);
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|&x| x == 0.0));
            buffer.resize(len / 2);
            assert_eq!(buffer.len(), len / 2);
        }
    }
}
