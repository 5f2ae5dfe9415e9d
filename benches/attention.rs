//! Attention in the shapes of the two detectors, and the row-wise operations around it. The throughput of attention in "elem/s" is operations
//! per second of the formula, two for each product of two numbers; scores by distance count once for each pair of tokens.
//!
//! `cargo bench -p grice-benches --bench attention -- 'deberta'` runs some of them. `reference` is the oracle, a direct implementation of
//! the formula; `scalar` is the same algorithm without vectors.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use grice_kernels::{
    AttentionShape, Isa, Kernels, LayerNorm, Queries, Relative, Rounding, Rows, ShapeError, SlotMap, reference, vector,
};
use std::hint::black_box;
use std::time::Duration;

const HEADS: usize = 12;
const SPAN: usize = 256;

/// Numbers in ±1.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|index| (index * 7919 % 1009) as f32 / 504.5 - 1.0).collect()
}

/// 1 thread, and all threads of the machine.
fn thread_counts() -> Vec<usize> {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    if all > 1 { vec![1, all] } else { vec![1] }
}

/// One layer's attention over a batch; with relative positions for heads of 64, as in DeBERTa, without for heads of 32, as in the small detector.
struct Layer {
    qkv: Vec<f32>,
    cu_seqlens: Vec<u32>,
    shape: AttentionShape,
    table: Vec<f32>,
    slots: SlotMap,
    relative: Option<Relative>,
    out: Vec<f32>,
}

impl Layer {
    fn new(head_dim: usize, sequences: usize, length: usize, rounding: Rounding) -> Result<Self, ShapeError> {
        let width = HEADS * head_dim;
        let table = numbers(2 * SPAN * width);
        let slots = SlotMap::new(SPAN, 256, 512)?;
        let relative = Relative::new(Some(&table), Some(&table), slots.clone(), HEADS, head_dim)?;
        Ok(Self {
            qkv: numbers(sequences * length * 3 * width),
            cu_seqlens: (0..=sequences).map(|index| (index * length) as u32).collect(),
            shape: AttentionShape::new(HEADS, head_dim, 1.0 / (head_dim as f32).sqrt(), rounding),
            table,
            slots,
            relative: (head_dim == 64).then_some(relative),
            out: vec![0.0; sequences * length * width],
        })
    }

    fn rows(&self) -> [Rows<'_>; 3] {
        let width = HEADS * self.shape.head_dim;
        [0, 1, 2].map(|part| Rows { data: &self.qkv, stride: 3 * width, offset: part * width })
    }

    fn attend(&mut self, kernels: &Kernels) -> Result<(), ShapeError> {
        let mut out = std::mem::take(&mut self.out);
        let [q, k, v] = self.rows();
        let relative = self.relative.as_ref();
        let result =
            kernels.attention(&q, &k, &v, &self.cu_seqlens, Queries::All, &self.shape, relative.into(), &mut out);
        self.out = out;
        result
    }

    fn attend_plainly(&self) -> Vec<f32> {
        let [q, k, v] = self.rows();
        let (keys, queries) = (Some(&self.table[..]), Some(&self.table[..]));
        let rows = reference::RelativeRows { keys, queries, slots: &self.slots };
        let relative = self.relative.is_some().then_some(&rows);
        reference::attention(&q, &k, &v, &self.cu_seqlens, Queries::All, &self.shape, relative, None)
    }

    fn operations(&self) -> u64 {
        let pairs: u64 = self.cu_seqlens.windows(2).map(|pair| u64::from(pair[1] - pair[0]).pow(2)).sum();
        let products = if self.relative.is_some() { 4 } else { 2 };
        2 * products * pairs * (HEADS * self.shape.head_dim) as u64
    }
}

fn bench_attention(criterion: &mut Criterion) {
    for (name, head_dim) in [("deberta", 64), ("mini", 32)] {
        let mut group = criterion.benchmark_group(format!("attention {name}"));
        group.sample_size(20).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(200));
        let mut run = |kernels: &Kernels, sequences: usize, length: usize, rounding: Rounding| {
            let Ok(mut layer) = Layer::new(head_dim, sequences, length, rounding) else { return };
            group.throughput(Throughput::Elements(layer.operations()));
            let id = format!("{} {rounding:?}/{}t", kernels.isa().name(), kernels.threads());
            group.bench_function(BenchmarkId::new(id, format!("{sequences}x{length}")), |bencher| {
                bencher.iter(|| layer.attend(kernels));
            });
        };
        for threads in thread_counts() {
            let kernels = Kernels::new(threads);
            for (sequences, length) in [(1, 32), (1, 128), (8, 128), (1, 512)] {
                for rounding in [Rounding::Stepwise, Rounding::Fused] {
                    run(&kernels, sequences, length, rounding);
                }
            }
        }
        for isa in Isa::available() {
            if isa != Isa::best() {
                run(&Kernels::with_isa(isa, 1), 1, 128, Rounding::Stepwise);
            }
        }
        if let Ok(layer) = Layer::new(head_dim, 1, 128, Rounding::Stepwise) {
            group.throughput(Throughput::Elements(layer.operations()));
            group.sample_size(10);
            group.bench_function("reference/1t/1x128", |bencher| bencher.iter(|| layer.attend_plainly()));
        }
    }
}

/// Throughput is numbers per second.
fn bench_rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rows");
    group.sample_size(20).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(200));
    let x = numbers(128 * 768);
    let norm = LayerNorm { gamma: vec![1.0; 768], beta: vec![0.0; 768], epsilon: 1e-7, centred: true };
    group.throughput(Throughput::Elements(x.len() as u64));
    for isa in Isa::available() {
        let kernels = Kernels::with_isa(isa, 1);
        let mut out = x.clone();
        group.bench_function(BenchmarkId::new("layer_norm", isa.name()), |bencher| {
            bencher.iter(|| kernels.layer_norm(&x, Some(&x), 128, &norm, &mut out));
        });
        group.bench_function(BenchmarkId::new("softmax", isa.name()), |bencher| {
            bencher.iter(|| kernels.softmax(&mut out, 768, 128));
        });
        group.bench_function(BenchmarkId::new("gelu", isa.name()), |bencher| {
            bencher.iter(|| {
                out.copy_from_slice(black_box(&x));
                vector::gelu(isa, &mut out);
            });
        });
        group.bench_function(BenchmarkId::new("gelu_tanh", isa.name()), |bencher| {
            bencher.iter(|| {
                out.copy_from_slice(black_box(&x));
                vector::gelu_tanh(isa, &mut out);
            });
        });
    }
    group.bench_function(BenchmarkId::new("layer_norm", "reference"), |bencher| {
        bencher.iter(|| reference::layer_norm(&x, &norm));
    });
    group.bench_function(BenchmarkId::new("softmax", "reference"), |bencher| {
        bencher.iter(|| reference::softmax(&x, 128));
    });
    group.bench_function(BenchmarkId::new("gelu", "reference"), |bencher| {
        bencher.iter(|| -> Vec<f32> { x.iter().map(|&x| reference::gelu(f64::from(x)) as f32).collect() });
    });
}

criterion_group!(benches, bench_attention, bench_rows);
criterion_main!(benches);
