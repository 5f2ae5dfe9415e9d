//! Single rules, each with the shortest example.

use super::world::{Ask, LABELS, World, logits_of};
use grice_core::schedule::{
    Accumulate, Caching, Config, EngineId, Failure, Priority, Pushed, Rejection, Request, RequestId, Retry, Run,
    Schedule, Source, Step, Time,
};
use grice_core::{EngineError, Error, Logits, Precision};
use std::sync::Arc;
use std::time::Duration;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test;

const MS: Duration = Duration::from_millis(1);

fn schedule(config: Config) -> Schedule {
    Schedule::new(config, "digest", Precision::Fp32)
}

fn at(millis: u64) -> Time {
    Time::from_micros(millis * 1000)
}

fn accept(schedule: &mut Schedule, request: Request, now: Time) -> RequestId {
    match schedule.push(request, now) {
        Pushed::Accepted(id) => id,
        pushed => panic!("not accepted: {pushed:?}"),
    }
}

fn run(schedule: &mut Schedule, now: Time) -> Run {
    match schedule.poll(now) {
        Step::Run(run) => run,
        step => panic!("no run but {step:?}"),
    }
}

/// Every sequence of a batch, by its first id.
fn firsts(run: &Run) -> Vec<u32> {
    (0..run.batch.rows()).map(|row| run.batch.sequence(row)[0]).collect()
}

fn finish(schedule: &mut Schedule, run: &Run, now: Time) {
    let mut logits = Logits::zeros(run.batch.rows(), LABELS);
    (0..run.batch.rows()).for_each(|row| logits.row_mut(row).copy_from_slice(&logits_of(run.batch.sequence(row))));
    assert!(schedule.complete(run.id, Ok(logits), now));
}

fn ids(first: u32, tokens: usize) -> Vec<u32> {
    let mut ids = vec![7; tokens];
    ids[0] = first;
    ids
}

fn request(first: u32, tokens: usize) -> Request {
    Request::new(ids(first, tokens))
}

