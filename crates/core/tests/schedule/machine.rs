//! Random orders of pushes, polls, completions, failures, cancellations and clock jumps, shrunk to the shortest failing one.

use super::world::{Ask, World};
use grice_core::schedule::{Accumulate, Config, Priority, Retry};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use std::time::Duration;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test;

#[derive(Clone, Debug)]
enum Action {
    Push(Ask),
    Poll,
    Advance(Duration),
    ClockStepsBack,
    Cancel(usize),
    Complete(usize),
    Fail { place: usize, retry: Retry },
    CompleteWrongly { place: usize, rows_off: isize },
    CompleteUnknown,
    Engine { engine: usize, in_use: bool },
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn whatever_happens_each_request_gets_its_own_answer_once() {
    let actions = vec(action(priorities(), true), 1..300);
    simulate(&(config(), actions, any::<bool>()));
}

/// Every request of the same priority, and engines that work: here the tighter bound on fairness holds.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn at_equal_priority_nobody_is_passed_over_for_long() {
    let actions = vec(action(Just(Priority::Normal).boxed(), false), 1..300);
    simulate(&(config(), actions, Just(false)));
}

fn simulate(worlds: &impl Strategy<Value = ((Config, bool), Vec<Action>, bool)>) {
    let cases = if cfg!(target_arch = "wasm32") { 300 } else { 2000 };
    let mut runner = TestRunner::new(Cases { cases, failure_persistence: None, ..Cases::default() });
    let outcome = runner.run(worlds, |((config, cache_is_roomy), actions, aborts)| {
        let mut world = World::new(config, cache_is_roomy);
        actions.into_iter().for_each(|action| act(&mut world, action));
        if aborts {
            world.abort();
        }
        world.drain();
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

fn act(world: &mut World, action: Action) {
    match action {
        Action::Push(ask) => drop(world.push(ask)),
        Action::Poll => drop(world.poll()),
        Action::Advance(by) => world.advance(by),
        Action::ClockStepsBack => {
            // Once a later moment is known, an earlier one changes nothing.
            let now = world.now;
            world.poll();
            world.schedule.poll(now.before(Duration::from_secs(3600)));
            world.poll();
        }
        Action::Cancel(place) => drop(world.cancel(place)),
        Action::Complete(place) => world.complete(place),
        Action::Fail { place, retry } => world.fail(place, retry),
        Action::CompleteWrongly { place, rows_off } => world.complete_wrongly(place, rows_off),
        Action::CompleteUnknown => world.complete_unknown(),
        Action::Engine { engine, in_use } => world.set_engine(engine, in_use),
    }
}

fn action(priority: BoxedStrategy<Priority>, engines_fail: bool) -> BoxedStrategy<Action> {
    let ask = (0_u32..30, 0_usize..60, priority, patience(), prop::bool::weighted(0.1));
    // Of each kind there is one length, so that two of a kind are the same sequence.
    let ask = ask.prop_map(|(kind, tokens, priority, patience, bypass)| {
        let tokens = if bypass { tokens } else { (kind as usize * 7) % 60 };
        Ask { kind, tokens, priority, patience, bypass }
    });
    let fails = u32::from(engines_fail);
    prop_oneof![
        12 => ask.prop_map(Action::Push),
        6 => Just(Action::Poll),
        3 => jump().prop_map(Action::Advance),
        1 => Just(Action::ClockStepsBack),
        2 => any::<usize>().prop_map(Action::Cancel),
        4 => any::<usize>().prop_map(Action::Complete),
        1 => Just(Action::CompleteUnknown),
        2 * fails => (any::<usize>(), retries()).prop_map(|(place, retry)| Action::Fail { place, retry }),
        fails => (any::<usize>(), prop_oneof![Just(-1_isize), Just(1)])
            .prop_map(|(place, rows_off)| Action::CompleteWrongly { place, rows_off }),
        fails => (0_usize..3, any::<bool>()).prop_map(|(engine, in_use)| Action::Engine { engine, in_use }),
    ]
    .boxed()
}

fn priorities() -> BoxedStrategy<Priority> {
    prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High)].boxed()
}

fn retries() -> impl Strategy<Value = Retry> {
    prop_oneof![Just(Retry::Never), Just(Retry::Once), Just(Retry::OnceAnEngine)]
}

fn patience() -> impl Strategy<Value = Option<Duration>> {
    prop_oneof![
        2 => Just(None),
        3 => (0_u64..200).prop_map(|millis| Some(Duration::from_millis(millis))),
        1 => (0_u64..600).prop_map(|seconds| Some(Duration::from_secs(seconds))),
    ]
}

fn jump() -> impl Strategy<Value = Duration> {
    prop_oneof![
        4 => (0_u64..50_000).prop_map(Duration::from_micros),
        2 => (0_u64..300).prop_map(Duration::from_secs),
        1 => (0_u64..5).prop_map(|hours| Duration::from_secs(hours * 3600)),
    ]
}

/// Small bounds, so that they are met; and whether the cache holds whatever the actions can ask for.
fn config() -> impl Strategy<Value = (Config, bool)> {
    let queue = (1_usize..30, 1_usize..1000, 1_usize..60);
    let batch = (1_usize..8, 1_usize..250, 0.0..1.0_f64);
    let accumulate = prop_oneof![Just(Accumulate::Never), Just(Accumulate::WhileBusy), Just(Accumulate::Always)];
    let habits = (accumulate, 0_u64..100, 0_u64..5, 1_u64..6);
    let cache = prop_oneof![Just(0), 0_u64..5_000, Just(1_u64 << 20)];
    (1_usize..4, queue, batch, habits, cache).prop_map(|(engines, queue, batch, habits, cache_bytes_max)| {
        let (queue_rows_max, queue_tokens_max, requests_max) = queue;
        let (batch_rows_max, batch_tokens_max, padding_ratio_max) = batch;
        let (accumulate, wait_ms_max, passed_over_max, fair_batches) = habits;
        let config = Config {
            engines,
            queue_rows_max,
            queue_tokens_max,
            requests_max,
            batch_rows_max,
            batch_tokens_max,
            padding_ratio_max,
            accumulate,
            wait_max: Duration::from_millis(wait_ms_max),
            passed_over_max,
            fair_batches,
            cache_bytes_max,
        };
        (config, cache_bytes_max == 1 << 20)
    })
}
