//! The engine of models that write text.

use crate::interpret::{Buffers, Run, Sequences};
use crate::packed::PackedGenerator;
use grice_kernels::{Isa, Kernels, PAGE_TOKENS, PageCopy, ShapeError, page_len};
use grice_model::{
    BetweenSteps, EngineError, Generator, GeneratorEngine, Lookup, NewSource, Page, Pass, Past, Precision, Trace,
    pages_of,
};
use std::sync::Arc;

/// A generator made ready for the processor at hand, to be shared by any number of engines.
#[derive(Clone)]
pub struct CpuGeneratorPlan {
    packed: Arc<PackedGenerator>,
    vocabulary: usize,
    precision: Precision,
}

/// Runs a generator on the CPU. It owns the pages, and holds no sequence's state.
pub struct CpuGenerator {
    plan: CpuGeneratorPlan,
    kernels: Kernels,
    buffers: Buffers,
    /// `[pages, page_len]` for each layer of the decoder.
    pools: Vec<Vec<f32>>,
    pages: usize,
    threads: usize,
    between: Option<BetweenSteps>,
}

impl CpuGeneratorPlan {
    /// Packs the weights for the best instruction set. Weights without another owner are freed on the way.
    ///
    /// # Errors
    /// [`EngineError::Plan`] for parts that do not fit each other.
    pub fn new(generator: Generator) -> Result<CpuGeneratorPlan, EngineError> {
        CpuGeneratorPlan::with_isa(generator, Isa::best())
    }

    /// As [`CpuGeneratorPlan::new`], for an instruction set of this processor.
    ///
    /// # Errors
    /// As [`CpuGeneratorPlan::new`]; and always without the feature `generation`.
    pub fn with_isa(generator: Generator, isa: Isa) -> Result<CpuGeneratorPlan, EngineError> {
        if cfg!(not(feature = "generation")) {
            return Err(EngineError::Plan("this build does not generate texts".to_owned()));
        }
        generator.check().map_err(|error| EngineError::Plan(error.to_string()))?;
        let (vocabulary, precision) = (generator.vocabulary(), generator.precision());
        let packed = Arc::new(PackedGenerator::new(generator, isa)?);
        grice_kernels::release_free_memory();
        Ok(CpuGeneratorPlan { packed, vocabulary, precision })
    }

    /// An engine with `threads` threads of its own (at least one is used) and so many pages of memory.
    ///
    /// # Errors
    /// [`EngineError::Plan`] if no memory holds so many pages.
    pub fn engine(&self, threads: usize, pages: usize) -> Result<CpuGenerator, EngineError> {
        let threads = if cfg!(target_arch = "wasm32") { 1 } else { threads.max(1) };
        let pools = self.page_lengths().map(|length| {
            let total = length.checked_mul(pages).filter(|_| u32::try_from(pages).is_ok())?;
            Vec::<f32>::new().try_reserve_exact(total).ok()?;
            // Zeroed memory costs nothing until it is written to.
            Some(vec![0.0; total])
        });
        let pools = pools.collect::<Option<Vec<_>>>();
        let pools = pools.ok_or_else(|| EngineError::Plan(format!("there is no memory for {pages} pages")))?;
        let kernels = Kernels::with_isa(self.packed.isa, threads);
        Ok(CpuGenerator {
            plan: self.clone(),
            kernels,
            buffers: Buffers::default(),
            pools,
            pages,
            threads,
            between: None,
        })
    }

    /// Bytes of a page: keys and values of [`grice_kernels::PAGE_TOKENS`] tokens in all layers.
    pub fn page_bytes(&self) -> usize {
        self.page_lengths().map(|length| length * size_of::<f32>()).sum()
    }

    /// The instruction set of the kernels.
    pub fn kernels(&self) -> &'static str {
        self.packed.isa.name()
    }

    /// How many logits a token has.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The precision of the weights.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The most tokens of prompt and answer together, where that is bounded.
    pub fn longest(&self) -> Option<usize> {
        self.packed.lookup.longest()
    }

    /// The most tokens of a source, where that is bounded.
    pub fn longest_source(&self) -> Option<usize> {
        self.packed.source.as_ref().and_then(Lookup::longest)
    }

    fn page_lengths(&self) -> impl Iterator<Item = usize> {
        let PackedGenerator { steps, parts, .. } = &*self.packed;
        steps.caches.iter().map(|attention| page_len(&parts.attentions[*attention].shape))
    }
}

impl CpuGenerator {
    /// How many threads it uses.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// As [`GeneratorEngine::step`], recording every step.
    ///
    /// # Errors
    /// As [`GeneratorEngine::step`].
    pub fn step_traced(&mut self, pass: &Pass, trace: &mut Trace) -> Result<&mut [f32], EngineError> {
        self.run(pass, Some(trace))
    }

