//! What a forward pass is, before any device sees it: a list of dispatches. Pure: nothing here holds a handle.

mod attention;
mod forward;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod oracle;
mod rows;
mod shaders;
#[cfg(test)]
mod tests;

pub(crate) use forward::record_forward;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use shaders::ALL;
