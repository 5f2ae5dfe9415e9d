//! The head of a fused program: hidden states of token 0 in, logits out. Small, and in whatever operators it was exported
//! with, so that tract runs it for every engine.

use crate::{EngineError, Program};
use std::sync::Arc;
use tract_onnx::tract_core::internal::*;

/// A head made ready to run, to be shared by any number of engines.
#[derive(Clone)]
pub struct Head {
    plan: Arc<TypedSimplePlan>,
    columns: usize,
    labels: usize,
}

/// A head with buffers of its own.
pub struct HeadRunner {
    state: TypedSimpleState,
    columns: usize,
    labels: usize,
}

impl Head {
    /// The head of a program that answers `labels` numbers a row.
    ///
    /// # Errors
    /// [`EngineError::Plan`] if tract cannot plan it.
    pub fn new(program: &Program, labels: usize) -> Result<Head, EngineError> {
        let mut head = TypedModel::clone(&program.head);
        let plan = head.optimize().and_then(|()| head.into_runnable());
        let plan = plan.map_err(|error| EngineError::Plan(format!("{error:#}")))?;
        Ok(Head { plan, columns: program.hidden(), labels })
    }

    /// Buffers to run it with.
    ///
    /// # Errors
    /// [`EngineError::Plan`] if they cannot be made.
    pub fn runner(&self) -> Result<HeadRunner, EngineError> {
        let state = self.plan.spawn().map_err(|error| EngineError::Plan(format!("{error:#}")))?;
        Ok(HeadRunner { state, columns: self.columns, labels: self.labels })
    }
}

impl HeadRunner {
    /// Logits `[rows, labels]` of the hidden states of token 0, `[rows, hidden]`.
    ///
    /// # Errors
    /// [`EngineError::Run`] if an operator fails, or answers another number of logits.
    pub fn run(&mut self, first: &[f32]) -> Result<Vec<f32>, EngineError> {
        let rows = first.len() / self.columns.max(1);
        let values = self.run_rows(rows, first).or_else(|error| {
            // What a run that failed leaves behind would fail all that follow.
            self.state = self.state.plan().spawn()?;
            Err(error)
        });
        let values = values.map_err(|error: TractError| EngineError::Run(format!("{error:#}")))?;
        match values.len() == rows * self.labels {
            true => Ok(values),
            false => Err(EngineError::Run(format!("{} logits for {rows} rows", values.len()))),
        }
    }

    fn run_rows(&mut self, rows: usize, first: &[f32]) -> TractResult<Vec<f32>> {
        let input = Tensor::from_shape(&[rows, self.columns], first)?;
        let outputs = self.state.run(tvec!(input.into_tvalue()))?;
        Ok(outputs[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
    }
}
