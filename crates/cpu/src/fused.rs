//! The steps of a program on packed tokens, each a kernel.

use crate::interpret::{Buffers, Run, Sequences};
use crate::packed::Packed;
use grice_kernels::Kernels;
use grice_model::{Batch, BetweenSteps, EngineError, HeadRunner, Logits, Trace, record_step as record};
use std::sync::Arc;

/// Tokens run together; more only moves activations out of cache.
const TOKENS_MAX: usize = 2048;

/// The program, its threads and its buffers.
pub(crate) struct Fused {
    packed: Arc<Packed>,
    kernels: Kernels,
    /// None where the steps end in logits.
    head: Option<HeadRunner>,
    buffers: Buffers,
    labels: usize,
    pub(crate) between: Option<BetweenSteps>,
}

impl Fused {
    pub(crate) fn new(packed: Arc<Packed>, labels: usize, threads: usize) -> Result<Fused, EngineError> {
        let head = packed.head.as_ref().map(|head| head.runner()).transpose()?;
        let kernels = Kernels::with_isa(packed.isa, threads);
        Ok(Fused { packed, kernels, head, buffers: Buffers::default(), labels, between: None })
    }

    pub(crate) fn isa(&self) -> &'static str {
        self.kernels.isa().name()
    }

    pub(crate) fn forward(&mut self, batch: &Batch, mut trace: Option<&mut Trace>) -> Result<Logits, EngineError> {
        self.packed.lookup.check(batch)?;
        let mut logits = Logits::zeros(batch.rows(), self.labels);
        for rows in batch.split(TOKENS_MAX) {
            let (ids, cu_seqlens) = batch.part(rows.clone());
            let Packed { steps, lookup, parts, .. } = &*self.packed;
            let sequences = Sequences::new(ids, &cu_seqlens);
            let extent = sequences.extent;
            let run = Run { steps, lookup, parts, kernels: &self.kernels, sequences, between: self.between.as_ref() };
            run.all(&mut self.buffers, &mut [], &mut trace).map_err(|error| EngineError::Run(error.to_string()))?;
            let answer = self.buffers.read(&steps.answer, &extent);
            let made;
            let values = match &mut self.head {
                None => answer,
                Some(head) => {
                    made = record(&mut trace, None, "head", 0, || head.run(answer))?;
                    &made
                }
            };
            for (row, values) in rows.zip(values.chunks_exact(self.labels)) {
                logits.row_mut(row).copy_from_slice(values);
            }
        }
        Ok(logits)
    }
}
