//! The pool under load: every task once, nested, from several threads, with panics, and let go of.
#![allow(clippy::unwrap_used)]

#[cfg(panic = "unwind")]
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use grice_kernels::Pool;

const THREADS: [usize; 5] = [0, 1, 2, 3, 7];

fn check_each_once(pool: &Pool, tasks: usize) {
    let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
    pool.run(tasks, &|task| {
        runs[task].fetch_add(1, Ordering::Relaxed);
    });
    assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1), "{tasks} tasks on {} threads", pool.threads());
}

#[test]
fn every_task_runs_once() {
    for threads in THREADS {
        let pool = Pool::new(threads);
        assert!(pool.threads() <= threads.max(1));
        for tasks in [0, 1, 2, 3, 50] {
            check_each_once(&pool, tasks);
        }
    }
}

#[test]
fn many_short_jobs_in_a_row() {
    for threads in THREADS {
        let pool = Pool::new(threads);
        for job in 0..5000 {
            check_each_once(&pool, job % 9);
        }
    }
}

/// Helpers go to sleep between jobs that are further apart than they spin.
#[test]
#[cfg(not(target_family = "wasm"))]
fn jobs_far_apart() {
    let pool = Pool::new(3);
    for _ in 0..50 {
        check_each_once(&pool, 20);
        std::thread::sleep(std::time::Duration::from_micros(300));
    }
}

/// All threads take part, the caller's among them, whether the helpers have gone to sleep or not.
#[test]
#[cfg(not(target_family = "wasm"))]
fn helpers_help() {
    use std::time::{Duration, Instant};

    let pool = Pool::new(3);
    for pause in [Duration::ZERO, Duration::from_millis(20)] {
        std::thread::sleep(pause);
        let names = std::sync::Mutex::new(std::collections::HashSet::new());
        let arrived = AtomicUsize::new(0);
        let start = Instant::now();
        // No task ends before each thread has one, unless a thread never comes.
        pool.run(pool.threads(), &|_| {
            arrived.fetch_add(1, Ordering::SeqCst);
            while arrived.load(Ordering::SeqCst) < pool.threads() && start.elapsed() < Duration::from_secs(20) {
                std::thread::yield_now();
            }
            names.lock().unwrap().insert(std::thread::current().id());
        });
        let names = names.into_inner().unwrap();
        assert_eq!(names.len(), pool.threads(), "after a pause of {pause:?}");
        assert!(names.contains(&std::thread::current().id()));
    }
}

#[test]
fn tasks_of_tasks() {
    for threads in THREADS {
        let (pool, other) = (Pool::new(threads), Pool::new(2));
        let runs = AtomicUsize::new(0);
        pool.run(10, &|_| {
            for pool in [&pool, &other] {
                pool.run(10, &|_| {
                    runs.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(runs.into_inner(), 200);
    }
}

#[test]
#[cfg(not(target_family = "wasm"))]
fn callers_take_turns() {
    for threads in THREADS {
        let pool = Pool::new(threads);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for job in 0..300 {
                        check_each_once(&pool, job % 7);
                    }
                });
            }
        });
    }
}

#[test]
#[cfg(panic = "unwind")]
fn a_panic_waits_for_the_others_and_breaks_nothing() {
    for threads in THREADS {
        let pool = Pool::new(threads);
        for bad in [0, 5, 19] {
            let runs = AtomicUsize::new(0);
            let thrown = catch_unwind(AssertUnwindSafe(|| {
                pool.run(20, &|task| {
                    runs.fetch_add(1, Ordering::Relaxed);
                    assert!(task != bad, "task {bad} falls over");
                });
            }));
            let payload = thrown.unwrap_err();
            let words = payload.downcast_ref::<String>().map(String::as_str);
            assert_eq!(words, Some(format!("task {bad} falls over").as_str()));
            assert_eq!(runs.into_inner(), 20);
            check_each_once(&pool, 20);
        }
    }
}

#[test]
#[cfg(panic = "unwind")]
fn a_panic_in_a_nested_job_reaches_the_outer_caller() {
    let pool = Pool::new(2);
    let run = || pool.run(4, &|_| pool.run(2, &|task| assert!(task != 1, "inside")));
    assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    check_each_once(&pool, 10);
}

#[test]
fn pools_come_and_go() {
    for round in 0..200 {
        let pool = Pool::new(round % 5);
        if round % 3 > 0 {
            check_each_once(&pool, round % 11);
        }
    }
}
