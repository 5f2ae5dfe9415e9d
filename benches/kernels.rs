//! Linear layers and feed-forward pairs in the shapes of the two detectors. Throughput in "elem/s" is operations per second: two for
//! each product of two numbers.
//!
//! `cargo bench -p grice-benches --bench kernels -- 'linear int8/2t/768x768'` runs some of them.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use grice_kernels::{
    Activation, Epilogue, Isa, Kernels, LayerNorm, PackedLinear, Rounding, ShapeError, WeightData, WeightPart,
};

/// `[k, n]` of the layers: Q, K and V together, the projection after attention, up and down; hidden sizes 768 and 384.
const SHAPES: [(usize, usize); 8] =
    [(768, 2304), (768, 768), (768, 3072), (3072, 768), (384, 1152), (384, 384), (384, 1536), (1536, 384)];
const ROWS: [usize; 3] = [32, 128, 1024];
const PLAIN: Epilogue<'static> = Epilogue { activation: Activation::Identity, residual: None, norm: None };

#[derive(Clone, Copy, PartialEq)]
enum Precision {
    Int8,
    F32,
}

impl Precision {
    fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::F32 => "f32",
        }
    }

    fn pack(self, isa: Isa, k: usize, n: usize) -> Result<PackedLinear, ShapeError> {
        let bytes: Vec<i8> = (0..k * n).map(|index| (index * 7919 % 255) as u8 as i8).collect();
        let floats: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 128.0).collect();
        let scales = vec![1.0 / 128.0; n];
        let bias = vec![0.5; n];
        let data = match self {
            Self::Int8 => WeightData::Int8 { values: &bytes, scales: &scales },
            Self::F32 => WeightData::F32(&floats),
        };
        PackedLinear::pack(isa, k, &[WeightPart { n, data, bias: Some(&bias) }], Rounding::Fused)
    }
}

fn rows_of(rows: usize, k: usize) -> Vec<f32> {
    (0..rows * k).map(|index| (index * 31 % 1000) as f32 / 500.0 - 1.0).collect()
}

/// 1 thread, and all threads of the machine.
fn thread_counts() -> Vec<usize> {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    if all > 1 { vec![1, all] } else { vec![1] }
}

fn bench_linear(criterion: &mut Criterion) {
    for precision in [Precision::Int8, Precision::F32] {
        let mut group = criterion.benchmark_group(format!("linear {}", precision.name()));
        group.sample_size(20).measurement_time(std::time::Duration::from_secs(1));
        group.warm_up_time(std::time::Duration::from_millis(200));
        let mut run = |kernels: &Kernels, (k, n): (usize, usize), rows: usize| {
            let Ok(weights) = precision.pack(kernels.isa(), k, n) else { return };
            let x = rows_of(rows, k);
            let mut out = vec![0.0; rows * n];
            let name = format!("{}/{}t/{k}x{n}", kernels.isa().name(), kernels.threads());
            group.throughput(Throughput::Elements(2 * (rows * k * n) as u64));
            group.bench_function(BenchmarkId::new(name, rows), |bencher| {
                bencher.iter(|| kernels.linear(&x, rows, &weights, &PLAIN, &mut out));
            });
        };
        for threads in thread_counts() {
            let kernels = Kernels::new(threads);
            for shape in SHAPES {
                for rows in ROWS {
                    run(&kernels, shape, rows);
                }
            }
        }
        // One shape for the others, and for the few rows of a readout.
        for isa in Isa::available() {
            let kernels = Kernels::with_isa(isa, 1);
            for rows in [1, 8] {
                run(&kernels, (768, 768), rows);
            }
            if isa != Isa::best() {
                run(&kernels, (768, 768), 128);
            }
        }
    }
}

fn bench_feed_forward(criterion: &mut Criterion) {
    for precision in [Precision::Int8, Precision::F32] {
        let mut group = criterion.benchmark_group(format!("feed_forward {}", precision.name()));
        group.sample_size(20).measurement_time(std::time::Duration::from_secs(1));
        group.warm_up_time(std::time::Duration::from_millis(200));
        for threads in thread_counts() {
            let kernels = Kernels::new(threads);
            for (width, inner) in [(768, 3072), (384, 1536)] {
                let up = precision.pack(kernels.isa(), width, inner);
                let (Ok(up), Ok(down)) = (up, precision.pack(kernels.isa(), inner, width)) else { continue };
                let norm = LayerNorm { gamma: vec![1.0; width], beta: vec![0.0; width], epsilon: 1e-7, centred: true };
                for rows in ROWS {
                    let x = rows_of(rows, width);
                    let mut out = vec![0.0; rows * width];
                    let epilogue = Epilogue { residual: Some(&x), norm: Some(&norm), ..PLAIN };
                    group.throughput(Throughput::Elements(4 * (rows * width * inner) as u64));
                    let name = format!("{}/{threads}t/{width}", kernels.isa().name());
                    group.bench_function(BenchmarkId::new(name, rows), |bencher| {
                        bencher
                            .iter(|| kernels.feed_forward(&x, rows, &up, Activation::Gelu, &down, &epilogue, &mut out));
                    });
                }
            }
        }
    }
}

criterion_group!(benches, bench_linear, bench_feed_forward);
criterion_main!(benches);
