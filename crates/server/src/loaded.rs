//! A model in memory that builds engines.

use grice_core::task::Detect;
use grice_core::{Bundle, Device, Engine, Error, Options, Plan, Planner, Precision, Result};
use std::sync::{Arc, Mutex, PoisonError};

/// Builds the engine of one replica. Called again after a replica has failed.
pub type BuildEngine = Arc<dyn Fn(&Replica) -> Result<Box<dyn Engine + Send>> + Send + Sync>;

/// The replica that an engine is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Which of the model's replicas, from 0.
    pub index: usize,
    /// Threads that it may use.
    pub threads: usize,
}

/// A model read and checked.
#[derive(Clone)]
pub struct Loaded {
    /// Text in, verdict out.
    pub task: Arc<Detect>,
    /// The precision of its weights.
    pub precision: Precision,
    /// One more than the highest token id that the model accepts, if the graph defines it.
    pub id_bound: Option<usize>,
    /// The model's part of cache keys.
    pub digest: String,
    /// The model on the devices that its engines run on.
    pub plans: Arc<Plans>,
    /// Builds engines; tests can replace it.
    pub build: BuildEngine,
}

impl Loaded {
    /// Reads a bundle and plans it once for each different device. Replica `i` runs on `devices[i % devices.len()]`; an empty list
    /// means the processor. [`Options::device`] is ignored.
    ///
    /// # Errors
    /// Core's error for the bundle, or for a required device that cannot be used.
    pub fn open(bundle: &Bundle, options: &Options, devices: &[Device]) -> Result<Loaded> {
        let planner = Planner::new(bundle, options);
        let precision = planner.precision();
        let digest = bundle.model_digest(precision)?;
        let plans = Arc::new(Plans::load(bundle, planner, &digest, options, devices)?);
        let bounds = plans.of_replica(0).bounds();
        let id_bound = bounds.embedding_rows;
        let task = Detect::read(bundle, options, bounds)?;
        let own = Arc::clone(&plans);
        let build: BuildEngine = Arc::new(move |replica: &Replica| {
            let engine = own.renew(replica.index)?.engine(replica.threads)?;
            Ok::<Box<dyn Engine + Send>, _>(Box::new(engine))
        });
        Ok(Loaded { task: Arc::new(task), precision, id_bound, digest, plans, build })
    }
}

/// The plans of one model, one for each different device, and the source for replacing a lost one.
pub struct Plans {
    slots: Vec<Slot>,
    /// The slot of each replica, in turn; at least one.
    turns: Vec<usize>,
    /// The source for replacing a lost GPU's plan; not kept without a GPU, because an archive uses memory.
    bundle: Option<Bundle>,
    /// The model's digest, which must still be the same then.
    digest: String,
    precision: Precision,
}

struct Slot {
    options: Options,
    plan: Mutex<Plan>,
    /// Held while a lost device is opened again, so that it is opened once; readers do not wait for it.
    renewal: Mutex<()>,
}

impl Plans {
    fn load(
        bundle: &Bundle,
        mut planner: Planner<'_>,
        digest: &str,
        options: &Options,
        devices: &[Device],
    ) -> Result<Plans> {
        let (digest, precision) = (digest.to_owned(), planner.precision());
        let on = |device: Device| Options { device, ..options.clone() };
        if devices.iter().all(|&device| device == Device::Cpu) {
            // Moved, so that its weights are freed while they are packed.
            let options = on(Device::Cpu);
            let plan = planner.load_last(&options)?;
            let slots = vec![Slot::new(options, plan)];
            return Ok(Plans { slots, turns: vec![0], bundle: None, digest, precision });
        }
        let (mut slots, mut turns): (Vec<Slot>, Vec<usize>) = Default::default();
        for &device in devices {
            let found = slots.iter().position(|slot| slot.options.device == device);
            turns.push(found.unwrap_or(slots.len()));
            if found.is_none() {
                let options = on(device);
                let plan = planner.load(&options)?;
                log_device(&plan);
                slots.push(Slot::new(options, plan));
            }
        }
        let uses_gpu = slots.iter().any(|slot| slot.plan().device() == "gpu");
        Ok(Plans { slots, turns, bundle: uses_gpu.then(|| bundle.clone()), digest, precision })
    }

    /// The plan of a replica, replaced if its device was lost.
    fn renew(&self, replica: usize) -> Result<Plan> {
        let slot = self.slot(replica);
        let _one_at_a_time = slot.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = slot.plan();
        let (true, Some(bundle)) = (plan.is_lost(), &self.bundle) else { return Ok(plan) };
        let renewed = self.replace_plan(bundle, &slot.options)?;
        tracing::info!(device = renewed.device(), "the lost device was opened again");
        log_device(&renewed);
        *slot.plan.lock().unwrap_or_else(PoisonError::into_inner) = renewed.clone();
        Ok(renewed)
    }

    /// Reads the bundle again: this is rare, and until then the weights are only on the device.
    fn replace_plan(&self, bundle: &Bundle, options: &Options) -> Result<Plan> {
        let found = bundle.model_digest(self.precision)?;
        if found != self.digest {
            let path = bundle.model_path(self.precision)?.to_owned();
            return Err(Error::BundleDigest { path, found, expected: self.digest.clone() });
        }
        Planner::new(bundle, &Options { precision: Some(self.precision), ..options.clone() }).load_last(options)
    }

    /// The current plan of a replica; its existing engines may use an older plan, whose device was lost.
    pub fn of_replica(&self, replica: usize) -> Plan {
        self.slot(replica).plan()
    }

    /// `"cpu"`, `"gpu"`, or a list for the replicas if they differ; it changes when a replacement for a lost device opens.
    pub fn device(&self) -> String {
        let devices: Vec<&str> = self.slots.iter().map(|slot| slot.plan().device()).collect();
        match devices.iter().all(|device| device == &devices[0]) {
            true => devices[0].to_owned(),
            false => self.turns.iter().map(|&turn| devices[turn]).collect::<Vec<_>>().join(","),
        }
    }

    /// Why `auto` selected the processor.
    pub fn fallback_reason(&self) -> Option<String> {
        self.slots.iter().find_map(|slot| slot.plan().fallback_reason().map(str::to_owned))
    }

    fn slot(&self, replica: usize) -> &Slot {
        &self.slots[self.turns[replica % self.turns.len()]]
    }
}

impl Slot {
    fn new(options: Options, plan: Plan) -> Slot {
        Slot { options, plan: Mutex::new(plan), renewal: Mutex::new(()) }
    }

    fn plan(&self) -> Plan {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn log_device(plan: &Plan) {
    if let Some(reason) = plan.fallback_reason() {
        tracing::info!(reason, "running on the CPU");
    }
    for warning in plan.warnings() {
        tracing::warn!(warning, "warning of the GPU");
    }
}
