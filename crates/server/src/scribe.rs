//! One served model that writes texts: prompts to tokens, tokens to texts.

use crate::begun::Begun;
use crate::metrics::{InfoLabels, Metrics};
use crate::problem::Problem;
use crate::replica::{self, AnyEngine, Build};
use crate::runner::{Runner, SubmittedText};
use crate::turns::Turns;
use crate::{ServeError, Settings};
use grice_core::generate::{Choice, DecodeOptions, Decoding, Generated, OptionError, Start};
use grice_core::schedule::{Caching, Config, CourseRequest};
use grice_core::task::{Draft, Kind};
use grice_core::text::Stream;
use grice_core::{CHAT_STACK_BYTES, Error, Memory, Message, Recipes, TEXT_BYTES_MAX, Turn, Writer};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tokens of a pass where other models use the same cores: a turn that is to be judged waits for one pass.
const SHARED_PASS_TOKENS: usize = 128;

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
        let mut bounds = writer.bounds(Memory::Bytes(settings.writer_memory_bytes));
        if !settings.bundles.is_empty() || !settings.embedders.is_empty() {
            bounds.pass_tokens = bounds.pass_tokens.min(SHARED_PASS_TOKENS);
        }
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

    /// Ends all texts, with the reason that the server stops.
    pub(crate) fn abort(&self) {
        self.runner.abort();
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

    /// Reads a prompt and its options.
    ///
    /// # Errors
    /// 422 for a prompt without tokens, and for options that break a rule.
    pub(crate) fn prepare(&self, prompt: &str, choice: &Choice) -> Result<Prepared, Problem> {
        let prepared = self.prepare_many(&self.read(prompt)?, choice, None, 1)?.pop();
        prepared.ok_or_else(|| Problem::internal("a text was not prepared"))
    }

    /// Reads a prompt. The time is proportional to its length: see [`crate::lanes::Lanes`].
    ///
    /// # Errors
    /// 422 for a prompt without tokens.
    pub(crate) fn read(&self, prompt: &str) -> Result<Start, Problem> {
        if prompt.is_empty() {
            return Err(Problem::unusable("`prompt` is empty; it must hold a text"));
        }
        if prompt.len() > TEXT_BYTES_MAX {
            return Err(Problem::from(&Error::LongField { field: "prompt", bytes: prompt.len() }));
        }
        self.timed(|| self.writer.start(prompt)).map_err(|error| match error {
            Error::NoTokens { .. } => Problem::unusable("`prompt` holds no text that the model reads"),
            other => Problem::from(&other),
        })
    }

    /// Takes a prompt in tokens.
    ///
    /// # Errors
    /// 422 for none, and for those that the model does not have.
    pub(crate) fn read_ids(&self, ids: Vec<u32>) -> Result<Start, Problem> {
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.writer.vocabulary()) {
            let known = self.writer.vocabulary();
            return Err(Problem::unusable(format!("`prompt`: {id} is not a token of the model, which has {known}")));
        }
        self.writer.start_from(ids).map_err(|error| Problem::from(&error))
    }

    /// Reads a conversation.
    ///
    /// # Errors
    /// 422 without a chat template, and for messages that it does not take.
    pub(crate) fn read_chat(&self, messages: &[Message]) -> Result<Start, Problem> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // What a template nests is dropped level by level, and a template comes from a file.
        let start = self.timed(|| on_stack(CHAT_STACK_BYTES, || self.writer.start_chat(messages, now)))?;
        start.map_err(|error| match error {
            Error::NoChat(cause) => Problem::unusable(format!(
                "`model`: `{}` cannot be talked to: {cause}; /v1/completions continues a prompt without one",
                self.name
            )),
            Error::NoTokens { .. } => Problem::unusable("`messages` hold no text that the model reads"),
            other => Problem::from(&other),
        })
    }

    fn timed<T>(&self, read: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = read();
        self.metrics.tokenize.observe(start.elapsed().as_secs_f64());
        done
    }

    /// Texts that begin with the same prompt; their draws differ. `end` ends them, beside the model's own stop tokens.
    ///
    /// # Errors
    /// 422 for options that break a rule.
    pub(crate) fn prepare_many(
        &self,
        start: &Start,
        choice: &Choice,
        end: Option<u32>,
        count: usize,
    ) -> Result<Vec<Prepared>, Problem> {
        let mut is_drawn = false;
        let seed = || {
            is_drawn = true;
            random()
        };
        let mut options = self.writer.options_for(choice, seed).map_err(of_option)?;
        options.stop_tokens.extend(end.filter(|end| !options.stop_tokens.contains(end)));
        let with = |place: usize| {
            let seed = options.seed.map(|seed| seed.wrapping_add(place as u64));
            self.prepared(DecodeOptions { seed, ..options.clone() }, start.clone(), is_drawn)
        };
        (0..count).map(with).collect()
    }

    /// The token that ends an answer in a conversation.
    pub(crate) fn chat_end(&self) -> Option<u32> {
        self.writer.chat_end()
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
        let prompt_tokens = prepared.prompt_tokens as u64;
        let request = CourseRequest { deadline, caching, ..CourseRequest::new(prepared.decoding) };
        let submitted = self.runner.submit_course(request).map_err(|rejection| Problem::rejected(&rejection))?;
        self.metrics.count_tokens(&self.name, "prompt", prompt_tokens);
        Ok(match submitted {
            SubmittedText::Known(texts) => Begun::Known(texts),
            SubmittedText::Waits(listener) => Begun::Coming(listener),
        })
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

    /// The text of some tokens.
    pub(crate) fn spell(&self, tokens: &[u32]) -> String {
        self.scribe.writer.text(tokens)
    }

    /// Its text as it comes.
    pub(crate) fn stream(&self) -> Stream {
        Stream::new(self.scribe.writer.speller(), &self.options.stop_strings)
    }
}

/// Runs on a thread with a stack of this size, of which only what is used becomes memory.
fn on_stack<T: Send>(bytes: usize, run: impl FnOnce() -> T + Send) -> Result<T, Problem> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(bytes).spawn_scoped(scope, run);
        let thread = thread.map_err(|error| Problem::internal(format!("no thread for a chat template: {error}")))?;
        thread.join().map_err(|_| Problem::internal("a chat template's thread panicked"))
    })
}

fn of_option(error: OptionError) -> Problem {
    Problem::unusable(error.to_string())
}

/// A random seed, small enough for every JSON reader: the system draws the keys of a new hash map.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish() >> 11
}
