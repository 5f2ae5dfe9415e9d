//! Hours of sequences and texts on shared engines, with a driver that takes time as a real one does.

use super::mixed_world::{Began, How, Mixed};
use super::toy::{VOCABULARY, start};
use grice_core::generate::{Bounds, DecodeOptions, Search, Start};
use grice_core::schedule::{BatchId, Config, PassId, Priority, Retry, Time};
use std::collections::BTreeSet;
use std::time::Duration;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test;

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Once,
    Text,
    Batch(BatchId),
    Pass(PassId),
    EngineBack(usize),
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Dice(u64);

struct Day {
    world: Mixed,
    dice: Dice,
    events: BTreeSet<(Time, Event)>,
    text_pause_micros: u64,
    fails_one_in: u64,
    longest_run: Duration,
}

/// A detector's and a generator's requests on one engine. A sequence waits for one pass at most, and for those sequences that came before
/// it; texts go on meanwhile.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn hours_in_which_sequences_wait_for_one_pass_at_most() {
    let day = live_through(Day::new(Config::default(), 7, 700_000, u64::MAX), 2 * HOUR);
    let counters = day.world.schedule.counters();
    assert_eq!((counters.failed_total, counters.retried_total), (0, 0));
    // At most the pass that runs, and a batch that had been formed before.
    let bound = 2 * day.longest_run;
    assert!(day.world.once_waited_most <= bound, "{:?} of {bound:?}", day.world.once_waited_most);
    assert!(counters.cache_hits_total > 0, "{counters:?}");
}

/// More texts than the engine can write: the queue fills, and who is refused is told when to come back.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn an_overload_of_texts() {
    let config = Config { queue_rows_max: 40, ..Config::default() };
    let day = live_through(Day::new(config, 8, 15_000, u64::MAX), HOUR / 10);
    let counters = day.world.schedule.counters();
    assert!(counters.rejected_queue_full_total > 0 && counters.expired_total > 0, "{counters:?}");
    assert!(counters.coalesced_total > 0, "{counters:?}");
}

/// Three engines of which some are lost in the middle of a pass, and come back.
#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn hours_with_engines_that_are_lost() {
    let day = live_through(Day::new(Config { engines: 3, ..Config::default() }, 9, 300_000, 200), HOUR);
    let counters = day.world.schedule.counters();
    assert!(counters.retried_total > 0 && counters.cancelled_total > 0, "{counters:?}");
}

fn live_through(mut day: Day, lasts: Duration) -> Day {
    let end = Time::START + lasts;
    while day.world.now < end {
        day.go_on();
    }
    day.world.drain();
    let counters = day.world.schedule.counters();
    assert!(counters.new_tokens_total > 10_000 && counters.passes_total > 10_000, "too quiet: {counters:?}");
    assert!(day.world.written.len() > 1000, "{} texts", day.world.written.len());
    day
}

/// Some texts of each search, short and long.
fn kinds(dice: &mut Dice) -> Vec<(DecodeOptions, Start)> {
    let kind = |at: u64, dice: &mut Dice| {
        let search = match at % 4 {
            0 => Search::Beam { width: 3, length_penalty: 1.0, early: Default::default() },
            1 => Search::Sample { temperature: 0.9, top_k: 5, top_p: 0.95 },
            _ => Search::Greedy,
        };
        let mut tokens =
            |count: u64| -> Vec<u32> { (0..count).map(|_| 1 + dice.below(VOCABULARY as u64 - 1) as u32).collect() };
        let (prompt, source) = (tokens(1 + at * 5), tokens(1 + at));
        let options = DecodeOptions {
            search,
            seed: Some(at),
            max_new_tokens: 1 + (at as usize * 7) % 50,
            draft: if at % 4 == 3 { 3 } else { 0 },
            ..Default::default()
        };
        (options, start(at.is_multiple_of(3).then_some(&source), &prompt))
    };
    (0..48).map(|at| kind(at, dice)).collect()
}

impl Day {
    fn new(config: Config, seed: u64, text_pause_micros: u64, fails_one_in: u64) -> Day {
        let mut dice = Dice(seed);
        let bounds = Bounds { pages: 60, pass_tokens: 64, longest: None, longest_source: None };
        Day {
            // Without the cache most texts would be written once only.
            world: Mixed::new(config, bounds, kinds(&mut dice)),
            dice,
            events: BTreeSet::from([(Time::START, Event::Once), (Time::START, Event::Text)]),
            text_pause_micros,
            fails_one_in,
            longest_run: Duration::ZERO,
        }
    }

    /// Sleeps until the next event or the moment the schedule asked for, whichever comes first.
    fn go_on(&mut self) {
        let wakes = self.poll();
        let (at, event) = *self.events.first().expect("there is always another arrival");
        if let Some(moment) = wakes.filter(|&moment| moment < at) {
            self.world.now = moment;
            return;
        }
        self.events.pop_first();
        self.world.now = at;
        match event {
            Event::Once => self.push_once(),
            Event::Text => self.push_text(),
            Event::Batch(batch) => self.world.complete_batch(batch),
            Event::Pass(pass) => self.end_pass(pass),
            Event::EngineBack(engine) => self.world.set_engine(engine, true),
        }
    }

    fn poll(&mut self) -> Option<Time> {
        let (began, wakes) = self.world.poll();
        for began in began {
            let (tokens, event) = match began {
                Began::Batch(batch, tokens) => (tokens, Event::Batch(batch)),
                Began::Pass(pass, tokens) => (tokens, Event::Pass(pass)),
            };
            let takes = Duration::from_micros(3_000 + 50 * tokens as u64 + self.dice.below(1_000));
            self.longest_run = self.longest_run.max(takes);
            self.events.insert((self.world.now + takes, event));
        }
        wakes
    }

    fn push_once(&mut self) {
        self.again(Event::Once, 100_000);
        let kind = self.dice.below(2_000) as u32;
        let how = self.how();
        self.world.push_once(vec![kind; 1 + kind as usize % 40], How { priority: Priority::Normal, ..how });
    }

    fn push_text(&mut self) {
        self.again(Event::Text, self.text_pause_micros);
        let (kind, how) = (self.dice.below(48) as usize, self.how());
        self.world.push_text(kind, how);
        if self.dice.below(20) == 0 {
            let place = self.dice.below(1000) as usize;
            self.world.cancel(place);
        }
    }

    fn again(&mut self, event: Event, pause_micros: u64) {
        let next = self.world.now + Duration::from_micros(1 + self.dice.below(2 * pause_micros));
        self.events.insert((next, event));
    }

    fn how(&mut self) -> How {
        let priority = match self.dice.below(10) {
            0 => Priority::High,
            1..4 => Priority::Low,
            _ => Priority::Normal,
        };
        let patience = (self.dice.below(3) > 0).then(|| Duration::from_millis(1 + self.dice.below(20_000)));
        How { priority, patience, bypass: self.dice.below(3) > 0, streams: self.dice.below(2) == 0 }
    }

    fn end_pass(&mut self, pass: PassId) {
        if self.dice.below(self.fails_one_in) > 0 {
            return self.world.complete_pass(pass);
        }
        let place = self.world.passes.keys().position(|&other| other == pass).unwrap();
        let engine = self.world.passes[&pass].engine.0;
        let (decided, back) = (self.dice.below(2) == 0, self.world.now + Duration::from_millis(self.dice.below(5_000)));
        // As the server does: out of use first, so that the texts go on elsewhere.
        self.world.set_engine(engine, false);
        self.world.fail_pass(place, Retry::OnceAnEngine, decided);
        self.events.insert((back, Event::EngineBack(engine)));
    }
}

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
