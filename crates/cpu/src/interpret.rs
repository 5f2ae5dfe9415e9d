//! The steps of a program on packed tokens, each a kernel.

use crate::packed::{Attention, PackedParts};
use grice_kernels::{ByDistance, Epilogue, Kernels, PagedSequence, Queries, Rows, ShapeError};
use grice_model::{
    Action, BetweenSteps, Extent, Lookup, Operand, Pass, Rows as RowsOf, Slot, Steps, Then, Trace,
    record_step as record,
};

/// One for each [`Slot`], reused from run to run.
#[derive(Default)]
pub(crate) struct Buffers([Vec<f32>; Slot::COUNT]);

/// The tokens of a run, and whose they are.
pub(crate) struct Sequences<'a> {
    ids: &'a [u32],
    cu_seqlens: Vec<u32>,
    /// The position of each sequence's first token; none where all are 0.
    starts: Vec<u32>,
    pub(crate) extent: Extent,
    asked: Asked,
    /// Where the keys and values of all tokens are, and what the tokens that are asked about see.
    kept: [Vec<PagedSequence<'a>>; 2],
    /// The same for sources.
    sources: [Vec<PagedSequence<'a>>; 2],
}

/// The tokens that are asked about: rows of `Rows::Sequences`.
#[derive(Default)]
struct Asked {
    /// Their places among all.
    places: Vec<usize>,
    cu_seqlens: Vec<u32>,
    starts: Vec<u32>,
}

/// Steps on some sequences.
pub(crate) struct Run<'a> {
    pub(crate) steps: &'a Steps,
    pub(crate) lookup: &'a Lookup,
    pub(crate) parts: &'a PackedParts,
    pub(crate) kernels: &'a Kernels,
    pub(crate) sequences: Sequences<'a>,
    /// Called after each step.
    pub(crate) between: Option<&'a BetweenSteps>,
}

/// The pages of every layer: `pools[layer]` is `[pages, page_len]`.
pub(crate) type Pools<'p> = &'p mut [Vec<f32>];

impl<'a> Sequences<'a> {
    /// Whole sequences, whose first tokens are asked about.
    pub(crate) fn new(ids: &'a [u32], cu_seqlens: &[u32]) -> Sequences<'a> {
        let places = cu_seqlens.iter().map(|&start| start as usize).take(cu_seqlens.len().saturating_sub(1)).collect();
        Sequences {
            ids,
            cu_seqlens: cu_seqlens.to_vec(),
            starts: Vec::new(),
            extent: Extent::of(cu_seqlens),
            asked: Asked { places, ..Asked::default() },
            kept: Default::default(),
            sources: Default::default(),
        }
    }

    /// Whole sources, whose keys and values go to pages.
    pub(crate) fn of_sources(ids: &'a [u32], cu_seqlens: &[u32], pages: &[&'a [u32]]) -> Sequences<'a> {
        let rows = cu_seqlens.windows(2).map(|pair| pair[0] as usize..pair[1] as usize);
        let kept = rows.zip(pages).map(|(queries, pages)| PagedSequence { queries, kept: 0, pages }).collect();
        Sequences { kept: [kept, Vec::new()], ..Sequences::new(ids, cu_seqlens) }
    }

    /// New tokens of sequences that go on.
    pub(crate) fn of_pass(pass: &'a Pass) -> Sequences<'a> {
        let mut sequences = Sequences::new(&pass.ids, &[0]);
        sequences.asked.cu_seqlens.push(0);
        let (mut first, mut asked) = (0, 0);
        for past in &pass.pasts {
            let rows = first..first + past.tokens;
            // The tokens that are asked about are the last ones.
            let earlier = past.tokens - past.asked;
            let asking = asked..asked + past.asked;
            let own = |queries, kept| PagedSequence { queries, kept, pages: &past.pages };
            sequences.kept[0].push(own(rows.clone(), past.kept));
            sequences.cu_seqlens.push(rows.end as u32);
            sequences.starts.push(past.kept as u32);
            if past.asked > 0 {
                sequences.kept[1].push(own(asking.clone(), past.kept + earlier));
                sequences.asked.places.extend(rows.start + earlier..rows.end);
                sequences.asked.cu_seqlens.push(asking.end as u32);
                sequences.asked.starts.push((past.kept + earlier) as u32);
            }
            if let Some(source) = &past.source {
                let seen = |queries| PagedSequence { queries, kept: source.tokens, pages: &source.pages };
                sequences.sources[0].push(seen(rows.clone()));
                sequences.sources[1].extend((past.asked > 0).then(|| seen(asking.clone())));
                sequences.extent.source_pairs += (past.tokens * source.tokens) as u64;
            }
            let seen = past.tokens * past.kept + past.tokens * (past.tokens + 1) / 2;
            sequences.extent.pairs += seen as u64;
            (first, asked) = (rows.end, asking.end);
        }
        (sequences.extent.tokens, sequences.extent.sequences) = (first, asked);
        sequences
    }
}

