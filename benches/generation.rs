//! Texts by models of full size, one request a line on standard input: what `benches/generation.py` and `llamacpp.py` alternate with other engines.
//! MODEL is a Hugging Face folder or a GGUF file; the precision `stored` is the file's own.
//!
//! ```sh
//! echo '{"rows": 1, "prompt": 64, "new": 80}' | cargo bench --workspace --bench generation -- MODEL int8 2
//! ```
//!
//! With `"ops": true` the answer tells the milliseconds of each kind of step too.
//!
//! `prompt` counts the tokens of the prompt, or of the source for a model with an encoder; `new` those that are written, no fewer and no
//! more; `beams` and `draft` may be given. `ids` gives the tokens of the prompts themselves, and then the token `stop` ends a text; the answer
//! holds the texts' tokens. With `every` a row arrives only so many passes after the one before it, and with `at_once` no earlier than fewer
//! than so many are being written. `lengths` gives the new tokens of each row. Each line is answered by one with `ms`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use grice_core::generate::{Bounds, Courses, DecodeOptions, Event, Search, Start};
use grice_core::{Checkpoint, CpuGenerator, CpuGeneratorPlan, Generator, GeneratorEngine, GgufModel, Precision, Trace};
use grice_testkit::generators::DiskFolder;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Tokens of memory.
const MEMORY_TOKENS: usize = 32 * 1024;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let Some(model) = args.next() else {
        return println!("name a Hugging Face folder or a GGUF file; see the first lines of this file");
    };
    let precision = args.next().filter(|precision| precision != "stored");
    let precision: Option<Precision> = precision.map(|precision| precision.parse().unwrap());
    let threads: usize = args.next().map_or(1, |threads| threads.parse().unwrap());
    let start = Instant::now();
    let generator = open(model.as_ref(), precision);
    let reads_source = generator.encoder.is_some();
    let plan = CpuGeneratorPlan::new(generator).unwrap();
    let pages = MEMORY_TOKENS / 32;
    let mut engine = plan.engine(threads, pages).unwrap();
    println!("{}", json!({"load_ms": start.elapsed().as_secs_f64() * 1e3}));
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
        println!("{}", run(&mut engine, &plan, pages, &request, reads_source));
    }
}

fn open(model: &Path, precision: Option<Precision>) -> Generator {
    if model.extension().is_some_and(|extension| extension == "gguf") {
        let folder = DiskFolder(model.parent().unwrap().to_owned());
        let file = model.file_name().unwrap().to_str().unwrap();
        return GgufModel::open(&folder, file, precision).unwrap().checkpoint.generator;
    }
    let generator = Checkpoint::open(&DiskFolder(model.to_owned())).unwrap().generator;
    match precision {
        Some(precision) => generator.to_precision(precision).unwrap(),
        None => generator,
    }
}

fn run(engine: &mut CpuGenerator, plan: &CpuGeneratorPlan, pages: usize, request: &Value, reads_source: bool) -> Value {
    let number = |field: &str| request[field].as_u64().unwrap_or(0) as usize;
    let new = number("new");
    let beams = number("beams");
    let search = if beams > 1 {
        Search::Beam { width: beams, length_penalty: 1.0, early: Default::default() }
    } else {
        Search::Greedy
    };
    let given: Option<Vec<Vec<u32>>> = serde_json::from_value(request["ids"].clone()).unwrap();
    let lengths: Option<Vec<usize>> = serde_json::from_value(request["lengths"].clone()).unwrap();
    let options = |new| {
        Arc::new(DecodeOptions {
            search,
            max_new_tokens: new,
            min_new_tokens: if given.is_some() { 0 } else { new },
            stop_tokens: given.iter().flat_map(|_| request["stop"].as_u64()).map(|token| token as u32).collect(),
            draft: number("draft"),
            ..Default::default()
        })
    };
    let bounds = Bounds { pages, pass_tokens: 512, longest: plan.longest(), longest_source: plan.longest_source() };
    let mut courses = Courses::new(bounds);
    let mut places = HashMap::new();
    let mut ops = BTreeMap::<&str, f64>::new();
    let start = Instant::now();
    let (rows, every) = (given.as_ref().map_or(number("rows").max(1), Vec::len), number("every"));
    let at_once = request["at_once"].as_u64().map_or(rows, |most| most as usize);
    let (mut row, mut ended, mut texts) = (0, 0, vec![Vec::new(); rows]);
    for pass in 0.. {
        while row < rows && row - ended < at_once && (row * every <= pass || courses.is_empty()) {
            let ids = match &given {
                Some(given) => given[row].as_slice().into(),
                None => ids_of(row, number("prompt"), plan.vocabulary()),
            };
            let new = lengths.as_ref().map_or(new, |lengths| lengths[row]);
            let id = courses.add(options(new), start_of(ids, plan, reads_source), None).unwrap();
            places.insert(id, row);
            row += 1;
        }
        let Some(work) = courses.next() else { break };
        if !work.sources.is_empty() {
            engine.read(&work.sources).unwrap();
        }
        let mut take = |event: Event<'_>| {
            if let Event::Done(id, done) = event {
                texts[places[&id]] = done[0].tokens.clone();
                ended += 1;
            }
        };
        if request["ops"] != true {
            courses.take(engine.step(&work.pass).unwrap(), take);
            continue;
        }
        let mut trace = Trace::start(since_the_first_call);
        let logits = engine.step_traced(&work.pass, &mut trace).unwrap();
        let before = Instant::now();
        courses.take(logits, &mut take);
        *ops.entry("choose").or_default() += before.elapsed().as_secs_f64() * 1e3;
        trace.spans().iter().for_each(|span| *ops.entry(span.op).or_default() += span.duration.as_secs_f64() * 1e3);
    }
    let ms = start.elapsed().as_secs_f64() * 1e3;
    json!({"ms": ms, "ops": ops, "texts": given.map(|_| texts)})
}

/// Tokens of a row, other ones for each.
fn ids_of(row: usize, tokens: usize, vocabulary: usize) -> Arc<[u32]> {
    let most = vocabulary.saturating_sub(100).clamp(1, 30_000) as u32;
    (0..tokens).map(|at| 100 + (at * 7919 + row * 104_729) as u32 % most).collect()
}

fn start_of(ids: Arc<[u32]>, plan: &CpuGeneratorPlan, reads_source: bool) -> Start {
    match reads_source {
        true => Start { prompt: [0].into(), source: Some(ids), vocabulary: plan.vocabulary() },
        false => Start { prompt: ids, source: None, vocabulary: plan.vocabulary() },
    }
}

fn since_the_first_call() -> Duration {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    FIRST.elapsed()
}
