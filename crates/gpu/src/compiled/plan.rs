//! Plans into files, and out of them.

use super::check::check_model;
use super::container::{Draft, Opened};
use super::embedding::KeptEmbedding;
use super::header::{Answers, Device, Header, KeptPipelines, KeptTiles, KeptWeight, Origin, Stamp};
use super::seal::Key;
use crate::buffers::tokens_max;
use crate::device::Gpu;
use crate::error::GpuError;
use crate::model::{Form, Model};
use crate::plan::{GpuPlan, Inner};
use crate::recording::Buffer;
use crate::tune::Tiles;
use crate::uploaded::{Uploaded, binding_bytes_max};
use grice_model::{Lookup, Program};
use std::io;
use std::path::{Path, PathBuf};

/// A compiled engine that was opened: this release made it, and its header is whole.
pub struct CompiledPlan {
    path: PathBuf,
    opened: Opened,
    header: Header,
}

impl CompiledPlan {
    /// Opens a file and reads what it says of itself.
    ///
    /// # Errors
    /// [`GpuError::Compiled`] for a file that cannot be read, is damaged, or was made by another release.
    pub fn open(path: &Path) -> Result<CompiledPlan, GpuError> {
        let refused = |reason: String| GpuError::Compiled { path: path.display().to_string(), reason };
        let (opened, header) = Opened::open(path).map_err(refused)?;
        let unreadable = |error: serde_json::Error| refused(format!("its header cannot be read: {error}"));
        let stamp: Stamp = serde_json::from_slice(&header).map_err(unreadable)?;
        if let Some(difference) = stamp.difference() {
            return Err(refused(difference));
        }
        let header: Header = serde_json::from_slice(&header).map_err(unreadable)?;
        Ok(CompiledPlan { path: path.to_owned(), opened, header })
    }

    /// What it was made from.
    pub fn origin(&self) -> &Origin {
        &self.header.origin
    }

    /// What the processor answered when it was made.
    pub fn answers(&self) -> &Answers {
        &self.header.answers
    }

    fn refuse(&self, reason: String) -> GpuError {
        GpuError::Compiled { path: self.path.display().to_string(), reason }
    }

    /// Gives the file's pipelines to the driver, if this user made them; else they are made anew, which takes time and no more.
    fn seed_pipelines(&self, gpu: &Gpu) -> Result<(), GpuError> {
        let (Some(kept), Some(folder)) = (&self.header.pipelines, &gpu.settings().cache) else { return Ok(()) };
        let Some(key) = Key::open(folder) else { return Ok(()) };
        let data: Vec<u8> = self.opened.read(&kept.data).map_err(|reason| self.refuse(reason))?;
        if key.fits(&kept.seal, &data) {
            // SAFETY: only `keep_pipelines` seals, and it seals what `Pipelines::data` gave; whoever else has the user's key can
            // run programs as that user already. The header said that adapter and driver are those of then.
            #[allow(unsafe_code)]
            unsafe {
                gpu.pipelines().seed(gpu.device(), &data);
            }
        }
        Ok(())
    }

    /// Uploads weight after weight, no more than one of them in memory.
    fn upload(&self, uploaded: &mut Uploaded) -> Result<(), GpuError> {
        for weight in &self.header.weights {
            let words: Vec<u32> = self.opened.read(&weight.words).map_err(|reason| self.refuse(reason))?;
            uploaded.upload(&weight.name, &words)?;
        }
        Ok(())
    }
}

