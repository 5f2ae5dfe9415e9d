//! One course: a decoding, and the pages of its hypotheses.

use super::decoding::Decoding;
use super::options::DecodeOptions;
use super::outcome::{Start, TokenLog, Want};
use super::pages::PagePool;
use grice_model::{NewSource, PAGE_TOKENS, Page, Pass, Past, SourcePast, pages_of};
use std::sync::Arc;

/// What is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Sources to read first.
    pub sources: Vec<NewSource>,
    /// Then this.
    pub pass: Pass,
}

/// A text that is written.
#[derive(Debug)]
pub(crate) struct Course {
    /// Away while an engine's thread has it.
    decoding: Option<Decoding>,
    size: Size,
    source: Option<SourcePast>,
    /// The pages of each hypothesis that ran last.
    tables: Vec<Vec<Page>>,
    /// Tokens of its only want that ran already: a prompt in pieces.
    fed: usize,
}

/// How much a course takes at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Pages of its longest text.
    pub(crate) pages: usize,
    /// Hypotheses.
    pub(crate) width: usize,
    /// Tokens of prompt and source.
    pub(crate) given: usize,
    /// New tokens.
    pub(crate) new: usize,
}

/// A course's part of a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entered {
    /// Tokens that it runs, those of a source included.
    pub(crate) tokens: usize,
    /// Rows of logits that it asks for.
    pub(crate) asked: usize,
}

/// Pages of a text's longest form, with its source.
pub(super) fn pages_needed(options: &DecodeOptions, start: &Start) -> usize {
    // What is guessed may run beyond the end, but is never more than what may be written.
    let tokens = start.prompt.len().saturating_add(options.max_new_tokens);
    let tokens = tokens.saturating_add(options.draft.min(options.max_new_tokens));
    let source = start.source.as_ref().map_or(0, |source| pages_of(source.len()));
    source.saturating_add(pages_of(tokens).saturating_mul(options.width()))
}

impl Course {
    pub(crate) fn new(decoding: Decoding) -> Course {
        let (options, start) = (decoding.options(), decoding.start());
        let size = Size {
            pages: pages_needed(options, start),
            width: options.width(),
            given: start.prompt.len() + start.source.as_ref().map_or(0, |source| source.len()),
            new: options.max_new_tokens,
        };
        Course { decoding: Some(decoding), size, source: None, tables: Vec::new(), fed: 0 }
    }

    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// Whether its prompt has run.
    pub(crate) fn has_begun(&self) -> bool {
        self.decoding.as_ref().is_some_and(|decoding| decoding.wants().all(|want| want.kept > 0))
    }

    /// Adds what it wants to the work, at most `room` tokens of a prompt. `None` if there is no room.
    pub(crate) fn enter(&mut self, room: usize, pool: &mut PagePool, work: &mut Work) -> Option<Entered> {
        if !self.has_begun() && room == 0 {
            return None;
        }
        let decoding = self.decoding.as_ref()?;
        let wants: Vec<OwnedWant> = decoding.wants().map(OwnedWant::new).collect();
        let read = self.read_source(pool, work)?;
        let (tokens, asked) = match wants.as_slice() {
            [only] if only.kept == 0 => self.enter_piece(only, room, pool, work)?,
            _ => self.enter_all(&wants, pool, work)?,
        };
        Some(Entered { tokens: read + tokens, asked })
    }

    /// Its decoding, for the thread of an engine.
    pub(crate) fn lend(&mut self) -> Option<Decoding> {
        self.decoding.take()
    }

    /// Takes its decoding back.
    pub(crate) fn take_back(&mut self, decoding: Decoding) {
        self.decoding = Some(decoding);
    }

    /// The new tokens that are certain, from the `told`th on, with their log-probabilities; none while its decoding is away.
    pub(crate) fn tokens_after(&self, told: usize) -> (Arc<[u32]>, Arc<[Arc<TokenLog>]>) {
        let Some(decoding) = &self.decoding else { return Default::default() };
        let ids = decoding.new_tokens().get(told..).unwrap_or_default();
        let logs = decoding.log_probabilities().get(told..).unwrap_or_default();
        (ids.into(), logs.into())
    }

