//! A sequence in the making: what the engine is to run, and what its logits lead to.

use super::beam::{Beams, Breadth};
use super::choose::Desk;
use super::options::{DecodeOptions, OptionError, Search, rule};
use super::outcome::{DecodeError, Generated, Progress, Start, TokenLog, Want};
use super::single::Single;
use super::stops::Watch;
use crate::text::{Speller, Stream};
use std::sync::Arc;

/// The state of one request: its tokens, and nothing of any engine. A clone goes on in the same way.
#[derive(Clone, Debug)]
pub struct Decoding {
    options: Arc<DecodeOptions>,
    start: Start,
    course: Course,
    desk: Desk,
    ended: Vec<Generated>,
    is_finished: bool,
}

#[derive(Clone, Debug)]
enum Course {
    Single(Single),
    Beams(Beams),
}

impl Decoding {
    /// A decoding at its start: the first want is the whole prompt.
    ///
    /// # Errors
    /// [`OptionError`] for options that break a rule, for sampling without a seed, for stop strings without the text of tokens, for an
    /// empty prompt or vocabulary, and for a `min_length` that the sequence cannot have.
    pub fn new(options: Arc<DecodeOptions>, start: Start) -> Result<Decoding, OptionError> {
        Decoding::resume(options, start, &[], None)
    }

    /// As [`Decoding::new`], with the text of tokens, which stop strings need.
    ///
    /// # Errors
    /// As [`Decoding::new`].
    pub fn with_text(options: Arc<DecodeOptions>, start: Start, speller: Speller) -> Result<Decoding, OptionError> {
        Decoding::resume(options, start, &[], Some(speller))
    }

    /// A decoding that has got as far as `tokens` before. It goes on as if it had never stopped; log-probabilities begin with the
    /// next token. A beam has no tokens before its end, so it cannot be told what they were: clone it, or call
    /// [`Decoding::refill`].
    ///
    /// # Errors
    /// As [`Decoding::new`]; for tokens of a beam; and for more than `max_new_tokens`.
    pub fn resume(
        options: Arc<DecodeOptions>,
        start: Start,
        tokens: &[u32],
        speller: Option<Speller>,
    ) -> Result<Decoding, OptionError> {
        check(&options, &start, tokens)?;
        let watch = watch(&options.stop_strings, speller)?;
        let course = match options.search {
            Search::Beam { width, length_penalty, early } if width > 1 => {
                Course::Beams(Beams::new(Breadth { width, length_penalty, early }, &start, watch))
            }
            _ => Course::Single(Single::new(&start, tokens, watch, &options)),
        };
        let desk = Desk::default();
        let mut decoding = Decoding { options, start, course, desk, ended: Vec::new(), is_finished: false };
        decoding.settle();
        Ok(decoding)
    }

    /// What the engine is to run next, one entry a hypothesis; nothing once it is finished.
    pub fn wants(&self) -> impl Iterator<Item = Want<'_>> {
        let (single, beams) = match &self.course {
            _ if self.is_finished => (None, None),
            Course::Single(single) => (Some(single.want()), None),
            Course::Beams(beams) => (None, Some(beams.wants())),
        };
        single.into_iter().chain(beams.into_iter().flatten())
    }

    /// Takes the logits of the wants, `[rows, vocabulary]`: for each want in order [`Want::asked`] rows. They are overwritten.
    ///
    /// # Errors
    /// [`DecodeError`]. The decoding cannot go on after it.
    pub fn advance(&mut self, logits: &mut [f32]) -> Result<Progress, DecodeError> {
        if self.is_finished {
            return Err(DecodeError::Finished);
        }
        let rows: usize = self.wants().map(|want| want.asked()).sum();
        let (expected, found) = (rows.saturating_mul(self.start.vocabulary), logits.len());
        if expected != found {
            return Err(DecodeError::Shape { expected, found });
        }
        match &mut self.course {
            Course::Single(single) => single.advance(logits, &self.start, &self.options, &mut self.desk)?,
            Course::Beams(beams) => beams.advance(logits, &self.start, &self.options, &mut self.desk)?,
        }
        self.settle();
        Ok(if self.is_finished { Progress::Done(self.ended.clone()) } else { Progress::More })
    }

    /// Notes whether the sequence has ended.
    fn settle(&mut self) {
        let ended = match &self.course {
            Course::Single(single) => single.ended().map(|generated| vec![generated]),
            Course::Beams(beams) => beams.ended(self.options.returns).map(<[Generated]>::to_vec),
        };
        self.is_finished = ended.is_some();
        self.ended = ended.unwrap_or_default();
    }

    /// The engine lost its keys and values: the next wants run every hypothesis from its first token.
    pub fn refill(&mut self) {
        match &mut self.course {
            Course::Single(single) => single.refill(),
            Course::Beams(beams) => beams.refill(),
        }
    }

    /// The new tokens that are certain, without the prompt. Those of a beam are certain at its end: the best sequence.
    pub fn new_tokens(&self) -> &[u32] {
        match &self.course {
            Course::Single(single) => single.made(),
            Course::Beams(_) => self.ended.first().map_or(&[], |best| &best.tokens),
        }
    }

    /// The log-probabilities of [`Decoding::new_tokens`], one entry a token, where the options ask for them.
    pub fn log_probabilities(&self) -> &[Arc<TokenLog>] {
        match &self.course {
            Course::Single(single) => single.logs(),
            Course::Beams(_) => self.ended.first().map_or(&[], |best| &best.log_probabilities),
        }
    }

    /// The sequences, the best first, once it is finished; before that, none.
    pub fn generated(&self) -> &[Generated] {
        &self.ended
    }

    /// Whether there is nothing more to run.
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// How tokens are chosen.
    pub fn options(&self) -> &Arc<DecodeOptions> {
        &self.options
    }

    /// Where the sequence began.
    pub fn start(&self) -> &Start {
        &self.start
    }
}

/// Checks what the options cannot know alone.
fn check(options: &DecodeOptions, start: &Start, tokens: &[u32]) -> Result<(), OptionError> {
    options.check()?;
    rule(!start.prompt.is_empty(), "prompt", "empty", "it must hold at least one token")?;
    rule(start.vocabulary > 0, "vocabulary", 0, "it must be 1 or more")?;
    let seeded = options.seed.is_some() || !options.is_sampled();
    rule(seeded, "seed", "none", "sampling needs one; draw a number where none is given")?;
    let longest = start.prompt.len().saturating_add(options.max_new_tokens);
    rule(
        options.min_length <= longest,
        "min_length",
        options.min_length,
        "it must be at most the prompt and `max_new_tokens`",
    )?;
    let fits = tokens.len() <= if options.width() == 1 { options.max_new_tokens } else { 0 };
    rule(fits, "tokens", tokens.len(), "there are at most `max_new_tokens`, and none of a beam")
}

/// Looks for stop strings, if there are any.
fn watch(stops: &[String], speller: Option<Speller>) -> Result<Watch, OptionError> {
    let text = speller.filter(|_| !stops.is_empty()).map(|speller| Stream::new(speller, stops));
    let is_readable = text.is_some() || stops.is_empty();
    let expected = "they need the text of tokens; begin with `Decoding::with_text`";
    rule(is_readable, "stop_strings", stops.len(), expected)?;
    Ok(Watch { text })
}
