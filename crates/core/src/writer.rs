//! A model that writes text: its files, its tokenizer, and engines for it.

use crate::bundle::{Archive, Bytes};
#[cfg(not(target_arch = "wasm32"))]
use crate::chat::{Chat, Message};
use crate::generate::{Bounds, Choice, Courses, DecodeOptions, Event, Generated, OptionError, Search, Start};
use crate::opened::{self, Opened};
#[cfg(not(target_arch = "wasm32"))]
use crate::opened_disk;
use crate::recipe::{Recipe, Recipes};
use crate::text::{Speller, Stream, Tokenizer, encode_prompt};
use crate::{Error, Result, Turn};
use grice_cpu::{CpuGenerator, CpuGeneratorPlan};
use grice_model::{GenerationDefaults, GeneratorEngine, PAGE_TOKENS, Precision, pages_of};
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;
use std::sync::Arc;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Duration;

/// The most tokens to write if neither the caller nor the model says.
const NEW_TOKENS: usize = 80;
/// Tokens of a pass: more make a prompt no faster.
const PASS_TOKENS: usize = 512;

/// A model that writes text, packed for the CPU.
///
/// ```no_run
/// use grice_core::{Memory, Writer, generate::Event};
/// use std::sync::Arc;
///
/// let writer = Writer::open("gpt2-medium".as_ref(), None)?;
/// let (mut engine, mut courses) = writer.engine(2, Memory::Tokens(1024))?;
/// let options = Arc::new(writer.options());
/// courses.add(options, writer.start("Context: Hi!\nResponse:")?, None)?;
/// writer.run(&mut engine, &mut courses, |event| {
///     if let Event::Done(_, texts) = event {
///         println!("{}", writer.text(&texts[0].tokens));
///     }
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Writer {
    pub(crate) plan: CpuGeneratorPlan,
    pub(crate) tokenizer: Arc<Tokenizer>,
    speller: Speller,
    defaults: GenerationDefaults,
    family: String,
    reads_source: bool,
    recipes: Recipes,
    #[cfg(not(target_arch = "wasm32"))]
    chat: Option<Result<Chat, String>>,
}

/// How much memory an engine keeps for keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// For so many tokens, sources included.
    Tokens(usize),
    /// At most so many bytes.
    Bytes(usize),
}