impl Run<'_> {
    /// All steps, in their order.
    pub(crate) fn all(
        &self,
        buffers: &mut Buffers,
        pools: Pools<'_>,
        trace: &mut Option<&mut Trace>,
    ) -> Result<(), ShapeError> {
        for step in &self.steps.list {
            let operations = self.steps.operations(&step.action, &self.sequences.extent);
            record(trace, step.layer, step.op.name(), operations, || self.one(&step.action, buffers, pools))?;
            if let Some(between) = self.between {
                between();
            }
        }
        Ok(())
    }

    fn one(&self, action: &Action, buffers: &mut Buffers, pools: Pools<'_>) -> Result<(), ShapeError> {
        match action {
            Action::Rotate { x, attention } => {
                return self.rotate(x, &self.parts.attentions[*attention], buffers);
            }
            #[cfg(feature = "generation")]
            Action::Keep { k, v, attention, cache } => {
                let [k, v] = [k, v].map(|operand| buffers.columns(operand));
                let shape = &self.parts.attentions[*attention].shape;
                return self.kernels.keep(&k, &v, &self.sequences.kept[0], shape, &mut pools[*cache]);
            }
            _ => {}
        }
        let extent = &self.sequences.extent;
        let Some(to) = action.writes().last().filter(|to| extent.rows(to.rows) > 0) else { return Ok(()) };
        let mut made = buffers.take(&to, extent);
        let out = &mut made[..extent.rows(to.rows) * to.width];
        let done = self.write(action, buffers, pools, out);
        buffers.put_back(to.slot, made);
        done
    }

    /// Turns heads of a buffer in place.
    fn rotate(&self, x: &Operand, attention: &Attention, buffers: &mut Buffers) -> Result<(), ShapeError> {
        let Some(table) = &attention.rotary else { return Ok(()) };
        let Sequences { cu_seqlens, starts, asked, extent, .. } = &self.sequences;
        let head_dim = attention.shape.head_dim;
        let rows = &mut buffers.0[x.slot as usize][..extent.rows(x.rows) * x.width];
        let (cu_seqlens, starts) = match x.rows {
            RowsOf::Tokens => (cu_seqlens, starts),
            RowsOf::Sequences => (&asked.cu_seqlens, &asked.starts),
        };
        self.kernels.rotate(rows, x.width, x.offset, x.columns / head_dim, head_dim, cu_seqlens, starts, table)
    }

    /// What the action makes, into `out`, whose buffer is not among `buffers`.
    fn write(&self, action: &Action, buffers: &Buffers, pools: &[Vec<f32>], out: &mut [f32]) -> Result<(), ShapeError> {
        let PackedParts { linears, norms, attentions } = self.parts;
        let (kernels, sequences) = (self.kernels, &self.sequences);
        let Sequences { ids, cu_seqlens, starts, extent, asked, .. } = sequences;
        let rows = |operand: &Operand| extent.rows(operand.rows);
        match action {
            Action::Embed { .. } => {
                self.lookup.gather(kernels, ids, cu_seqlens, starts, out)?;
                self.lookup.norm().map_or(Ok(()), |norm| kernels.layer_norm_in_place(out, extent.tokens, norm))
            }
            Action::Product { x, linear, then, .. } => {
                let epilogue = self.epilogue(then, buffers);
                kernels.linear(buffers.read(x, extent), rows(x), &linears[*linear], &epilogue, out)
            }
            Action::FeedForward { x, up, activation, down, then, .. } => {
                let (up, down, epilogue) = (&linears[*up], &linears[*down], self.epilogue(then, buffers));
                kernels.feed_forward(buffers.read(x, extent), rows(x), up, *activation, down, &epilogue, out)
            }
            Action::Norm { x, norm, .. } => {
                kernels.layer_norm(buffers.read(x, extent), None, rows(x), &norms[*norm], out)
            }
            Action::Gate { x, activation, to } => {
                kernels.gate(buffers.read(x, extent), rows(x), to.columns, *activation, out)
            }
            Action::Rotate { .. } => Ok(()),
            #[cfg(feature = "generation")]
            Action::Keep { .. } => Ok(()),
            Action::Pick { x, to } => {
                let x = buffers.read(x, extent);
                for (out, &place) in out.chunks_exact_mut(to.width).zip(&asked.places) {
                    out.copy_from_slice(&x[place * to.width..][..to.width]);
                }
                Ok(())
            }
            Action::Pool { x, to } => kernels.mean_rows(buffers.read(x, extent), cu_seqlens, to.width, out),
            Action::Unit { x, to } => kernels.unit_rows(buffers.read(x, extent), to.width, out),
            Action::Attend { q, k, v, attention, .. } => {
                let queries = if q.rows == RowsOf::Tokens { Queries::All } else { Queries::First };
                let attention = &attentions[*attention];
                let [q, k, v] = [q, k, v].map(|operand| buffers.columns(operand));
                let Attention { shape, relative, bias, .. } = attention;
                let by_distance = bias.as_ref().map_or_else(|| relative.as_ref().into(), ByDistance::Bias);
                kernels.attention(&q, &k, &v, cu_seqlens, queries, shape, by_distance, out)
            }
            // `CpuGeneratorPlan` refuses generators there; their kernels would be a tenth of what a browser downloads to detect.
            #[cfg(not(feature = "generation"))]
            Action::Keep { .. } | Action::AttendKept { .. } => {
                _ = pools;
                Err(ShapeError::Malformed { what: "a step over pages", rule: "needs a build that generates texts" })
            }
            #[cfg(feature = "generation")]
            Action::AttendKept { q, of, attention, cache, .. } => {
                use grice_kernels::Seen;
                use grice_model::Memory;
                let Attention { shape, bias, .. } = &attentions[*attention];
                let (seen, all) = match of {
                    Memory::Own => (Seen::Earlier, &sequences.kept),
                    Memory::Source => (Seen::Kept, &sequences.sources),
                };
                let who = &all[usize::from(q.rows == RowsOf::Sequences)];
                kernels.attend_pages(&buffers.columns(q), &pools[*cache], who, seen, shape, bias.as_ref(), out)
            }
        }
    }

    fn epilogue<'b>(&'b self, then: &Then, buffers: &'b Buffers) -> Epilogue<'b> {
        Epilogue {
            activation: then.activation,
            residual: then.residual.as_ref().map(|residual| buffers.read(residual, &self.sequences.extent)),
            norm: then.norm.map(|norm| &self.parts.norms[norm]),
        }
    }
}

impl Buffers {
    /// All rows of an operand that is its buffer's whole width, to change them.
    pub(crate) fn read_mut(&mut self, operand: &Operand, extent: &Extent) -> &mut [f32] {
        &mut self.0[operand.slot as usize][..extent.rows(operand.rows) * operand.width]
    }

    /// All rows of an operand that is its buffer's whole width.
    pub(crate) fn read(&self, operand: &Operand, extent: &Extent) -> &[f32] {
        &self.0[operand.slot as usize][..extent.rows(operand.rows) * operand.width]
    }

    /// Some columns of all rows.
    fn columns(&self, operand: &Operand) -> Rows<'_> {
        Rows { data: &self.0[operand.slot as usize], stride: operand.width, offset: operand.offset }
    }

    /// The buffer of an operand, with room for it.
    fn take(&mut self, operand: &Operand, extent: &Extent) -> Vec<f32> {
        let mut buffer = std::mem::take(&mut self.0[operand.slot as usize]);
        let length = extent.rows(operand.rows) * operand.width;
        if buffer.len() < length {
            buffer.resize(length, 0.0);
        }
        buffer
    }

    fn put_back(&mut self, slot: Slot, buffer: Vec<f32>) {
        self.0[slot as usize] = buffer;
    }
}
