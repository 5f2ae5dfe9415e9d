//! What a model does for each token that it writes: products of few rows with weights that no cache holds, and attention over pages.
//! Throughput is the bytes of weights, or of keys and values; "plain read" is what memory gives to a sum.
//!
//! `cargo bench -p grice-benches --bench decoding -- 'few rows'` runs some of them.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use grice_kernels::{
    Activation, AttentionShape, Epilogue, GroupScales, Int4Groups, Kernels, PAGE_TOKENS, PackedLinear, PagedSequence,
    Pool, Rounding, Rows, Seen, ShapeError, WeightData, WeightPart, page_len,
};
use std::hint::black_box;
use std::time::Duration;

/// `[k, n]`: up and down of GPT-2-medium, the vocabularies of T5-base and GPT-2-medium.
const SHAPES: [(usize, usize); 4] = [(1024, 4096), (4096, 1024), (768, 32_128), (1024, 50_257)];
const ROWS: [usize; 4] = [1, 2, 4, 8];
/// Numbers of a group of 4-bit weights.
const GROUP: usize = 128;
/// Bytes that are read in turns: more than a cache holds.
const COLD: usize = 256 << 20;

#[derive(Clone, Copy)]
enum Form {
    Int4,
    Int8,
    F32,
    F16,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }

    fn pack(self, kernels: &Kernels, k: usize, n: usize) -> Result<PackedLinear, ShapeError> {
        let bytes: Vec<i8> = (0..k * n).map(|index| (index * 7919 % 255) as u8 as i8).collect();
        let floats: Vec<f32>;
        let halves: Vec<u16>;
        let scales = vec![1.0 / 128.0; k * n / GROUP];
        let nibbles: Vec<u8>;
        let data = match self {
            Self::Int4 => {
                nibbles = bytes.iter().map(|&byte| byte as u8 >> 4).collect();
                let scales = GroupScales::F32(&scales);
                WeightData::Int4Groups(Int4Groups { values: &nibbles, scales, zeros: None, group: GROUP })
            }
            Self::Int8 => WeightData::Int8 { values: &bytes, scales: &scales[..n] },
            Self::F32 => {
                floats = bytes.iter().map(|&byte| f32::from(byte) / 128.0).collect();
                WeightData::F32(&floats)
            }
            Self::F16 => {
                // From 1/8 to 1/4.
                halves = bytes.iter().map(|&byte| 0x3000 + u16::from(byte as u8) * 4).collect();
                WeightData::F16(&halves)
            }
        };
        PackedLinear::pack(kernels.isa(), k, &[WeightPart { n, data, bias: None }], Rounding::Stepwise)
    }
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|index| (index * 31 % 1000) as f32 / 500.0 - 1.0).collect()
}

/// 1 thread, and all that the machine has.
fn thread_counts() -> Vec<usize> {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    if all > 1 { vec![1, all] } else { vec![1] }
}

fn bench_few_rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("few rows");
    group.sample_size(20).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(200));
    let memory = vec![1u64; COLD / 8];
    for threads in thread_counts() {
        let pool = Pool::new(threads);
        group.throughput(Throughput::Bytes(COLD as u64));
        group.bench_function(BenchmarkId::new("plain read", threads), |bencher| {
            let part = memory.len() / threads;
            bencher.iter(|| {
                pool.run(threads, &|task| {
                    black_box(memory[task * part..][..part].iter().fold(0u64, |sum, x| sum.wrapping_add(*x)));
                });
            });
        });
    }
    for threads in thread_counts() {
        let kernels = Kernels::new(threads);
        for form in [Form::Int4, Form::Int8, Form::F32, Form::F16] {
            for (k, n) in SHAPES {
                let Ok(first) = form.pack(&kernels, k, n) else { continue };
                let (bytes, mut all) = (first.bytes(), vec![first]);
                while all.len() * bytes < COLD {
                    all.extend(form.pack(&kernels, k, n));
                }
                for rows in ROWS {
                    let (x, mut out, mut turn) = (numbers(rows * k), vec![0.0; rows * n], 0);
                    let plain = Epilogue { activation: Activation::Identity, residual: None, norm: None };
                    group.throughput(Throughput::Bytes(bytes as u64));
                    let id = format!("{} {k}x{n}/{threads}t", form.name());
                    group.bench_function(BenchmarkId::new(id, rows), |bencher| {
                        bencher.iter(|| {
                            turn = (turn + 1) % all.len();
                            kernels.linear(&x, rows, &all[turn], &plain, &mut out)
                        });
                    });
                }
            }
        }
    }
}

/// Heads, heads of keys, and numbers of a head: GPT-2-medium, SmolLM2-135M, and LLaMA-like.
const HEADS: [(usize, usize, usize); 3] = [(16, 16, 64), (9, 3, 64), (32, 8, 128)];

fn bench_pages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pages");
    group.sample_size(20).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(200));
    for threads in thread_counts() {
        let kernels = Kernels::new(threads);
        for (heads, key_heads, head_dim) in HEADS {
            for (sequences, queries, kept) in [(1, 1, 100usize), (1, 1, 2000), (8, 1, 500), (1, 64, 0), (1, 512, 0)] {
                let shape =
                    AttentionShape { key_heads, ..AttentionShape::new(heads, head_dim, 0.125, Rounding::Stepwise) };
                let pages = (kept + queries).div_ceil(PAGE_TOKENS);
                let length = sequences * pages * page_len(&shape);
                let layers = (COLD / (4 * length)).clamp(1, 24);
                let mut pools: Vec<Vec<f32>> = (0..layers).map(|_| numbers(length)).collect();
                let tables: Vec<Vec<u32>> = (0..sequences)
                    .map(|sequence| (0..pages).map(|page| (page * sequences + sequence) as u32).collect())
                    .collect();
                let asked: Vec<PagedSequence<'_>> = (tables.iter().enumerate())
                    .map(|(at, pages)| PagedSequence { queries: at * queries..(at + 1) * queries, kept, pages })
                    .collect();
                let (rows, width) = (sequences * queries, heads * head_dim);
                let (q, mut out, mut turn) = (numbers(rows * width), vec![0.0; rows * width], 0);
                let q = Rows { data: &q, stride: width, offset: 0 };
                group.throughput(Throughput::Bytes((8 * sequences * (kept + queries) * key_heads * head_dim) as u64));
                let id = format!("{heads}/{key_heads}x{head_dim}/{threads}t");
                let name = format!("{sequences} of {queries} after {kept}");
                group.bench_function(BenchmarkId::new(format!("attend {id}"), &name), |bencher| {
                    bencher.iter(|| {
                        turn = (turn + 1) % layers;
                        kernels.attend_pages(&q, &pools[turn], &asked, Seen::Earlier, &shape, None, &mut out)
                    });
                });
                group.bench_function(BenchmarkId::new(format!("keep {id}"), &name), |bencher| {
                    bencher.iter(|| {
                        turn = (turn + 1) % layers;
                        kernels.keep(&q, &q, &asked, &shape, &mut pools[turn])
                    });
                });
            }
        }
    }
}

criterion_group!(benches, bench_few_rows, bench_pages);
criterion_main!(benches);
