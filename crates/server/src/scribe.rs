//! One served model that writes texts: prompts to tokens, tokens to texts.

use crate::listener::{Listener, Said};
use crate::metrics::{InfoLabels, Metrics};
use crate::problem::Problem;
use crate::replica::{self, AnyEngine, Build};
use crate::runner::{Runner, SubmittedText};
use crate::turns::Turns;
use crate::{ServeError, Settings};
use grice_core::generate::{Choice, DecodeOptions, Decoding, Generated, OptionError, Start};
use grice_core::schedule::{Caching, Config, CourseRequest, Rejection, Texts};
use grice_core::task::{Draft, Kind};
use grice_core::text::Stream;
use grice_core::{Error, Memory, Recipes, TEXT_BYTES_MAX, Turn, Writer};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A model with its replicas. It is dropped after the last request that uses it; then the replicas end.
pub(crate) struct Scribe {
    name: String,
    writer: Arc<Writer>,
    longest: Option<usize>,
    runner: Arc<Runner>,
    metrics: Arc<Metrics>,
}

/// A text that is asked for, ready to be written.
pub(crate) struct Prepared {
    decoding: Decoding,
    /// Whether its seed was drawn for it.
    is_drawn: bool,
    pub(crate) prompt_tokens: usize,
}

/// A text that is known, or on its way.
pub(crate) enum Begun {
    Known(Texts),
    Coming(Listener),
}

/// What is told of a text, for every form of the answer.
pub(crate) struct Told {
    pub(crate) scribe: Arc<Scribe>,
    pub(crate) options: Arc<DecodeOptions>,
    pub(crate) prompt_tokens: usize,
}

