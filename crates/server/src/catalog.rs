//! The models by name, and their replacement while requests run.

use crate::cache::SharedCache;
use crate::metrics::{Metrics, OutcomeLabels};
use crate::problem::Problem;
use crate::served::Served;
use crate::{BundleSource, Loaded, ServeError, Settings};
use grice_core::panic_text;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

/// The current models.
pub(crate) struct Catalog {
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    shared: Option<Arc<SharedCache>>,
    models: RwLock<Arc<[Arc<Served>]>>,
    reloading: tokio::sync::Mutex<()>,
}

impl Catalog {
    /// Without models; [`Catalog::reload`] loads them.
    pub(crate) fn new(settings: Arc<Settings>, metrics: Arc<Metrics>, shared: Option<Arc<SharedCache>>) -> Catalog {
        Catalog { settings, metrics, shared, models: RwLock::new(Arc::new([])), reloading: Default::default() }
    }

    /// All models, the default one first.
    pub(crate) fn models(&self) -> Arc<[Arc<Served>]> {
        Arc::clone(&self.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The model of this name, or the default one.
    ///
    /// # Errors
    /// 404 with the names of the models, 503 before the first load.
    pub(crate) fn find(&self, name: Option<&str>) -> Result<Arc<Served>, Problem> {
        let models = self.models();
        let found = match name {
            None => models.first(),
            Some(name) => models.iter().find(|served| served.name() == name),
        };
        found.cloned().ok_or_else(|| match name {
            _ if models.is_empty() => {
                Problem::unavailable("the models are still being loaded", std::time::Duration::from_secs(1))
            }
            name => Problem::no_model(name.unwrap_or_default(), &names(&models)),
        })
    }

    /// Whether every model can answer.
    pub(crate) fn is_ready(&self) -> bool {
        let models = self.models();
        !models.is_empty() && models.iter().all(|served| served.is_ready())
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
        let models: Arc<[Arc<Served>]> = loaded?.into();
        let old = {
            let mut current = self.models.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::clone(&models))
        };
        self.report_models();
        // Dropping old replicas waits for their threads, so do it on another thread.
        tokio::task::spawn_blocking(move || drop(old));
        Ok(())
    }

    /// Updates the metrics with the counters of the schedules, and with the devices of the models.
    pub(crate) fn report(&self) {
        self.models().iter().for_each(|served| served.runner().report());
        self.report_models();
    }

    fn report_models(&self) {
        self.metrics.set_models(self.models().iter().map(|served| served.info()).collect());
    }

    fn load_all(&self) -> Result<Vec<Arc<Served>>, ServeError> {
        if self.settings.bundles.is_empty() {
            return Err(ServeError::NoBundle);
        }
        let mut models: Vec<Arc<Served>> = Vec::new();
        for source in &self.settings.bundles {
            let loaded = load(source)?;
            let own_name = loaded.task.manifest().name.clone();
            let name = source.name.clone().unwrap_or(own_name);
            check_name(&name)?;
            if models.iter().any(|other| other.name() == name) {
                return Err(ServeError::SameName(name));
            }
            models.push(Served::start(name, loaded, &self.settings, &self.metrics, self.shared.clone())?);
        }
        Ok(models)
    }
}

/// The importer may panic on a broken file; this becomes a normal error.
fn load(source: &BundleSource) -> Result<Loaded, ServeError> {
    let name = || source.name.clone().unwrap_or_else(|| "bundle".to_owned());
    match catch_unwind(AssertUnwindSafe(|| (source.load)())) {
        Ok(loaded) => loaded.map_err(|source| ServeError::Bundle { name: name(), source }),
        Err(panic) => Err(ServeError::BundlePanic(name(), panic_text(&*panic).to_owned())),
    }
}

/// Names are part of URLs and metrics.
fn check_name(name: &str) -> Result<(), ServeError> {
    let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_fit = (1..=64).contains(&name.len()) && name.chars().all(fit) && name.starts_with(|c| c != '.');
    // `/v2/models/stats` is the route of the statistics of all models.
    let is_fit = is_fit && name != "stats";
    if is_fit { Ok(()) } else { Err(ServeError::BadName(name.to_owned())) }
}

fn names(models: &[Arc<Served>]) -> String {
    models.iter().map(|served| served.name()).collect::<Vec<_>>().join(", ")
}
