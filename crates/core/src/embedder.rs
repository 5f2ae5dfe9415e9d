//! A model that turns texts into vectors: a `sentence-transformers` folder, its tokenizer and an engine.

use crate::bundle::DiskFolder;
use crate::driver::Driver;
use crate::embedder_digest::{Parts, Seen};
use crate::task::{Embed, Vector};
use crate::text::Tokenizer;
use crate::{Error, Options, Plan, Result};
use grice_model::{Engine, EngineInfo, Network, SentenceModel};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A loaded model that embeds texts.
///
/// ```
/// use grice_core::{Embedder, Options};
///
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/fixtures/embedders/bert");
/// let mut embedder = Embedder::open(folder.as_ref(), &Options::default())?;
/// let vector = embedder.embed("I liked the music most.")?;
/// assert_eq!(vector.values.len(), embedder.columns());
/// # Ok::<(), grice_core::Error>(())
/// ```
pub struct Embedder {
    task: Embed,
    driver: Driver,
    columns: usize,
    family: String,
    warnings: Vec<String>,
    folder: PathBuf,
    prompts: BTreeMap<String, String>,
    pools_prompt: bool,
    parts: Parts,
}

impl Embedder {
    /// Opens a folder and plans its model. [`Options::thresholds`] mean nothing here.
    ///
    /// # Errors
    /// [`Error::Model`], naming file, field, module or tensor; [`Error::BundleFile`] and [`Error::Tokenizer`] for the tokenizer;
    /// [`Error::Engine`]; [`Error::Gpu`] if a GPU is required.
    pub fn open(folder: &Path, options: &Options) -> Result<Embedder> {
        let of_model = |source| Error::Model { path: folder.display().to_string(), source: Box::new(source) };
        let seen = Seen::new(DiskFolder(folder.to_owned()));
        let SentenceModel { program, tokens_max, family, tokenizer, prompts, pools_prompt } =
            SentenceModel::open(&seen).map_err(of_model)?;
        let parts = Parts::new(&tokenizer, seen.names(), &program, tokens_max);
        let path = folder.join(tokenizer);
        let json = std::fs::read(&path)
            .map_err(|error| Error::BundleFile { path: path.display().to_string(), cause: error.to_string() })?;
        let rows = program.encoder.embedding.words.rows();
        let task = Embed::new(Tokenizer::from_json(&json)?, rows, tokens_max)?;
        let columns = program.hidden();
        let network = Network::of(program, columns);
        let network = match options.precision {
            Some(precision) => network.to_precision(precision).map_err(of_model)?,
            None => network,
        };
        let precision = network.precision();
        let plan = Plan::load(network, precision, options)?;
        let driver = Driver::new(plan, options.threads.unwrap_or(1))?;
        let warnings = driver.plan.warnings();
        let folder = folder.to_owned();
        Ok(Embedder { task, driver, columns, family, warnings, folder, prompts, pools_prompt, parts })
    }

    /// Whether a path is a folder of this kind: it has a `modules.json`.
    pub fn is_folder(path: &Path) -> bool {
        path.join("modules.json").is_file()
    }

    /// The task and the plan, for callers that run batches themselves.
    pub fn into_parts(self) -> (Embed, Plan) {
        (self.task, self.driver.plan)
    }

    /// The vector of one text.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadInput`] for a text that has no vector; other kinds if the model fails.
    pub fn embed(&mut self, text: &str) -> Result<Vector> {
        self.driver.answer(&self.task, &text.to_owned())
    }

    /// A vector for each text, in order. Texts of similar length run as one batch, and identical texts run once. A text that has no vector gets
    /// its own error and does not affect the others.
    ///
    /// # Errors
    /// Only if the device was lost.
    pub fn embed_batch(&mut self, texts: &[String]) -> Result<Vec<Result<Vector>>> {
        self.driver.answer_all(&self.task, texts)
    }

    /// Puts a prompt before every text from now on, as `sentence-transformers` does; an empty one is none.
    ///
    /// # Errors
    /// [`Error::PromptNotPooled`]; [`crate::ErrorKind::BadInput`] for a prompt that is no text.
    pub fn set_prompt(&mut self, prompt: &str) -> Result<()> {
        if !self.pools_prompt && !prompt.is_empty() {
            return Err(Error::PromptNotPooled { path: self.folder.display().to_string() });
        }
        self.task.set_prompt(prompt)
    }

    /// The prompts that its makers trained it with, by name: `prompts` in `config_sentence_transformers.json`.
    pub fn prompts(&self) -> &BTreeMap<String, String> {
        &self.prompts
    }

    /// `sha256:<hex>` of all that changes a vector: weights, configuration, tokenizer, pooling, normalising, the longest text, and the prompts
    /// that stand before texts and before queries. The precision that it runs in is not part of it. Reads the files.
    ///
    /// # Errors
    /// [`Error::BundleFile`].
    pub fn digest(&self, prompt: &str, query_prompt: &str) -> Result<String> {
        self.parts.digest(&self.folder, prompt, query_prompt)
    }

    /// Its plan, for more engines.
    pub fn plan(&self) -> &Plan {
        &self.driver.plan
    }

    /// The name of its folder.
    pub fn name(&self) -> &str {
        self.folder.file_name().and_then(|name| name.to_str()).unwrap_or("embedder")
    }

    /// How many numbers a vector has.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The most tokens that it reads of a text, special ones included.
    pub fn tokens_max(&self) -> usize {
        self.task.tokens_max()
    }

    /// `model_type` of its configuration.
    pub fn family(&self) -> &str {
        &self.family
    }

    /// Describes the engine that runs the model.
    pub fn engine_info(&self) -> EngineInfo {
        self.driver.engine.info()
    }

    /// The [`Plan::warnings`] at load.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Why [`Device::Auto`](crate::Device::Auto) selected the processor.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.driver.plan.fallback_reason()
    }
}
