//! How many servers there should be: Kubernetes' HorizontalPodAutoscaler with the numbers of the manifests, and a rule that knows the future.

use super::day::highest_rate;
use serde_json::Value;
use std::collections::VecDeque;

/// How often the HorizontalPodAutoscaler decides, and which deviation it ignores: Kubernetes' defaults.
pub(crate) const SYNC_S: f64 = 15.0;
const TOLERANCE: f64 = 0.1;

/// The numbers of the manifests.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) least: usize,
    pub(crate) most: usize,
    /// Waiting turns for each server.
    pub(crate) target: f64,
    /// Seconds over which Prometheus takes the mean of what waits; 0 for the last value alone.
    pub(crate) mean_s: f64,
    up: Behavior,
    down: Behavior,
}

#[derive(Clone, Debug, PartialEq)]
struct Behavior {
    window_s: f64,
    policies: Vec<Policy>,
}

/// At most so many servers more or less in a period, or so many percent.
#[derive(Clone, Debug, PartialEq)]
struct Policy {
    is_percent: bool,
    value: f64,
    period_s: f64,
}

impl Numbers {
    /// From KEDA's `ScaledObject`.
    pub(crate) fn of(scaled: &Value) -> Numbers {
        let spec = &scaled["spec"];
        let behavior = &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"];
        let metadata = &spec["triggers"][0]["metadata"];
        let count = |field: &str| spec[field].as_u64().unwrap_or_else(|| panic!("no {field}")) as usize;
        Numbers {
            least: count("minReplicaCount"),
            most: count("maxReplicaCount"),
            target: metadata["threshold"].as_str().unwrap().parse().unwrap(),
            mean_s: mean_seconds(metadata["query"].as_str().unwrap()),
            up: Behavior::of(&behavior["scaleUp"]),
            down: Behavior::of(&behavior["scaleDown"]),
        }
    }
}

/// Of `sum(avg_over_time(grice_queue_size{…}[30s]))`; 0 for `sum(grice_queue_size{…})`.
fn mean_seconds(query: &str) -> f64 {
    let Some(mean) = query.strip_prefix("sum(avg_over_time(grice_queue_size{") else {
        assert!(query.starts_with("sum(grice_queue_size{") && query.ends_with("})"), "{query}");
        return 0.0;
    };
    let window = mean.split_once("}[").and_then(|(_, end)| end.strip_suffix("s]))"));
    window.and_then(|seconds| seconds.parse().ok()).unwrap_or_else(|| panic!("no window of seconds in {query}"))
}

impl Behavior {
    fn of(value: &Value) -> Behavior {
        let policy = |policy: &Value| Policy {
            is_percent: policy["type"] == "Percent",
            value: policy["value"].as_f64().unwrap(),
            period_s: policy["periodSeconds"].as_f64().unwrap(),
        };
        let policies = value["policies"].as_array().unwrap().iter().map(policy).collect();
        Behavior { window_s: value["stabilizationWindowSeconds"].as_f64().unwrap(), policies }
    }
}

/// The HorizontalPodAutoscaler, as in Kubernetes' `pkg/controller/podautoscaler` (autoscaling/v2).
pub(crate) struct Autoscaler {
    numbers: Numbers,
    /// What it would have liked, and when.
    wishes: VecDeque<(f64, usize)>,
    /// What it changed, and when.
    changes: VecDeque<(f64, isize)>,
}

impl Autoscaler {
    pub(crate) fn new(numbers: Numbers) -> Autoscaler {
        Autoscaler { numbers, wishes: VecDeque::new(), changes: VecDeque::new() }
    }

