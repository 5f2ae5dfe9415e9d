//! A network without text processing: token ids in, logits out.

use crate::values::{coded, to_js};
use grice_core::{Batch, CpuEngine, Engine as _};
use wasm_bindgen::prelude::*;
#[cfg(feature = "onnx")]
use {
    grice_core::{Error, Network},
    js_sys::Uint8Array,
};

/// A detector's network, for callers with their own tokenizer.
#[wasm_bindgen]
pub struct Engine {
    inner: CpuEngine,
}

#[wasm_bindgen]
impl Engine {
    /// Reads the ONNX file of a detector, from `input_ids` and `attention_mask` to `logits` `[rows, labels]`.
    ///
    /// # Errors
    /// An `Error` with `code: "bad_model"`, its message naming the node, input or output at fault.
    #[cfg(feature = "onnx")]
    #[wasm_bindgen(js_name = fromOnnx)]
    pub fn from_onnx(onnx: &Uint8Array, labels: usize) -> Result<Engine, JsValue> {
        // Moved, so that the file is freed before the weights are packed.
        let network = Network::import(onnx.to_vec(), labels)
            .map_err(|source| to_js(Error::Model { path: "the ONNX file".to_owned(), source: source.into() }))?;
        let precision = network.precision();
        let inner = CpuEngine::new(network, precision, 1).map_err(|error| to_js(error.into()))?;
        Ok(Engine { inner })
    }

    /// Logits of the sequences in `ids`, stored without gaps, `lengths[i]` tokens each: row after row, `labels` values per row.
    ///
    /// # Errors
    /// An `Error` with `code: "bad_input"` for no sequence, an empty one, or lengths that do not add up to the ids;
    /// `code: "bad_model"` or `"bug"` for errors of the network.
    pub fn run(&mut self, ids: &[u32], lengths: &[u32]) -> Result<Vec<f32>, JsValue> {
        let batch = Batch::of_lengths(ids, lengths).map_err(|problem| coded("bad_input", &problem.to_string()))?;
        let logits = self.inner.forward(&batch).map_err(|error| to_js(error.into()))?;
        Ok((0..logits.rows()).flat_map(|row| logits.row(row).iter().copied()).collect())
    }

    /// The kernels: `"simd128"`, `"relaxed-simd"`, or `"tract"` for a graph that did not fuse.
    #[wasm_bindgen(getter)]
    pub fn kernels(&self) -> String {
        self.inner.info().kernels.to_owned()
    }
}
