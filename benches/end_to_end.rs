//! Text to verdict with the built-in model: rendering, tokenizing, the engine and the readout; and loading the model. Throughput is
//! turns per second.
//!
//! `cargo bench -p grice-benches --bench end_to_end`

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use grice_core::{Bundle, Detector, Options, Result, Turn};
use std::time::Duration;

/// Turns of typical lengths.
const TURNS: [(&str, &str); 4] = [
    ("What did you think of the film?", "Yes."),
    (
        "Have you ever been to Norway?",
        "Twice. We took the coastal boat from Bergen as far as Bodø and came home by train, over the mountains.",
    ),
    (
        "Did you know that the first practical typewriter was sold in 1874? It had no lower case.",
        "I did not. I suppose that letters looked as if everybody shouted, which may be why so few people wanted one at first. \
         Do you know who bought the first of them? I would have guessed newspapers, but perhaps it was the courts.",
    ),
    ("", "Hello there! Do you like dogs?"),
];

/// 1 thread, and all threads of the machine.
fn thread_counts() -> Vec<usize> {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    if all > 1 { vec![1, all] } else { vec![1] }
}

fn bench_detect(criterion: &mut Criterion) -> Result<()> {
    let bundle = Bundle::embedded()?;
    let mut group = criterion.benchmark_group("detect");
    group.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    for threads in thread_counts() {
        let options = Options { threads: Some(threads), ..Options::default() };
        let mut detector = Detector::load(&bundle, &options)?;
        for count in [1, 64] {
            // Starts with the second one, so that a single turn has medium length.
            let turn = |index: usize| TURNS[(index + 1) % TURNS.len()];
            let turns: Vec<Turn> =
                (0..count).map(turn).map(|(context, response)| Turn::new(context, response)).collect();
            detector.detect_batch(&turns)?;
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new(format!("{threads}t"), format!("{count} turns")), |bencher| {
                bencher.iter(|| detector.detect_batch(&turns));
            });
        }
    }
    Ok(())
}

fn bench_load(criterion: &mut Criterion) -> Result<()> {
    let bundle = Bundle::embedded()?;
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    group.bench_function("detector-mini", |bencher| bencher.iter(|| Detector::load(&bundle, &Options::default())));
    Ok(())
}

fn bench_end_to_end(criterion: &mut Criterion) {
    if let Err(error) = bench_detect(criterion).and_then(|()| bench_load(criterion)) {
        panic!("{error}");
    }
}

criterion_group!(benches, bench_end_to_end);
criterion_main!(benches);
