//! Plans a bundle's model for devices: from its compiled engine if there is one for the device, otherwise from its ONNX file.

use crate::engine::{reuse_compiled, wait_for};
use crate::{Bundle, Options, Plan, Result};
use grice_model::{Network, Precision};

/// Plans one precision of one bundle. Reads the ONNX file only if needed, and only once.
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

    /// The precision of the file.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Plans it for [`Options::device`] without blocking while a GPU works, and keeps the network for another device.
    ///
    /// # Errors
    /// Errors of [`crate::ErrorKind::BadModel`] that name the file and the problem; [`Error::Gpu`] if a GPU is required but
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

    /// As [`Planner::open`], for the last device: gives the network away, so that its weights are freed while they are packed.
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

    /// As [`Planner::open`], blocking. In a browser only the processor can block.
    ///
    /// # Errors
    /// As [`Planner::open`].
    pub fn load(&mut self, options: &Options) -> Result<Plan> {
        wait_for(options.device, self.open(options))?
    }

    /// As [`Planner::open_last`], blocking. In a browser only the processor can block.
    ///
    /// # Errors
    /// As [`Planner::open`].
    pub fn load_last(self, options: &Options) -> Result<Plan> {
        wait_for(options.device, self.open_last(options))?
    }

    /// The network; reads it at the first call.
    fn take_network(&mut self) -> Result<Network> {
        if let Some(network) = self.network.take() {
            return Ok(network);
        }
        self.bundle.network(self.precision)
    }
}
