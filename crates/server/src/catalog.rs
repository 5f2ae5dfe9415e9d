//! The models by name, and their replacement while requests run.

use crate::cache::SharedCache;
use crate::embedding::Embedding;
use crate::metrics::{Metrics, OutcomeLabels};
use crate::problem::Problem;
use crate::retrieval::{Retrieval, is_of};
use crate::scribe::Scribe;
use crate::served::Served;
use crate::turns::Turns;
use crate::{BundleSource, CorpusSource, Loaded, ServeError, Settings, WriterSource};
use grice_core::{Nearest, Writer, panic_text};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

/// The current models.
pub(crate) struct Catalog {
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    shared: Option<Arc<SharedCache>>,
    current: RwLock<Models>,
    /// What the replicas of one index share; empty if all models are detectors.
    turns: Vec<Turns>,
    reloading: tokio::sync::Mutex<()>,
}

/// All models, of each task the default one first.
#[derive(Clone, Default)]
struct Models {
    detectors: Arc<[Arc<Served>]>,
    scribes: Arc<[Arc<Scribe>]>,
    embeddings: Arc<[Arc<Embedding>]>,
    retrieval: Option<Arc<Retrieval>>,
}

impl Catalog {
    /// Without models; [`Catalog::reload`] loads them.
    pub(crate) fn new(settings: Arc<Settings>, metrics: Arc<Metrics>, shared: Option<Arc<SharedCache>>) -> Catalog {
        let is_alone = settings.writers.is_empty() && settings.embedders.is_empty();
        let sharing = if is_alone { 0 } else { settings.pool.replicas.max(1) };
        let turns = std::iter::repeat_with(Turns::default).take(sharing).collect();
        Catalog { settings, metrics, shared, current: RwLock::default(), turns, reloading: Default::default() }
    }

    /// The models that judge turns, the default one first.
    pub(crate) fn models(&self) -> Arc<[Arc<Served>]> {
        self.current().detectors
    }

    /// The models that write texts, the default one first.
    pub(crate) fn scribes(&self) -> Arc<[Arc<Scribe>]> {
        self.current().scribes
    }

    /// The models that embed texts, the default one first.
    pub(crate) fn embeddings(&self) -> Arc<[Arc<Embedding>]> {
        self.current().embeddings
    }

    /// The corpus of responses, if there is one.
    pub(crate) fn retrieval(&self) -> Option<Arc<Retrieval>> {
        self.current().retrieval
    }

