//! Detectors and embedders: batches of sequences with synthetic tokens.

use super::subject::{Measurable, Run};
use crate::args::{BenchModel, Common, Shape};
use crate::bench::named::Kind;
use crate::bench::protocol::Ready;
use crate::error::{CliError, Result};
use crate::profile::{OpCost, Subject, gpu_busy, load_embedder, load_subject, sum_ops, synthetic_batch, trace_batch};
use grice_core::{Batch, Engine};
use std::time::Instant;

/// Traced runs.
const TRACED: usize = 3;

pub(super) struct Batches {
    subject: Subject,
    tokens: usize,
}

impl Batches {
    /// # Errors
    /// Errors of the model.
    pub(super) fn load(args: &BenchModel, common: &Common) -> Result<Batches> {
        let subject = match args.kind {
            Kind::Embedder => load_embedder(common)?,
            _ => load_subject(common)?,
        };
        Ok(Batches { subject, tokens: args.tokens.get() })
    }

    fn batch(&self, rows: usize) -> Result<Batch> {
        synthetic_batch(&Shape { rows, tokens: self.tokens }.lengths(), self.subject.vocabulary)
    }
}

impl Measurable for Batches {
    fn ready(&self) -> Ready {
        Ready {
            name: self.subject.name.clone(),
            precision: self.subject.precision.to_string(),
            kernels: self.subject.engine.info().kernels.to_owned(),
            workers: self.subject.workers.clone(),
            load_ms: 0.0,
            memory: None,
            kv_token_bytes: None,
        }
    }

    fn run(&mut self, rows: usize) -> Result<Run> {
        let batch = self.batch(rows)?;
        let start = Instant::now();
        self.subject.engine.forward(&batch).map_err(|error| CliError::Core(error.into()))?;
        Ok(Run { latency_ms: start.elapsed().as_secs_f64() * 1e3, texts: None })
    }

    fn steps(&mut self, rows: usize) -> Result<Vec<OpCost>> {
        let batch = self.batch(rows)?;
        Ok(sum_ops(&trace_batch(&mut self.subject.engine, &batch, TRACED)?))
    }

    fn gpu_busy(&mut self, rows: usize, latency_ms: &[f64]) -> Option<f64> {
        let batch = self.batch(rows).ok()?;
        gpu_busy(&mut self.subject.engine, &batch, *latency_ms.first()?)
    }
}
