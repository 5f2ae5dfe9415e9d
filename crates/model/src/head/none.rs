//! What stands for heads that are graphs where nothing can run one.

use crate::EngineError;

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
    pub(crate) fn new(graph: &HeadGraph, _: usize, _: usize) -> Result<HeadPlan, EngineError> {
        match *graph {}
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
