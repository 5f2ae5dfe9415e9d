//! A day of traffic with a realistic driver: it polls at the requested times, and engines take time.

use super::world::{Ask, World};
use grice_core::schedule::{Accumulate, BatchId, Config, Priority, Retry, Run, Time};
use std::collections::BTreeSet;
use std::time::Duration;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test;

const HOUR: Duration = Duration::from_secs(3600);

/// What happens next, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Finished(BatchId),
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Dice(u64);

struct Day {
    world: World,
    dice: Dice,
    events: BTreeSet<(Time, Event)>,
    /// Micros between arrivals, on average, when it is quiet. A rush is a hundred times as busy.
    pause_micros: u64,
    engine_fails_one_in: u64,
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_day_of_quiet_and_rush_on_one_engine() {
    let config =
        Config { queue_rows_max: 256, batch_tokens_max: 1024, cache_bytes_max: 64 * 1024, ..Config::default() };
    let day = live_through(Day::new(config, 1, 30_000_000, u64::MAX), 24);
    let counters = day.world.counters();
    assert_eq!(counters.failed_total, 0);
    assert!(counters.rejected_queue_full_total > 0, "no rush filled the queue: {counters:?}");
    assert!(counters.expired_total > 0 && counters.cancelled_total > 0 && counters.coalesced_total > 0, "{counters:?}");
    assert!(counters.cache_hits_total > 0 && counters.cache_evictions_total > 0, "{counters:?}");
}

#[cfg_attr(not(target_arch = "wasm32"), test)]
#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test)]
fn a_day_with_three_engines_of_which_some_fail() {
    let config = Config {
        engines: 3,
        queue_rows_max: 512,
        batch_rows_max: 16,
        batch_tokens_max: 1024,
        accumulate: Accumulate::WhileBusy,
        cache_bytes_max: 0,
        ..Config::default()
    };
    let day = live_through(Day::new(config, 2, 20_000_000, 20), 24);
    let counters = day.world.counters();
    assert!(counters.retried_total > 0 && counters.failed_total > 0, "{counters:?}");
    assert_eq!(counters.cache_hits_total, 0);
    assert!(counters.coalesced_total > 0, "{counters:?}");
}

/// Runs until the time is over, then shuts down: nothing may be left.
fn live_through(mut day: Day, hours: u32) -> Day {
    let end = Time::START + HOUR * hours;
    while day.world.now < end {
        day.go_on();
    }
    day.world.drain();
    let counters = day.world.counters();
    assert!(counters.accepted_total > 10_000, "too quiet a day: {counters:?}");
    // What the cache answers is answered by the push.
    assert_eq!(
        day.world.answered + counters.cache_hits_total + counters.cancelled_total,
        counters.accepted_total,
        "{counters:?}"
    );
    day
}

impl Day {
    fn new(config: Config, seed: u64, pause_micros: u64, engine_fails_one_in: u64) -> Day {
        Day {
            world: World::new(config, false),
            dice: Dice(seed),
            events: BTreeSet::from([(Time::START, Event::Arrival)]),
            pause_micros,
            engine_fails_one_in,
        }
    }

    /// Sleeps until the next event or the moment the schedule asked for, whichever comes first.
    fn go_on(&mut self) {
        let (event_at, event) = *self.events.first().expect("there is always another arrival");
        match self.world.wakes_at().filter(|&moment| moment < event_at) {
            Some(moment) => self.world.now = moment,
            None => {
                self.events.pop_first();
                self.world.now = event_at;
                match event {
                    Event::Arrival => self.arrive(),
                    Event::Finished(batch) => self.finish(batch),
                }
            }
        }
        for run in self.world.poll() {
            let takes = Duration::from_micros(self.duration_micros(&run));
            self.events.insert((self.world.now + takes, Event::Finished(run.id)));
        }
    }

    fn arrive(&mut self) {
        // Ten minutes of every hour are a rush.
        let is_rush = self.world.now.as_micros() / 1_000_000 % 3600 < 600;
        let pause = if is_rush { self.pause_micros / 100 } else { self.pause_micros };
        let next = self.world.now + Duration::from_micros(1 + self.dice.below(2 * pause));
        self.events.insert((next, Event::Arrival));
        let burst = if self.dice.below(50) == 0 { self.dice.below(400) } else { 1 };
        for _ in 0..burst {
            let ask = self.ask();
            self.world.push(ask);
        }
        if self.dice.below(20) == 0 {
            let place = self.dice.below(1000) as usize;
            self.world.cancel(place);
        }
    }

    /// A few kinds are asked for often, most of them hardly ever.
    fn ask(&mut self) -> Ask {
        let kind = match self.dice.below(3) {
            0 => self.dice.below(20) as u32,
            _ => self.dice.below(100_000) as u32,
        };
        let priority = match self.dice.below(10) {
            0 => Priority::High,
            1..4 => Priority::Low,
            _ => Priority::Normal,
        };
        let patience = match self.dice.below(4) {
            0 => None,
            1 => Some(Duration::from_millis(1 + self.dice.below(500))),
            _ => Some(Duration::from_secs(30)),
        };
        // Of each kind there is one length.
        let tokens = 8 + (kind as usize * 37) % 120;
        Ask { kind, tokens, priority, patience, bypass: self.dice.below(40) == 0 }
    }

    fn finish(&mut self, batch: BatchId) {
        if self.dice.below(self.engine_fails_one_in) == 0 {
            let retry = match self.dice.below(4) {
                0 => Retry::Never,
                1 => Retry::OnceAnEngine,
                _ => Retry::Once,
            };
            self.world.fail_batch(batch, retry);
        } else {
            self.world.complete_batch(batch);
        }
    }

    fn duration_micros(&mut self, run: &Run) -> u64 {
        2_000 + 300 * run.batch.tokens() as u64 + self.dice.below(2_000)
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
