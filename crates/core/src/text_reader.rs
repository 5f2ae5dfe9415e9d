//! Texts that a model reads instead of writing them: what it predicts for each of their tokens.

use crate::generate::Start;
use crate::{Error, Result, Writer};
use grice_cpu::CpuGenerator;
use grice_model::{GeneratorEngine, NewSource, Page, Pass, Past, SourcePast, pages_of};
use std::sync::Arc;

/// A text in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownText {
    /// What the decoder reads, one token after the other.
    pub tokens: Vec<u32>,
    /// What the encoder reads, if there is one.
    pub source: Option<Arc<[u32]>>,
    /// The first of `tokens` that is a prediction: those before it are the prompt. At least 1.
    pub first: usize,
}

/// An engine that reads one text after the other.
pub struct TextReader {
    engine: CpuGenerator,
    /// Of the text's own tokens.
    pages: Arc<[Page]>,
    source: Option<SourcePast>,
    kept: usize,
}

impl Writer {
    /// A prompt and what follows it. Without the latter, all tokens of the prompt but the first are predictions; a model with an encoder,
    /// which reads the prompt there, has none then.
    ///
    /// # Errors
    /// [`Error::NoTokens`], [`Error::Tokenizer`], [`Error::LongText`].
    pub fn known_text(&self, prompt: &str, text: Option<&str>) -> Result<KnownText> {
        let start = self.start(prompt)?;
        let text = match (text, start.source.is_some()) {
            (None, _) => KnownText::new(start, &[]),
            (Some(text), true) => KnownText::new(start, &self.tokenizer.ids(text)?),
            (Some(text), false) => {
                // Together, since a token may begin with the space between them.
                let tokens = self.tokenizer.ids(&format!("{prompt}{text}"))?;
                let same = tokens.iter().zip(&*start.prompt).take_while(|(token, prompt)| token == prompt).count();
                KnownText { first: same.max(1), tokens, source: None }
            }
        };
        self.check_length(&text)?;
        Ok(text)
    }

    /// What began with `start` and goes on with `tokens`, such as a text that was generated.
    ///
    /// # Errors
    /// [`Error::LongText`].
    pub fn continued(&self, start: Start, tokens: &[u32]) -> Result<KnownText> {
        let first = start.prompt.len();
        let text = KnownText { first, ..KnownText::new(start, tokens) };
        self.check_length(&text)?;
        Ok(text)
    }

    fn check_length(&self, text: &KnownText) -> Result<()> {
        let source = text.source.as_ref().map_or(0, |source| source.len());
        let pairs = [(text.tokens.len(), self.plan.longest()), (source, self.plan.longest_source())];
        for (tokens, longest) in pairs {
            if let Some(longest) = longest.filter(|longest| tokens > *longest) {
                return Err(Error::LongText { tokens, longest });
            }
        }
        Ok(())
    }

    /// An engine with memory for any of these texts.
    ///
    /// # Errors
    /// [`Error::Engine`] if there is no such memory.
    pub fn reader(&self, threads: usize, texts: &[KnownText]) -> Result<TextReader> {
        let most = |count: &dyn Fn(&KnownText) -> usize| texts.iter().map(count).max().map_or(0, pages_of);
        let own = most(&|text| text.tokens.len());
        let source = most(&|text| text.source.as_ref().map_or(0, |source| source.len()));
        let engine = self.plan.engine(threads, own + source)?;
        Ok(TextReader { engine, pages: (0..own as Page).collect(), source: None, kept: 0 })
    }
}

impl KnownText {
    fn new(start: Start, tokens: &[u32]) -> KnownText {
        KnownText { tokens: [&start.prompt, tokens].concat(), source: start.source, first: 1 }
    }

    /// How many of its tokens are predictions.
    pub fn predictions(&self) -> usize {
        self.tokens.len().saturating_sub(self.first)
    }
}

impl TextReader {
    /// Begins a text, one of those that it has memory for.
    ///
    /// # Errors
    /// [`Error::Engine`] for a token that the model has no row for.
    pub fn begin(&mut self, text: &KnownText) -> Result<()> {
        (self.kept, self.source) = (0, None);
        if let Some(ids) = text.source.clone() {
            let first = self.pages.len() as Page;
            let pages: Arc<[Page]> = (first..first + pages_of(ids.len()) as Page).collect();
            self.source = Some(SourcePast { tokens: ids.len(), pages: pages.clone() });
            self.engine.read(&[NewSource { ids, pages }])?;
        }
        Ok(())
    }

    /// Reads the text's next tokens; logits of what follows the last `asked` of them, `[asked, vocabulary]`.
    ///
    /// # Errors
    /// [`Error::Engine`] for a token that the model has no row for, or beyond its memory.
    pub fn read(&mut self, tokens: &[u32], asked: usize) -> Result<&mut [f32]> {
        let (pages, source) =
            (self.pages[..pages_of(self.kept + tokens.len()).min(self.pages.len())].into(), self.source.clone());
        let past = Past { tokens: tokens.len(), kept: self.kept, pages, source, asked };
        self.kept += tokens.len();
        Ok(self.engine.step(&Pass { ids: tokens.to_vec(), pasts: vec![past], copies: Vec::new() })?)
    }
}
