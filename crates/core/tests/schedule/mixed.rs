//! Random orders of everything that can happen to sequences and texts in one schedule, shrunk to the shortest failing one.

use super::mixed_world::{How, Mixed};
use super::toy::course;
use grice_core::generate::{Bounds, DecodeOptions, Start};
use grice_core::schedule::{Config, Priority, Retry, Source};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use std::time::Duration;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test;

#[derive(Clone, Debug)]
enum Action {
    Once { kind: u32, how: How },
    Text { kind: usize, how: How },
    Poll,
    Advance(Duration),
    Cancel(usize),
    Complete(usize),
    Fail { place: usize, retry: Retry, decided: bool },
    DecideWrongly(usize),
    Engine { engine: usize, in_use: bool },
}

/// Requests of both kinds, cancelled, late, joined, on engines that are lost: each text is the one that it is alone, each token is told once,
/// memory stays within its bound, and all of it comes back.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn whatever_happens_each_text_is_the_one_that_it_is_alone() {
    let cases = if cfg!(target_arch = "wasm32") { 60 } else { 400 };
    let worlds = (config(1..4), vec(course(), 1..8), vec(action(any_priority(), true), 1..150), any::<bool>());
    simulate(cases, &worlds, |mut world, leaves| if leaves { world.leave() } else { world.drain() });
}

/// On one engine, with one priority, texts get their pages in the order in which they came, however many pages each needs.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn texts_get_their_pages_in_their_order() {
    let cases = if cfg!(target_arch = "wasm32") { 40 } else { 200 };
    let worlds =
        (config(1..2), vec(course(), 1..8), vec(action(Just(Priority::Normal).boxed(), false), 1..150), Just(false));
    simulate(cases, &worlds, |mut world, _| {
        world.drain();
        let mut own: Vec<_> = world.written.iter().filter(|written| written.source != Source::Coalesced).collect();
        own.sort_by_key(|written| written.request);
        assert!(own.is_sorted_by_key(|written| written.placed), "{own:?}");
    });
}

type Worlds = ((Config, Bounds), Vec<(DecodeOptions, Start)>, Vec<Action>, bool);

fn simulate(cases: u32, worlds: &impl Strategy<Value = Worlds>, end: impl Fn(Mixed, bool)) {
    let mut runner = TestRunner::new(Cases { cases, failure_persistence: None, ..Cases::default() });
    let outcome = runner.run(worlds, |((config, bounds), kinds, actions, leaves)| {
        let mut world = Mixed::new(config, bounds, kinds);
        actions.into_iter().for_each(|action| act(&mut world, action));
        end(world, leaves);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

fn act(world: &mut Mixed, action: Action) {
    match action {
        Action::Once { kind, how } => {
            let first = if how.bypass { 1_000_000 + world.schedule.counters().accepted_total as u32 } else { kind };
            world.push_once(vec![first; 1 + (kind as usize * 7) % 60], how);
        }
        Action::Text { kind, how } => drop(world.push_text(kind, how)),
        Action::Poll => drop(world.poll()),
        Action::Advance(by) => world.now = world.now + by,
        Action::Cancel(place) => world.cancel(place),
        Action::Complete(place) => {
            world.complete(place);
            world.poll();
        }
        Action::Fail { place, retry, decided } => world.fail_pass(place, retry, decided),
        Action::DecideWrongly(place) => world.decide_wrongly(place),
        Action::Engine { engine, in_use } => world.set_engine(engine, in_use),
    }
}

fn action(priority: BoxedStrategy<Priority>, engines_fail: bool) -> BoxedStrategy<Action> {
    let patience = prop_oneof![4 => Just(None), 1 => (0_u64..400).prop_map(|ms| Some(Duration::from_millis(ms)))];
    let how = (priority, patience, any::<bool>(), any::<bool>());
    let how = how.prop_map(|(priority, patience, bypass, streams)| How { priority, patience, bypass, streams });
    let how = how.boxed();
    let fails = u32::from(engines_fail);
    let retry = prop_oneof![Just(Retry::Never), Just(Retry::Once), Just(Retry::OnceAnEngine)];
    prop_oneof![
        4 => (0_u32..20, how.clone()).prop_map(|(kind, how)| Action::Once { kind, how }),
        5 => (0_usize..8, how).prop_map(|(kind, how)| Action::Text { kind, how }),
        4 => Just(Action::Poll),
        2 => (0_u64..100_000).prop_map(|micros| Action::Advance(Duration::from_micros(micros))),
        2 => any::<usize>().prop_map(Action::Cancel),
        30 => any::<usize>().prop_map(Action::Complete),
        2 * fails => (any::<usize>(), retry, any::<bool>())
            .prop_map(|(place, retry, decided)| Action::Fail { place, retry, decided }),
        1 => any::<usize>().prop_map(Action::DecideWrongly),
        2 * fails => (0_usize..3, any::<bool>()).prop_map(|(engine, in_use)| Action::Engine { engine, in_use }),
    ]
    .boxed()
}

fn any_priority() -> BoxedStrategy<Priority> {
    prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High)].boxed()
}

/// Small bounds, so that they are met.
fn config(engines: std::ops::Range<usize>) -> impl Strategy<Value = (Config, Bounds)> {
    (engines, 1_usize..20, 1_usize..1000, 1_usize..9, 8_usize..60, 1_usize..80, 1_u64..5).prop_map(
        |(engines, queue_rows_max, queue_tokens_max, batch_rows_max, pages, pass_tokens, fair_batches)| {
            let config =
                Config { engines, queue_rows_max, queue_tokens_max, batch_rows_max, fair_batches, ..Config::default() };
            (config, Bounds { pages, pass_tokens, longest: None, longest_source: Some(60) })
        },
    )
}
