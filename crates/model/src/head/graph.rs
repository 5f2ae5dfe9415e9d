//! Heads that tract runs.

use crate::EngineError;
use std::sync::Arc;
use tract_onnx::tract_core::internal::*;

/// The graph of a head, from the hidden states of token 0 to logits.
#[derive(Clone, Debug)]
pub struct HeadGraph(pub(crate) Arc<TypedModel>);

impl HeadGraph {
    pub(crate) fn bytes(&self) -> usize {
        constant_bytes(&self.0)
    }

    pub(crate) fn operators(&self) -> Vec<String> {
        operators(&self.0)
    }
}

/// A head made ready to run, to be shared by any number of engines.
#[derive(Clone)]
pub struct HeadPlan {
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

impl HeadPlan {
    /// A head that makes `labels` numbers of a row of `columns`.
    pub(crate) fn new(head: &HeadGraph, columns: usize, labels: usize) -> Result<HeadPlan, EngineError> {
        let mut head = TypedModel::clone(&head.0);
        let plan = head.optimize().and_then(|()| head.into_runnable());
        let plan = plan.map_err(|error| EngineError::Plan(format!("{error:#}")))?;
        Ok(HeadPlan { plan, columns, labels })
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

/// The operators of a graph, one a node.
pub(crate) fn operators(model: &TypedModel) -> Vec<String> {
    model.nodes().iter().map(|node| node.op.name().to_string()).collect()
}

/// Bytes of the constants of a graph.
pub(crate) fn constant_bytes(model: &TypedModel) -> usize {
    let constants = model.nodes().iter().filter(|node| node.op_is::<tract_onnx::tract_core::ops::konst::Const>());
    constants
        .filter_map(|node| node.outputs.first().and_then(|outlet| outlet.fact.konst.as_ref()))
        .map(|tensor| tensor.volume() * tensor.datum_type().size_of())
        .sum()
}
