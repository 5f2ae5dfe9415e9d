//! The shaders that are plain files, with what they bind.

use super::Access::{Read, Write};
use super::Shader;

macro_rules! shaders {
    ($($constant:ident = $name:literal: [$($access:ident),*];)+) => {
        $(pub(super) static $constant: Shader = Shader {
            name: $name,
            source: include_str!(concat!("../shaders/", $name, ".wgsl")),
            entry: "main",
            bindings: &[$($access),*],
        };)+

        /// All of them, to be looked at without a device.
        #[cfg(any(test, not(target_arch = "wasm32")))]
        pub(crate) static ALL: &[&Shader] = &[$(&$constant),+];
    };
}

shaders! {
    LAYER_NORM = "layer_norm": [Write, Read];
    EMBED = "embed": [Read, Read, Read, Read, Read, Write];
    GATHER_ROWS = "gather_rows": [Read, Read, Write];
    ATTENTION = "attention": [Read, Read, Write, Read, Read, Read];
}
