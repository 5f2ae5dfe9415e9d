//! What stands for heads that are graphs where nothing can run one.

use crate::{EngineError, Head};

/// There is none.
#[derive(Clone, Copy, Debug)]
pub enum HeadGraph {}

/// There is none.
#[derive(Clone, Copy, Debug)]
pub enum HeadPlan {}

/// There is none.
#[derive(Clone, Copy, Debug)]
pub enum HeadRunner {}

impl HeadGraph {
    pub(crate) fn bytes(&self) -> usize {
        match *self {}
    }

    pub(crate) fn operators(&self) -> Vec<String> {
        match *self {}
    }
}

impl HeadPlan {
    /// Refuses: only dense layers run here.
    ///
    /// # Errors
    /// [`EngineError::Plan`], always.
    pub fn new(_: &Head, _: usize, _: usize) -> Result<HeadPlan, EngineError> {
        Err(EngineError::Plan("its head is no dense layers, and this build runs no ONNX graphs".to_owned()))
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub fn runner(&self) -> Result<HeadRunner, EngineError> {
        match *self {}
    }
}

impl HeadRunner {
    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    pub fn run(&mut self, _: &[f32]) -> Result<Vec<f32>, EngineError> {
        match *self {}
    }
}