impl Writer {
    /// Opens a Hugging Face folder or a GGUF file, and rounds its weights to a precision if one is given. Of a GGUF model in parts the path
    /// is that of any part; a folder with one GGUF model will do, too.
    ///
    /// # Errors
    /// [`Error::Model`] that names the file, field or tensor; [`Error::Tokenizer`]; [`Error::BundleFile`]; [`Error::Engine`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: &Path, precision: Option<Precision>) -> Result<Writer> {
        Writer::new(opened_disk::open(path, precision)?, &path.display().to_string())
    }

    /// Opens the bytes of a `.tar` with the files of a Hugging Face folder, at the top or in one folder. The bytes are freed before the
    /// weights are packed.
    ///
    /// # Errors
    /// As [`Writer::open`].
    pub fn from_tar(bytes: impl Into<Bytes>) -> Result<Writer> {
        let archive = Archive::read(bytes.into())?;
        let opened = opened::read(&archive, &str::to_owned, None)?;
        drop(archive);
        Writer::new(opened, "the bundle")
    }

    /// The default model for repairs and answers, compiled into the binary.
    ///
    /// # Errors
    /// Only if the repository's own model is broken.
    #[cfg(all(feature = "embedded-model", not(target_arch = "wasm32")))]
    pub fn embedded() -> Result<Writer> {
        let name = "repair-mini";
        Writer::new(opened::read(&crate::embedded::REPAIRER, &|file| format!("{name}/{file}"), None)?, name)
    }

    fn new(opened: Opened, place: &str) -> Result<Writer> {
        #[cfg(not(target_arch = "wasm32"))]
        let chat = opened.chat;
        let Opened { checkpoint, tokenizer, recipes, .. } = opened;
        let (generator, defaults, family) = (checkpoint.generator, checkpoint.defaults, checkpoint.family);
        let tokenizer = Arc::new(tokenizer);
        let (bound, vocabulary) = (tokenizer.id_bound(), generator.vocabulary());
        if bound > vocabulary {
            let problem = format!("it makes ids up to {}, and the model has {vocabulary} of them", bound - 1);
            return Err(Error::Tokenizer(problem));
        }
        let reads_source = generator.encoder.is_some();
        if reads_source && defaults.start_token.is_none() {
            let problem = "generation_config.json: field `decoder_start_token_id` is missing".to_owned();
            let source = Box::new(grice_model::Error::Checkpoint(problem));
            return Err(Error::Model { path: place.to_owned(), source });
        }
        let plan = CpuGeneratorPlan::new(generator)?;
        let speller = tokenizer.speller();
        Ok(Writer {
            plan,
            tokenizer,
            speller,
            defaults,
            family,
            reads_source,
            recipes,
            #[cfg(not(target_arch = "wasm32"))]
            chat,
        })
    }

    /// Whether a path is a model that writes text: a Hugging Face folder, a GGUF file or a folder with one; and not a detector's.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn is_folder(path: &Path) -> bool {
        opened_disk::is_writer(path)
    }

    /// How it repairs and answers, if its folder has a `grice.json`.
    pub fn recipes(&self) -> &Recipes {
        &self.recipes
    }

    /// Where a text by a recipe begins.
    ///
    /// # Errors
    /// [`Error::LongPrompt`] for a response that does not fit, [`Error::NoTokens`], [`Error::Tokenizer`].
    pub fn start_by(&self, recipe: &Recipe, turn: &Turn) -> Result<Start> {
        // A NUL could spell a special token.
        turn.check_texts()?;
        let longest = match self.reads_source {
            true => self.plan.longest_source(),
            false => self.plan.longest().map(|longest| longest.saturating_sub(recipe.new_tokens())),
        };
        let tokens_max = longest.map_or(recipe.source_tokens, |longest| recipe.source_tokens.min(longest));
        self.start_from(encode_prompt(&recipe.template, &self.tokenizer, tokens_max, turn)?)
    }

    /// How the tokens of a text by a recipe are chosen; tries after the first draw differently.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn options_by(&self, recipe: &Recipe, seed: u64, attempt: u32) -> Result<DecodeOptions, OptionError> {
        recipe.options(&self.defaults.end_tokens, seed, attempt)
    }

    /// What the model's makers generate with, as far as their files say: greedy, 20 tokens where they say nothing.
    pub fn options(&self) -> DecodeOptions {
        let GenerationDefaults { end_tokens, sample, temperature, top_k, top_p, beams, .. } = &self.defaults;
        let search = match (sample, beams) {
            (Some(true), _) => Search::Sample {
                temperature: temperature.unwrap_or(1.0),
                // What Hugging Face's library takes where the files say nothing.
                top_k: top_k.unwrap_or(50),
                top_p: top_p.unwrap_or(1.0),
            },
            (_, Some(width)) if *width > 1 => {
                Search::Beam { width: *width, length_penalty: 1.0, early: Default::default() }
            }
            _ => Search::Greedy,
        };
        let defaults = DecodeOptions::default();
        DecodeOptions {
            search,
            stop_tokens: end_tokens.clone(),
            max_new_tokens: self.defaults.max_new_tokens.unwrap_or(defaults.max_new_tokens),
            repetition_penalty: self.defaults.repetition_penalty.unwrap_or(1.0),
            no_repeat_ngram: self.defaults.no_repeat_ngram.unwrap_or(0),
            ..defaults
        }
    }

    /// The model's own options, changed by those that a caller asks for. 80 new tokens where neither says how many; `draw` gives a seed
    /// where one is needed.
    ///
    /// # Errors
    /// [`OptionError`].
    pub fn options_for(&self, choice: &Choice, draw: impl FnOnce() -> u64) -> Result<DecodeOptions, OptionError> {
        let max_new_tokens = self.defaults.max_new_tokens.unwrap_or(NEW_TOKENS);
        choice.over(DecodeOptions { max_new_tokens, ..self.options() }, draw)
    }

    /// Where a text begins: the prompt itself, or for a model with an encoder the text that it reads.
    ///
    /// # Errors
    /// [`Error::NoTokens`] for a prompt without tokens, [`Error::Tokenizer`].
    pub fn start(&self, prompt: &str) -> Result<Start> {
        self.start_from(self.tokenizer.ids(prompt)?)
    }

    /// The same for a prompt in tokens.
    ///
    /// # Errors
    /// [`Error::NoTokens`] for none.
    pub fn start_from(&self, ids: Vec<u32>) -> Result<Start> {
        let ids: Arc<[u32]> = ids.into();
        if ids.is_empty() {
            return Err(Error::NoTokens { field: "prompt" });
        }
        let vocabulary = self.plan.vocabulary();
        Ok(match self.defaults.start_token.filter(|_| self.reads_source) {
            Some(start) => Start { prompt: [start].into(), source: Some(ids), vocabulary },
            None => Start { prompt: ids, source: None, vocabulary },
        })
    }

    /// Where the answer to a conversation begins: its prompt by the model's chat template. `now` is the time since 1970, for templates that
    /// ask for the date.
    ///
    /// # Errors
    /// [`Error::NoChat`] for a model without a template, [`Error::ChatTemplate`] for messages that it does not take, [`Error::LongField`],
    /// [`Error::NulInField`], [`Error::NoTokens`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn start_chat(&self, messages: &[Message], now: Duration) -> Result<Start> {
        self.start_from(self.chat()?.ids(messages, &self.tokenizer, now)?)
    }

    /// The token that ends an answer in a conversation, beside those that end every text.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn chat_end(&self) -> Option<u32> {
        let token = self.chat().ok()?.end_token()?;
        self.tokenizer.id_of(&self.tokenizer.mark(token))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn chat(&self) -> Result<&Chat> {
        match &self.chat {
            Some(Ok(chat)) => Ok(chat),
            Some(Err(cause)) => Err(Error::NoChat(format!("the model's chat template cannot be used: {cause}"))),
            None => Err(Error::NoChat(
                "the model has no chat template; put the one that it was trained with into its folder as `chat_template.jinja`".to_owned(),
            )),
        }
    }

    /// What bounds the texts of an engine with so much memory.
    pub fn bounds(&self, memory: Memory) -> Bounds {
        let pages = match memory {
            Memory::Tokens(tokens) => pages_of(tokens),
            Memory::Bytes(bytes) => bytes / self.plan.page_bytes().max(1),
        };
        let (longest, longest_source) = (self.plan.longest(), self.plan.longest_source());
        Bounds { pages, pass_tokens: PASS_TOKENS, longest, longest_source }
    }

    /// An engine with the memory of these bounds.
    ///
    /// # Errors
    /// [`Error::Engine`] if there is no such memory.
    pub fn build_engine(&self, threads: usize, bounds: &Bounds) -> Result<CpuGenerator> {
        Ok(self.plan.engine(threads, bounds.pages)?)
    }

    /// An engine and the courses that run on it.
    ///
    /// # Errors
    /// [`Error::Engine`] if there is no such memory.
    pub fn engine(&self, threads: usize, memory: Memory) -> Result<(CpuGenerator, Courses)> {
        let bounds = self.bounds(memory);
        Ok((self.build_engine(threads, &bounds)?, Courses::new(bounds)))
    }

    /// Runs all courses to their end.
    ///
    /// # Errors
    /// [`Error::Engine`] if a pass fails.
    pub fn run(&self, engine: &mut CpuGenerator, courses: &mut Courses, mut tell: impl FnMut(Event<'_>)) -> Result<()> {
        while !courses.is_empty() {
            self.pass(engine, courses, &mut tell)?;
        }
        Ok(())
    }

    /// Runs one pass of the courses, if anything is to run.
    ///
    /// # Errors
    /// As [`Writer::run`].
    pub fn pass(&self, engine: &mut CpuGenerator, courses: &mut Courses, tell: impl FnMut(Event<'_>)) -> Result<()> {
        let Some(work) = courses.next() else { return Ok(()) };
        if !work.sources.is_empty() {
            engine.read(&work.sources)?;
        }
        courses.take(engine.step(&work.pass)?, tell);
        Ok(())
    }

    /// The text of tokens, without special ones.
    pub fn text(&self, tokens: &[u32]) -> String {
        self.speller.text(tokens)
    }

    /// The text of a sequence, up to the stop string that ended it.
    pub fn written(&self, generated: &Generated, stops: &[String]) -> String {
        let mut stream = Stream::new(self.speller(), stops);
        let mut text: String = generated.tokens.iter().map(|&token| stream.push(token)).collect();
        text += &stream.finish();
        text
    }

    /// Tells the text of tokens, for streams and stop strings.
    pub fn speller(&self) -> Speller {
        self.speller.clone()
    }

    /// What the model's makers generate with.
    pub fn defaults(&self) -> &GenerationDefaults {
        &self.defaults
    }

    /// `model_type` of its configuration.
    pub fn family(&self) -> &str {
        &self.family
    }

    /// The precision of its weights.
    pub fn precision(&self) -> Precision {
        self.plan.precision()
    }

    /// The kernels that run it: an instruction set.
    pub fn kernels(&self) -> &'static str {
        self.plan.kernels()
    }

    /// How many tokens it knows.
    pub fn vocabulary(&self) -> usize {
        self.plan.vocabulary()
    }

    /// Bytes of a token's keys and values.
    pub fn token_bytes(&self) -> usize {
        self.plan.page_bytes() / PAGE_TOKENS
    }
}
