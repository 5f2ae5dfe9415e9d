//! The remaining circles. Add no row; remove the row of a resolved circle, and shorten the row of a smaller one.

/// Crate and files.
pub(super) const KNOWN: &[(&str, &[&str])] = &[
    ("crates/kernels", &["activation.rs", "gemm/product.rs", "linear.rs"]),
    ("crates/kernels", &["attention/head.rs", "attention/mod.rs"]),
    (
        "crates/kernels",
        &[
            "gemm/avx2.rs",
            "gemm/avx2_vnni.rs",
            "gemm/avx512.rs",
            "gemm/mod.rs",
            "gemm/neon.rs",
            "gemm/relaxed_simd.rs",
            "gemm/scalar.rs",
            "gemm/simd128.rs",
        ],
    ),
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
    (
        "crates/model",
        &[
            "contrib/activations.rs",
            "contrib/attention.rs",
            "contrib/blocks.rs",
            "contrib/embedding.rs",
            "contrib/mod.rs",
            "contrib/norms.rs",
            "contrib/products.rs",
        ],
    ),
    ("crates/model", &["error.rs", "manifest.rs"]),
    (
        "crates/model",
        &[
            "fuse/attention.rs",
            "fuse/embedding.rs",
            "fuse/encoder.rs",
            "fuse/glue.rs",
            "fuse/head.rs",
            "fuse/ladder.rs",
            "fuse/mod.rs",
        ],
    ),
    ("crates/model", &["fuse/probe.rs", "fuse/region.rs"]),
    ("crates/model", &["onnx.rs", "prepare/inputs.rs", "prepare/mod.rs"]),
    ("crates/model", &["rewrite/mod.rs", "rewrite/padding_mask.rs", "rewrite/weight_scales.rs"]),
];
