//! What the file says of itself.

use super::container::Blob;
use super::embedding::KeptEmbedding;
use crate::device::Gpu;
use crate::gemm::Choice;
use crate::model::Model;
use crate::tune::Shape;
use crate::uploaded::binding_bytes_max;
use grice_model::Precision;
use serde::{Deserialize, Serialize};

/// What a compiled engine was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `sha256:<hex>` of the ONNX file.
    pub digest: String,
    /// The precision that the bundle calls it by.
    pub precision: Precision,
    /// Columns of its logits.
    pub labels: usize,
    /// Rows of the word embedding, one more than the highest usable token id.
    pub embedding_rows: Option<usize>,
}

/// A few short sequences, and what the processor answers to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// Token ids.
    pub sequences: Vec<Vec<u32>>,
    /// Bits of the logits, f32 `[sequences, labels]`.
    pub logits: Vec<u32>,
}

/// What decides whether the rest can be read at all.
#[derive(Serialize, Deserialize)]
pub(super) struct Stamp {
    /// The release.
    pub(super) grice: String,
    /// BLAKE3 of all shaders.
    pub(super) shaders: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Header {
    #[serde(flatten)]
    pub(super) stamp: Stamp,
    pub(super) device: Device,
    pub(super) origin: Origin,
    pub(super) answers: Answers,
    /// Of the weights.
    pub(super) precision: Precision,
    pub(super) model: Model,
    /// The weights in the order in which they are uploaded.
    pub(super) weights: Vec<KeptWeight>,
    pub(super) embedding: KeptEmbedding,
    pub(super) tiles: KeptTiles,
    /// Where the driver hands them out.
    pub(super) pipelines: Option<KeptPipelines>,
}

/// What a file is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Device {
    pub(super) adapter: String,
    pub(super) backend: String,
    pub(super) driver: String,
    /// Weights are cut by it.
    pub(super) binding_bytes_max: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeptWeight {
    /// For messages.
    pub(super) name: String,
    pub(super) words: Blob,
}

/// Compiled shaders as the driver hands them out, and a seal without which no driver gets to see them.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptPipelines {
    pub(super) data: Blob,
    pub(super) seal: String,
}

/// How products are made.
#[derive(Serialize, Deserialize)]
pub(super) struct KeptTiles {
    /// Whether cooperative matrices made the right products.
    pub(super) cooperative: bool,
    pub(super) timed: Vec<(Shape, Choice)>,
}

impl Stamp {
    /// Of this build.
    pub(super) fn own() -> Stamp {
        let mut hasher = blake3::Hasher::new();
        for shader in crate::gemm::shaders::ALL.iter().chain(crate::record::ALL) {
            hasher.update(shader.name.as_bytes()).update(shader.source.as_bytes());
        }
        Stamp { grice: env!("CARGO_PKG_VERSION").to_owned(), shaders: hasher.finalize().to_hex().to_string() }
    }

    /// What tells a file's stamp from this build's.
    pub(super) fn difference(&self) -> Option<String> {
        let own = Stamp::own();
        if self.grice != own.grice {
            return Some(format!("grice {} made it, and this is {}", self.grice, own.grice));
        }
        (self.shaders != own.shaders).then(|| "it was made for other shaders than those of this build".to_owned())
    }
}

impl Device {
    pub(super) fn of(gpu: &Gpu) -> Device {
        let adapter = gpu.adapter();
        Device {
            adapter: adapter.name.clone(),
            backend: adapter.backend.to_owned(),
            driver: adapter.driver.clone(),
            binding_bytes_max: binding_bytes_max(gpu),
        }
    }

    /// What tells the device of a file from one that is open.
    pub(super) fn difference(&self, open: &Device) -> Option<String> {
        if (&self.adapter, &self.backend) != (&open.adapter, &open.backend) {
            let [made, here] = [self, open].map(|device| format!("{} ({})", device.adapter, device.backend));
            return Some(format!("it was made for another adapter, {made}, and this is {here}"));
        }
        if self.driver != open.driver {
            return Some(format!("it was made for another driver, {}, and this is {}", self.driver, open.driver));
        }
        (self != open).then(|| "the driver allows buffers of another size than when it was made".to_owned())
    }
}