impl GpuPlan {
    /// The plan that a file holds. Uploads its weights as they are, and takes its choices of tiles; its pipelines too, if this user
    /// made them.
    ///
    /// # Errors
    /// [`GpuError::Compiled`] for a file that was made for another device or is damaged; otherwise as [`GpuPlan::new`].
    pub async fn load(gpu: &Gpu, compiled: &CompiledPlan) -> Result<GpuPlan, GpuError> {
        let CompiledPlan { opened, header, .. } = compiled;
        let refuse = |reason: String| compiled.refuse(reason);
        if let Some(difference) = header.device.difference(&Device::of(gpu)) {
            return Err(refuse(difference));
        }
        let labels = header.origin.labels;
        let words: Vec<u64> = header.weights.iter().map(|weight| weight.words.bytes / 4).collect();
        check_model(&header.model, labels, &words).map_err(refuse)?;
        let embedding = header.embedding.read(opened).map_err(refuse)?;
        if header.origin.embedding_rows.is_some_and(|rows| rows != embedding.words.rows()) {
            return Err(refuse("it is damaged: its words are not as many as it says".to_owned()));
        }
        if Form::of(embedding.words.values()) != header.model.embedding.form {
            return Err(refuse("it is damaged: its words are not in the form that it says".to_owned()));
        }
        let lookup = Lookup::new(embedding).map_err(|error| refuse(error.to_string()))?.up_to(header.model.longest());
        compiled.seed_pipelines(gpu)?;
        let mut uploaded = Uploaded::new(gpu);
        // Weights that the model does not name may claim to be of any length.
        let bytes = header.weights.iter().fold(0_u64, |sum, weight| sum.saturating_add(weight.words.bytes));
        gpu.attempt("the weights", bytes, || compiled.upload(&mut uploaded)).await?;
        let (model, precision) = (header.model.clone(), header.precision);
        let tiles = Tiles::restore(gpu, header.tiles.cooperative, &header.tiles.timed);
        let tokens_max = tokens_max(&model, binding_bytes_max(gpu));
        GpuPlan::assemble(Inner { uploaded, model, lookup, head: None, precision, labels, tiles, tokens_max }).await
    }

    /// Writes a file that [`GpuPlan::load`] makes this plan from, which was made from `program`; answers its length in bytes. It
    /// appears under its name when it is whole, in place of an older one.
    ///
    /// # Errors
    /// [`GpuError::Compiled`] where it cannot be written, [`GpuError::Lowering`] for a head that the processor runs.
    pub fn compile(&self, path: &Path, program: &Program, origin: Origin, answers: Answers) -> Result<u64, GpuError> {
        let told = |error: io::Error| GpuError::Compiled {
            path: path.display().to_string(),
            reason: format!("it cannot be written: {error}"),
        };
        let refuse = |step: &str, reason: String| Err(GpuError::Lowering { step: step.to_owned(), reason });
        let (steps, parts) = program.clone().into_steps(origin.labels);
        match parts.head.as_ref().map(|head| &head.layers) {
            None => {}
            Some(Err(unfused)) => return refuse("the head", unfused.reason.clone()),
            Some(Ok(_)) => return refuse("the head", "its logits are not as many as its labels".to_owned()),
        }
        let gpu = &self.inner.uploaded.gpu;
        let mut draft = Draft::create(path).map_err(told)?;
        let mut weights: Vec<KeptWeight> = Vec::new();
        let mut keep = |name: String, words: Vec<u32>| {
            let words = draft.push(bytemuck::cast_slice(&words)).map_err(told)?;
            weights.push(KeptWeight { name, words });
            Ok(Buffer::Weight(weights.len() - 1))
        };
        let (model, embedding) = Model::lower(steps, parts, binding_bytes_max(gpu), &mut keep)?;
        if model != self.inner.model {
            return refuse("the encoder", "the program is not the one that the plan was made from".to_owned());
        }
        let (cooperative, timed) = self.inner.tiles.findings();
        let header = Header {
            stamp: Stamp::own(),
            device: Device::of(gpu),
            origin,
            answers,
            precision: self.inner.precision,
            model,
            weights,
            embedding: KeptEmbedding::write(&embedding, &mut draft).map_err(told)?,
            tiles: KeptTiles { cooperative, timed },
            pipelines: keep_pipelines(gpu, &mut draft).map_err(told)?,
        };
        let header = serde_json::to_vec(&header).map_err(io::Error::other).map_err(told)?;
        draft.finish(&header).map_err(told)
    }
}

/// What the driver made of the pipelines, sealed, where it hands that out and there is a folder for the key.
fn keep_pipelines(gpu: &Gpu, draft: &mut Draft) -> io::Result<Option<KeptPipelines>> {
    let (Some(folder), Some(data)) = (&gpu.settings().cache, gpu.pipelines().data()) else { return Ok(None) };
    let seal = Key::open_or_make(folder)?.seal(&data);
    Ok(Some(KeptPipelines { data: draft.push(&data)?, seal }))
}