    /// The new number of servers, where `waiting` turns wait in total.
    pub(crate) fn decide(&mut self, now: f64, current: usize, waiting: f64) -> usize {
        let ratio = waiting / (self.numbers.target * current as f64);
        let wish =
            if (ratio - 1.0).abs() <= TOLERANCE { current } else { (waiting / self.numbers.target).ceil() as usize };
        let wish = wish.clamp(self.numbers.least, self.numbers.most);
        self.wishes.push_back((now, wish));
        let stable = self.stabilized(now, current);
        let next = self.limited(now, current, stable).clamp(self.numbers.least, self.numbers.most);
        if next != current {
            self.changes.push_back((now, next as isize - current as isize));
        }
        next
    }

    /// Up to the lowest wish of one window, down to the highest of the other.
    fn stabilized(&mut self, now: f64, current: usize) -> usize {
        let Numbers { up, down, .. } = &self.numbers;
        let longest = up.window_s.max(down.window_s);
        self.wishes.retain(|(then, _)| now - then <= longest);
        let within =
            |window: f64| self.wishes.iter().filter(move |(then, _)| now - then <= window).map(|(_, wish)| *wish);
        let (lowest, highest) = (within(up.window_s).min(), within(down.window_s).max());
        match (lowest, highest) {
            (Some(lowest), _) if current < lowest => lowest,
            (_, Some(highest)) if current > highest => highest,
            _ => current,
        }
    }

    /// What the policies allow; the most generous one decides.
    fn limited(&self, now: f64, current: usize, wish: usize) -> usize {
        let changed = |period: f64, sign: isize| -> f64 {
            let recent = self.changes.iter().filter(|(then, by)| now - then < period && by.signum() == sign);
            recent.map(|(_, by)| *by as f64).sum()
        };
        let limit = |policy: &Policy, sign: f64| {
            let begin = current as f64 - changed(policy.period_s, sign as isize);
            let by = if policy.is_percent { begin * policy.value / 100.0 } else { policy.value };
            begin + sign * by
        };
        if wish > current {
            let most = self.numbers.up.policies.iter().map(|policy| limit(policy, 1.0).ceil()).fold(0.0, f64::max);
            wish.min((most as usize).max(current))
        } else {
            let least = self.numbers.down.policies.iter().map(|policy| limit(policy, -1.0).floor());
            wish.max((least.fold(f64::INFINITY, f64::min).max(0.0) as usize).min(current))
        }
    }
}

/// As many servers as the highest rate until the next decision takes effect needs; `each` is what one can do.
pub(crate) fn foresee(numbers: &Numbers, now: f64, start_s: f64, each: f64) -> usize {
    let needed = highest_rate(now, now + start_s + 2.0 * SYNC_S) / each;
    (needed.ceil() as usize).clamp(numbers.least, numbers.most)
}

#[test]
fn the_autoscaler_follows_its_policies() {
    let policy = |is_percent, value, period_s| vec![Policy { is_percent, value, period_s }];
    let up = Behavior { window_s: 0.0, policies: policy(true, 100.0, 15.0) };
    let down = Behavior { window_s: 300.0, policies: policy(false, 1.0, 60.0) };
    let mut scaler = Autoscaler::new(Numbers { least: 2, most: 10, target: 4.0, mean_s: 0.0, up, down });
    assert_eq!(scaler.decide(0.0, 2, 8.5), 2, "within the tolerance");
    assert_eq!(scaler.decide(15.0, 2, 100.0), 4, "twice as many in 15 seconds");
    assert_eq!(scaler.decide(20.0, 4, 100.0), 4, "no more in the same period");
    assert_eq!(scaler.decide(30.0, 4, 100.0), 8);
    assert_eq!(scaler.decide(45.0, 8, 100.0), 10, "the maximum");
    assert_eq!(scaler.decide(60.0, 10, 0.0), 10, "a wish of the last five minutes");
    assert_eq!(scaler.decide(344.0, 10, 0.0), 10);
    assert_eq!(scaler.decide(346.0, 10, 0.0), 9, "one a minute");
    assert_eq!(scaler.decide(361.0, 9, 0.0), 9);
    assert_eq!(scaler.decide(406.0, 9, 0.0), 8);
}
