//! A bundle's model made ready for devices: out of its compiled engine where there is one for a device, out of its ONNX file otherwise.

use crate::engine::{reuse_compiled, wait_for};
use crate::{Bundle, Options, Plan, Result};
use grice_model::{Network, Precision};

/// Plans one precision of one bundle, and reads its ONNX file only if it has to, and once.
pub struct Planner<'a> {
    bundle: &'a Bundle,
    precision: Precision,
    network: Option<Network>,
}

impl<'a> Planner<'a> {
    /// For [`Options::precision`] of a bundle. Reads nothing yet.
    pub fn new(bundle: &'a Bundle, options: &Options) -> Planner<'a> {
        let precision = options.precision_of(bundle);
        Planner { bundle, precision, network: None }
    }

    /// Of the file that is read.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Plans it for [`Options::device`] without blocking while a GPU works, and keeps what it read for another device.
    ///
    /// # Errors
    /// Of [`crate::ErrorKind::BadModel`], naming the file and what does not fit; [`Error::Gpu`] if a GPU was asked for and
    /// cannot be used.
    pub async fn open(&mut self, options: &Options) -> Result<Plan> {
        let (plan, warnings) = reuse_compiled(self.bundle, self.precision, options).await?;
        if let Some(plan) = plan {
            return Ok(plan);
        }
        let network = self.take_network()?;
        self.network = Some(network.clone());
        self.plan(network, options, warnings).await
    }

    /// As [`Planner::open`] for the last time: the network is handed over, so that its weights are freed while they are packed.
    ///
    /// # Errors
    /// As [`Planner::open`].
    pub async fn open_last(mut self, options: &Options) -> Result<Plan> {
        let (plan, warnings) = reuse_compiled(self.bundle, self.precision, options).await?;
        match plan {
            Some(plan) => Ok(plan),
            None => {
                let network = self.take_network()?;
                self.plan(network, options, warnings).await
            }
        }
    }

    async fn plan(&self, network: Network, options: &Options, mut warnings: Vec<String>) -> Result<Plan> {
        let plan = Plan::open(network, self.precision, options).await?;
        warnings.extend(crate::task::note_of_length(self.bundle.manifest(), plan.bounds()));
        Ok(plan.with_warnings(warnings))
    }

    /// As [`Planner::open`], waiting for it. In a browser only the processor can be waited for.
    ///
    /// # Errors
    /// As [`Planner::open`].
    pub fn load(&mut self, options: &Options) -> Result<Plan> {
        wait_for(options.device, self.open(options))?
    }

    /// As [`Planner::open_last`], waiting for it. In a browser only the processor can be waited for.
    ///
    /// # Errors
    /// As [`Planner::open`].
    pub fn load_last(self, options: &Options) -> Result<Plan> {
        wait_for(options.device, self.open_last(options))?
    }

    /// The graph, read if it is not here yet.
    fn take_network(&mut self) -> Result<Network> {
        if let Some(network) = self.network.take() {
            return Ok(network);
        }
        self.bundle.network(self.precision)
    }
}
