fn main() {
    use grice_model::*;
    let args: Vec<String> = std::env::args().collect();
    let t = std::time::Instant::now();
    let bytes = std::fs::read(&args[1]).unwrap();
    println!("read {:?}", t.elapsed());
    let network = Network::import(&bytes, 4).unwrap();
    drop(bytes);
    println!("import {:?} {:?}", t.elapsed(), network.program().err());
    let threads: usize = args[2].parse().unwrap();
    let mut engine = grice_cpu::CpuEngine::new(network, Precision::Fp32, threads).unwrap();
    println!("engine {:?} {}", t.elapsed(), engine.info().kernels);
    fn clock() -> std::time::Duration {
        static S: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        S.get_or_init(std::time::Instant::now).elapsed()
    }
    for shape in args[3].split(',') {
        let (b, l) = shape.split_once('x').unwrap();
        let (b, l): (usize, usize) = (b.parse().unwrap(), l.parse().unwrap());
        let seqs: Vec<Vec<u32>> =
            (0..b).map(|i| (0..l).map(|j| ((i * 7919 + j * 104729) % 30000 + 5) as u32).collect()).collect();
        let batch = Batch::pack(&seqs).unwrap();
        let mut times = Vec::new();
        for _ in 0..args.get(4).map_or(12, |s| s.parse().unwrap()) {
            let t = std::time::Instant::now();
            engine.forward(&batch).unwrap();
            times.push(t.elapsed().as_secs_f64() * 1e3);
        }
        times.drain(..2);
        times.sort_by(f64::total_cmp);
        println!("{shape}: median {:.2} min {:.2} ms", times[times.len() / 2], times[0]);
        let mut trace = grice_cpu::Trace::start(clock);
        engine.forward_traced(&batch, &mut trace).unwrap();
        let mut by: std::collections::BTreeMap<&str, (f64, u64)> = Default::default();
        for s in trace.spans() {
            let e = by.entry(s.op).or_default();
            e.0 += s.duration.as_secs_f64() * 1e3;
            e.1 += s.operations;
        }
        for (op, (ms, ops)) in by {
            println!("   {op:14} {ms:8.3} ms {:8.1} GOP/s", ops as f64 / ms / 1e6);
        }
    }
}
