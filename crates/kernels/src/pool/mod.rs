//! A few threads that share out the tasks of one kernel at a time.
//!
//! A job is open while tasks are left. Threads join it of their own accord; its caller works too, closes it when the tasks have
//! run out, and waits only for those that have joined. So a helper that the operating system does not let run costs nothing: the caller
//! does its share. Between jobs helpers spin a little, since the next kernel usually follows at once, and then sleep.

use std::marker::PhantomData;
use std::ops::Range;

#[cfg(not(target_family = "wasm"))]
mod threads;

/// The caller's thread and some helpers.
pub struct Pool {
    #[cfg(not(target_family = "wasm"))]
    crew: Option<threads::Crew>,
}

impl Pool {
    /// `threads` threads, the caller's among them; 0 counts as 1. Fewer if the system starts no more, and in WebAssembly the
    /// caller's alone.
    pub fn new(threads: usize) -> Self {
        #[cfg(target_family = "wasm")]
        {
            let _ = threads;
            Self {}
        }
        #[cfg(not(target_family = "wasm"))]
        Self { crew: threads::Crew::start(threads.max(1) - 1) }
    }

    /// Threads that run tasks, the caller's among them.
    pub fn threads(&self) -> usize {
        #[cfg(target_family = "wasm")]
        {
            1
        }
        #[cfg(not(target_family = "wasm"))]
        self.crew.as_ref().map_or(0, threads::Crew::helpers).saturating_add(1)
    }

    /// Runs `task(0)` to `task(tasks - 1)`, each once, in any order, and returns when all are done.
    ///
    /// A task that calls this again, on whichever pool, gets its tasks run on its own thread. Calls from several threads take turns.
    ///
    /// # Panics
    /// With the first panic of a task, once all have ended.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        #[cfg(not(target_family = "wasm"))]
        if let Some(crew) = &self.crew
            && tasks > 1
            && !threads::in_task()
        {
            return crew.run(tasks, task);
        }
        run_alone(tasks, task);
    }
}

/// All tasks on this thread, with a panic kept until the others have run, as it is with helpers.
fn run_alone(tasks: usize, task: &(dyn Fn(usize) + Sync)) {
    let mut panic = None;
    for index in 0..tasks {
        if let Err(payload) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task(index))) {
            panic.get_or_insert(payload);
        }
    }
    if let Some(payload) = panic {
        std::panic::resume_unwind(payload);
    }
}

/// What task `index` of `tasks` takes of `total` things, as evenly as whole things go.
pub(crate) fn share(total: usize, tasks: usize, index: usize) -> Range<usize> {
    let (each, more) = (total / tasks, total % tasks);
    let start = index * each + index.min(more);
    start..start + each + usize::from(index < more)
}

/// A slice that several tasks write to, each its own part.
pub(crate) struct Parts<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it hands out parts of a `&mut [T]`, which may go to another thread when `T` may; `part` makes its caller keep them apart.
unsafe impl<T: Send> Sync for Parts<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// Elements of the slice.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Where the slice begins.
    pub(crate) fn start(&self) -> *mut T {
        self.start
    }

    /// The elements from `start` on, `len` of them.
    ///
    /// # Safety
    /// No other part that overlaps it is in use.
    ///
    /// # Panics
    /// If the slice has no such part.
    #[allow(clippy::mut_from_ref, reason = "the point of it; the caller keeps parts apart")]
    pub(crate) unsafe fn part(&self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start <= self.len && len <= self.len - start, "a part beyond its slice");
        // SAFETY: within the slice that `new` borrowed for 'a, by the line above; the caller keeps it from overlapping others.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}