impl Scribe {
    /// Builds the replicas. Blocks; must run within a tokio runtime.
    ///
    /// # Errors
    /// [`ServeError`] if a replica cannot be built, or its memory holds no page.
    pub(crate) fn start(
        name: String,
        writer: Writer,
        settings: &Settings,
        metrics: &Arc<Metrics>,
        turns: &[Turns],
    ) -> Result<Arc<Scribe>, ServeError> {
        let pool = &settings.pool;
        let bounds = writer.bounds(Memory::Bytes(settings.writer_memory_bytes));
        if bounds.pages == 0 {
            let cause = format!("{} bytes hold no page of `{name}`; give it more", settings.writer_memory_bytes);
            return Err(ServeError::Setting { what: "--memory".to_owned(), cause });
        }
        let config = Config { engines: pool.replicas.max(1), ..settings.schedule.clone() };
        let (wait_max, of_all) = (settings.queue_wait_max, Arc::clone(metrics));
        let (runner, inboxes) = Runner::new(&name, config, &name, writer.precision(), Some(bounds), wait_max, of_all);
        let (longest, writer) = (bounds.longest, Arc::new(writer));
        let scribe = Arc::new(Scribe {
            name,
            writer: Arc::clone(&writer),
            longest,
            runner: Arc::clone(&runner),
            metrics: Arc::clone(metrics),
        });
        let build: Build = Arc::new(move |place| {
            let engine = writer.build_engine(place.threads, &bounds)?;
            Ok(AnyEngine::Courses(Box::new(engine)))
        });
        // From here on, dropping `scribe` ends all of its threads.
        let turns = |index: usize| turns.get(index).cloned();
        replica::start_all(&runner, inboxes, &build, pool, Vec::new(), turns, &scribe.name)?;
        Ok(scribe)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Tokens of prompt and text together, where the model bounds them.
    pub(crate) fn longest(&self) -> Option<usize> {
        self.longest
    }

    /// The number of replicas in use, and of all replicas.
    pub(crate) fn replicas(&self) -> (usize, usize) {
        self.runner.replicas()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.replicas().0 > 0
    }

    pub(crate) fn report(&self) {
        self.runner.report();
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn info(&self) -> InfoLabels {
        InfoLabels {
            model: self.name.clone(),
            version: match self.recipes().version.as_str() {
                "" => self.writer.family().to_owned(),
                version => version.to_owned(),
            },
            precision: self.writer.precision().name(),
            device: "cpu".to_owned(),
            digest: String::new(),
        }
    }

    /// Reads a prompt. The time is proportional to its length: see [`crate::lanes::Lanes`].
    ///
    /// # Errors
    /// 422 for a prompt without tokens, and for options that break a rule.
    pub(crate) fn prepare(&self, prompt: &str, choice: &Choice) -> Result<Prepared, Problem> {
        if prompt.is_empty() {
            return Err(Problem::unusable("`prompt` is empty; it must hold a text"));
        }
        if prompt.len() > TEXT_BYTES_MAX {
            return Err(Problem::from(&Error::LongField { field: "prompt", bytes: prompt.len() }));
        }
        let mut is_drawn = false;
        let seed = || {
            is_drawn = true;
            random()
        };
        let options = self.writer.options_for(choice, seed).map_err(of_option)?;
        let start = Instant::now();
        let text = self.writer.start(prompt);
        self.metrics.tokenize.observe(start.elapsed().as_secs_f64());
        let text = text.map_err(|error| match error {
            Error::NoTokens { .. } => Problem::unusable("`prompt` holds no text that the model reads"),
            other => Problem::from(&other),
        })?;
        self.prepared(options, text, is_drawn)
    }

    /// Reads the prompt of a text by one of the model's recipes, with another number of new tokens if one is given. `None` if it has no such recipe.
    ///
    /// # Errors
    /// 422 for a turn that does not fit in the prompt.
    pub(crate) fn prepare_by(
        &self,
        draft: &Draft,
        seed: u64,
        max_new_tokens: Option<usize>,
    ) -> Option<Result<Prepared, Problem>> {
        let recipes = self.writer.recipes();
        let (recipe, turn) = match draft.kind {
            Kind::Answer => (recipes.answer.as_ref()?, Turn { response: String::new(), ..draft.turn.clone() }),
            Kind::Repair(maxim) => (recipes.repair.get(maxim).as_ref()?, draft.turn.clone()),
        };
        let start = Instant::now();
        let text = self.writer.start_by(recipe, &turn);
        self.metrics.tokenize.observe(start.elapsed().as_secs_f64());
        let own = self.writer.options_by(recipe, seed, draft.attempt).map_err(of_option);
        let options =
            own.map(|own| DecodeOptions { max_new_tokens: max_new_tokens.unwrap_or(own.max_new_tokens), ..own });
        let text = text.map_err(|error| Problem::from(&error));
        Some(options.and_then(|options| self.prepared(options, text?, false)))
    }

    fn prepared(&self, options: DecodeOptions, text: Start, is_drawn: bool) -> Result<Prepared, Problem> {
        let prompt_tokens = text.source.as_ref().unwrap_or(&text.prompt).len();
        let decoding = Decoding::with_text(Arc::new(options), text, self.writer.speller()).map_err(of_option)?;
        Ok(Prepared { decoding, is_drawn, prompt_tokens })
    }

    /// How it repairs and answers.
    pub(crate) fn recipes(&self) -> &Recipes {
        self.writer.recipes()
    }

    /// Has a text written.
    ///
    /// # Errors
    /// 422 for a text that never fits, 429 for a full queue, 503 without replicas.
    pub(crate) fn begin(&self, prepared: Prepared, deadline: Instant, caching: Caching) -> Result<Begun, Problem> {
        if self.runner.is_dead() {
            let detail = "no replica of the model is in use; they are being rebuilt";
            return Err(Problem::unavailable(detail, Duration::from_secs(1)));
        }
        // The seed is random, so an equal request cannot come again.
        let caching = if prepared.is_drawn { Caching::Bypass } else { caching };
        let deadline = Some(self.runner.time_of(deadline));
        let request = CourseRequest { deadline, caching, ..CourseRequest::new(prepared.decoding) };
        match self.runner.submit_course(request) {
            Ok(SubmittedText::Known(texts)) => Ok(Begun::Known(texts)),
            Ok(SubmittedText::Waits(listener)) => Ok(Begun::Coming(listener)),
            Err(rejection) => Err(Problem::rejected(&rejection)),
        }
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.runner.close();
    }
}

impl Prepared {
    /// What is told of it, whatever becomes of it.
    pub(crate) fn told(&self, scribe: &Arc<Scribe>) -> Told {
        let options = Arc::clone(self.decoding.options());
        Told { scribe: Arc::clone(scribe), options, prompt_tokens: self.prompt_tokens }
    }
}

impl Told {
    /// The text of a sequence.
    pub(crate) fn text(&self, generated: &Generated) -> String {
        self.scribe.writer.written(generated, &self.options.stop_strings)
    }

    /// Its text as it comes.
    pub(crate) fn stream(&self) -> Stream {
        Stream::new(self.scribe.writer.speller(), &self.options.stop_strings)
    }

    /// The best sequence.
    ///
    /// # Errors
    /// [`Problem`] of the schedule or the model.
    pub(crate) fn best(outcome: Result<Texts, Rejection>) -> Result<Generated, Problem> {
        let texts = outcome.map_err(|rejection| Problem::rejected(&rejection))?;
        texts.first().cloned().ok_or_else(|| Problem::internal("a text ended without a sequence"))
    }
}

impl Begun {
    /// Waits for the end. `first` is called once there is a token.
    ///
    /// # Errors
    /// [`Problem`] of the schedule or the model.
    pub(crate) async fn end(self, first: impl FnOnce()) -> Result<(Generated, Option<Heard>), Problem> {
        let mut listener = match self {
            Begun::Known(texts) => return Ok((Told::best(Ok(texts))?, None)),
            Begun::Coming(listener) => listener,
        };
        let mut first = Some(first);
        loop {
            match listener.hear().await {
                Some(Said::Tokens(_)) => _ = first.take().map(|first| first()),
                Some(Said::End(answer)) => {
                    let heard = Heard { queued: answer.queued, ran: answer.ran, source: answer.source };
                    return Ok((Told::best(answer.outcome)?, Some(heard)));
                }
                None => return Err(Problem::rejected(&Rejection::ShuttingDown)),
            }
        }
    }
}

/// How a text was made.
pub(crate) struct Heard {
    pub(crate) queued: Duration,
    pub(crate) ran: Duration,
    pub(crate) source: grice_core::schedule::Source,
}

fn of_option(error: OptionError) -> Problem {
    Problem::unusable(error.to_string())
}

/// A random seed, small enough for every JSON reader: the system draws the keys of a new hash map.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish() >> 11
}
