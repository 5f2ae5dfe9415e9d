//! The search on made-up machines, against every setting of the grid.

use super::search::{Cost, Found, Goal, search};
use super::space::Space;

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (self.next() >> 11) as f64 / (1_u64 << 53) as f64 * (high - low)
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let (u, v) = (self.uniform(1e-12, 1.0), self.uniform(0.0, 1.0));
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// A machine by a few numbers: what a batch costs, how well threads share it, and where its caches end.
struct Machine {
    space: Space,
    clients: f64,
    turn_tokens: f64,
    batch_ms: f64,
    token_ms: f64,
    /// The share of the work that threads divide.
    parallel: f64,
    /// Milliseconds for threads to meet, for each one more.
    meet_ms: f64,
    cache_tokens: f64,
    /// How much slower tokens beyond it are.
    beyond: f64,
}

impl Machine {
    fn draw(dice: &mut Dice) -> Machine {
        Machine {
            space: Space::new([2, 4, 8, 16][(dice.next() % 4) as usize], false),
            clients: dice.uniform(8.0, 128.0),
            turn_tokens: dice.uniform(30.0, 250.0),
            batch_ms: dice.uniform(0.1, 5.0),
            token_ms: dice.uniform(0.005, 0.2),
            parallel: dice.uniform(0.6, 1.0),
            meet_ms: dice.uniform(0.0, 0.3),
            cache_tokens: dice.uniform(300.0, 6000.0),
            beyond: dice.uniform(0.1, 1.5),
        }
    }

    /// What a setting really achieves, with clients that ask again as soon as they are answered.
    fn cost(&self, setting: &[usize]) -> Cost {
        let chosen = self.space.at(setting);
        let (threads, replicas) = (chosen.threads as f64, chosen.replicas as f64);
        let most = (chosen.rows as f64).min((chosen.tokens as f64 / self.turn_tokens).max(1.0));
        let rows = most.min((self.clients / replicas).max(1.0));
        let tokens = rows * self.turn_tokens;
        let slow = 1.0 + self.beyond * ((tokens / self.cache_tokens).ln().max(0.0)).powi(2);
        let work = self.batch_ms + tokens * self.token_ms * slow;
        let ran = work * (1.0 - self.parallel + self.parallel / threads) + self.meet_ms * (threads - 1.0);
        // A delay is lost unless the batch is full before.
        let lost = chosen.wait_ms * chosen.wait_share * (1.0 - rows / most.max(1.0)).max(0.1);
        let batch = ran + lost;
        let throughput = (replicas * rows / batch * 1e3).min(self.clients / ran * 1e3);
        let rounds = (self.clients / (replicas * rows)).max(1.0);
        Cost { throughput, p95_ms: batch * (rounds + 0.6) }
    }

    fn best(&self, goal: Goal) -> Cost {
        let all = self.space.all().into_iter().map(|setting| self.cost(&setting));
        all.max_by(|a, b| goal.score(*a).total_cmp(&goal.score(*b))).unwrap()
    }
}

fn find(machine: &Machine, goal: Goal, noise: f64, dice: &mut Dice) -> Found {
    let space = &machine.space;
    let mut count = 0;
    let budget = space.len() / 10;
    let found = search(&space.sizes(), &space.start(), budget, goal, |setting| {
        count += 1;
        let Cost { throughput, p95_ms } = machine.cost(setting);
        let [first, second] = [dice.normal(), dice.normal()].map(|error| (error * noise).exp());
        Ok::<Cost, ()>(Cost { throughput: throughput * first, p95_ms: p95_ms * second })
    });
    let found = found.unwrap();
    assert!(count <= budget && found.measurements == count, "{count} of {budget}");
    found
}

/// Of many machines: the share on which the found setting is within 5 % of the best of all.
fn share(goal_of: impl Fn(&Machine) -> Goal, noise: f64) -> f64 {
    let seeds = 400;
    let good = (0..seeds).filter(|seed| {
        let mut dice = Dice(*seed * 7919 + 1);
        let machine = Machine::draw(&mut dice);
        let goal = goal_of(&machine);
        let found = find(&machine, goal, noise, &mut dice);
        let (best, true_cost) = (machine.best(goal), machine.cost(&found.setting));
        match goal {
            Goal::Throughput => true_cost.throughput >= 0.95 * best.throughput,
            // As much as 5 % over the limit is noise, too.
            Goal::P95(most) if best.p95_ms <= most => {
                true_cost.p95_ms <= 1.05 * most && true_cost.throughput >= 0.95 * best.throughput
            }
            Goal::P95(_) => true_cost.p95_ms <= 1.05 * best.p95_ms,
        }
    });
    good.count() as f64 / seeds as f64
}

#[test]
fn the_best_throughput_is_found_in_a_tenth_of_the_measurements() {
    for noise in [0.0, 0.01, 0.03] {
        let share = share(|_| Goal::Throughput, noise);
        assert!(share >= 0.99, "noise {noise}: {share}");
    }
}

#[test]
fn the_best_throughput_in_time_is_found_too() {
    for (factor, noise) in [(1.3, 0.0), (1.3, 0.02), (3.0, 0.02), (0.5, 0.02)] {
        let in_time = |machine: &Machine| {
            let fastest = machine.space.all().iter().map(|s| machine.cost(s).p95_ms).fold(f64::INFINITY, f64::min);
            Goal::P95(fastest * factor)
        };
        let share = share(in_time, noise);
        assert!(share >= 0.97, "factor {factor}, noise {noise}: {share}");
    }
}

/// One measurement, or all.
#[test]
fn any_budget_gives_a_setting() {
    let mut dice = Dice(5);
    let machine = Machine::draw(&mut dice);
    let space = &machine.space;
    for budget in [1, 2, 5, space.len(), 3 * space.len()] {
        let cost = |setting: &[usize]| Ok::<Cost, ()>(machine.cost(setting));
        let found = search(&space.sizes(), &space.start(), budget, Goal::Throughput, cost).unwrap();
        assert_eq!(found.measurements, budget);
        assert_eq!(found.cost, machine.cost(&found.setting));
    }
    let failed = search(&space.sizes(), &space.start(), 9, Goal::Throughput, |_| Err("lost"));
    assert_eq!(failed, Err("lost"));
}
