//! The cost of the schedule alone: requests per second from push to answer, with an engine that takes no time. An engine
//! answers at most a few thousand short sequences per second, so this must stay well above.
//!
//! `cargo bench -p grice-benches --bench schedule`

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use grice_core::schedule::{Caching, Config, Pushed, Request, Schedule, Step, Time};
use grice_core::{Logits, Precision};
use std::sync::Arc;
use std::time::Duration;

const REQUESTS: usize = 512;
const LABELS: usize = 4;

/// Sequences of 16 to 239 tokens, each different.
fn requests(count: usize, caching: Caching) -> Vec<Request> {
    let ids = |number: usize| -> Arc<[u32]> {
        let length = 16 + number * 7919 % 224;
        (0..length).map(|token| (number * 31 + token) as u32 % 30_000).collect()
    };
    (0..count).map(|number| Request { caching, ..Request::new(ids(number)) }).collect()
}

fn empty() -> Schedule {
    Schedule::new(Config::default(), "sha256:0", Precision::Int8)
}

/// Pushes all requests, and drives the schedule until it is idle. Returns the number of answers, including those from the cache.
fn serve(schedule: &mut Schedule, requests: &[Request]) -> usize {
    let mut now = Time::START;
    let mut answered = 0;
    for request in requests {
        now = now + Duration::from_micros(1);
        answered += usize::from(matches!(schedule.push(request.clone(), now), Pushed::Answered(_)));
    }
    loop {
        now = now + Duration::from_micros(1);
        match schedule.poll(now) {
            Step::Answer(_) => answered += 1,
            Step::Run(run) => {
                schedule.complete(run.id, Ok(Logits::zeros(run.batch.rows(), LABELS)), now);
            }
            Step::Tokens(..) | Step::Text(_) | Step::Courses(_) => unreachable!("nobody asks for texts"),
            Step::WaitUntil(moment) => now = moment,
            Step::Idle => return answered,
        }
    }
}

fn bench_case(criterion: &mut Criterion, name: &str, requests: &[Request], prepare: impl Fn() -> Schedule) {
    assert_eq!(serve(&mut prepare(), requests), requests.len(), "{name}: every request gets an answer");
    let mut group = criterion.benchmark_group("schedule");
    group.sample_size(20).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(200));
    group.throughput(Throughput::Elements(requests.len() as u64));
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
        bencher.iter_batched_ref(&prepare, |schedule| serve(schedule, requests), BatchSize::LargeInput);
    });
}

fn bench_schedule(criterion: &mut Criterion) {
    let fresh = requests(REQUESTS, Caching::Use);
    bench_case(criterion, "misses", &fresh, empty);
    bench_case(criterion, "bypass", &requests(REQUESTS, Caching::Bypass), empty);
    bench_case(criterion, "coalesced", &vec![fresh[0].clone(); REQUESTS], empty);
    bench_case(criterion, "hits", &fresh, || {
        let mut schedule = empty();
        serve(&mut schedule, &fresh);
        schedule
    });
}

criterion_group!(benches, bench_schedule);
criterion_main!(benches);
