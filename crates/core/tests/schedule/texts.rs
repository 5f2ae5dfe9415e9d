//! Single rules of texts, each with the shortest example.

use super::toy::{Toy, VOCABULARY, alone, start};
use grice_core::generate::{Bounds, DecodeOptions, Decoding, EarlyStopping, Generated, Refused, Search, Start};
use grice_core::schedule::{
    Caching, Config, CourseRequest, CourseRun, EngineId, Failure, Keyer, Priority, Pushed, Rejection, Request,
    RequestId, Retry, Schedule, Source, Step, Texts, Time,
};
use grice_core::{EngineError, Error, Logits, Precision};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test;

const PAGES: usize = 40;
const BEAM: Search = Search::Beam { width: 3, length_penalty: 1.0, early: EarlyStopping::Heuristic };

/// A schedule with one engine, and what it told.
struct Shop {
    schedule: Schedule,
    toy: Toy,
    now: Time,
    told: BTreeMap<RequestId, Vec<u32>>,
    ended: BTreeMap<RequestId, Result<Texts, Rejection>>,
    answers: usize,
}

impl Shop {
    fn new(config: Config) -> Shop {
        let bounds = Bounds { pages: PAGES, pass_tokens: 40, longest: Some(500), longest_source: Some(70) };
        Shop {
            schedule: Schedule::new(config, "digest", Precision::Fp32).with_courses(bounds, 1 << 20),
            toy: Toy::new(PAGES),
            now: Time::START,
            told: BTreeMap::new(),
            ended: BTreeMap::new(),
            answers: 0,
        }
    }

    fn push(&mut self, options: &DecodeOptions, start: &Start, caching: Caching) -> Pushed<Texts> {
        let decoding = Decoding::new(Arc::new(options.clone()), start.clone()).unwrap();
        self.schedule.push_course(CourseRequest { caching, ..CourseRequest::new(decoding) }, self.now)
    }

