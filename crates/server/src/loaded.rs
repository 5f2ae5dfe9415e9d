//! A model in memory, and how engines come from it.

use grice_core::{Bundle, Device, Engine, Network, Options, Plan, Precision, Reader, Result, Unplanned};
use std::sync::{Arc, Mutex, PoisonError};

/// Builds the engine of one replica, with so many threads. Called again when a replica has failed.
pub type BuildEngine = Arc<dyn Fn(&Replica) -> Result<Box<dyn Engine + Send>> + Send + Sync>;

/// What an engine is built for.
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
    pub reader: Arc<Reader>,
    /// The precision of its weights.
    pub precision: Precision,
    /// One more than the highest token id that the model can read, if its graph tells.
    pub id_bound: Option<usize>,
    /// What its logits are filed under in caches.
    pub digest: String,
    /// The model on the devices that its engines run on.
    pub plans: Arc<Plans>,
    /// Builds engines; the model's own unless a test has another idea.
    pub build: BuildEngine,
}

impl Loaded {
    /// Reads a bundle and plans it once for each different device. Replica `i` runs on `devices[i % devices.len()]`; an empty list
    /// means the processor. [`Options::device`] has no say.
    ///
    /// # Errors
    /// What core says of the bundle, or of a device that was asked for and cannot be used.
    pub fn open(bundle: &Bundle, options: &Options, devices: &[Device]) -> Result<Loaded> {
        let Unplanned { reader, network, precision } = Unplanned::read(bundle, options)?;
        let digest = bundle.model_digest(precision)?;
        let id_bound = network.embedding_rows();
        let plans = Arc::new(Plans::load(network, precision, options, devices)?);
        let own = Arc::clone(&plans);
        let build: BuildEngine = Arc::new(move |replica: &Replica| {
            let engine = own.renew(replica.index)?.engine(replica.threads)?;
            Ok::<Box<dyn Engine + Send>, _>(Box::new(engine))
        });
        Ok(Loaded { reader: Arc::new(reader), precision, id_bound, digest, plans, build })
    }
}

/// The plans of one model, one for each different device, and what a lost one is made from anew.
pub struct Plans {
    slots: Vec<Slot>,
    /// The slot of each replica, in turn; at least one.
    turns: Vec<usize>,
    /// Not kept if no GPU is in use.
    network: Option<Network>,
    precision: Precision,
}

struct Slot {
    options: Options,
    plan: Mutex<Plan>,
    /// Held while a lost device is opened anew, so that it is opened once; whoever only asks does not wait for that.
    renewal: Mutex<()>,
}

impl Plans {
    fn load(network: Network, precision: Precision, options: &Options, devices: &[Device]) -> Result<Plans> {
        let on = |device: Device| Options { device, ..options.clone() };
        if devices.iter().all(|&device| device == Device::Cpu) {
            // Handed over, so that its weights are freed while they are packed.
            let options = on(Device::Cpu);
            let plan = Plan::load(network, precision, &options)?;
            let slots = vec![Slot::new(options, plan)];
            return Ok(Plans { slots, turns: vec![0], network: None, precision });
        }
        let (mut slots, mut turns): (Vec<Slot>, Vec<usize>) = Default::default();
        let mut uses_gpu = false;
        for &device in devices {
            let found = slots.iter().position(|slot| slot.options.device == device);
            turns.push(found.unwrap_or(slots.len()));
            if found.is_none() {
                let options = on(device);
                let plan = Plan::load(network.clone(), precision, &options)?;
                log_device(&plan);
                uses_gpu |= plan.device() == "gpu";
                slots.push(Slot::new(options, plan));
            }
        }
        Ok(Plans { slots, turns, network: uses_gpu.then_some(network), precision })
    }

    /// The plan of a replica, made anew if its device was lost.
    fn renew(&self, replica: usize) -> Result<Plan> {
        let slot = self.slot(replica);
        let _one_at_a_time = slot.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = slot.plan();
        let (true, Some(network)) = (plan.is_lost(), &self.network) else { return Ok(plan) };
        let renewed = Plan::load(network.clone(), self.precision, &slot.options)?;
        tracing::info!(device = renewed.device(), "the lost device was opened anew");
        log_device(&renewed);
        *slot.plan.lock().unwrap_or_else(PoisonError::into_inner) = renewed.clone();
        Ok(renewed)
    }

    /// The plan that engines of a replica come from now; those that it has may be of one before, whose device was lost.
    pub fn of_replica(&self, replica: usize) -> Plan {
        self.slot(replica).plan()
    }

    /// `"cpu"`, `"gpu"`, or one for each replica if they differ; it changes when a lost device is opened anew elsewhere.
    pub fn device(&self) -> String {
        let devices: Vec<&str> = self.slots.iter().map(|slot| slot.plan().device()).collect();
        match devices.iter().all(|device| device == &devices[0]) {
            true => devices[0].to_owned(),
            false => self.turns.iter().map(|&turn| devices[turn]).collect::<Vec<_>>().join(","),
        }
    }

    /// Why it runs on the processor where a GPU would have been welcome.
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
        tracing::warn!(warning, "of the GPU");
    }
}
