//! What products are held to, with and without a device.

mod cover;
pub(crate) mod device;
mod oracle;
mod quantize;
pub(crate) mod validate;
mod weights;

use super::*;
use crate::tune::ladder;

/// A device with everything, as far as a shader's text goes.
pub(crate) const EVERYTHING: Abilities = Abilities {
    f16: true,
    cooperative: Some(Fragments { size: 16, subgroup: 32 }),
    workgroup_bytes_max: 32 << 10,
    invocations_max: 256,
    binding_bytes_max: 128 << 20,
};

/// Every method that any adapter is offered, once.
pub(crate) fn all_methods() -> Vec<Method> {
    let mut methods = Vec::new();
    for fragments in [Fragments { size: 16, subgroup: 32 }, Fragments { size: 8, subgroup: 8 }] {
        let abilities = Abilities { cooperative: Some(fragments), ..EVERYTHING };
        for method in ladder::all_methods(&abilities) {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
    }
    methods
}
