//! What `benches/gpu.py` drives: one model on one GPU, answering a request a line.
//!
//! `measure --model FILE [--precision fp16] [--adapter N] [--portable] [--cache FOLDER]` says in a line of JSON what it runs on. Then each line of
//! its input gets a line of JSON: `run 8x128 5` times five batches of 8 sequences of 128 tokens, from ids to logits in the processor's memory,
//! and `run 8x128 5 2` ten, five on each of two engines at once, as two replicas of a server do;
//! `memory` says how many bytes it holds on the device; `product 1024 768 3072` times every way to multiply `[1024, 768]` by `[768, 3072]`.
//! `--adapters` lists adapters instead.

use grice_gpu::{Gpu, GpuEngine, GpuPlan, Selector, Settings, list_adapters, time_products};
use grice_model::{Batch, Engine, EngineError, Network, Precision};
use serde_json::{Value, json};
use std::error::Error;
use std::io::BufRead;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::time::Instant;

const LABELS: usize = 4;
/// Products of one shape may be timed so long.
const PRODUCTS_MS: u64 = 2000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse()?;
    if arguments.list {
        for adapter in pollster::block_on(list_adapters()) {
            println!(
                "{}",
                json!({ "index": adapter.index, "name": adapter.to_string(), "software": adapter.is_software() })
            );
        }
        return Ok(());
    }
    let start = Instant::now();
    let network = Network::import(std::fs::read(&arguments.model)?, LABELS)?.to_precision(arguments.precision)?;
    let vocabulary = network.embedding_rows().unwrap_or(1);
    let program = network.into_program().map_err(|_| "the model did not fuse: grice inspect says why")?;
    let settings = Settings { cache: arguments.cache, portable: arguments.portable, ..Settings::default() };
    let selector = arguments.adapter.map_or(Selector::Auto, Selector::Index);
    let gpu = pollster::block_on(Gpu::open(selector, &settings))?;
    let plan = pollster::block_on(GpuPlan::new(&gpu, program, LABELS))?;
    let mut engines = vec![plan.engine()?];
    let adapter = gpu.adapter();
    let hello = json!({
        "adapter": adapter.to_string(), "driver": adapter.driver, "software": adapter.is_software(), "precision": plan.precision().name(),
        "features": adapter.features, "weight_bytes": plan.weight_bytes(), "load_ms": milliseconds(start), "warnings": gpu.warnings(),
    });
    println!("{hello}");
    for line in std::io::stdin().lock().lines() {
        let words = line?;
        let words: Vec<&str> = words.split_whitespace().collect();
        println!("{}", answer(&words, &gpu, &plan, &mut engines, vocabulary)?);
    }
    Ok(())
}

fn answer(
    words: &[&str],
    gpu: &Gpu,
    plan: &GpuPlan,
    engines: &mut Vec<GpuEngine>,
    vocabulary: usize,
) -> Result<Value, Box<dyn Error>> {
    match words {
        ["run", shape, runs, more @ ..] => {
            let (rows, tokens) = shape.split_once('x').ok_or("a shape is ROWSxTOKENS")?;
            let batch = batch_of(rows.parse()?, tokens.parse()?, vocabulary)?;
            let count = more.first().map_or(Ok(1), |count| count.parse::<usize>())?;
            while engines.len() < count {
                engines.push(plan.engine()?);
            }
            let runs = runs.parse()?;
            let times: Result<Vec<Vec<f64>>, EngineError> = std::thread::scope(|scope| {
                let time = |engine| scope.spawn(|| time_runs(engine, &batch, runs));
                let timing: Vec<_> = engines.iter_mut().take(count).map(time).collect();
                timing.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
            });
            Ok(json!({ "times_ms": times?.concat() }))
        }
        ["memory"] => Ok(json!({ "bytes": engines[0].memory() })),
        ["product", m, k, n] => {
            let size = [m.parse()?, k.parse()?, n.parse()?];
            let timed = time_products(gpu, plan.precision(), size, std::time::Duration::from_millis(PRODUCTS_MS))?;
            let products = timed.iter().map(|product| {
                json!({ "method": product.method, "cooperative": product.is_cooperative, "seconds": product.time.as_secs_f64() })
            });
            Ok(json!({ "products": products.collect::<Vec<_>>() }))
        }
        _ => Err(format!("{words:?}: not run, memory or product").into()),
    }
}

fn time_runs(engine: &mut GpuEngine, batch: &Batch, runs: usize) -> Result<Vec<f64>, EngineError> {
    let mut time = || {
        let start = Instant::now();
        engine.forward(batch)?;
        Ok(milliseconds(start))
    };
    (0..runs).map(|_| time()).collect()
}

fn batch_of(rows: usize, tokens: usize, vocabulary: usize) -> Result<Batch, Box<dyn Error>> {
    let row = |row: usize| (0..tokens).map(|token| ((row + 7919 * token) % vocabulary) as u32).collect();
    let sequences: Vec<Vec<u32>> = (0..rows).map(row).collect();
    Ok(Batch::pack(&sequences)?)
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

struct Arguments {
    model: PathBuf,
    precision: Precision,
    adapter: Option<usize>,
    portable: bool,
    cache: Option<PathBuf>,
    list: bool,
}

impl Arguments {
    fn parse() -> Result<Arguments, Box<dyn Error>> {
        let mut parsed = Arguments {
            model: PathBuf::new(),
            precision: Precision::Fp32,
            adapter: None,
            portable: false,
            cache: None,
            list: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--model" => parsed.model = value()?.into(),
                "--adapter" => parsed.adapter = Some(value()?.parse()?),
                "--cache" => parsed.cache = Some(value()?.into()),
                "--portable" => parsed.portable = true,
                "--adapters" => parsed.list = true,
                "--precision" => {
                    let (name, all) = (value()?, [Precision::Fp32, Precision::Fp16, Precision::Int8]);
                    let found = all.into_iter().find(|precision| precision.name() == name);
                    parsed.precision = found.ok_or(format!("{name}: not fp32, fp16 or int8"))?;
                }
                _ => return Err(format!("{word}: no such option").into()),
            }
        }
        Ok(parsed)
    }
}
