//! What bounds courses, and why one is not begun.

use super::course::pages_needed;
use super::options::{DecodeOptions, OptionError};
use super::outcome::Start;

/// What bounds courses.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Pages of the engine.
    pub pages: usize,
    /// Tokens of a pass, above which prompts wait or are run in pieces.
    pub pass_tokens: usize,
    /// Tokens of prompt and answer together, where the model bounds them.
    pub longest: Option<usize>,
    /// Tokens of a source, where the model bounds them.
    pub longest_source: Option<usize>,
}

/// Why a course is not begun. Another try would end the same way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// An option breaks a rule.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// Prompt and answer are longer than the model.
    #[error(
        "the prompt of {prompt} tokens and `max_new_tokens` of {new} are more than the {longest} tokens of the model"
    )]
    Long {
        /// Tokens of the prompt.
        prompt: usize,
        /// New tokens at most.
        new: usize,
        /// Tokens of the model.
        longest: usize,
    },
    /// The source is longer than the model.
    #[error("the text of {tokens} tokens is longer than the {longest} tokens that the model reads")]
    LongSource {
        /// Tokens of the source.
        tokens: usize,
        /// Tokens of the model.
        longest: usize,
    },
    /// The engine's memory never holds it.
    #[error(
        "it needs {needed} pages of memory, and there are {pages}; give the engine more memory, or ask for fewer tokens or beams"
    )]
    Large {
        /// Pages that it needs.
        needed: usize,
        /// Pages that there are.
        pages: usize,
    },
}

impl Bounds {
    /// Whether a text can be written within them.
    ///
    /// # Errors
    /// [`Refused`], but for options.
    pub fn check(&self, options: &DecodeOptions, start: &Start) -> Result<(), Refused> {
        let (prompt, new) = (start.prompt.len(), options.max_new_tokens);
        let end = prompt.saturating_add(new);
        if let Some(longest) = self.longest.filter(|longest| end > *longest) {
            return Err(Refused::Long { prompt, new, longest });
        }
        let tokens = start.source.as_ref().map_or(0, |source| source.len());
        if let Some(longest) = self.longest_source.filter(|longest| tokens > *longest) {
            return Err(Refused::LongSource { tokens, longest });
        }
        let (needed, pages) = (pages_needed(options, start), self.pages);
        if needed > pages { Err(Refused::Large { needed, pages }) } else { Ok(()) }
    }
}
