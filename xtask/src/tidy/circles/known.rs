//! The circles that are left. No row is added; a circle that is cleared takes its row with it, and one that shrinks shortens its row.

/// Crate and files.
pub(super) const KNOWN: &[(&str, &[&str])] = &[
    ("crates/kernels", &["pool.rs", "pool/threads.rs"]),
    (
        "crates/kernels",
        &[
            "vector/functions.rs",
            "vector/mod.rs",
            "vector/neon.rs",
            "vector/scalar.rs",
            "vector/wasm.rs",
            "vector/x86.rs",
        ],
    ),
];
