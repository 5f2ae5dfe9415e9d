//! One course: a decoding, and the pages of its hypotheses.

use super::pages::PagePool;
use super::{Decoding, Want};
use grice_model::{NewSource, PAGE_TOKENS, Page, Pass, Past, SourcePast, pages_of};
use std::sync::Arc;

/// A course's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CourseId(u64);

impl CourseId {
    pub(super) fn new(number: u64) -> CourseId {
        CourseId(number)
    }
}

/// What is to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Sources to read first.
    pub sources: Vec<NewSource>,
    /// Then this.
    pub pass: Pass,
}

/// A sequence that is generated.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) id: CourseId,
    pub(super) decoding: Decoding,
    /// Pages of its longest text.
    pub(super) reserved: usize,
    pub(super) is_ended: bool,
    pub(super) is_cancelled: bool,
    source: Option<SourcePast>,
    /// The pages of each hypothesis that ran last.
    tables: Vec<Vec<Page>>,
    /// Tokens of its only want that ran already: a prompt in pieces.
    fed: usize,
}

/// A course in a pass, and how many rows of logits it asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct InPass {
    pub(super) course: usize,
    pub(super) rows: usize,
}

impl Course {
    pub(super) fn new(id: CourseId, decoding: Decoding) -> Course {
        let (options, start) = (decoding.options(), decoding.start());
        // What is guessed may run beyond the end.
        let tokens = start.prompt.len() + options.max_new_tokens + options.draft;
        let source = start.source.as_ref().map_or(0, |source| pages_of(source.len()));
        let reserved = source.saturating_add(pages_of(tokens).saturating_mul(options.width()));
        let (is_ended, is_cancelled) = (false, false);
        Course { id, decoding, reserved, is_ended, is_cancelled, source: None, tables: Vec::new(), fed: 0 }
    }

    /// Whether its prompt has run.
    pub(super) fn has_begun(&self) -> bool {
        self.decoding.wants().all(|want| want.kept > 0)
    }

    /// Adds what it wants to the work, at most `room` tokens of a prompt. Returns how many tokens it added; `None` if there is no room.
    pub(super) fn enter(
        &mut self,
        at: usize,
        room: usize,
        pool: &mut PagePool,
        work: &mut Work,
        in_pass: &mut Vec<InPass>,
    ) -> Option<usize> {
        if !self.has_begun() && room == 0 {
            return None;
        }
        let read = self.read_source(pool, work)?;
        let wants: Vec<OwnedWant> = self.decoding.wants().map(OwnedWant::new).collect();
        let (tokens, rows) = match wants.as_slice() {
            [only] if only.kept == 0 => self.enter_piece(only, room, pool, work)?,
            _ => self.enter_all(&wants, pool, work)?,
        };
        in_pass.push(InPass { course: at, rows });
        Some(read + tokens)
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
        let Some(ids) = self.decoding.start().source.clone().filter(|_| self.source.is_none()) else { return Some(0) };
        let pages: Arc<[Page]> = pool.take_many(pages_of(ids.len()))?.into();
        self.source = Some(SourcePast { tokens: ids.len(), pages: pages.clone() });
        let tokens = ids.len();
        work.sources.push(NewSource { ids, pages });
        Some(tokens)
    }

    /// All of its wants ran.
    pub(super) fn ran_all(&mut self) {
        self.fed = 0;
    }

    /// The engine lost what it kept.
    pub(super) fn refill(&mut self, pool: &mut PagePool) {
        self.free(pool);
        self.decoding.refill();
    }

    /// Gives its pages back.
    pub(super) fn free(&mut self, pool: &mut PagePool) {
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
