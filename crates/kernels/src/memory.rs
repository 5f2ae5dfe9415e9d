//! Memory given back to the system.

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
