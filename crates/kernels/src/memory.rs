//! Memory from the system, and memory given back to it.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;
/// Bytes of a huge page. A block of this size or more begins on one.
const HUGE_PAGE: usize = 2 << 20;

/// Initialized bytes, aligned to a cache line.
///
/// On Linux the whole huge pages of a long block are huge where the system allows it on request: weights are read once for each token, and
/// with pages of 4 KiB the processor looks up a page every 64 lines and stops fetching ahead at its end.
pub(crate) struct Block {
    /// Dangling where `bytes` is 0.
    start: NonNull<u8>,
    /// A multiple of `LINE`.
    bytes: usize,
}

// SAFETY: a block owns its bytes, as a `Vec<u8>` does.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// `bytes` zeros, a multiple of `LINE`.
    fn zeros(bytes: usize) -> Self {
        let Some(layout) = layout(bytes) else { return Self::default() };
        // SAFETY: `layout` is not of length 0.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // Before the first write, which makes the pages.
        ask_for_huge_pages(start, bytes);
        // SAFETY: these bytes were just allocated.
        unsafe { start.write_bytes(0, bytes) };
        Self { start, bytes }
    }

    /// Makes it at least `bytes` long, a multiple of `LINE`. It keeps what it holds, and what is new is zero.
    pub(crate) fn grow(&mut self, bytes: usize) {
        if bytes <= self.bytes {
            return;
        }
        // Twice the old length at least, so that growing in small steps does not copy each time.
        let grown = Self::zeros(if self.bytes == 0 { bytes } else { bytes.max(2 * self.bytes) });
        // SAFETY: both are `self.bytes` long or longer, and are not the same.
        unsafe { grown.start.copy_from_nonoverlapping(self.start, self.bytes) };
        *self = grown;
    }

    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Default for Block {
    fn default() -> Self {
        // Not null and aligned, which is what slices of length 0 need.
        Self { start: NonNull::<Line>::dangling().cast(), bytes: 0 }
    }
}

impl Clone for Block {
    fn clone(&self) -> Self {
        let mut block = Self::default();
        if self.bytes > 0 {
            block = Self::zeros(self.bytes);
            // SAFETY: both are `self.bytes` long, and are not the same.
            unsafe { block.start.copy_from_nonoverlapping(self.start, self.bytes) };
        }
        block
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(layout) = layout(self.bytes) {
            // SAFETY: `zeros` allocated it with this layout.
            unsafe { dealloc(self.start.as_ptr(), layout) };
        }
    }
}

#[repr(align(64))]
struct Line;

/// None for a length of 0, for which there is nothing to allocate.
#[allow(clippy::expect_used, reason = "no slice that is copied here is that long")]
fn layout(bytes: usize) -> Option<Layout> {
    let align = if bytes >= HUGE_PAGE && ASKS { HUGE_PAGE } else { LINE };
    (bytes > 0).then(|| Layout::from_size_align(bytes, align).expect("a buffer beyond the address space"))
}

/// Whether `ask_for_huge_pages` does anything.
const ASKS: bool = cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")));

/// Asks for the block's whole huge pages, so that no memory beyond it is used.
fn ask_for_huge_pages(start: NonNull<u8>, bytes: usize) {
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    if bytes >= HUGE_PAGE {
        use std::ffi::{c_int, c_void};
        /// <https://man7.org/linux/man-pages/man2/madvise.2.html>, the same number on both processors.
        const MADV_HUGEPAGE: c_int = 14;
        unsafe extern "C" {
            fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
        }
        // SAFETY: whole pages of the block, whose contents the advice does not change. Where the system refuses, pages stay small.
        unsafe {
            madvise(start.as_ptr().cast(), bytes - bytes % HUGE_PAGE, MADV_HUGEPAGE);
        }
    }
    #[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = (start, bytes);
}

/// Gives the pages of freed memory back to the system. After a model was read and packed, glibc keeps as much free memory as the
/// file was long, between blocks that live on; other allocators, and other systems, need no asking and nothing is done there.
pub fn release_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            /// glibc, malloc.h.
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: glibc has this function, it takes its own locks, and it touches no block in use.
        unsafe {
            malloc_trim(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(block: &Block) -> &[u8] {
        // SAFETY: a block is initialized over its length.
        unsafe { std::slice::from_raw_parts(block.start(), block.bytes) }
    }

    #[test]
    fn a_block_grows_and_keeps_what_it_holds() {
        let mut block = Block::default();
        block.grow(0);
        assert_eq!(block.bytes, 0);
        for (length, written) in [(LINE, 1), (3 * LINE, 2), (HUGE_PAGE, 3), (5 * HUGE_PAGE / 2, 4)] {
            let before = bytes(&block).to_vec();
            block.grow(length);
            assert!(block.bytes >= length);
            let align = if block.bytes >= HUGE_PAGE && ASKS { HUGE_PAGE } else { LINE };
            assert_eq!(block.start() as usize % align, 0);
            assert_eq!(&bytes(&block)[..before.len()], &before[..]);
            assert!(bytes(&block)[before.len()..].iter().all(|&byte| byte == 0));
            // SAFETY: the first bytes of an initialized block.
            unsafe { block.start().write_bytes(written, LINE) };
            assert!(block.clone().start() != block.start());
            assert_eq!(bytes(&block.clone()), bytes(&block));
        }
    }
}
