//! The shaders that are a plain file each, some with a second one that they share, and what they bind.

use crate::recording::Access::{Read, Write};
use crate::recording::Shader;

macro_rules! shaders {
    ($($constant:ident = $name:literal $(with $shared:literal)?: [$($access:ident),*];)+) => {
        $(pub(super) static $constant: Shader = Shader {
            name: $name,
            source: concat!(
                include_str!(concat!("../shaders/", $name, ".wgsl")),
                $("\n", include_str!(concat!("../shaders/", $shared, ".wgsl")))?
            ),
            entry: "main",
            bindings: &[$($access),*],
        };)+

        /// All of them, to be looked at without a device.
        #[cfg(any(test, not(target_arch = "wasm32")))]
        pub(crate) static ALL: &[&Shader] = &[$(&$constant),+];
    };
}

shaders! {
    LAYER_NORM = "layer_norm" with "row_sum": [Write, Read, Read];
    EMBED = "embed" with "row_sum": [Read, Read, Read, Read, Read, Write];
    GATE = "gate" with "gemm_activation": [Read, Write];
    GATHER_ROWS = "gather_rows": [Read, Read, Write];
    ROTATE = "rotate": [Write, Read, Read];
    ATTENTION = "attention": [Read, Read, Write, Read, Read, Read];
}