    fn accept(&mut self, options: &DecodeOptions, start: &Start, caching: Caching) -> RequestId {
        match self.push(options, start, caching) {
            Pushed::Accepted(id) => id,
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// The next pass, if there is anything to run.
    fn next(&mut self) -> Option<CourseRun> {
        loop {
            match self.schedule.poll(self.now) {
                Step::Courses(run) => return Some(run),
                Step::Tokens(id, tokens) => self.told.entry(id).or_default().extend_from_slice(&tokens),
                Step::Text(answer) => drop(self.ended.insert(answer.request, answer.outcome)),
                Step::Answer(_) => self.answers += 1,
                Step::Run(run) => {
                    assert!(self.schedule.complete(run.id, Ok(Logits::zeros(run.batch.rows(), 4)), self.now));
                }
                Step::WaitUntil(_) | Step::Idle => return None,
            }
        }
    }

    fn end(&mut self, mut run: CourseRun) {
        run.decide(&mut self.toy.run(&run.work)).unwrap();
        self.now = self.now + Duration::from_millis(10);
        assert!(self.schedule.complete_courses(run, Ok(()), self.now));
    }

    /// The engine fails and loses its pages.
    fn lose(&mut self, run: CourseRun, retry: Retry) {
        self.toy = Toy::new(PAGES);
        let error = Arc::new(Error::Engine(EngineError::DeviceLost("unplugged".to_owned())));
        assert!(self.schedule.complete_courses(run, Err(Failure { error, retry }), self.now));
    }

    fn pass(&mut self) -> bool {
        let run = self.next();
        run.map(|run| self.end(run)).is_some()
    }

    fn passes(&mut self, count: usize) {
        (0..count).for_each(|_| _ = self.pass());
    }

    fn finish(&mut self) {
        while self.pass() {}
        let counters = self.schedule.counters();
        assert!(self.schedule.is_empty(), "{counters:?}");
        assert_eq!((counters.pages_used, counters.pages_reserved, counters.running_courses), (0, 0, 0));
    }

    #[track_caller]
    fn expect(&self, id: RequestId, texts: &[Generated]) {
        assert_eq!(self.ended[&id].as_ref().unwrap()[..], *texts);
        assert_eq!(self.told[&id], texts[0].tokens);
    }
}

fn long() -> (DecodeOptions, Start) {
    let options = DecodeOptions { max_new_tokens: 30, repetition_penalty: 1.3, ..Default::default() };
    (options, start(Some(&[3; 20]), &[2; 90]))
}

fn short() -> (DecodeOptions, Start) {
    (DecodeOptions { max_new_tokens: 12, ..Default::default() }, start(None, &[5, 6, 7]))
}

fn beam() -> (DecodeOptions, Start) {
    (DecodeOptions { search: BEAM, max_new_tokens: 20, ..Default::default() }, start(None, &[4; 50]))
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn who_joins_late_is_told_the_tokens_so_far_first() {
    let mut shop = Shop::new(Config::default());
    let (options, start) = long();
    let texts = alone(&options, &start);
    let first = shop.accept(&options, &start, Caching::Use);
    while shop.told.get(&first).is_none_or(|told| told.len() < 5) {
        assert!(shop.pass());
        let run = shop.next().unwrap();
        shop.end(run);
    }
    shop.next().map(|run| shop.end(run)).unwrap();
    let second = shop.accept(&options, &start, Caching::Use);
    let apart = shop.accept(&options, &start, Caching::Bypass);
    let Step::Tokens(..) = shop.schedule.poll(shop.now) else { panic!("no tokens") };
    let Step::Tokens(id, tokens) = shop.schedule.poll(shop.now) else { panic!("no tokens") };
    assert_eq!((id, &tokens[..]), (second, &texts[0].tokens[..tokens.len()]));
    assert!(tokens.len() > 5);
    shop.told.insert(second, tokens.to_vec());
    let told_first = texts[0].tokens[..tokens.len()].to_vec();
    shop.told.insert(first, told_first);
    shop.finish();
    [first, second, apart].iter().for_each(|&id| shop.expect(id, &texts));
    let Pushed::Answered(known) = shop.push(&options, &start, Caching::Use) else { panic!("not cached") };
    assert_eq!(known[..], texts[..]);
    let counters = shop.schedule.counters();
    assert_eq!((counters.coalesced_total, counters.cache_hits_total), (1, 1));
    assert!(counters.cache_bytes > 0);
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn every_option_and_token_is_part_of_the_key() {
    let keyer = Keyer::new("digest", Precision::Int8);
    let base = DecodeOptions::default();
    let sample = |temperature, top_k, top_p| Search::Sample { temperature, top_k, top_p };
    let beam = |width, length_penalty, early| Search::Beam { width, length_penalty, early };
    let with = |change: fn(&mut DecodeOptions)| {
        let mut options = base.clone();
        change(&mut options);
        options
    };
    let searches = [
        sample(1.0, 0, 1.0),
        sample(0.5, 0, 1.0),
        sample(1.0, 5, 1.0),
        sample(1.0, 0, 0.5),
        beam(2, 1.0, EarlyStopping::Never),
        beam(3, 1.0, EarlyStopping::Never),
        beam(2, 2.0, EarlyStopping::Never),
        beam(2, 1.0, EarlyStopping::AtWidth),
    ];
    let mut all: Vec<DecodeOptions> = searches.iter().map(|&search| DecodeOptions { search, ..base.clone() }).collect();
    all.extend([
        base.clone(),
        with(|options| options.max_new_tokens = 21),
        with(|options| options.min_length = 1),
        with(|options| options.min_new_tokens = 1),
        with(|options| options.repetition_penalty = 1.5),
        with(|options| options.no_repeat_ngram = 2),
        with(|options| options.stop_tokens = vec![1]),
        with(|options| options.stop_tokens = vec![1, 2]),
        with(|options| options.banned = vec![1]),
        with(|options| options.stop_strings = vec!["a".to_owned(), "b".to_owned()]),
        with(|options| options.stop_strings = vec!["ab".to_owned()]),
        with(|options| options.seed = Some(0)),
        with(|options| options.seed = Some(1)),
        with(|options| options.log_probabilities = Some(0)),
        with(|options| options.draft = 1),
        with(|options| options.returns = 2),
    ]);
    let starts = [
        start(None, &[1, 2]),
        start(None, &[1]),
        start(Some(&[2]), &[1]),
        start(Some(&[1]), &[2]),
        start(Some(&[]), &[1, 2]),
    ];
    let mut keys = HashSet::new();
    for start in &starts {
        for options in &all {
            assert!(keys.insert(keyer.course_key(start, options)), "{start:?} {options:?}");
            assert_eq!(keyer.course_key(start, options), keyer.course_key(&start.clone(), &options.clone()));
        }
    }
    assert!(keys.insert(Keyer::new("other", Precision::Int8).course_key(&starts[0], &base)));
    assert!(keys.insert(keyer.key(&[1, 2])));
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn what_never_fits_is_refused_at_once_and_what_does_not_fit_now_waits() {
    let mut shop = Shop::new(Config { queue_rows_max: 1, ..Config::default() });
    let new = |max_new_tokens| DecodeOptions { max_new_tokens, ..Default::default() };
    let refused = |pushed| match pushed {
        Pushed::Rejected(Rejection::Refused(refused)) => refused,
        other => panic!("{other:?}"),
    };
    let wide = DecodeOptions {
        search: Search::Beam { width: 9, length_penalty: 1.0, early: EarlyStopping::Never },
        ..new(200)
    };
    let large = refused(shop.push(&wide, &start(None, &[1; 20]), Caching::Use));
    assert_eq!(large, Refused::Large { needed: 9 * 7, pages: PAGES });
    assert!(matches!(refused(shop.push(&new(450), &start(None, &[1; 60]), Caching::Use)), Refused::Long { .. }));
    assert!(matches!(
        refused(shop.push(&new(5), &start(Some(&[1; 71]), &[1]), Caching::Use)),
        Refused::LongSource { .. }
    ));
    assert_eq!(shop.schedule.counters().rejected_refused_total, 3);

    // One takes most of the memory, the next waits for it, and a third is refused for now.
    let big = DecodeOptions { search: BEAM, ..new(300) };
    let first = shop.accept(&big, &start(None, &[1; 20]), Caching::Use);
    assert!(shop.pass());
    let second = shop.accept(&big, &start(None, &[2; 20]), Caching::Use);
    assert!(shop.pass() && shop.pass());
    assert_eq!(shop.schedule.counters().queue_rows, 1);
    assert!(!shop.schedule.course_wait_expected().is_zero());
    assert!(!shop.schedule.course_waited(shop.now).is_zero());
    let Pushed::Rejected(Rejection::QueueFull { retry_after }) = shop.push(&new(5), &start(None, &[1]), Caching::Use)
    else {
        panic!("it was not refused")
    };
    // 300 steps of 10 ms, half of them.
    assert!((Duration::from_secs(1)..Duration::from_secs(2)).contains(&retry_after), "{retry_after:?}");
    shop.finish();
    shop.expect(first, &alone(&big, &start(None, &[1; 20])));
    shop.expect(second, &alone(&big, &start(None, &[2; 20])));

    let detectors = &mut Schedule::new(Config::default(), "digest", Precision::Fp32);
    let decoding = Decoding::new(Arc::new(new(5)), start(None, &[1])).unwrap();
    assert_eq!(
        refused(detectors.push_course(CourseRequest::new(decoding), Time::START)),
        Refused::Large { needed: 1, pages: 0 }
    );
}

/// Cancels at each step, between passes and in one: the memory is back, and the neighbours' texts are what they were.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_text_can_be_cancelled_at_every_step() {
    let neighbour = short();
    let expected = alone(&neighbour.0, &neighbour.1);
    for (options, start) in [long(), beam(), short()] {
        for (step, in_pass) in (0..40).flat_map(|step| [(step, false), (step, true)]) {
            let mut shop = Shop::new(Config::default());
            let cancelled = shop.accept(&options, &start, Caching::Bypass);
            shop.passes(step);
            let stays = shop.accept(&neighbour.0, &neighbour.1, Caching::Bypass);
            let run = in_pass.then(|| shop.next()).flatten();
            let was_open = !shop.ended.contains_key(&cancelled) && shop.schedule.cancel(cancelled);
            match run {
                Some(run) => shop.end(run),
                None if was_open => {
                    let counters = shop.schedule.counters();
                    assert_eq!((counters.pages_used, counters.running_courses), (0, 0), "{step}");
                }
                None => {}
            }
            shop.finish();
            shop.expect(stays, &expected);
            assert_eq!(shop.ended.contains_key(&cancelled), !was_open, "{step}");
        }
    }
}

/// Loses the engine at each step, before tokens are chosen and after it: the same texts, each token once.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn an_engine_can_be_lost_at_every_step() {
    let kinds = [long(), beam(), short()];
    for (step, decided) in (0..40).flat_map(|step| [(step, false), (step, true)]) {
        let mut shop = Shop::new(Config::default());
        let ids = kinds.each_ref().map(|(options, start)| shop.accept(options, start, Caching::Bypass));
        shop.passes(step);
        if let Some(mut run) = shop.next() {
            if decided {
                run.decide(&mut shop.toy.run(&run.work)).unwrap();
            }
            shop.lose(run, Retry::OnceAnEngine);
            assert_eq!(shop.schedule.counters().pages_used, 0);
        }
        shop.finish();
        for (id, (options, start)) in ids.iter().zip(&kinds) {
            shop.expect(*id, &alone(options, start));
        }
    }
}

/// A text whose prompt breaks engines fails alone; those that were beside it go on.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_text_that_breaks_engines_fails_alone() {
    let mut shop = Shop::new(Config::default());
    let (options, prompt) = short();
    let good = [shop.accept(&options, &prompt, Caching::Bypass), shop.accept(&options, &prompt, Caching::Bypass)];
    let bad = shop.accept(&options, &start(None, &[9, 9]), Caching::Bypass);
    while let Some(run) = shop.next() {
        if run.work.pass.ids.starts_with(&[9, 9]) || run.work.pass.ids.ends_with(&[9, 9]) {
            shop.lose(run, Retry::Once);
        } else {
            shop.end(run);
        }
    }
    shop.finish();
    good.iter().for_each(|&id| shop.expect(id, &alone(&options, &prompt)));
    assert!(matches!(&shop.ended[&bad], Err(Rejection::Failed(_))), "{:?}", shop.ended[&bad]);
    let counters = shop.schedule.counters();
    assert_eq!((counters.failed_total, counters.answered_total), (1, 2));
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_text_without_an_allowed_token_fails_alone() {
    let mut shop = Shop::new(Config::default());
    let (options, prompt) = short();
    let good = shop.accept(&options, &prompt, Caching::Use);
    let none = DecodeOptions { banned: (0..VOCABULARY as u32).collect(), ..options.clone() };
    let bad = shop.accept(&none, &prompt, Caching::Use);
    shop.finish();
    shop.expect(good, &alone(&options, &prompt));
    let Err(Rejection::Failed(error)) = &shop.ended[&bad] else { panic!("{:?}", shop.ended[&bad]) };
    assert!(error.to_string().contains("forbid every token"), "{error}");
}

/// Steps of texts and batches of sequences take turns on one engine.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn passes_and_batches_take_turns() {
    let mut shop = Shop::new(Config { batch_rows_max: 1, ..Config::default() });
    let (options, prompt) = short();
    shop.accept(&options, &prompt, Caching::Use);
    for id in 0..20 {
        assert!(matches!(shop.schedule.push(Request::new([id, 1]), shop.now), Pushed::Accepted(_)));
    }
    let mut kinds = String::new();
    loop {
        match shop.schedule.poll(shop.now) {
            Step::Courses(run) => {
                kinds.push('p');
                shop.end(run);
            }
            Step::Run(run) => {
                kinds.push('b');
                assert!(shop.schedule.complete(run.id, Ok(Logits::zeros(1, 4)), shop.now));
            }
            Step::Idle => break,
            _ => {}
        }
    }
    assert_eq!(kinds, format!("{}{}", "pb".repeat(12), "b".repeat(8)));
}

/// Texts that have begun go first, then pieces of prompts, the oldest first.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_pass_is_a_step_of_all_and_then_prompts_within_the_budget() {
    let mut shop = Shop::new(Config::default());
    let (options, prompt) = short();
    shop.accept(&options, &prompt, Caching::Bypass);
    shop.accept(&options, &prompt, Caching::Bypass);
    assert!(shop.pass());
    shop.accept(&options, &start(None, &[8; 90]), Caching::Bypass);
    shop.accept(&options, &start(None, &[9; 5]), Caching::Bypass);
    let tokens = |run: &CourseRun| run.work.pass.pasts.iter().map(|past| past.tokens).collect::<Vec<_>>();
    let expected = [vec![1, 1, 38], vec![1, 1, 38], vec![1, 1, 14, 5], vec![1, 1, 1, 1]];
    for expected in expected {
        let run = shop.next().unwrap();
        assert_eq!(tokens(&run), expected);
        shop.end(run);
    }
    shop.finish();
}

/// Of texts that wait for memory, the older goes first, though a smaller one would fit.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_large_text_is_not_overtaken() {
    let mut shop = Shop::new(Config::default());
    let big = DecodeOptions { search: BEAM, max_new_tokens: 300, ..Default::default() };
    let (small, prompt) = short();
    let first = shop.accept(&big, &start(None, &[1]), Caching::Bypass);
    assert!(shop.pass());
    let second = shop.accept(&big, &start(None, &[2]), Caching::Bypass);
    let third = shop.accept(&small, &prompt, Caching::Bypass);
    assert!(shop.pass());
    assert_eq!(shop.schedule.counters().queue_rows, 2);
    assert!(shop.schedule.cancel(first));
    assert!(shop.pass());
    assert_eq!(shop.schedule.counters().queue_rows, 0);
    shop.finish();
    shop.expect(second, &alone(&big, &start(None, &[2])));
    shop.expect(third, &alone(&small, &prompt));
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_deadline_ends_a_text_in_the_middle_and_aborting_ends_all() {
    let mut shop = Shop::new(Config::default());
    let (options, prompt) = long();
    let decoding = Decoding::new(Arc::new(options.clone()), prompt.clone()).unwrap();
    let deadline = Some(Time::from_micros(95_000));
    let pushed = shop.schedule.push_course(CourseRequest { deadline, ..CourseRequest::new(decoding) }, shop.now);
    let Pushed::Accepted(late) = pushed else { panic!("{pushed:?}") };
    shop.finish();
    assert!(matches!(shop.ended[&late], Err(Rejection::DeadlineExceeded)));
    assert!((1..30).contains(&shop.told[&late].len()), "{:?}", shop.told);

    let ids = [long(), short()].map(|(options, prompt)| shop.accept(&options, &prompt, Caching::Use));
    assert!(shop.pass());
    let run = shop.next().unwrap();
    shop.schedule.abort();
    shop.end(run);
    shop.finish();
    assert!(ids.iter().all(|id| matches!(shop.ended[id], Err(Rejection::ShuttingDown))));
    assert!(matches!(shop.push(&options, &prompt, Caching::Use), Pushed::Rejected(Rejection::ShuttingDown)));
}

/// Texts go on on another engine when theirs is taken out of use.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn texts_move_to_another_engine() {
    let mut shop = Shop::new(Config { engines: 2, ..Config::default() });
    assert!(shop.schedule.set_engine(EngineId(1), false));
    let (options, prompt) = long();
    let id = shop.accept(&options, &prompt, Caching::Use);
    (0..8).for_each(|_| assert!(shop.pass()));
    shop.schedule.set_engine(EngineId(0), false);
    assert_eq!(shop.schedule.counters().pages_used, 0);
    assert!(shop.next().is_none());
    shop.toy = Toy::new(PAGES);
    shop.schedule.set_engine(EngineId(1), true);
    let run = shop.next().unwrap();
    assert_eq!(run.engine, EngineId(1));
    shop.end(run);
    shop.finish();
    shop.expect(id, &alone(&options, &prompt));
}

