//! The helpers, where there are threads.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a helper looks for the next job before it sleeps: longer than the gap between two kernels of a model, far shorter than
/// a time slice that somebody else could use.
const SPIN: Duration = Duration::from_micros(30);

/// Bits of the gate below the epoch: helpers inside (15) and whether the job is open.
const OPEN: usize = 1 << 15;
const INSIDE: usize = OPEN - 1;
const EPOCH: usize = 1 << 16;

thread_local! {
    /// Whether this thread is running a task of some pool.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is running a task of some pool.
pub(super) fn in_task() -> bool {
    IN_TASK.get()
}

pub(super) struct Crew {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Held by the thread whose job it is.
    turn: Mutex<()>,
}

struct Shared {
    /// Which job (epoch), whether it may be joined (`OPEN`), and how many helpers are inside.
    gate: AtomicUsize,
    /// Written by the caller while the gate is closed and nobody is inside; read by helpers inside.
    job: UnsafeCell<Option<Job>>,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
    stop: AtomicBool,
}

// SAFETY: `job` is the only part that is not `Sync` by itself, and the gate keeps its writer and its readers apart.
unsafe impl Sync for Shared {}
// SAFETY: a `Job` points at things that are `Sync`, for as long as the gate lets anybody look.
unsafe impl Send for Shared {}

/// One call of `run`. The pointers are good while the job is open or somebody is inside.
#[derive(Clone)]
struct Job {
    tasks: *const Tasks<'static>,
    caller: Thread,
}

struct Tasks<'a> {
    count: usize,
    next: AtomicUsize,
    task: &'a (dyn Fn(usize) + Sync),
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Crew {
    /// As many helpers as asked for, or as the system starts; `None` if that is none.
    pub(super) fn start(helpers: usize) -> Option<Self> {
        let shared = Arc::new(Shared {
            gate: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let start = |index: usize| {
            let shared = Arc::clone(&shared);
            let named = std::thread::Builder::new().name(format!("grice-{}", index + 1));
            named.spawn(move || shared.help()).ok()
        };
        let helpers: Vec<_> = (0..helpers.min(INSIDE)).map_while(start).collect();
        (!helpers.is_empty()).then(|| Self { shared, helpers, turn: Mutex::new(()) })
    }

    pub(super) fn helpers(&self) -> usize {
        self.helpers.len()
    }

    pub(super) fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        let turn = lock(&self.turn);
        let tasks = Tasks { count, next: AtomicUsize::new(0), task, panic: Mutex::new(None) };
        self.shared.open(&tasks);
        tasks.work();
        self.shared.close();
        drop(turn);
        let panic = tasks.panic.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake_all();
        for helper in self.helpers.drain(..) {
            // A helper catches what tasks throw, so there is no panic to pass on.
            let _ = helper.join();
        }
    }
}

impl Tasks<'_> {
    /// Takes tasks until none is left.
    fn work(&self) {
        let before = IN_TASK.replace(true);
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.count {
                break;
            }
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.task)(index))) {
                lock(&self.panic).get_or_insert(payload);
            }
        }
        IN_TASK.set(before);
    }
}

impl Shared {
    /// Lets helpers join. The caller holds the turn, and must `close` before `tasks` goes out of scope.
    fn open(&self, tasks: &Tasks<'_>) {
        let job = Job { tasks: std::ptr::from_ref(tasks).cast(), caller: std::thread::current() };
        // SAFETY: the last job was closed with nobody inside, nobody else has the turn, and the gate is still shut.
        unsafe { *self.job.get() = Some(job) };
        let epoch = self.gate.load(Ordering::Relaxed) & !(OPEN | INSIDE);
        self.gate.store(epoch.wrapping_add(EPOCH) | OPEN, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            self.wake_all();
        }
    }

    /// Keeps further helpers out, and waits for those inside.
    fn close(&self) {
        let mut gate = self.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while gate & INSIDE != 0 {
            spins += 1;
            match spins {
                0..2000 => std::hint::spin_loop(),
                // Perhaps the helper waits for this very processor.
                2000..2016 => std::thread::yield_now(),
                // The last one out unparks.
                _ => std::thread::park(),
            }
            gate = self.gate.load(Ordering::Acquire);
        }
    }

    /// The life of a helper.
    fn help(&self) {
        let mut epoch = 0;
        while let Some(joined) = self.join(epoch) {
            epoch = joined;
            // SAFETY: this helper is inside, so the caller has written the job, and changes nothing until it has left.
            let job = unsafe { (*self.job.get()).clone() };
            if let Some(job) = job {
                // SAFETY: the caller keeps `tasks` alive until everybody who is inside has left.
                unsafe { (*job.tasks).work() };
                let left = self.gate.fetch_sub(1, Ordering::AcqRel) - 1;
                if left & (OPEN | INSIDE) == 0 {
                    job.caller.unpark();
                }
            } else {
                self.gate.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// Waits for an open job other than `last`'s, and goes inside. Its epoch, or `None` when the crew is dismissed.
    fn join(&self, last: usize) -> Option<usize> {
        let mut since = Instant::now();
        let mut spins = 0u32;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            let gate = self.gate.load(Ordering::Relaxed);
            let epoch = gate & !(OPEN | INSIDE);
            if gate & OPEN != 0 && epoch != last {
                if self.gate.compare_exchange(gate, gate + 1, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                    return Some(epoch);
                }
                continue;
            }
            std::hint::spin_loop();
            spins += 1;
            if spins.is_multiple_of(32) && since.elapsed() > SPIN {
                self.sleep(last);
                since = Instant::now();
            }
        }
    }

    /// Sleeps until there is a job other than `last`'s to join, or the crew is dismissed.
    fn sleep(&self, last: usize) {
        let mut guard = lock(&self.sleep);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        loop {
            // Counted as a sleeper first: whoever opens a job after this look sees the count and wakes.
            let gate = self.gate.load(Ordering::SeqCst);
            let job = gate & OPEN != 0 && gate & !(OPEN | INSIDE) != last;
            if job || self.stop.load(Ordering::SeqCst) {
                break;
            }
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake_all(&self) {
        drop(lock(&self.sleep));
        self.wake.notify_all();
    }
}

/// A panic while it was held leaves nothing half done: the mutexes here guard turns and whole values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
