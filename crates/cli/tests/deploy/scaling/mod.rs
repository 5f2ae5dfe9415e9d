//! The rule of the manifests, tried on a simulated day: the real schedule in every server, Kubernetes' autoscaler, and requests by
//! `day.rs`. `GRICE_BLESS=1` writes the plot in `docs/images/scaling.svg`.

mod day;
mod fleet;
mod plot;
mod rule;

use super::{deploy, read, repository, yaml};
use day::{Arrivals, DAY, HOUR, RISE, RUSH, STAY, highest_rate, rate};
use fleet::{Fleet, START_S};
use rule::{Autoscaler, Numbers, foresee};
use serde_json::Value;

/// The promise: 99 % of the answers within so many milliseconds, on the whole day and in the rush; with at most so many times the servers of a
/// rule that knows the future, on the whole day and while more than the least number are needed.
const P99_MS: f32 = 200.0;
const SERVERS: f64 = 1.3;

fn numbers() -> Numbers {
    let scaled: Value = yaml(deploy().join("kubernetes/base/scaling.yaml"));
    Numbers::of(&scaled)
}

fn arrivals() -> Arrivals {
    Arrivals::new(2026, rate, highest_rate(0.0, DAY) * 1.01)
}

/// The rate that a server can take at most: at a little more, 1 % of the answers of four servers take longer than allowed.
fn capacity() -> f64 {
    let p99 = |each: f64| {
        let rate: fn(f64) -> f64 = |_| 1.0;
        // A rate of 1 a second in a faster time would need another clock, so the arrivals are scaled.
        let arrivals = Arrivals::new(7, rate, 1.0).map(|(second, turn)| (second / (4.0 * each), turn));
        let fleet = Fleet::new(4, 0.0).run(arrivals, 600.0, |_, current, _| current);
        fleet.p99_ms(60.0, 600.0)
    };
    let (mut low, mut high) = (20.0, 80.0);
    for _ in 0..8 {
        let middle = (low + high) / 2.0;
        if p99(middle) <= P99_MS { low = middle } else { high = middle }
    }
    low
}

#[test]
fn the_rule_of_the_manifests_holds_on_a_day_with_a_rush() {
    let numbers = numbers();
    let each = capacity();
    let mut scaler = Autoscaler::new(numbers.clone());
    let (ruled, foreseen) = std::thread::scope(|scope| {
        let fleet = Fleet::new(numbers.least, numbers.mean_s);
        let ruled =
            scope.spawn(|| fleet.run(arrivals(), DAY, |now, count, waiting| scaler.decide(now, count, waiting)));
        let fleet = Fleet::new(numbers.least, 0.0);
        let foreseen = fleet.run(arrivals(), DAY, |now, _, _| foresee(&numbers, now, START_S, each));
        (ruled.join().unwrap(), foreseen)
    });
    let ratio = ruled.mean_servers() / foreseen.mean_servers();
    let rush = (RUSH, RUSH + 2.0 * RISE + STAY);
    let told = format!(
        "a server takes {each:.1}/s; the rule: P99 {:.0} ms (rush {:.0} ms), {:.2} % above {P99_MS} ms, {:.2} servers; with foresight: \
         P99 {:.0} ms (rush {:.0} ms), {:.2} servers; ratio {ratio:.3}, while more than {} are needed {:.3}",
        ruled.p99_ms(0.0, DAY),
        ruled.p99_ms(rush.0, rush.1),
        ruled.slower_than(P99_MS) * 100.0,
        ruled.mean_servers(),
        foreseen.p99_ms(0.0, DAY),
        foreseen.p99_ms(rush.0, rush.1),
        foreseen.mean_servers(),
        numbers.least,
        busy_ratio(&ruled, &foreseen, numbers.least),
    );
    println!("{told}");
    assert!(ruled.p99_ms(0.0, DAY) <= P99_MS && ruled.p99_ms(rush.0, rush.1) <= P99_MS, "{told}");
    assert!(foreseen.p99_ms(0.0, DAY) <= P99_MS, "what it is compared with must keep the promise too: {told}");
    assert!(ratio <= SERVERS && busy_ratio(&ruled, &foreseen, numbers.least) <= SERVERS, "{told}");
    let most = ruled.history.iter().map(|(_, servers, _)| *servers).max().unwrap();
    assert!(most > 2 * numbers.least && most < numbers.most, "it scales, and is not at its limit: {most}; {told}");
    let drawn = plot::svg(&ruled, &foreseen, P99_MS);
    let path = repository().join("docs/images/scaling.svg");
    if std::env::var_os("GRICE_BLESS").is_some() {
        std::fs::write(&path, &drawn).unwrap();
    }
    assert_eq!(
        read(&path),
        drawn,
        "make it again: GRICE_BLESS=1 cargo test --release --workspace --test deploy scaling"
    );
}

/// The servers of both, while foresight needs more than the least number.
fn busy_ratio(ruled: &Fleet, foreseen: &Fleet, least: usize) -> f64 {
    let both = ruled.history.iter().zip(&foreseen.history).filter(|(_, (_, servers, _))| *servers > least);
    let (own, needed) =
        both.fold((0, 0), |(own, needed), ((_, ruled, _), (_, foreseen, _))| (own + ruled, needed + foreseen));
    own as f64 / needed as f64
}

/// Both ways to deploy have the same rule.
#[test]
fn kserve_has_the_same_numbers() {
    let numbers = numbers();
    let service: Value = yaml(deploy().join("kubernetes/kserve/inferenceservice.yaml"));
    let predictor = &service["spec"]["predictor"];
    let external = &predictor["autoScaling"]["metrics"][0]["external"];
    assert_eq!(predictor["minReplicas"], numbers.least);
    assert_eq!(predictor["maxReplicas"], numbers.most);
    assert_eq!(external["target"]["averageValue"].as_str().unwrap().parse::<f64>().unwrap(), numbers.target);
    let scaled: Value = yaml(deploy().join("kubernetes/base/scaling.yaml"));
    let query = scaled["spec"]["triggers"][0]["metadata"]["query"].as_str().unwrap().to_owned();
    let of_model = query.replace("namespace=\"grice\"", "namespace=\"grice\", model=\"detector\"");
    assert_eq!(external["metric"]["query"], of_model);
    let prometheus: Value = yaml(deploy().join("prometheus/prometheus.yml"));
    assert_eq!(prometheus["global"]["scrape_interval"], "5s", "the simulation scrapes every five seconds");
    assert!(rate(11.5 * HOUR) > 4.0 * rate(10.9 * HOUR));
}
