//! One served model that embeds texts: texts to tokens, rows to vectors.

use crate::inferred::Inferred;
use crate::inferring::infer;
use crate::metrics::{InfoLabels, Metrics};
use crate::problem::Problem;
use crate::replica::{self, AnyEngine, Build};
use crate::runner::Runner;
use crate::texts::Tokenized;
use crate::turns::Turns;
use crate::{ServeError, Settings};
use grice_core::schedule::{Caching, Config, Keyer};
use grice_core::task::{Embed, EmbedNotes, Prepared, Task, Vector};
use grice_core::{Embedder, Plan, Reading};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A model with its replicas. It is dropped after the last request that uses it; then the replicas end.
pub(crate) struct Embedding {
    name: String,
    family: String,
    columns: usize,
    task: Embed,
    keyer: Keyer,
    plan: Plan,
    runner: Arc<Runner>,
    metrics: Arc<Metrics>,
}

/// A text that is ready to run.
pub(crate) struct Question {
    tokenized: Tokenized,
    notes: EmbedNotes,
}

impl Question {
    /// Tokens of the text that are read.
    pub(crate) fn tokens(&self) -> usize {
        self.tokenized.ids.len()
    }
}

impl Embedding {
    /// Builds and warms up the replicas. Blocks; must run within a tokio runtime.
    ///
    /// # Errors
    /// [`ServeError`] if a replica cannot be built.
    pub(crate) fn start(
        name: String,
        embedder: Embedder,
        settings: &Settings,
        metrics: &Arc<Metrics>,
        turns: &[Turns],
    ) -> Result<Arc<Embedding>, ServeError> {
        let (columns, family) = (embedder.columns(), embedder.family().to_owned());
        let (task, plan) = embedder.into_parts();
        let (pool, precision) = (&settings.pool, plan.precision());
        let config = Config {
            engines: pool.replicas.max(1),
            batch_tokens_max: settings.batch_tokens_max.unwrap_or_else(|| Config::batch_tokens_for(plan.device())),
            ..settings.schedule.clone()
        };
        let warm_up = match pool.warm_up {
            true => replica::warm_up_batches(task.tokens_max(), config.batch_rows_max, config.batch_tokens_max),
            false => Vec::new(),
        };
        let (wait_max, of_all) = (settings.queue_wait_max, Arc::clone(metrics));
        let (runner, inboxes) = Runner::new(&name, config, &name, precision, None, wait_max, of_all);
        let embedding = Arc::new(Embedding {
            keyer: runner.keyer(),
            plan: plan.clone(),
            runner: Arc::clone(&runner),
            metrics: Arc::clone(metrics),
            name,
            family,
            columns,
            task,
        });
        let build: Build = Arc::new(move |place| Ok(AnyEngine::Once(Box::new(plan.engine(place.threads)?))));
        // From here on, dropping `embedding` ends all of its threads.
        let turns = |index: usize| turns.get(index).cloned();
        replica::start_all(&runner, inboxes, &build, pool, warm_up, turns, &embedding.name)?;
        Ok(embedding)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Numbers of a vector.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The most tokens that are read of a text.
    pub(crate) fn tokens_max(&self) -> usize {
        self.task.tokens_max()
    }

    /// The number of replicas in use, and of all replicas.
    pub(crate) fn replicas(&self) -> (usize, usize) {
        self.runner.replicas()
    }

    pub(crate) fn report(&self) {
        self.runner.report();
    }

    pub(crate) fn info(&self) -> InfoLabels {
        InfoLabels {
            model: self.name.clone(),
            version: self.family.clone(),
            precision: self.plan.precision().name(),
            device: self.plan.device().to_owned(),
            digest: String::new(),
        }
    }

    /// Reads a text. The time is proportional to its length: see [`crate::lanes::Lanes`].
    ///
    /// # Errors
    /// 422 for a text that has no vector.
    pub(crate) fn prepare(&self, text: &String) -> Result<Question, Problem> {
        let start = Instant::now();
        let prepared = self.task.prepare(text);
        self.metrics.tokenize.observe(start.elapsed().as_secs_f64());
        let Prepared { ids, notes } = prepared.map_err(|error| Problem::from(&error))?;
        let tokenized = Tokenized { key: self.keyer.key(&ids), ids, reading: Reading::default() };
        Ok(Question { tokenized, notes })
    }

    /// The vector of each text, in order.
    ///
    /// # Errors
    /// [`Problem`] of the first text without one, or of the whole request.
    pub(crate) async fn embed(
        &self,
        questions: &[Question],
        deadline: Instant,
        caching: Caching,
    ) -> Result<Vec<(Vector, Inferred)>, Problem> {
        if self.runner.is_dead() {
            let detail = "no replica of the model is in use; they are being rebuilt";
            return Err(Problem::unavailable(detail, Duration::from_secs(1)));
        }
        let start = Instant::now();
        let sequences: Vec<&Tokenized> = questions.iter().map(|question| &question.tokenized).collect();
        let inferred = infer(&self.runner, &self.metrics, &sequences, deadline, caching, start, |_, _| ()).await?;
        let tokens: usize = questions.iter().map(Question::tokens).sum();
        self.metrics.count_tokens(&self.name, "embedded", tokens as u64);
        let read = |(question, inferred): (&Question, Result<Inferred, Problem>)| {
            let inferred = inferred?;
            let vector = self.task.read(&question.notes, &inferred.row).map_err(|error| Problem::from(&error))?;
            Ok((vector, inferred))
        };
        questions.iter().zip(inferred).map(read).collect()
    }
}

impl Drop for Embedding {
    fn drop(&mut self) {
        self.runner.close();
    }
}
