//! Finds a good setting with few measurements. Pure: it sees numbers of choices, and asks for measurements.
//!
//! Choices on an axis are ordered, so that neighbours cost similar amounts. From the start, all choices of one axis after the other are
//! measured, and each time the best is taken. Then neighbours are, until none is better; then the same from other places, as long as
//! measurements are left. The last ones repeat the best settings, because the best of many single measurements is often just a lucky one.

use std::collections::BTreeMap;

/// What a setting achieves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    /// Answers per second.
    pub(crate) throughput: f64,
    /// 95 % of the answers take at most this long.
    pub(crate) p95_ms: f64,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// As many answers per second as possible.
    Throughput,
    /// The same, but 95 % of them within so many milliseconds.
    P95(f64),
}

impl Goal {
    /// More is better. What is too slow is below 0, and the slower, the worse.
    pub(crate) fn score(self, cost: Cost) -> f64 {
        match self {
            Goal::P95(most) if cost.p95_ms > most => -cost.p95_ms / most.max(1e-9),
            _ => cost.throughput,
        }
    }

    /// Whether the cost is as wanted.
    pub(crate) fn is_met(self, cost: Cost) -> bool {
        self.score(cost) >= 0.0
    }
}

/// One choice for each axis.
pub(crate) type Setting = Vec<usize>;

/// The best setting, and how it was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) setting: Setting,
    /// The median of its measurements.
    pub(crate) cost: Cost,
    pub(crate) measurements: usize,
}

/// Searches a grid with so many choices on each axis, all at least 1. `budget` is the number of measurements, at least 1.
///
/// # Errors
/// The first error of `measure`.
pub(crate) fn search<E>(
    sizes: &[usize],
    start: &[usize],
    budget: usize,
    goal: Goal,
    measure: impl FnMut(&[usize]) -> Result<Cost, E>,
) -> Result<Found, E> {
    let reserve = (budget / 4).min(12);
    let mut search = Search { sizes, goal, measure, seen: BTreeMap::new(), left: budget.max(1), reserve };
    let mut from: Setting = start.iter().zip(sizes).map(|(choice, size)| (*choice).min(size - 1)).collect();
    let mut restart = 0;
    search.measure(&from)?;
    search.take_best_lines(&mut from)?;
    while search.left > search.reserve {
        search.climb(&mut from)?;
        restart += 1;
        // Every setting has been measured.
        if restart > 4 * search.left + 16 {
            break;
        }
        from = search.place(restart);
    }
    search.repeat_best()?;
    Ok(search.found(budget))
}

struct Search<'s, M> {
    sizes: &'s [usize],
    goal: Goal,
    measure: M,
    seen: BTreeMap<Setting, Vec<Cost>>,
    left: usize,
    /// Measurements that are kept for repetitions.
    reserve: usize,
}