    fn current(&self) -> Models {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The detector of this name, or the default one.
    ///
    /// # Errors
    /// 404 with the names of the models, 422 for a model of another task, 501 if no model judges turns, 503 before the first load.
    pub(crate) fn find(&self, name: Option<&str>) -> Result<Arc<Served>, Problem> {
        let models = self.current();
        let found = match name {
            None => models.detectors.first(),
            Some(name) => models.detectors.iter().find(|served| served.name() == name),
        };
        found.cloned().ok_or_else(|| models.missing("detect", name))
    }

    /// The model of this name that writes texts, or the default one.
    ///
    /// # Errors
    /// As [`Catalog::find`].
    pub(crate) fn find_scribe(&self, name: Option<&str>) -> Result<Arc<Scribe>, Problem> {
        let models = self.current();
        let found = match name {
            None => models.scribes.first(),
            Some(name) => models.scribes.iter().find(|scribe| scribe.name() == name),
        };
        found.cloned().ok_or_else(|| models.missing("generate", name))
    }

    /// The model of this name that embeds texts, or the default one.
    ///
    /// # Errors
    /// As [`Catalog::find`].
    pub(crate) fn find_embedding(&self, name: Option<&str>) -> Result<Arc<Embedding>, Problem> {
        let models = self.current();
        let found = match name {
            None => models.embeddings.first(),
            Some(name) => models.embeddings.iter().find(|embedding| embedding.name() == name),
        };
        found.cloned().ok_or_else(|| models.missing("embed", name))
    }

    /// The model of this name that repairs (or answers, if `answers`), or the first one that does.
    ///
    /// # Errors
    /// As [`Catalog::find`].
    pub(crate) fn find_by_recipe(&self, name: Option<&str>, answers: bool) -> Result<Arc<Scribe>, Problem> {
        let (task, scribes) = (if answers { "pipeline" } else { "repair" }, self.scribes());
        let fits = |scribe: &&Arc<Scribe>| {
            let recipes = scribe.recipes();
            if answers { recipes.answer.is_some() } else { recipes.repair.iter().any(|(_, recipe)| recipe.is_some()) }
        };
        match name {
            Some(_) => {
                let scribe = self.find_scribe(name)?;
                let detail = || format!("the model `{}` has no recipe for the task `{task}`", scribe.name());
                if fits(&&scribe) { Ok(scribe) } else { Err(Problem::unusable(detail())) }
            }
            // Tells whether models are still being loaded.
            None if scribes.is_empty() => self.find_scribe(None).map_err(|problem| match problem.status.as_u16() {
                501 => Problem::no_task(task),
                _ => problem,
            }),
            None => scribes.iter().find(fits).cloned().ok_or_else(|| Problem::no_task(task)),
        }
    }

    /// The names of all models, and of each the replicas in use and all of them.
    pub(crate) fn replicas(&self) -> Vec<(String, (usize, usize))> {
        let Models { detectors, scribes, embeddings, .. } = self.current();
        let detectors = detectors.iter().map(|served| (served.name().to_owned(), served.runner().replicas()));
        let scribes = scribes.iter().map(|scribe| (scribe.name().to_owned(), scribe.replicas()));
        let embeddings = embeddings.iter().map(|embedding| (embedding.name().to_owned(), embedding.replicas()));
        detectors.chain(scribes).chain(embeddings).collect()
    }

    /// Whether every model can answer.
    pub(crate) fn is_ready(&self) -> bool {
        let replicas = self.replicas();
        !replicas.is_empty() && replicas.iter().all(|(_, (in_use, _))| *in_use > 0)
    }

    /// Reloads all bundles and replaces the old ones at once. If one of them cannot be used, nothing
    /// changes. The old models answer the requests that they have accepted.
    ///
    /// # Errors
    /// [`ServeError`] of the first bundle at fault.
    pub(crate) async fn reload(self: &Arc<Catalog>) -> Result<(), ServeError> {
        let _one_at_a_time = self.reloading.lock().await;
        let catalog = Arc::clone(self);
        let loaded = tokio::task::spawn_blocking(move || catalog.load_all()).await;
        let loaded = loaded.unwrap_or_else(|error| Err(ServeError::Runtime(std::io::Error::other(error))));
        let outcome = if loaded.is_ok() { "ok" } else { "failed" };
        self.metrics.reloads.get_or_create(&OutcomeLabels { outcome }).inc();
        let models = loaded?;
        let old = {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, models)
        };
        self.report_models();
        // Dropping old replicas waits for their threads, so do it on another thread.
        tokio::task::spawn_blocking(move || drop(old));
        Ok(())
    }

    /// Ends all texts: each client is told that the server stops.
    pub(crate) fn abort_texts(&self) {
        self.scribes().iter().for_each(|scribe| scribe.abort());
    }

    /// Updates the metrics with the counters of the schedules, and with the devices of the models.
    pub(crate) fn report(&self) {
        let Models { detectors, scribes, embeddings, .. } = self.current();
        detectors.iter().for_each(|served| served.runner().report());
        scribes.iter().for_each(|scribe| scribe.report());
        embeddings.iter().for_each(|embedding| embedding.report());
        self.report_models();
    }

    fn report_models(&self) {
        let Models { detectors, scribes, embeddings, .. } = self.current();
        let infos = detectors.iter().map(|served| served.info()).chain(scribes.iter().map(|scribe| scribe.info()));
        self.metrics.set_models(infos.chain(embeddings.iter().map(|embedding| embedding.info())).collect());
    }