    fn run(&mut self, pass: &Pass, mut trace: Option<&mut Trace>) -> Result<&mut [f32], EngineError> {
        self.check(pass)?;
        self.copy(pass)?;
        let PackedGenerator { steps, lookup, parts, .. } = &*self.plan.packed;
        let sequences = Sequences::of_pass(pass);
        let extent = sequences.extent;
        let run = Run {
            steps: &steps.decoder,
            lookup,
            parts,
            kernels: &self.kernels,
            sequences,
            between: self.between.as_ref(),
        };
        run.all(&mut self.buffers, &mut self.pools, &mut trace).map_err(failed)?;
        if extent.sequences == 0 {
            return Ok(&mut []);
        }
        Ok(self.buffers.read_mut(&steps.decoder.answer, &extent))
    }

    fn check(&self, pass: &Pass) -> Result<(), EngineError> {
        let PackedGenerator { source, lookup, .. } = &*self.plan.packed;
        lookup.check_ids(&pass.ids)?;
        let total: usize = pass.pasts.iter().map(|past| past.tokens).sum();
        let malformed =
            |past: &Past| past.tokens == 0 || past.asked > past.tokens || past.source.is_some() != source.is_some();
        if total != pass.ids.len() || pass.pasts.iter().any(malformed) {
            return Err(EngineError::Run("its sequences do not have the tokens that they say".to_owned()));
        }
        let ends = pass.pasts.iter().map(Past::end).max();
        match lookup.longest().zip(ends).filter(|(longest, end)| end > longest) {
            Some((positions, tokens)) => Err(EngineError::Positions { tokens, positions }),
            None => Ok(()),
        }
    }

    /// Copies pages in every layer, as far as they are kept.
    fn copy(&mut self, pass: &Pass) -> Result<(), EngineError> {
        let numbers = pass.copies.iter().flat_map(|&(from, to)| [from, to]);
        if let Some(page) = numbers.into_iter().find(|page| *page as usize >= self.pages) {
            return Err(EngineError::Run(format!("it has no page {page} of {}", self.pages)));
        }
        let copy = |&(from, to)| PageCopy { from: from as usize, to: to as usize, tokens: kept_in(to, &pass.pasts) };
        let copies: Vec<PageCopy> = pass.copies.iter().map(copy).collect();
        let PackedGenerator { steps, parts, .. } = &*self.plan.packed;
        for (pool, attention) in self.pools.iter_mut().zip(&steps.caches) {
            self.kernels.copy_pages(&copies, &parts.attentions[*attention].shape, pool).map_err(failed)?;
        }
        Ok(())
    }
}

/// How many of a page's tokens are kept from earlier passes, for the sequence that keeps the most there.
fn kept_in(page: Page, pasts: &[Past]) -> usize {
    let of = |past: &Past| {
        let place = past.pages.iter().position(|own| *own == page)?;
        Some(past.kept.saturating_sub(place * PAGE_TOKENS).min(PAGE_TOKENS))
    };
    pasts.iter().filter_map(of).max().unwrap_or(PAGE_TOKENS)
}

impl GeneratorEngine for CpuGenerator {
    fn read(&mut self, sources: &[NewSource]) -> Result<(), EngineError> {
        let PackedGenerator { steps, source, parts, .. } = &*self.plan.packed;
        let (Some(steps), Some(lookup)) = (&steps.source, source) else {
            return Err(EngineError::Run("the model has no encoder that reads a source".to_owned()));
        };
        if sources.is_empty() {
            return Ok(());
        }
        let ids: Vec<u32> = sources.iter().flat_map(|source| source.ids.iter().copied()).collect();
        lookup.check_ids(&ids)?;
        let mut cu_seqlens = vec![0];
        for NewSource { ids, pages } in sources {
            let positions = lookup.longest().unwrap_or(usize::MAX);
            if ids.len() > positions {
                return Err(EngineError::Positions { tokens: ids.len(), positions });
            }
            if ids.is_empty() || pages.len() < pages_of(ids.len()) {
                return Err(EngineError::Run("a source needs a token, and pages for all of them".to_owned()));
            }
            cu_seqlens.push(cu_seqlens[cu_seqlens.len() - 1] + ids.len() as u32);
        }
        let pages: Vec<&[Page]> = sources.iter().map(|source| &*source.pages).collect();
        let sequences = Sequences::of_sources(&ids, &cu_seqlens, &pages);
        let run = Run { steps, lookup, parts, kernels: &self.kernels, sequences, between: self.between.as_ref() };
        run.all(&mut self.buffers, &mut self.pools, &mut None).map_err(failed)
    }

    fn step(&mut self, pass: &Pass) -> Result<&mut [f32], EngineError> {
        self.run(pass, None)
    }

    fn pages(&self) -> usize {
        self.pages
    }

    fn set_between_steps(&mut self, between: BetweenSteps) {
        self.between = Some(between);
    }
}

fn failed(error: ShapeError) -> EngineError {
    EngineError::Run(error.to_string())
}
