//! A model in memory, and how engines come from it.

use grice_core::{Bundle, Device, Engine, Error, Options, Plan, Planner, Precision, Reader, Result};
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
    /// `"cpu"`, `"gpu"`, or one for each replica if they differ.
    pub device: String,
    /// Why it runs on the processor where a GPU would have been welcome.
    pub fallback_reason: Option<String>,
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
        let planner = Planner::new(bundle, options);
        let precision = planner.precision();
        let digest = bundle.stated_digest(precision)?;
        let plans = Plans::load(bundle, planner, &digest, options, devices)?;
        let id_bound = plans.embedding_rows();
        let reader = Reader::read(bundle, options, id_bound)?;
        let (device, fallback_reason) = (plans.device(), plans.fallback_reason());
        let build: BuildEngine = Arc::new(move |replica: &Replica| {
            let engine = plans.current(replica.index)?.engine(replica.threads)?;
            Ok::<Box<dyn Engine + Send>, _>(Box::new(engine))
        });
        Ok(Loaded { reader: Arc::new(reader), precision, id_bound, digest, device, fallback_reason, build })
    }
}

/// The plans of one model.
struct Plans {
    /// One for each different device.
    slots: Vec<Slot>,
    /// The slot of each replica, in turn; at least one.
    turns: Vec<usize>,
    /// What a lost GPU's plan is made from anew.
    bundle: Bundle,
    /// Of its model, which must still be the same then.
    digest: String,
    precision: Precision,
}

struct Slot {
    options: Options,
    plan: Mutex<Plan>,
}

impl Plans {
    fn load(
        bundle: &Bundle,
        mut planner: Planner<'_>,
        digest: &str,
        options: &Options,
        devices: &[Device],
    ) -> Result<Plans> {
        let (bundle, digest, precision) = (bundle.clone(), digest.to_owned(), planner.precision());
        let on = |device: Device| Options { device, ..options.clone() };
        if devices.iter().all(|&device| device == Device::Cpu) {
            // Handed over, so that its weights are freed while they are packed.
            let options = on(Device::Cpu);
            let plan = Mutex::new(planner.load_last(&options)?);
            let slots = vec![Slot { options, plan }];
            return Ok(Plans { slots, turns: vec![0], bundle, digest, precision });
        }
        let (mut slots, mut turns): (Vec<Slot>, Vec<usize>) = Default::default();
        for &device in devices {
            let found = slots.iter().position(|slot| slot.options.device == device);
            turns.push(found.unwrap_or(slots.len()));
            if found.is_none() {
                let options = on(device);
                let plan = planner.load(&options)?;
                log_device(&plan);
                slots.push(Slot { options, plan: Mutex::new(plan) });
            }
        }
        Ok(Plans { slots, turns, bundle, digest, precision })
    }

    /// The plan of a replica, made anew if its device was lost.
    fn current(&self, replica: usize) -> Result<Plan> {
        let slot = &self.slots[self.turns[replica % self.turns.len()]];
        let mut plan = slot.plan.lock().unwrap_or_else(PoisonError::into_inner);
        if plan.is_lost() {
            *plan = self.make_anew(&slot.options)?;
            log_device(&plan);
        }
        Ok(plan.clone())
    }

    /// Reads the bundle again: it is seldom, and until then the weights lie on the device only.
    fn make_anew(&self, options: &Options) -> Result<Plan> {
        let found = self.bundle.stated_digest(self.precision)?;
        if found != self.digest {
            let path = self.bundle.model_path(self.precision)?.to_owned();
            return Err(Error::BundleDigest { path, found, expected: self.digest.clone() });
        }
        Planner::new(&self.bundle, &Options { precision: Some(self.precision), ..options.clone() }).load_last(options)
    }

    fn embedding_rows(&self) -> Option<usize> {
        self.slots[0].plan.lock().unwrap_or_else(PoisonError::into_inner).embedding_rows()
    }

    fn device(&self) -> String {
        let of_slot = |slot: &Slot| slot.plan.lock().unwrap_or_else(PoisonError::into_inner).device();
        let devices: Vec<&str> = self.slots.iter().map(of_slot).collect();
        match devices.iter().all(|device| device == &devices[0]) {
            true => devices[0].to_owned(),
            false => self.turns.iter().map(|&turn| devices[turn]).collect::<Vec<_>>().join(","),
        }
    }

    fn fallback_reason(&self) -> Option<String> {
        let of_slot =
            |slot: &Slot| slot.plan.lock().unwrap_or_else(PoisonError::into_inner).fallback_reason().map(str::to_owned);
        self.slots.iter().find_map(of_slot)
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
