//! The steps of a program as dispatches. Rows of words lie in `Wide` before the first; what the last leaves is the answer.

use super::attention::{Operands, record_attention, record_rotation};
use super::rows::{record_gate, record_gather, record_norm, record_sum};
use crate::error::GpuError;
use crate::gemm::{Product, Scratch, Weights};
use crate::geometry::Geometry;
use crate::model::Model;
use crate::recording::{Arena, Buffer, Label, Recording, View};
use crate::tune::{Size, Tiles};
use grice_kernels::Activation;
use grice_model::{Action, Operand, Rows, Step, Then};

const SCRATCH: Scratch = Scratch {
    quantized: Buffer::Arena(Arena::Quantized),
    scales: Buffer::Arena(Arena::Scales),
    shares: Buffer::Arena(Arena::Shares),
};

/// Records a forward pass. `Starts` and `Blocks` hold what the geometry has under these names; see [`record_sum`] for the other inputs.
///
/// # Errors
/// As [`Product::record`] and [`Tiles::choose`].
pub(crate) fn record_forward(model: &Model, geometry: &Geometry, tiles: &Tiles) -> Result<Recording, GpuError> {
    let mut recording = Recording::default();
    for step in &model.steps.list {
        StepRun { model, geometry, tiles, step, recording: &mut recording }.record()?;
    }
    Ok(recording)
}

/// One step of one pass.
struct StepRun<'a> {
    model: &'a Model,
    geometry: &'a Geometry,
    tiles: &'a Tiles,
    step: &'a Step,
    recording: &'a mut Recording,
}

impl StepRun<'_> {
    fn record(&mut self) -> Result<(), GpuError> {
        let (model, label) = (self.model, self.label(self.step.op.name()));
        match &self.step.action {
            Action::Embed { to } => record_sum(self.recording, &model.embedding, self.view(to)),
            Action::Product { x, linear, then, to } => return self.product(self.view(x), *linear, then, to),
            Action::FeedForward { x, up, activation, down, then, inner, to } => {
                let inner = self.view(inner);
                self.multiply(self.view(x), &model.linears[*up], *activation, None, inner)?;
                return self.product(inner, *down, then, to);
            }
            Action::Norm { x, norm, to } => {
                record_norm(self.recording, label, self.view(x), &model.norms[*norm], self.view(to));
            }
            Action::Gate { x, activation, to } => {
                record_gate(self.recording, label, self.view(x), *activation, self.view(to));
            }
            Action::Rotate { x, attention } => {
                let (plan, x) = (&model.attentions[*attention], self.view(x));
                if let Some(rotary) = &plan.rotary {
                    record_rotation(self.recording, label, rotary, plan.head_dim, self.geometry, x);
                }
            }
            Action::Keep { .. } | Action::AttendKept { .. } => {
                let reason = "text is generated on the CPU only".to_owned();
                return Err(GpuError::Lowering { step: label.op.to_owned(), reason });
            }
            Action::Pool { .. } | Action::Unit { .. } => {
                let reason = "vectors of whole texts are made on the CPU only".to_owned();
                return Err(GpuError::Lowering { step: label.op.to_owned(), reason });
            }
            Action::Pick { x, to } => record_gather(self.recording, label, self.view(x), self.view(to)),
            Action::Attend { q, k, v, attention, to } => {
                let first = q.rows == Rows::Sequences;
                let operands = Operands { q: self.view(q), k: self.view(k), v: self.view(v), first };
                let (attention, to) = (&model.attentions[*attention], self.view(to));
                let operations = model.steps.operations(&self.step.action, &self.geometry.extent());
                let label = label.with_operations(operations);
                record_attention(self.recording, label, attention, &operands, self.geometry, to);
            }
        }
        Ok(())
    }

    fn label(&self, op: &'static str) -> Label {
        Label::new(self.step.layer, op)
    }

    fn view(&self, operand: &Operand) -> View {
        Model::view(operand, &self.geometry.extent())
    }

    /// `to = norm(activation(x · weights + bias) + residual)`.
    fn product(&mut self, x: View, linear: usize, then: &Then, to: &Operand) -> Result<(), GpuError> {
        let (model, y) = (self.model, self.view(to));
        let residual = then.residual.as_ref().map(|residual| self.view(residual));
        self.multiply(x, &model.linears[linear], then.activation, residual, y)?;
        if let Some(norm) = then.norm {
            record_norm(self.recording, self.label("norm"), y, &model.norms[norm], y);
        }
        Ok(())
    }

    /// Adds a product in the way that is best for its size.
    fn multiply(
        &mut self,
        x: View,
        weights: &Weights,
        activation: Activation,
        residual: Option<View>,
        y: View,
    ) -> Result<(), GpuError> {
        let label = self.label(self.step.op.name());
        let product = Product { label, x, weights, activation, residual, y, scratch: SCRATCH };
        let choice = self.tiles.choose(weights.precision, Size { m: x.rows, k: weights.k, n: weights.n })?;
        self.recording.shares_bytes = self.recording.shares_bytes.max(product.shares_bytes(&choice));
        self.recording.dispatches.extend(product.record(&choice)?);
        Ok(())
    }
}
