//! A model in memory, and how engines come from it.

use grice_core::{Bundle, Engine, Error, Model, Options, PerMaxim, Precision, Result};
use std::sync::Arc;

/// Builds the engine of one replica, with so many threads. Called again when a replica has failed.
pub type BuildEngine = Arc<dyn Fn(&Replica) -> Result<Box<dyn Engine + Send>> + Send + Sync>;

/// What an engine is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Which of the model's replicas, from 0.
    pub index: usize,
    /// Threads that it may use.
    pub threads: usize,
}

/// A model read and checked.
#[derive(Clone)]
pub struct Loaded {
    /// Text in, verdict out.
    pub model: Arc<Model>,
    /// What its logits are filed under in caches.
    pub digest: String,
    /// Builds engines; the model's own unless a test has another idea.
    pub build: BuildEngine,
}

impl Loaded {
    /// Reads a bundle.
    ///
    /// # Errors
    /// What core says of it.
    pub fn open(bundle: &Bundle, precision: Option<Precision>, thresholds: Option<PerMaxim<f32>>) -> Result<Loaded> {
        let model = Arc::new(Model::load(bundle, &Options { precision, threads: None, thresholds })?);
        let digest = bundle.model_digest(model.precision())?;
        let own = Arc::clone(&model);
        let build: BuildEngine = Arc::new(move |replica: &Replica| {
            let engine = own.build_engine(replica.threads)?;
            Ok::<Box<dyn Engine + Send>, Error>(Box::new(engine))
        });
        Ok(Loaded { model, digest, build })
    }
}
