//! Whether this process may use AMX.

use std::sync::LazyLock;

/// Whether the processor multiplies tiles of 8-bit integers, and the system keeps their registers for this process. On Linux a process asks for
/// that once, for all its threads; other systems are not asked.
pub(super) fn is_usable() -> bool {
    static USABLE: LazyLock<bool> = LazyLock::new(|| has_instructions() && may_use_registers());
    *USABLE
}

/// `amx-tile` and `amx-int8`: leaf 7 of `cpuid`, bits 24 and 25 of EDX.
fn has_instructions() -> bool {
    use std::arch::x86_64::__cpuid_count;
    const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    #[allow(unused_unsafe, reason = "a safe function in later releases of Rust")]
    // SAFETY: every x86-64 processor has the instruction.
    let leaf = unsafe { __cpuid_count(7, 0) };
    leaf.edx & TILE_AND_INT8 == TILE_AND_INT8
}

/// <https://docs.kernel.org/arch/x86/xstate.html>: the request fails where the kernel or a virtual machine does not offer the registers.
#[cfg(target_os = "linux")]
fn may_use_registers() -> bool {
    use std::ffi::c_long;
    const SYS_ARCH_PRCTL: c_long = 158;
    const ARCH_REQ_XCOMP_PERM: c_long = 0x1023;
    const XFEATURE_XTILEDATA: c_long = 18;
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }
    // SAFETY: the call takes two numbers, and touches no memory of this process.
    unsafe { syscall(SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn may_use_registers() -> bool {
    false
}
