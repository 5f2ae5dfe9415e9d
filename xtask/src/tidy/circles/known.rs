//! The remaining circles. Add no row; remove the row of a resolved circle, and shorten the row of a smaller one.

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
