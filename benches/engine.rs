//! The engine: kernels (`fused`) against the same graph in tract (`graph`), from packed tokens to logits. Throughput is sequences per
//! second. A fusion or a kernel that is slower here should be removed.
//!
//! `cargo bench -p grice-benches --bench engine -- 'detector-mini/2t'` runs some of them. `GRICE_BENCH_MODEL=model.onnx` takes another model
//! instead of detector-mini, for example one of `make_models.py`. tract expands an int8 file of ONNX Runtime in each run, which takes minutes.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use grice_core::{Batch, Bundle, CpuPlan, Engine, Error, Network, Precision, Result};
use grice_testkit::fixtures::Fixture;
use std::time::Duration;

const LABELS: usize = 4;
/// Number of sequences, and tokens per sequence.
const SHAPES: [(usize, usize); 3] = [(1, 32), (1, 128), (8, 128)];
const MODEL_VARIABLE: &str = "GRICE_BENCH_MODEL";

/// 1 thread, and all threads of the machine.
fn thread_counts() -> Vec<usize> {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    if all > 1 { vec![1, all] } else { vec![1] }
}

fn batch_of(rows: usize, tokens: usize, vocabulary: usize) -> Result<Batch> {
    let row = |row: usize| (0..tokens).map(|token| ((row + 7919 * token) % vocabulary) as u32).collect();
    let sequences: Vec<Vec<u32>> = (0..rows).map(row).collect();
    Batch::pack(&sequences).map_err(|source| Error::Batch(Box::new(source)))
}

fn bench_model(criterion: &mut Criterion, name: &str, onnx: &[u8]) -> Result<()> {
    let imported = [("fused", Network::import(onnx, LABELS)), ("graph", Network::import_graph(onnx, LABELS))];
    for (way, network) in imported {
        let network = network.map_err(|source| Error::Model { path: name.to_owned(), source: Box::new(source) })?;
        let precision = network.precision();
        let plan = CpuPlan::new(network, precision)?;
        for threads in thread_counts() {
            let mut group = criterion.benchmark_group(format!("{name}/{threads}t"));
            group.sample_size(10).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(200));
            let mut engine = plan.engine(threads)?;
            for (rows, tokens) in SHAPES {
                let batch = batch_of(rows, tokens, plan.embedding_rows().unwrap_or(1))?;
                // Skip a batch that is too long for a tiny model; report other failures without timing them.
                if let Err(error) = engine.forward(&batch) {
                    eprintln!("{name} {way} {rows}x{tokens}: left out: {error}");
                    continue;
                }
                group.throughput(Throughput::Elements(rows as u64));
                group.bench_function(BenchmarkId::new(way, format!("{rows}x{tokens}")), |bencher| {
                    bencher.iter(|| engine.forward(&batch));
                });
            }
        }
    }
    Ok(())
}

fn bench_all(criterion: &mut Criterion) -> Result<()> {
    for fixture in Fixture::all() {
        bench_model(criterion, fixture.name, &fixture.onnx())?;
    }
    match std::env::var_os(MODEL_VARIABLE) {
        None => bench_model(
            criterion,
            "detector-mini",
            &Bundle::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/detector-mini"))?.model(Precision::Int8)?.1,
        ),
        Some(path) => match std::fs::read(&path) {
            Ok(onnx) => bench_model(criterion, "model", &onnx),
            Err(error) => panic!("{MODEL_VARIABLE}: {}: {error}", path.display()),
        },
    }
}

fn bench_engine(criterion: &mut Criterion) {
    if let Err(error) = bench_all(criterion) {
        panic!("{error}");
    }
}

criterion_group!(benches, bench_engine);
criterion_main!(benches);