impl<E, M: FnMut(&[usize]) -> Result<Cost, E>> Search<'_, M> {
    /// Measures once more.
    fn measure(&mut self, setting: &[usize]) -> Result<(), E> {
        let cost = (self.measure)(setting)?;
        self.left = self.left.saturating_sub(1);
        self.seen.entry(setting.to_vec()).or_default().push(cost);
        Ok(())
    }

    /// Measures a setting that has not been; `false` if the measurements for that are used up.
    fn look_at(&mut self, setting: &[usize]) -> Result<bool, E> {
        if self.seen.contains_key(setting) {
            return Ok(true);
        }
        if self.left <= self.reserve {
            return Ok(false);
        }
        self.measure(setting)?;
        Ok(true)
    }

    fn score(&self, setting: &[usize]) -> f64 {
        self.seen.get(setting).map_or(f64::NEG_INFINITY, |costs| self.goal.score(median(costs)))
    }

    /// All choices of one axis after the other.
    fn take_best_lines(&mut self, from: &mut Setting) -> Result<(), E> {
        for axis in 0..self.sizes.len() {
            let choices: Vec<usize> = (0..self.sizes[axis]).collect();
            self.take_best(from, axis, &choices)?;
        }
        Ok(())
    }

    /// Neighbours on all axes, until none is better.
    fn climb(&mut self, from: &mut Setting) -> Result<(), E> {
        if !self.look_at(from)? {
            return Ok(());
        }
        loop {
            let before = from.clone();
            for (axis, size) in self.sizes.iter().enumerate() {
                let near = from[axis].saturating_sub(1)..=(from[axis] + 1).min(size - 1);
                self.take_best(from, axis, &near.collect::<Vec<usize>>())?;
            }
            if *from == before {
                return Ok(());
            }
        }
    }

    /// Moves to the best of some choices on one axis.
    fn take_best(&mut self, from: &mut Setting, axis: usize, choices: &[usize]) -> Result<(), E> {
        let mut best = from.clone();
        for &choice in choices {
            let mut other = from.clone();
            other[axis] = choice;
            if self.look_at(&other)? && self.score(&other) > self.score(&best) {
                best = other;
            }
        }
        *from = best;
        Ok(())
    }

    /// Where to begin again: first around the best setting, two steps off on two axes, then anywhere.
    fn place(&self, restart: usize) -> Setting {
        let best = self.best().map(|(setting, _)| setting.clone()).unwrap_or_default();
        let mut state = restart as u64;
        let mut draw = |below: usize| {
            // SplitMix64 (Steele, Lea and Flood, 2014).
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((mixed ^ (mixed >> 31)) % below.max(1) as u64) as usize
        };
        let anywhere = restart.is_multiple_of(3);
        let choice = |(own, size): (usize, &usize)| match (anywhere, draw(2)) {
            (true, _) => draw(*size),
            (false, 0) => own,
            (false, _) => (own + draw(5)).saturating_sub(2).min(size - 1),
        };
        best.into_iter().zip(self.sizes).map(choice).collect()
    }

    fn best(&self) -> Option<(&Setting, f64)> {
        let scores = self.seen.iter().map(|(setting, costs)| (setting, self.goal.score(median(costs))));
        scores.max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Measures the three best settings again, the one first that has been measured least.
    fn repeat_best(&mut self) -> Result<(), E> {
        while self.left > 0 {
            let mut best: Vec<(&Setting, f64, usize)> = self
                .seen
                .iter()
                .map(|(setting, costs)| (setting, self.goal.score(median(costs)), costs.len()))
                .collect();
            best.sort_by(|a, b| b.1.total_cmp(&a.1));
            let next = best.iter().take(3).min_by_key(|(.., times)| *times).map(|(setting, ..)| (*setting).clone());
            let Some(next) = next else { return Ok(()) };
            self.measure(&next)?;
        }
        Ok(())
    }

    fn found(&self, budget: usize) -> Found {
        // A setting that was measured once may have been lucky.
        let times = self.seen.values().map(Vec::len).max().unwrap_or(1).div_ceil(2);
        let sure = self.seen.iter().filter(|(_, costs)| costs.len() >= times);
        let scored = sure.map(|(setting, costs)| (setting, median(costs)));
        let best = scored.max_by(|a, b| self.goal.score(a.1).total_cmp(&self.goal.score(b.1)));
        let none = Cost { throughput: 0.0, p95_ms: 0.0 };
        let (setting, cost) = best.map_or((Setting::new(), none), |(setting, cost)| (setting.clone(), cost));
        Found { setting, cost, measurements: budget - self.left.min(budget) }
    }
}

/// Of each figure.
fn median(costs: &[Cost]) -> Cost {
    let of = |figure: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let lower = values.get((values.len().max(1) - 1) / 2).copied().unwrap_or(0.0);
        (lower + values.get(middle).copied().unwrap_or(0.0)) / 2.0
    };
    Cost { throughput: of(|cost| cost.throughput), p95_ms: of(|cost| cost.p95_ms) }
}
