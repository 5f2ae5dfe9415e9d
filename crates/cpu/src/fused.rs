//! The steps of a program on packed tokens, each a kernel.

use crate::packed::{Attention, Packed};
use grice_kernels::{ByDistance, Epilogue, Kernels, Queries, Rows, ShapeError};
use grice_model::{
    Action, Batch, EngineError, Extent, HeadRunner, Logits, Operand, Rows as RowsOf, Slot, Then, Trace,
    record_step as record,
};
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
}

/// One for each [`Slot`], reused from run to run.
#[derive(Default)]
struct Buffers([Vec<f32>; Slot::COUNT]);

impl Fused {
    pub(crate) fn new(packed: Arc<Packed>, labels: usize, threads: usize) -> Result<Fused, EngineError> {
        let head = packed.head.as_ref().map(|head| head.runner()).transpose()?;
        let kernels = Kernels::with_isa(packed.isa, threads);
        Ok(Fused { packed, kernels, head, buffers: Buffers::default(), labels })
    }

    pub(crate) fn isa(&self) -> &'static str {
        self.kernels.isa().name()
    }

    pub(crate) fn forward(&mut self, batch: &Batch, mut trace: Option<&mut Trace>) -> Result<Logits, EngineError> {
        self.packed.lookup.check(batch)?;
        let mut logits = Logits::zeros(batch.rows(), self.labels);
        for rows in batch.split(TOKENS_MAX) {
            let (ids, cu_seqlens) = batch.part(rows.clone());
            let extent = Extent::of(&cu_seqlens);
            let run = Run { packed: &self.packed, kernels: &self.kernels, ids, cu_seqlens: &cu_seqlens, extent };
            run.all(&mut self.buffers, &mut trace).map_err(|error| EngineError::Run(error.to_string()))?;
            let answer = self.buffers.read(&self.packed.steps.answer, &extent);
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

/// One pass of some sequences.
struct Run<'a> {
    packed: &'a Packed,
    kernels: &'a Kernels,
    ids: &'a [u32],
    cu_seqlens: &'a [u32],
    extent: Extent,
}

impl Run<'_> {
    fn all(&self, buffers: &mut Buffers, trace: &mut Option<&mut Trace>) -> Result<(), ShapeError> {
        let steps = &self.packed.steps;
        for step in &steps.list {
            let operations = steps.operations(&step.action, &self.extent);
            record(trace, step.layer, step.op.name(), operations, || self.one(&step.action, buffers))?;
        }
        Ok(())
    }

    fn one(&self, action: &Action, buffers: &mut Buffers) -> Result<(), ShapeError> {
        if let Action::Rotate { x, attention } = action {
            return self.rotate(x, &self.packed.attentions[*attention], buffers);
        }
        let Some(to) = action.writes().last() else { return Ok(()) };
        let mut made = buffers.take(&to, &self.extent);
        let out = &mut made[..self.extent.rows(to.rows) * to.width];
        let done = self.write(action, buffers, out);
        buffers.put_back(to.slot, made);
        done
    }

    /// Turns heads of a buffer in place.
    fn rotate(&self, x: &Operand, attention: &Attention, buffers: &mut Buffers) -> Result<(), ShapeError> {
        let Some(table) = &attention.rotary else { return Ok(()) };
        let head_dim = attention.shape.head_dim;
        let rows = &mut buffers.0[x.slot as usize][..self.extent.rows(x.rows) * x.width];
        self.kernels.rotate(rows, x.width, x.offset, x.columns / head_dim, head_dim, self.cu_seqlens, table)
    }

    /// What the action makes, into `out`, whose buffer is not among `buffers`.
    fn write(&self, action: &Action, buffers: &Buffers, out: &mut [f32]) -> Result<(), ShapeError> {
        let Packed { linears, norms, attentions, lookup, .. } = self.packed;
        let (kernels, extent) = (self.kernels, &self.extent);
        let rows = |operand: &Operand| extent.rows(operand.rows);
        match action {
            Action::Embed { .. } => {
                lookup.gather(kernels, self.ids, self.cu_seqlens, out)?;
                lookup.norm().map_or(Ok(()), |norm| kernels.layer_norm_in_place(out, extent.tokens, norm))
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
            Action::Pick { x, to } => {
                let x = buffers.read(x, extent);
                for (out, &start) in out.chunks_exact_mut(to.width).zip(self.cu_seqlens) {
                    out.copy_from_slice(&x[start as usize * to.width..][..to.width]);
                }
                Ok(())
            }
            Action::Attend { q, k, v, attention, .. } => {
                let queries = if q.rows == RowsOf::Tokens { Queries::All } else { Queries::First };
                let attention = &attentions[*attention];
                let [q, k, v] = [q, k, v].map(|operand| buffers.columns(operand));
                let by_distance = match &attention.bias {
                    Some(bias) => ByDistance::Bias(bias),
                    None => attention.relative.as_ref().into(),
                };
                kernels.attention(&q, &k, &v, self.cu_seqlens, queries, &attention.shape, by_distance, out)
            }
        }
    }

    fn epilogue<'b>(&'b self, then: &Then, buffers: &'b Buffers) -> Epilogue<'b> {
        Epilogue {
            activation: then.activation,
            residual: then.residual.as_ref().map(|residual| buffers.read(residual, &self.extent)),
            norm: then.norm.map(|norm| &self.packed.norms[norm]),
        }
    }
}

impl Buffers {
    /// All rows of an operand that is its buffer's whole width.
    fn read(&self, operand: &Operand, extent: &Extent) -> &[f32] {
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