fn broken() -> Arc<Error> {
    Arc::new(Error::Engine(EngineError::Run("device lost".to_owned())))
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn an_idle_engine_gets_the_first_request_at_once() {
    let mut schedule = schedule(Config::default());
    accept(&mut schedule, request(1, 5), at(0));
    assert_eq!(firsts(&run(&mut schedule, at(0))), [1]);
    assert!(matches!(schedule.poll(at(0)), Step::Idle));
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn what_comes_while_the_engine_is_busy_shares_the_next_batch() {
    let mut schedule = schedule(Config::default());
    accept(&mut schedule, request(1, 5), at(0));
    let first = run(&mut schedule, at(0));
    for id in 2..5 {
        accept(&mut schedule, request(id, 5), at(1));
    }
    assert!(matches!(schedule.poll(at(60)), Step::Idle));
    finish(&mut schedule, &first, at(70));
    assert!(matches!(schedule.poll(at(70)), Step::Answer(_)));
    assert_eq!(firsts(&run(&mut schedule, at(70))), [2, 3, 4]);
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn accumulation_ends_after_its_time_or_with_a_full_batch_or_before_a_deadline() {
    let config = || Config { accumulate: Accumulate::Always, batch_rows_max: 3, ..Config::default() };
    let waits = |schedule: &mut Schedule, now, until| {
        let step = schedule.poll(now);
        assert!(matches!(step, Step::WaitUntil(moment) if moment == until), "{step:?}");
    };

    let mut by_time = schedule(config());
    accept(&mut by_time, request(1, 5), at(0));
    accept(&mut by_time, request(2, 5), at(10));
    waits(&mut by_time, at(10), at(50));
    assert_eq!(firsts(&run(&mut by_time, at(50))), [1, 2]);

    let mut by_rows = schedule(config());
    for id in 1..4 {
        accept(&mut by_rows, request(id, 5), at(0));
    }
    assert_eq!(firsts(&run(&mut by_rows, at(0))), [1, 2, 3]);

    // Nothing is known of the engine's pace: a batch is taken to last as long as the wait.
    let mut by_deadline = schedule(config());
    accept(&mut by_deadline, Request { deadline: Some(at(60)), ..request(1, 5) }, at(0));
    waits(&mut by_deadline, at(0), at(10));
    assert_eq!(firsts(&run(&mut by_deadline, at(10))), [1]);

    let mut drained = schedule(config());
    accept(&mut drained, request(1, 5), at(0));
    drained.drain();
    assert_eq!(firsts(&run(&mut drained, at(0))), [1]);

    let mut while_busy = schedule(Config { accumulate: Accumulate::WhileBusy, engines: 2, ..config() });
    accept(&mut while_busy, request(1, 5), at(0));
    assert_eq!(firsts(&run(&mut while_busy, at(0))), [1]);
    accept(&mut while_busy, request(2, 5), at(1));
    waits(&mut while_busy, at(1), at(51));
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_batch_takes_the_oldest_and_those_most_like_it() {
    let check = |config: Config, lengths: &[usize], expected: &[u32]| {
        let mut schedule = schedule(config);
        for (id, &tokens) in lengths.iter().enumerate() {
            accept(&mut schedule, request(id as u32, tokens), at(0));
        }
        assert_eq!(firsts(&run(&mut schedule, at(0))), expected, "of lengths {lengths:?}");
    };
    let rows = |batch_rows_max| Config { batch_rows_max, padding_ratio_max: 1.0, ..Config::default() };
    check(rows(3), &[50, 10, 52, 90, 48, 51], &[0, 5, 2]);
    check(rows(4), &[50, 10, 52, 90, 48, 51], &[0, 5, 2, 4]);
    // Of one length, the older first.
    check(rows(3), &[20, 20, 20, 20], &[0, 1, 2]);
    let tokens = |batch_tokens_max| Config { batch_tokens_max, padding_ratio_max: 1.0, ..Config::default() };
    check(tokens(100), &[50, 60, 30, 20, 10], &[0, 2, 3]);
    check(tokens(100), &[50, 40, 45, 10, 5], &[0, 2, 4]);
    // Longer than the budget: alone.
    check(tokens(100), &[150, 1], &[0]);
    let padding = |padding_ratio_max| Config { padding_ratio_max, ..Config::default() };
    check(padding(0.0), &[30, 31, 29, 30], &[0, 3]);
    check(padding(0.3), &[30, 40, 100, 20, 3], &[0, 1, 3]);
    // Passed over once, and first of the rest.
    check(Config { passed_over_max: 0, ..rows(3) }, &[50, 10, 52, 90, 48, 51], &[0, 1, 2]);
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn higher_priorities_go_first_and_lower_ones_get_their_turn() {
    let mut schedule = schedule(Config { batch_rows_max: 1, fair_batches: 3, ..Config::default() });
    let push = |schedule: &mut Schedule, id, priority| accept(schedule, Request { priority, ..request(id, 5) }, at(0));
    push(&mut schedule, 1, Priority::Low);
    push(&mut schedule, 2, Priority::Low);
    push(&mut schedule, 3, Priority::Normal);
    for id in 4..9 {
        push(&mut schedule, id, Priority::High);
    }
    let mut order = Vec::new();
    while order.len() < 8 {
        let run = run(&mut schedule, at(0));
        order.extend(firsts(&run));
        finish(&mut schedule, &run, at(0));
        assert!(matches!(schedule.poll(at(0)), Step::Answer(_)));
    }
    assert_eq!(order, [4, 5, 1, 6, 7, 2, 8, 3]);
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn owners_of_one_run_come_and_go_without_disturbing_each_other() {
    let mut world = World::new(Config { batch_rows_max: 1, ..Config::default() }, true);
    let ask = |kind, priority| Ask { kind, tokens: 9, priority, patience: None, bypass: false };
    world.push(ask(1, Priority::Normal));
    world.poll();
    // Three owners of a queued sequence, one with high priority, and an older sequence with normal priority.
    world.push(ask(2, Priority::Normal));
    let first = world.push(ask(3, Priority::Low)).unwrap();
    let hasty = world.push(ask(3, Priority::High)).unwrap();
    world.push(Ask { patience: Some(5 * MS), ..ask(3, Priority::Low) });
    world.cancel_request(first);
    world.complete(0);
    // They run before the older one, because of the one in a hurry.
    let run = world.poll().remove(0);
    assert_eq!(run.batch.sequence(0)[0], 3000);
    // A fourth joins while it runs; the one in a hurry leaves, and the one without patience gets its answer in time.
    world.push(ask(3, Priority::Normal));
    world.cancel_request(hasty);
    world.advance(6 * MS);
    world.poll();
    world.complete_batch(run.id);
    world.poll();
    let counters = world.counters();
    assert_eq!((counters.coalesced_total, counters.cancelled_total, counters.expired_total), (3, 2, 1));
    assert_eq!((counters.batches_total, counters.answered_total), (3, 2));
    world.drain();
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_shared_run_is_as_urgent_as_its_most_urgent_owner() {
    let check = |hasty_leaves: bool, expected: u32| {
        let mut schedule = schedule(Config { batch_rows_max: 1, ..Config::default() });
        let patient = accept(&mut schedule, request(1, 5), at(0));
        let first = run(&mut schedule, at(0));
        accept(&mut schedule, request(2, 5), at(1));
        accept(&mut schedule, request(3, 5), at(1));
        let hasty = accept(&mut schedule, Request { priority: Priority::High, ..request(3, 5) }, at(1));
        if hasty_leaves {
            assert!(schedule.cancel(hasty) && !schedule.cancel(hasty));
        }
        finish(&mut schedule, &first, at(2));
        assert!(!schedule.cancel(patient), "its answer is on its way");
        assert!(matches!(schedule.poll(at(2)), Step::Answer(answer) if answer.request == patient));
        assert_eq!(firsts(&run(&mut schedule, at(2))), [expected]);
    };
    check(false, 3);
    check(true, 2);
}

/// One long sequence behind eight of other lengths, and a stream of new ones that always fit the oldest better.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_stream_of_better_fits_delays_nobody_for_long() {
    let config = || Config { batch_rows_max: 2, passed_over_max: 2, padding_ratio_max: 1.0, ..Config::default() };
    let mut schedule = schedule(config());
    for older in 1..=8 {
        accept(&mut schedule, request(older, 10 * older as usize), at(0));
    }
    accept(&mut schedule, request(99, 500), at(0));
    let mut order = Vec::new();
    while !order.contains(&99) {
        // As long as the oldest that is left.
        let oldest = (1..=8).find(|id| !order.contains(id)).unwrap_or(9);
        accept(&mut schedule, request(1000 + order.len() as u32, 10 * oldest as usize), at(0));
        let run = run(&mut schedule, at(0));
        order.extend(firsts(&run));
        finish(&mut schedule, &run, at(0));
        (0..run.batch.rows()).for_each(|_| assert!(matches!(schedule.poll(at(0)), Step::Answer(_))));
    }
    // Passed over twice; then the older ones, first in, first out; then it.
    assert_eq!(order, [1, 1000, 2, 1002, 3, 4, 5, 6, 7, 8, 99, 1004]);
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_late_result_still_feeds_the_cache() {
    let mut schedule = schedule(Config::default());
    accept(&mut schedule, Request { deadline: Some(at(10)), ..request(1, 5) }, at(0));
    let run = run(&mut schedule, at(0));
    assert!(matches!(schedule.poll(at(1)), Step::WaitUntil(moment) if moment == at(10)));
    let Step::Answer(answer) = schedule.poll(at(10)) else { panic!("silent at the deadline") };
    assert!(matches!(answer.outcome, Err(Rejection::DeadlineExceeded)));
    assert_eq!((answer.queued, answer.ran), (Duration::ZERO, 10 * MS));
    finish(&mut schedule, &run, at(12));
    assert!(matches!(schedule.poll(at(12)), Step::Idle));
    let pushed = schedule.push(request(1, 5), at(13));
    assert!(matches!(pushed, Pushed::Answered(row) if row[..] == logits_of(&ids(1, 5))));
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_failed_batch_is_tried_once_more_elsewhere_and_goes_first() {
    let mut schedule = schedule(Config { engines: 2, batch_rows_max: 2, ..Config::default() });
    for id in 1..3 {
        accept(&mut schedule, request(id, 5), at(0));
    }
    let first = run(&mut schedule, at(0));
    for id in 3..7 {
        accept(&mut schedule, request(id, 5), at(1));
    }
    let second = run(&mut schedule, at(1));
    assert_eq!((first.engine, second.engine), (EngineId(0), EngineId(1)));
    let failure = || Failure { error: broken(), retry: Retry::Once };
    assert!(schedule.complete(first.id, Err(failure()), at(2)));
    // The engine that failed goes on with others.
    let third = run(&mut schedule, at(2));
    assert_eq!((third.engine, firsts(&third)), (EngineId(0), vec![5, 6]));
    finish(&mut schedule, &second, at(3));
    (0..2).for_each(|_| assert!(matches!(schedule.poll(at(3)), Step::Answer(_))));
    // Each alone, for one of them may be what breaks engines.
    let again = run(&mut schedule, at(3));
    assert_eq!((again.engine, firsts(&again)), (EngineId(1), vec![1]));
    // After two failures every owner gets the error.
    accept(&mut schedule, request(1, 5), at(4));
    assert!(schedule.complete(again.id, Err(failure()), at(5)));
    for _ in 0..2 {
        let Step::Answer(answer) = schedule.poll(at(5)) else { panic!("an owner is not told") };
        assert!(matches!(&answer.outcome, Err(Rejection::Failed(error)) if error.to_string().contains("device lost")));
    }
    assert!(!schedule.complete(again.id, Err(failure()), at(5)), "completed twice");
    let other = run(&mut schedule, at(5));
    assert_eq!((other.engine, firsts(&other)), (EngineId(1), vec![2]));
    finish(&mut schedule, &other, at(6));
    assert!(matches!(schedule.poll(at(6)), Step::Answer(answer) if answer.outcome.is_ok()));
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn what_is_tried_again_is_not_passed_over_for_a_better_fit() {
    let mut schedule = schedule(Config { batch_rows_max: 2, padding_ratio_max: 1.0, ..Config::default() });
    accept(&mut schedule, request(1, 10), at(0));
    accept(&mut schedule, request(2, 500), at(0));
    let first = run(&mut schedule, at(0));
    accept(&mut schedule, request(3, 10), at(1));
    assert!(schedule.complete(first.id, Err(Failure { error: broken(), retry: Retry::Once }), at(2)));
    let again = run(&mut schedule, at(2));
    assert_eq!(firsts(&again), [1]);
    finish(&mut schedule, &again, at(3));
    assert!(matches!(schedule.poll(at(3)), Step::Answer(_)));
    assert_eq!(firsts(&run(&mut schedule, at(3))), [2]);
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn without_another_engine_in_use_the_same_one_tries_again() {
    let failure = || Failure { error: broken(), retry: Retry::Once };
    let mut alone = schedule(Config::default());
    accept(&mut alone, request(1, 5), at(0));
    let first = run(&mut alone, at(0));
    assert!(alone.complete(first.id, Err(failure()), at(1)));
    assert_eq!(firsts(&run(&mut alone, at(1))), [1]);

    let mut left_alone = schedule(Config { engines: 2, ..Config::default() });
    accept(&mut left_alone, request(1, 5), at(0));
    let first = run(&mut left_alone, at(0));
    assert!(left_alone.set_engine(EngineId(1), false));
    assert!(left_alone.complete(first.id, Err(failure()), at(1)));
    assert_eq!(run(&mut left_alone, at(1)).engine, EngineId(0));
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn an_engine_that_went_away_is_not_held_against_its_batch_until_all_have() {
    for engines in 1..4 {
        let mut schedule = schedule(Config { engines, ..Config::default() });
        let lost = || Failure { error: broken(), retry: Retry::OnceAnEngine };
        accept(&mut schedule, request(1, 5), at(0));
        let mut last = None;
        for moment in 0..engines as u64 {
            let ran = run(&mut schedule, at(moment));
            assert!(engines == 1 || last != Some(ran.engine), "again on {last:?}");
            last = Some(ran.engine);
            assert!(schedule.complete(ran.id, Err(lost()), at(moment)));
        }
        // Whatever else went wrong is counted by itself.
        let ran = run(&mut schedule, at(10));
        assert!(schedule.complete(ran.id, Err(Failure { error: broken(), retry: Retry::Once }), at(10)));
        let ran = run(&mut schedule, at(11));
        assert!(schedule.complete(ran.id, Err(lost()), at(11)));
        let Step::Answer(answer) = schedule.poll(at(11)) else { panic!("its owner is not told") };
        assert!(matches!(answer.outcome, Err(Rejection::Failed(_))));
        assert_eq!(schedule.counters().retried_total, engines as u64 + 1);
    }
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_bypass_neither_reads_nor_writes_nor_shares() {
    let mut schedule = schedule(Config { engines: 3, ..Config::default() });
    let bypass = || Request { caching: Caching::Bypass, ..request(1, 5) };
    for _ in 0..2 {
        accept(&mut schedule, bypass(), at(0));
        let run = run(&mut schedule, at(0));
        finish(&mut schedule, &run, at(1));
        let Step::Answer(answer) = schedule.poll(at(1)) else { panic!("no answer") };
        assert_eq!(answer.source, Source::Bypass);
    }
    accept(&mut schedule, request(1, 5), at(2));
    let shared = run(&mut schedule, at(2));
    accept(&mut schedule, bypass(), at(2));
    let apart = run(&mut schedule, at(2));
    finish(&mut schedule, &apart, at(3));
    finish(&mut schedule, &shared, at(3));
    let counters = schedule.counters();
    assert_eq!((counters.cache_entries, counters.coalesced_total, counters.cache_misses_total), (1, 0, 1));
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_logit_that_is_not_finite_is_handed_out_and_not_kept() {
    let mut schedule = schedule(Config::default());
    accept(&mut schedule, request(1, 5), at(0));
    let run = run(&mut schedule, at(0));
    let mut logits = Logits::zeros(1, LABELS);
    logits.row_mut(0)[2] = f32::NAN;
    assert!(schedule.complete(run.id, Ok(logits), at(1)));
    let Step::Answer(answer) = schedule.poll(at(1)) else { panic!("no answer") };
    assert!(answer.outcome.unwrap()[2].is_nan());
    assert_eq!(schedule.counters().cache_entries, 0);
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn what_cannot_be_taken_is_refused_with_its_reason() {
    let mut schedule = schedule(Config { queue_rows_max: 1, queue_tokens_max: 10, ..Config::default() });
    let refused = |schedule: &mut Schedule, request: Request, words: &str| match schedule.push(request, at(5)) {
        Pushed::Rejected(rejection) => assert!(rejection.to_string().contains(words), "{rejection}"),
        pushed => panic!("{pushed:?} is not `{words}`"),
    };
    refused(&mut schedule, Request::new(vec![]), "no tokens");
    refused(&mut schedule, Request { deadline: Some(at(5)), ..request(1, 5) }, "deadline passed");
    // Longer than the limit of the whole queue, but no other sequence waits.
    accept(&mut schedule, request(1, 50), at(5));
    refused(&mut schedule, request(2, 1), "queue is full; try again in 1000 ms");
    // Sharing a run takes no place in the queue.
    accept(&mut schedule, request(1, 50), at(5));
    schedule.drain();
    refused(&mut schedule, request(1, 50), "shutting down");
    let counters = schedule.counters();
    let rejected = (counters.rejected_empty_total, counters.rejected_deadline_total);
    let more = (counters.rejected_queue_full_total, counters.rejected_shutting_down_total);
    assert_eq!((rejected, more), ((1, 1), (1, 1)));
}

/// Bounds of zero would mean a server that never answers; they are read as one.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn bounds_of_zero_still_let_one_through() {
    let mut schedule = schedule(Config {
        engines: 0,
        queue_rows_max: 0,
        queue_tokens_max: 0,
        requests_max: 0,
        batch_rows_max: 0,
        batch_tokens_max: 0,
        padding_ratio_max: f64::NAN,
        passed_over_max: u64::MAX,
        fair_batches: 0,
        cache_bytes_max: 0,
        ..Config::default()
    });
    for id in 0..3 {
        accept(&mut schedule, request(id, 5), at(0));
        let run = run(&mut schedule, at(0));
        finish(&mut schedule, &run, at(1));
        assert!(matches!(schedule.poll(at(1)), Step::Answer(_)));
    }
    assert!(schedule.is_empty());
}

/// A second cache, outside the process, is asked by key and fills this one.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn logits_from_elsewhere_are_as_good_as_its_own() {
    let (mut here, mut there) = (schedule(Config::default()), schedule(Config::default()));
    accept(&mut there, request(1, 5), at(0));
    let run = run(&mut there, at(0));
    finish(&mut there, &run, at(1));
    let key = here.keyer().key(&ids(1, 5));
    assert_eq!(key, there.keyer().key(&ids(1, 5)), "one key in every process");
    let row = there.peek(&key).expect("it ran there");
    assert!(here.peek(&key).is_none());
    let broken = here.keyer().key(&ids(2, 5));
    here.seed(broken, vec![f32::INFINITY; LABELS].into());
    here.seed(key, row);
    assert!(matches!(here.push(request(1, 5), at(2)), Pushed::Answered(row) if row[..] == logits_of(&ids(1, 5))));
    accept(&mut here, request(2, 5), at(2));
    let counters = here.counters();
    assert_eq!((counters.cache_hits_total, counters.cache_misses_total, counters.cache_entries), (1, 1, 1));
}

/// A caller may pass the key of a request.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_request_is_filed_under_the_key_that_it_carries() {
    let mut schedule = schedule(Config::default());
    let key = schedule.keyer().key(&ids(7, 5));
    let keyed = |first| Request { key: Some(key), ..request(first, 5) };
    accept(&mut schedule, keyed(7), at(0));
    accept(&mut schedule, request(7, 5), at(0));
    assert_eq!(schedule.counters().coalesced_total, 1, "the same key as without one");
    // Only the key is looked at, so another sequence under it shares too.
    accept(&mut schedule, keyed(8), at(0));
    assert_eq!(schedule.counters().coalesced_total, 2);
}
