//! A bundle in memory, ready for engines.

use crate::engine::wait_for;
use crate::task::Detect;
use crate::{AnyEngine, Bundle, Options, Plan, Planner, Result};
use grice_model::Precision;

/// A bundle that was read, checked and planned: a task, and the plan for engines.
pub struct Model {
    task: Detect,
    plan: Plan,
}

impl Model {
    /// Reads a bundle and plans it for [`Options::device`], without blocking while a GPU works. [`Options::threads`] is
    /// ignored.
    ///
    /// # Errors
    /// Errors of [`crate::ErrorKind::BadModel`] that name the file and the problem; [`Error::Gpu`] if a GPU is required but
    /// cannot be used.
    pub async fn open(bundle: &Bundle, options: &Options) -> Result<Model> {
        let plan = Planner::new(bundle, options).open_last(options).await?;
        Ok(Model { task: Detect::read(bundle, options, plan.bounds())?, plan })
    }

    /// As [`Model::open`], blocking. In a browser only the processor can block.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn load(bundle: &Bundle, options: &Options) -> Result<Model> {
        wait_for(options.device, Model::open(bundle, options))?
    }

    /// An engine for this model; any number of them may be built.
    ///
    /// # Errors
    /// [`Error::Engine`] if the graph cannot be planned, [`Error::Gpu`] if a GPU has no room for it.
    pub fn build_engine(&self, threads: usize) -> Result<AnyEngine> {
        self.plan.engine(threads)
    }

    /// The network, ready to run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Text in, verdict out.
    pub fn task(&self) -> &Detect {
        &self.task
    }

    /// The task and the plan.
    pub fn into_parts(self) -> (Detect, Plan) {
        (self.task, self.plan)
    }

    /// The precision of its weights.
    pub fn precision(&self) -> Precision {
        self.plan.precision()
    }

    /// One more than the highest token id that the model accepts, if the graph defines it.
    pub fn id_bound(&self) -> Option<usize> {
        self.plan.embedding_rows()
    }
}