    /// A prompt, or the next piece of it. Logits are asked for at its end.
    fn enter_piece(
        &mut self,
        want: &OwnedWant,
        room: usize,
        pool: &mut PagePool,
        work: &mut Work,
    ) -> Option<(usize, usize)> {
        let tokens = (want.tokens.len() - self.fed).min(room.max(1));
        if self.tables.len() != 1 {
            self.tables = vec![Vec::new()];
        }
        let kept = self.fed;
        self.fed += tokens;
        let table = &mut self.tables[0];
        grow(table, self.fed, pool)?;
        let asked = usize::from(self.fed == want.tokens.len());
        work.pass.ids.extend_from_slice(&want.tokens[kept..self.fed]);
        let (pages, source) = (table.as_slice().into(), self.source.clone());
        work.pass.pasts.push(Past { tokens, kept, pages, source, asked });
        Some((tokens, asked))
    }

    /// All hypotheses. A page that two of them would write to is copied for all but one.
    fn enter_all(&mut self, wants: &[OwnedWant], pool: &mut PagePool, work: &mut Work) -> Option<(usize, usize)> {
        let mut tables: Vec<Vec<Page>> = Vec::with_capacity(wants.len());
        for want in wants {
            let parent = self.tables.get(want.parent).map_or(&[][..], Vec::as_slice);
            let kept = parent.get(..pages_of(want.kept))?;
            kept.iter().for_each(|&page| pool.share(page));
            tables.push(kept.to_vec());
        }
        self.tables.drain(..).flatten().for_each(|page| pool.release(page));
        let (mut tokens, mut rows) = (0, 0);
        for (want, mut table) in wants.iter().zip(tables) {
            let is_partial = !want.kept.is_multiple_of(PAGE_TOKENS);
            if let Some(last) = table.last_mut().filter(|last| is_partial && pool.is_shared(**last)) {
                let own = pool.take()?;
                work.pass.copies.push((*last, own));
                pool.release(std::mem::replace(last, own));
            }
            grow(&mut table, want.kept + want.tokens.len(), pool)?;
            work.pass.ids.extend_from_slice(&want.tokens);
            let (pages, source) = (table.as_slice().into(), self.source.clone());
            let past = Past { tokens: want.tokens.len(), kept: want.kept, pages, source, asked: want.asked };
            (tokens, rows) = (tokens + past.tokens, rows + past.asked);
            work.pass.pasts.push(past);
            self.tables.push(table);
        }
        Some((tokens, rows))
    }

    /// Has the source read, if it is not yet. Returns its tokens then.
    fn read_source(&mut self, pool: &mut PagePool, work: &mut Work) -> Option<usize> {
        let source = self.decoding.as_ref()?.start().source.clone();
        let Some(ids) = source.filter(|_| self.source.is_none()) else { return Some(0) };
        let pages: Arc<[Page]> = pool.take_many(pages_of(ids.len()))?.into();
        self.source = Some(SourcePast { tokens: ids.len(), pages: pages.clone() });
        let tokens = ids.len();
        work.sources.push(NewSource { ids, pages });
        Some(tokens)
    }

    /// All of its wants ran.
    pub(crate) fn ran_all(&mut self) {
        self.fed = 0;
    }

    /// The engine lost what it kept.
    pub(crate) fn refill(&mut self, pool: &mut PagePool) {
        self.free(pool);
        if let Some(decoding) = &mut self.decoding {
            decoding.refill();
        }
    }

    /// Gives its pages back.
    pub(crate) fn free(&mut self, pool: &mut PagePool) {
        let source = self.source.take();
        let source = source.iter().flat_map(|source| source.pages.iter().copied());
        self.tables.drain(..).flatten().chain(source).for_each(|page| pool.release(page));
        self.fed = 0;
    }
}

/// A want that does not borrow its decoding.
struct OwnedWant {
    parent: usize,
    kept: usize,
    asked: usize,
    tokens: Vec<u32>,
}

impl OwnedWant {
    fn new(want: Want<'_>) -> OwnedWant {
        OwnedWant { parent: want.parent, kept: want.kept, asked: want.asked(), tokens: want.tokens.to_vec() }
    }
}

/// Pages for so many tokens.
fn grow(table: &mut Vec<Page>, tokens: usize, pool: &mut PagePool) -> Option<()> {
    while table.len() < pages_of(tokens) {
        table.push(pool.take()?);
    }
    Some(())
}
