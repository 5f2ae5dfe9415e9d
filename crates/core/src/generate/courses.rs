//! Sequences that are generated together: which of them run in the next pass of an engine, and where their memory is.
//!
//! ```text
//! Courses::add ─► waiting ─► running ─► Courses::next ─► engine ─► Courses::take ─► new tokens, and again
//! ```
//!
//! New courses join between passes, so a short text does not wait for a long one. Pure: the engine runs elsewhere. A course reserves the
//! pages of its longest text before it starts, so none is ever stopped for want of memory.

use super::course::{Course, CourseId, InPass, Work};
use super::pages::PagePool;
use super::{DecodeError, DecodeOptions, Decoding, Generated, OptionError, Progress, Start};
use crate::text::Speller;
use std::collections::VecDeque;
use std::sync::Arc;

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

/// What a pass led to for a course.
#[derive(Debug)]
pub enum Event<'a> {
    /// New tokens that are certain.
    Tokens(CourseId, &'a [u32]),
    /// The course has ended.
    Done(CourseId, Vec<Generated>),
    /// It cannot go on.
    Failed(CourseId, DecodeError),
}

/// All courses of an engine.
#[derive(Debug)]
pub struct Courses {
    bounds: Bounds,
    pool: PagePool,
    waiting: VecDeque<Course>,
    running: Vec<Course>,
    in_pass: Vec<InPass>,
    next_id: u64,
}

impl Courses {
    /// None yet.
    pub fn new(bounds: Bounds) -> Courses {
        let pool = PagePool::new(bounds.pages);
        let (waiting, running, in_pass) = Default::default();
        Courses { bounds, pool, waiting, running, in_pass, next_id: 0 }
    }

    /// Adds a course, which waits until there is room for it.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn add(
        &mut self,
        options: Arc<DecodeOptions>,
        start: Start,
        speller: Option<Speller>,
    ) -> Result<CourseId, Refused> {
        let (prompt, new) = (start.prompt.len(), options.max_new_tokens);
        let end = prompt.saturating_add(new);
        if let Some(longest) = self.bounds.longest.filter(|longest| end > *longest) {
            return Err(Refused::Long { prompt, new, longest });
        }
        let source = start.source.as_ref().map_or(0, |source| source.len());
        if let Some(longest) = self.bounds.longest_source.filter(|longest| source > *longest) {
            return Err(Refused::LongSource { tokens: source, longest });
        }
        let decoding = match speller {
            Some(speller) => Decoding::with_text(options, start, speller)?,
            None => Decoding::new(options, start)?,
        };
        let course = Course::new(CourseId::new(self.next_id), decoding);
        let (needed, pages) = (course.reserved, self.pool.len());
        if needed > pages {
            return Err(Refused::Large { needed, pages });
        }
        self.next_id += 1;
        let id = course.id;
        self.waiting.push_back(course);
        Ok(id)
    }

    /// Ends a course. Its memory is free at once, unless it is in a pass: then after it.
    pub fn cancel(&mut self, id: CourseId) {
        self.waiting.retain(|course| course.id != id);
        for course in self.running.iter_mut().filter(|course| course.id == id) {
            course.is_cancelled = true;
        }
        if self.in_pass.is_empty() {
            self.remove_ended();
        }
    }

    /// Whether nothing is to be run.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// How many courses wait, and how many run.
    pub fn counts(&self) -> (usize, usize) {
        (self.waiting.len(), self.running.len())
    }

    /// The engine's memory.
    pub fn pool(&self) -> &PagePool {
        &self.pool
    }

    /// What is to run next; `None` if there is nothing. Texts that have begun go first, a token each; then prompts, in pieces if they are
    /// longer than what is left of the pass.
    pub fn next(&mut self) -> Option<Work> {
        self.admit();
        let mut work = Work::default();
        let mut left = self.bounds.pass_tokens.max(1);
        self.in_pass.clear();
        let (begun, fresh): (Vec<usize>, Vec<usize>) =
            (0..self.running.len()).partition(|&at| self.running[at].has_begun());
        for at in begun.into_iter().chain(fresh) {
            let course = &mut self.running[at];
            // At least one course goes on, however much it asks for.
            let room = if work.pass.ids.is_empty() { left.max(1) } else { left };
            let Some(tokens) = course.enter(at, room, &mut self.pool, &mut work, &mut self.in_pass) else { continue };
            left = left.saturating_sub(tokens);
        }
        (!work.pass.ids.is_empty()).then_some(work)
    }

    /// Takes the logits of the last pass, and tells what they led to.
    pub fn take(&mut self, logits: &mut [f32], mut tell: impl FnMut(Event<'_>)) {
        let mut rest = logits;
        for InPass { course, rows } in std::mem::take(&mut self.in_pass) {
            let course = &mut self.running[course];
            let length = (rows * course.decoding.start().vocabulary).min(rest.len());
            let (own, after) = rest.split_at_mut(length);
            rest = after;
            if rows == 0 || course.is_cancelled {
                continue;
            }
            let known = course.decoding.new_tokens().len();
            let progress = course.decoding.advance(own);
            course.ran_all();
            let new = course.decoding.new_tokens().get(known..).unwrap_or_default();
            if !new.is_empty() {
                tell(Event::Tokens(course.id, new));
            }
            match progress {
                Ok(Progress::More) => continue,
                Ok(Progress::Done(generated)) => tell(Event::Done(course.id, generated)),
                Err(error) => tell(Event::Failed(course.id, error)),
            }
            course.is_ended = true;
        }
        self.remove_ended();
    }

    /// The engine lost what it kept: all courses run their tokens again, and draw the same.
    pub fn refill(&mut self) {
        self.in_pass.clear();
        for course in &mut self.running {
            course.refill(&mut self.pool);
        }
        self.remove_ended();
    }

    /// Starts waiting courses, in their order, while there is room.
    fn admit(&mut self) {
        while let Some(course) = self.waiting.front() {
            if !self.pool.reserve(course.reserved) {
                return;
            }
            self.running.extend(self.waiting.pop_front());
        }
    }

    fn remove_ended(&mut self) {
        let pool = &mut self.pool;
        self.running.retain_mut(|course| {
            let stays = !course.is_ended && !course.is_cancelled;
            if !stays {
                course.free(pool);
                pool.unreserve(course.reserved);
            }
            stays
        });
    }
}