/// A text of low priority gets its turn among many of a high one, and one that is asked for again with more haste moves up.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn priorities_order_texts_and_starve_none() {
    let mut shop = Shop::new(Config { batch_rows_max: 1, fair_batches: 4, ..Config::default() });
    let (options, prompt) = short();
    let push = |shop: &mut Shop, first: u32, priority| {
        let decoding = Decoding::new(Arc::new(options.clone()), start(None, &[first, 3])).unwrap();
        match shop.schedule.push_course(CourseRequest { priority, ..CourseRequest::new(decoding) }, shop.now) {
            Pushed::Accepted(id) => id,
            other => panic!("{other:?}"),
        }
    };
    let low = push(&mut shop, 1, Priority::Low);
    let hasty = push(&mut shop, 2, Priority::Low);
    let high: Vec<RequestId> = (3..9).map(|first| push(&mut shop, first, Priority::High)).collect();
    let joined = push(&mut shop, 2, Priority::High);
    let mut order = Vec::new();
    while shop.pass() {
        order.extend(shop.ended.keys().filter(|id| !order.contains(*id)).copied().collect::<Vec<_>>());
    }
    shop.finish();
    order.extend(shop.ended.keys().filter(|id| !order.contains(*id)).copied().collect::<Vec<_>>());
    let place = |id| order.iter().position(|other| *other == id).unwrap();
    // The joined one is the oldest of high priority; the fourth is the oldest of all.
    assert_eq!((place(hasty), place(joined), place(low)), (0, 1, 4), "{order:?} {high:?} {prompt:?}");
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn the_source_of_a_text_is_told() {
    let mut shop = Shop::new(Config::default());
    let (options, prompt) = short();
    let ids = [Caching::Use, Caching::Use, Caching::Bypass].map(|caching| shop.accept(&options, &prompt, caching));
    let mut sources = BTreeMap::new();
    loop {
        match shop.schedule.poll(shop.now) {
            Step::Courses(run) => shop.end(run),
            Step::Text(answer) => {
                assert_eq!((answer.queued, answer.ran), (Duration::ZERO, Duration::from_millis(120)));
                sources.insert(answer.request, answer.source);
            }
            Step::Idle => break,
            _ => {}
        }
    }
    assert_eq!(ids.map(|id| sources[&id]), [Source::Miss, Source::Coalesced, Source::Bypass]);
}