    fn load_all(&self) -> Result<Models, ServeError> {
        let Settings { bundles, writers, embedders, .. } = &*self.settings;
        if bundles.is_empty() && writers.is_empty() && embedders.is_empty() {
            return Err(ServeError::NoBundle);
        }
        let mut names: Vec<String> = Vec::new();
        let mut detectors: Vec<Arc<Served>> = Vec::new();
        for source in bundles {
            let loaded = load(source)?;
            let own_name = loaded.task.manifest().name.clone();
            let name = source.name.clone().unwrap_or(own_name);
            take_name(&mut names, &name)?;
            detectors.push(Served::start(
                name,
                loaded,
                &self.settings,
                &self.metrics,
                self.shared.clone(),
                &self.turns,
            )?);
        }
        let mut scribes: Vec<Arc<Scribe>> = Vec::new();
        for source in writers {
            take_name(&mut names, &source.name)?;
            let writer = load_writer(source)?;
            scribes.push(Scribe::start(source.name.clone(), writer, &self.settings, &self.metrics, &self.turns)?);
        }
        let mut corpus = self.settings.corpus.as_ref().map(load_corpus).transpose()?;
        let (mut embeddings, mut retrieval): (Vec<Arc<Embedding>>, _) = (Vec::new(), None);
        for source in embedders {
            take_name(&mut names, &source.name)?;
            let mut embedder = guarded(&source.name, || (source.load)())?;
            let is_its = corpus.as_ref().map_or(Ok(false), |corpus| is_of(&**corpus, &mut embedder));
            let is_its = is_its.map_err(|error| ServeError::Bundle { name: source.name.clone(), source: error })?;
            let embedding =
                Embedding::start(source.name.clone(), embedder, &self.settings, &self.metrics, &self.turns)?;
            if let Some(corpus) = corpus.take_if(|_| is_its) {
                retrieval = Some(Arc::new(Retrieval::new(corpus, Arc::clone(&embedding))));
            }
            embeddings.push(embedding);
        }
        if let Some(corpus) = corpus {
            return Err(ServeError::NoEmbedder(corpus.place(), corpus.embedder().name.clone()));
        }
        let (detectors, scribes, embeddings) = (detectors.into(), scribes.into(), embeddings.into());
        Ok(Models { detectors, scribes, embeddings, retrieval })
    }
}

impl Models {
    /// The names of the models of each task.
    fn names(&self) -> [(&'static str, Vec<&str>); 3] {
        [
            ("detect", self.detectors.iter().map(|served| served.name()).collect()),
            ("generate", self.scribes.iter().map(|scribe| scribe.name()).collect()),
            ("embed", self.embeddings.iter().map(|embedding| embedding.name()).collect()),
        ]
    }

    /// Why there is no model of this name for a task.
    fn missing(&self, task: &str, name: Option<&str>) -> Problem {
        let all = self.names();
        let own = all.iter().find(|(other, _)| *other == task).map_or(&[][..], |(_, names)| names.as_slice());
        match name {
            _ if all.iter().all(|(_, names)| names.is_empty()) => {
                Problem::unavailable("the models are still being loaded", std::time::Duration::from_secs(1))
            }
            Some(name) if !own.contains(&name) && all.iter().any(|(_, names)| names.contains(&name)) => {
                let detail = format!("the model `{name}` does not have the task `{task}`; see /v1/models");
                Problem::unusable(detail)
            }
            Some(name) if !own.is_empty() => Problem::no_model(name, &own.join(", ")),
            _ => Problem::no_task(task),
        }
    }
}

/// The importer may panic on a broken file; this becomes a normal error.
fn load(source: &BundleSource) -> Result<Loaded, ServeError> {
    guarded(source.name.as_deref().unwrap_or("bundle"), || (source.load)())
}

fn load_writer(source: &WriterSource) -> Result<Writer, ServeError> {
    guarded(&source.name, || (source.load)())
}

fn load_corpus(source: &CorpusSource) -> Result<Arc<dyn Nearest>, ServeError> {
    guarded(&source.name, || (source.load)())
}

fn guarded<T>(name: &str, load: impl FnOnce() -> grice_core::Result<T>) -> Result<T, ServeError> {
    match catch_unwind(AssertUnwindSafe(load)) {
        Ok(loaded) => loaded.map_err(|source| ServeError::Bundle { name: name.to_owned(), source }),
        Err(panic) => Err(ServeError::BundlePanic(name.to_owned(), panic_text(&*panic).to_owned())),
    }
}

/// Each name is fit, and of one model.
fn take_name(names: &mut Vec<String>, name: &str) -> Result<(), ServeError> {
    check_name(name)?;
    if names.iter().any(|other| other == name) {
        return Err(ServeError::SameName(name.to_owned()));
    }
    names.push(name.to_owned());
    Ok(())
}

/// Names are part of URLs and metrics.
fn check_name(name: &str) -> Result<(), ServeError> {
    let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_fit = (1..=64).contains(&name.len()) && name.chars().all(fit) && name.starts_with(|c| c != '.');
    // `/v2/models/stats` is the route of the statistics of all models.
    let is_fit = is_fit && name != "stats";
    if is_fit { Ok(()) } else { Err(ServeError::BadName(name.to_owned())) }
}
