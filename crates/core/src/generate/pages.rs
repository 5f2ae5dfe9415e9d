//! Which page of an engine's memory belongs to whom. Pages are counted, so sequences share those that they do not write to any more.

use grice_model::Page;

/// The pages of one engine.
#[derive(Clone, Debug)]
pub struct PagePool {
    free: Vec<Page>,
    /// How many sequences use each page.
    uses: Vec<u32>,
    /// Pages promised to those who have not taken them yet, or have.
    reserved: usize,
}

impl PagePool {
    /// So many pages, all free.
    pub fn new(pages: usize) -> PagePool {
        let count = u32::try_from(pages).unwrap_or(u32::MAX);
        PagePool { free: (0..count).rev().collect(), uses: vec![0; count as usize], reserved: 0 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.uses.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    /// How many are used.
    pub fn used(&self) -> usize {
        self.uses.len() - self.free.len()
    }

    /// How many are promised.
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    /// Promises pages, if that many are not promised yet. Returns whether it did.
    pub fn reserve(&mut self, pages: usize) -> bool {
        let fits = pages <= self.uses.len() - self.reserved;
        self.reserved += if fits { pages } else { 0 };
        fits
    }

    /// Takes a promise back.
    pub fn unreserve(&mut self, pages: usize) {
        self.reserved = self.reserved.saturating_sub(pages);
    }

    /// A free page, for one sequence.
    pub fn take(&mut self) -> Option<Page> {
        let page = self.free.pop()?;
        self.uses[page as usize] = 1;
        Some(page)
    }

    /// So many free pages, for one sequence.
    pub fn take_many(&mut self, pages: usize) -> Option<Vec<Page>> {
        (0..pages).map(|_| self.take()).collect()
    }

    /// One more sequence uses a page.
    pub fn share(&mut self, page: Page) {
        self.uses[page as usize] += 1;
    }

    /// One sequence fewer uses a page.
    pub fn release(&mut self, page: Page) {
        let uses = &mut self.uses[page as usize];
        *uses = uses.saturating_sub(1);
        if *uses == 0 {
            self.free.push(page);
        }
    }

    /// Whether several sequences use a page.
    pub fn is_shared(&self, page: Page) -> bool {
        self.uses[page as usize] > 1
    }
}
