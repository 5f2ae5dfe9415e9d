//! One served model: text to tokens, tokens to logits, logits to verdicts.

use crate::cache::SharedCache;
use crate::inferred::{Cached, Inferred};
use crate::inferring::infer;
use crate::loaded::{Loaded, Plans};
use crate::metrics::{InfoLabels, Metrics};
use crate::problem::Problem;
use crate::replica::{self, AnyEngine, Build};
use crate::runner::Runner;
use crate::statistics::Statistics;
use crate::texts::{TextKey, Texts, Tokenized};
use crate::turns::Turns;
use crate::{ServeError, Settings};
use grice_core::schedule::{Caching, Config, Keyer};
use grice_core::task::Detect;
use grice_core::{Precision, Reading, Turn};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A model with its replicas. It is dropped after the last request that uses it; then the replicas end.
pub(crate) struct Served {
    name: String,
    task: Arc<Detect>,
    keyer: Keyer,
    id_bound: Option<usize>,
    hides_padding: bool,
    precision: Precision,
    digest: String,
    plans: Arc<Plans>,
    texts: Texts,
    runner: Arc<Runner>,
    shared: Option<Arc<SharedCache>>,
    metrics: Arc<Metrics>,
    has_cache: bool,
}

impl Served {
    /// Builds and warms up the replicas. Blocks; must run within a tokio runtime.
    ///
    /// # Errors
    /// [`ServeError`] if a replica cannot be built.
    pub(crate) fn start(
        name: String,
        loaded: Loaded,
        settings: &Settings,
        metrics: &Arc<Metrics>,
        shared: Option<Arc<SharedCache>>,
        turns: &[Turns],
    ) -> Result<Arc<Served>, ServeError> {
        let manifest = loaded.task.manifest();
        let (precision, hides_padding) = (loaded.precision, loaded.plans.of_replica(0).hides_padding());
        let pool = &settings.pool;
        let config = Config {
            engines: pool.replicas.max(1),
            batch_tokens_max: settings
                .batch_tokens_max
                .unwrap_or_else(|| Config::batch_tokens_for(&loaded.plans.device())),
            ..settings.schedule.clone()
        };
        let warm_up = match pool.warm_up {
            true => replica::warm_up_batches(manifest.max_tokens, config.batch_rows_max, config.batch_tokens_max),
            false => Vec::new(),
        };
        let has_cache = config.cache_bytes_max > 0;
        let (runner, inboxes) =
            Runner::new(&name, config, &loaded.digest, precision, None, settings.queue_wait_max, Arc::clone(metrics));
        let served = Arc::new(Served {
            name,
            precision,
            digest: loaded.digest,
            plans: loaded.plans,
            texts: Texts::new(settings.text_cache_bytes_max),
            runner: Arc::clone(&runner),
            shared,
            metrics: Arc::clone(metrics),
            has_cache,
            id_bound: loaded.id_bound,
            hides_padding,
            task: loaded.task,
            keyer: runner.keyer(),
        });
        // From here on, dropping `served` ends all of its threads.
        let build = Arc::clone(&loaded.build);
        let build: Build = Arc::new(move |place| build(place).map(AnyEngine::Once));
        // Texts are written on the CPU.
        let is_on_cpu = |index| served.plans.of_replica(index).device() == "cpu";
        let turns = |index: usize| turns.get(index).filter(|_| is_on_cpu(index)).cloned();
        replica::start_all(&runner, inboxes, &build, pool, warm_up, turns, &served.name)?;
        Ok(served)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn task(&self) -> &Detect {
        &self.task
    }

    pub(crate) fn version(&self) -> &str {
        &self.task().manifest().version
    }

    /// Information about the model and its current device.
    pub(crate) fn info(&self) -> InfoLabels {
        InfoLabels {
            model: self.name.clone(),
            version: self.version().to_owned(),
            precision: self.precision.name(),
            device: self.plans.device(),
            digest: self.digest.clone(),
        }
    }

    pub(crate) fn id_bound(&self) -> Option<usize> {
        self.id_bound
    }

    /// Whether padding does not change the answer.
    pub(crate) fn hides_padding(&self) -> bool {
        self.hides_padding
    }

    /// Why `auto` selected the processor.
    pub(crate) fn fallback_reason(&self) -> Option<String> {
        self.plans.fallback_reason()
    }

    pub(crate) fn runner(&self) -> &Runner {
        &self.runner
    }

    pub(crate) fn statistics(&self) -> &Statistics {
        self.runner.statistics()
    }

    /// Whether it caches answers in the process.
    pub(crate) fn has_cache(&self) -> bool {
        self.has_cache
    }

    /// Whether it can answer.
    pub(crate) fn is_ready(&self) -> bool {
        self.runner.replicas().0 > 0
    }

    /// A turn's token ids. The time is proportional to the length of the turn: see [`crate::lanes::Lanes`].
    ///
    /// # Errors
    /// [`Problem`] if the turn cannot be judged.
    pub(crate) fn tokenize(&self, turn: &Turn) -> Result<Tokenized, Problem> {
        let start = Instant::now();
        let key = TextKey::of(turn);
        if let Some(known) = self.texts.get(&key) {
            return Ok(known);
        }
        let encoded = self.task().encode(turn).map_err(|error| Problem::from(&error))?;
        let (reading, ids) = (encoded.reading(), encoded.ids);
        let tokenized = Tokenized { reading, ..self.take_ids(ids) };
        self.texts.insert(key, tokenized.clone());
        self.metrics.tokenize.observe(start.elapsed().as_secs_f64());
        Ok(tokenized)
    }

    /// Token ids without a text.
    pub(crate) fn take_ids(&self, ids: Vec<u32>) -> Tokenized {
        Tokenized { key: self.keyer.key(&ids), ids: ids.into(), reading: Reading::default() }
    }

    /// The logits of each sequence, in order, or the reason why it has none.
    ///
    /// # Errors
    /// [`Problem`] of the whole request: a full queue, a passed deadline, or a server that stops.
    pub(crate) async fn infer(
        &self,
        sequences: &[&Tokenized],
        deadline: Instant,
        caching: Caching,
    ) -> Result<Vec<Result<Inferred, Problem>>, Problem> {
        if self.runner.is_dead() {
            let detail = "no replica of the model is in use; they are being rebuilt";
            return Err(Problem::unavailable(detail, Duration::from_secs(1)));
        }
        let start = Instant::now();
        let shared = self.shared.as_ref().filter(|_| caching == Caching::Use);
        if let Some(shared) = shared {
            self.ask_shared(shared, sequences).await;
        }
        let put = |tokenized: &Tokenized, inferred: &Inferred| {
            if let (Some(shared), Cached::Miss) = (shared, inferred.cached) {
                let (shared, key, row) = (Arc::clone(shared), tokenized.key, Arc::clone(&inferred.row));
                tokio::spawn(async move { shared.put(key, row).await });
            }
        };
        infer(&self.runner, &self.metrics, sequences, deadline, caching, start, put).await
    }

    /// Fetches rows from the shared cache that are not in the process's cache.
    async fn ask_shared(&self, shared: &SharedCache, sequences: &[&Tokenized]) {
        let keys = self.runner.unknown_keys(sequences.iter().map(|tokenized| tokenized.key));
        if keys.is_empty() {
            return;
        }
        let labels = self.task().manifest().labels.len();
        for (key, row) in keys.iter().zip(shared.get(&keys, labels).await) {
            if let Some(row) = row {
                self.runner.seed(*key, row);
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.runner.close();
    }
}
