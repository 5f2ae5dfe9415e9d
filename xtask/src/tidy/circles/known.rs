//! The circles that are left. No row is added; a circle that is cleared takes its row with it, and one that shrinks shortens its row.

/// Crate and files.
pub(super) const KNOWN: &[(&str, &[&str])] = &[
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
