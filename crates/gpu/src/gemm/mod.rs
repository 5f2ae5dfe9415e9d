//! Products with weights, `y = act(x · w + bias) + residual`: the ladder of ways to make them, from few rows to cooperative matrices.
//!
//! [`PackedWeights`] puts weights into the shaders' order, a [`Choice`] says which way it goes (which one is best on a device is for
//! [`crate::tune`] to say), and a [`Product`] turns into dispatches. Their oracle is [`grice_kernels::reference`](mod@grice_kernels::reference).

mod abilities;
mod method;
mod product;
pub(crate) mod shaders;
#[cfg(test)]
pub(crate) mod tests;
mod weights;

pub(crate) use abilities::{abilities_of, cooperative_features, fragments_of};
pub(crate) use method::{Abilities, Choice, CooperativeSize, Form, Fragments, Method, RowsSize, TileSize};
pub(crate) use product::{Product, Scratch, activation_code, quantized_bytes};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use weights::row_of_words;
pub(crate) use weights::{PackedWeights, Weights};
