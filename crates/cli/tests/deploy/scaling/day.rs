//! A day of requests: how many come in each second, and which.

use std::f64::consts::TAU;

pub(crate) const HOUR: f64 = 3600.0;
pub(crate) const DAY: f64 = 24.0 * HOUR;
/// When the rush begins, how long it takes to grow and to fade, and how long it stays.
pub(crate) const RUSH: f64 = 11.0 * HOUR;
pub(crate) const RISE: f64 = 600.0;
pub(crate) const STAY: f64 = 1800.0;
/// The rush, relative to the rate of the moment.
pub(crate) const RUSH_FACTOR: f64 = 5.0;
/// Requests per second at the quietest and the busiest moment of the day without the rush.
const QUIET: f64 = 25.0;
const BUSY: f64 = 110.0;
/// Token counts of real turns (`benches/turn_lengths.json`).
pub(crate) const TURN_TOKENS: [usize; 64] = [
    137, 95, 52, 169, 149, 136, 158, 77, 62, 120, 181, 234, 165, 94, 112, 151, 54, 160, 179, 99, 118, 95, 85, 86, 200,
    147, 88, 133, 64, 89, 120, 85, 113, 104, 239, 19, 83, 118, 34, 99, 125, 120, 169, 124, 207, 135, 29, 240, 161, 140,
    29, 147, 144, 100, 64, 100, 158, 78, 127, 185, 76, 98, 134, 70,
];

/// Expected requests per second, so many seconds after midnight. The day has the shape of Internet traffic in its first two harmonics: a
/// low at 4:30, a plateau in the afternoon, a high in the evening. At 11:00 a rush of five times that begins, grows for ten minutes,
/// stays for thirty and fades for ten.
pub(crate) fn rate(second: f64) -> f64 {
    let hours = second / HOUR;
    let wave = 0.5 - 0.42 * (TAU * (hours - 4.5) / 24.0).cos() - 0.12 * (TAU * (hours - 1.0) / 12.0).cos();
    (QUIET + (BUSY - QUIET) * wave.clamp(0.0, 1.0)) * rush(second)
}

fn rush(second: f64) -> f64 {
    let grown = ((second - RUSH) / RISE).clamp(0.0, 1.0);
    let faded = ((second - RUSH - RISE - STAY) / RISE).clamp(0.0, 1.0);
    1.0 + (RUSH_FACTOR - 1.0) * (grown - faded)
}

/// The highest rate between two moments, to a second.
pub(crate) fn highest_rate(from: f64, to: f64) -> f64 {
    (from as u64..=to as u64).map(|second| rate(second as f64)).fold(0.0, f64::max)
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }

    /// Above 0, up to 1.
    fn share(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// The moments of requests: a Poisson process with a rate that changes, by thinning (Lewis and Shedler, 1979). The same in every run.
pub(crate) struct Arrivals {
    dice: Dice,
    second: f64,
    rate: fn(f64) -> f64,
    most: f64,
}

impl Arrivals {
    /// `most` is at least the rate at any moment.
    pub(crate) fn new(seed: u64, rate: fn(f64) -> f64, most: f64) -> Arrivals {
        Arrivals { dice: Dice(seed), second: 0.0, rate, most }
    }
}

impl Iterator for Arrivals {
    /// Seconds after midnight, and the number of the turn.
    type Item = (f64, usize);

    fn next(&mut self) -> Option<(f64, usize)> {
        loop {
            self.second -= self.dice.share().ln() / self.most;
            if self.dice.share() * self.most <= (self.rate)(self.second) {
                return Some((self.second, self.dice.below(TURN_TOKENS.len())));
            }
        }
    }
}

#[test]
fn the_day_has_one_rush_of_five_times() {
    let (before, within) = (rate(RUSH), rate(RUSH + RISE + STAY / 2.0));
    let without = within / RUSH_FACTOR;
    assert!((without / before - 1.0).abs() < 0.1, "{before} {without}");
    let quiet = (0..24).map(|hour| rate(f64::from(hour) * HOUR)).fold(f64::INFINITY, f64::min);
    assert!((QUIET..QUIET + 5.0).contains(&quiet), "{quiet}");
    let evening = highest_rate(12.0 * HOUR, DAY);
    assert!((BUSY * 0.9..=BUSY).contains(&evening), "{evening}");
    let arrivals = Arrivals::new(1, |_| 50.0, 100.0).take_while(|(second, _)| *second < 2000.0).count();
    assert!((arrivals as f64 / 100_000.0 - 1.0).abs() < 0.015, "{arrivals}");
}
