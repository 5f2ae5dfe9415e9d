"""Compares grice with ONNX Runtime on this machine, in alternation.

    pip install onnxruntime numpy
    cargo build --release
    python benches/make_models.py MODELS            # once; needs torch and transformers too
    python benches/peers.py MODELS --write docs/benchmarks.md
    python benches/peers.py MODELS --quick          # a sanity run of two minutes

Both stay loaded: ONNX Runtime in this process, grice as `grice profile latency --stdin`. For each case they alternate. Each
runs a block of about --block seconds, after one warm-up run (unless runs are long); the order changes every round. A ratio is ours / theirs
in one round, so that the current load affects both. The table shows the median of the rounds' ratios and their quartiles.

ONNX Runtime runs at its best: all graph optimizations, as many threads as grice, prepared inputs, and the faster one of its two dynamic int8
files (7-bit and 8-bit weights) in each case. Both engines get tokens spread over the vocabulary.

Cases: latency (batches of equal lengths), mixed (64 turns of real lengths in one call), load (start to first answer), memory, compiled (load
and memory of the file that `grice compile --device cpu` writes), start (process start to printed verdict with the model that is compiled in). With --write each case replaces its own section of that file.
"""
import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CASES = ["latency", "mixed", "load", "memory", "compiled", "start"]
PEER_FILES = {"fp32": ["model.onnx"], "int8": ["model_int8.onnx", "model_int8_full_range.onnx"]}
OUR_FILES = {"fp32": "model.onnx", "int8": "model_int8.onnx"}
BITS = {"model_int8.onnx": "7-bit", "model_int8_full_range.onnx": "8-bit", "model.onnx": ""}
# The limits that this project sets itself, on two threads: ours / theirs, at most.
BOUNDS = {
    ("detector", "int8", 2): {"1x32": 0.60, "1x128": 0.60, "8x128": 0.60},
    ("detector", "fp32", 2): {"1x32": 0.90, "1x128": 0.90, "8x128": 0.90},
    ("mini", "int8", 2): {"1x32": 0.70, "1x128": 0.70},
}
THROUGHPUT_BOUNDS = {"padded to the longest": 2.5, "sorted, batches of 8": 1.3}
LOADED_BOUND, PEAK_BOUND, LOAD_BOUND_S = 1.3, 2.2, 1.5
COMPILED_LOAD_BOUND, COMPILED_LOADED_BOUND, COMPILED_PEAK_BOUND = 0.6, 1.10, 1.2
SORTED_BATCH = 8
# Idle threads spin for a moment after a run; the other engine starts when they sleep.
PAUSE_S = 0.02
WARMUP_BELOW_MS = 500
# Load average above which a machine counts as busy.
BUSY = 0.7


class Grice:
    """A `grice` process with a model loaded, answering one request at a time."""

    def __init__(self, program, model, threads):
        command = [program, "profile", "latency", "--stdin", "--model", model, "--threads", str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.info = self._read()

    def times_ms(self, batch, runs):
        self.process.stdin.write(f"{batch} {runs}\n")
        return self._read()["times_ms"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("grice ended early; see above")
        return json.loads(line)


class Peer:
    """An ONNX Runtime session."""

    def __init__(self, model, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def times_ms(self, feeds, runs):
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            for feed in feeds:
                self.session.run(None, feed)
            times.append((time.perf_counter() - start) * 1e3)
        return times


def padded_feed(lengths):
    """ids and mask of sequences, padded to the longest."""
    import numpy

    ids = numpy.random.default_rng(0).integers(1, 30000, (len(lengths), max(lengths)))
    mask = (numpy.arange(max(lengths)) < numpy.array(lengths)[:, None]).astype(numpy.int64)
    return {"input_ids": ids * mask, "attention_mask": mask}


def feeds_of_shape(shape):
    rows, tokens = map(int, shape.split("x"))
    return [padded_feed([tokens] * rows)]


def alternate(jobs, settings):
    """Medians of blocks in milliseconds, one list per job, for `jobs` {name: runs -> times}. All lists have one entry per round."""
    first = {name: min(job(2)) for name, job in jobs.items()}
    runs = {name: max(1, min(100, round(settings.block * 1e3 / max(ms, 1e-3)))) for name, ms in first.items()}
    # A long run warms up by itself.
    warmups = {name: int(ms < WARMUP_BELOW_MS) for name, ms in first.items()}
    round_s = sum((runs[name] + warmups[name]) * ms / 1e3 + PAUSE_S for name, ms in first.items())
    rounds = max(settings.rounds_min, min(settings.rounds_max, round(settings.seconds / round_s)))
    blocks = {name: [] for name in jobs}
    for number in range(rounds):
        names = list(jobs)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            time.sleep(PAUSE_S)
            if warmups[name]:
                jobs[name](1)
            blocks[name].append(statistics.median(jobs[name](runs[name])))
    return blocks


@dataclass
class Spread:
    """Median and quartiles."""

    low: float
    median: float
    high: float
    count: int

    @classmethod
    def of(cls, values):
        values = sorted(values)
        low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
        return cls(low, median, high, len(values))

    def text(self, digits=2):
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} – {self.high:.{digits}f})"


def ratios(ours, theirs):
    return Spread.of([a / b for a, b in zip(ours, theirs)])


def milliseconds(values):
    median = statistics.median(values)
    return f"{median:.{2 if median < 10 else 1 if median < 100 else 0}f}"


def say(text):
    print(text, file=sys.stderr, flush=True)


def verdict(ratio, bound, higher=False):
    if bound is None:
        return "–"
    met = ratio >= bound if higher else ratio <= bound
    return f"{'≥' if higher else '≤'} {bound:.2f} {'met' if met else '**missed**'}"


def each_subject(settings):
    """(model, precision, threads, grice, {file: peer}) for all selected cases, loaded."""
    for model in settings.models:
        for precision in settings.precisions:
            folder = settings.folder / model
            for threads in settings.threads:
                grice = Grice(settings.program, folder / OUR_FILES[precision], threads)
                settings.info = grice.info
                files = [file for file in PEER_FILES[precision] if (folder / file).exists()]
                peers = {file: Peer(folder / file, threads) for file in files}
                yield model, precision, threads, grice, peers
                grice.close()


def faster(blocks, names):
    return min(names, key=lambda name: statistics.median(blocks[name]))


def measure_latency(settings):
    rows = [["model", "precision", "threads", "batch", "grice, ms", "ONNX Runtime, ms", "its weights", "ratio (quartiles)", "rounds", "bound"]]
    for model, precision, threads, grice, peers in each_subject(settings):
        for shape in settings.shapes:
            feeds = feeds_of_shape(shape)
            jobs = {"grice": lambda runs: grice.times_ms(shape, runs)}
            jobs |= {file: lambda runs, peer=peer: peer.times_ms(feeds, runs) for file, peer in peers.items()}
            blocks = alternate(jobs, settings)
            best = faster(blocks, peers)
            ratio = ratios(blocks["grice"], blocks[best])
            bound = BOUNDS.get((model, precision, threads), {}).get(shape)
            rows.append([model, precision, threads, shape.replace("x", "×"), milliseconds(blocks["grice"]), milliseconds(blocks[best]),
                         BITS[best] or precision, f"**{ratio.median:.2f}** ({ratio.low:.2f} – {ratio.high:.2f})", ratio.count,
                         verdict(ratio.median, bound)])
            say("  ".join(map(str, rows[-1])))
    return table(rows), "Batches are sequences × tokens. Times are medians of the rounds' medians; a ratio below 1 means that grice is faster."


def measure_mixed(settings):
    written = json.loads((ROOT / "benches/turn_lengths.json").read_text())
    lengths = written["tokens"]
    ordered = sorted(lengths)
    batches = [ordered[start: start + SORTED_BATCH] for start in range(0, len(ordered), SORTED_BATCH)]
    ways = {"padded to the longest": [padded_feed(lengths)], "sorted, batches of 8": [padded_feed(batch) for batch in batches]}
    rows = [["model", "precision", "threads", "ONNX Runtime gets them", "grice, turns/s", "ONNX Runtime, turns/s", "its weights",
             "throughput ratio (quartiles)", "rounds", "bound"]]
    for model, precision, threads, grice, peers in each_subject(settings):
        request = ",".join(map(str, lengths))
        jobs = {"grice": lambda runs: grice.times_ms(request, runs)}
        for way, feeds in ways.items():
            jobs |= {(way, file): lambda runs, peer=peer, feeds=feeds: peer.times_ms(feeds, runs) for file, peer in peers.items()}
        blocks = alternate(jobs, settings)
        for way in ways:
            best = faster(blocks, [(way, file) for file in peers])
            gain = ratios(blocks[best], blocks["grice"])
            bound = THROUGHPUT_BOUNDS[way] if precision == "int8" and threads == 2 else None
            speed = [f"{len(lengths) / statistics.median(blocks[name]) * 1e3:.0f}" for name in ("grice", best)]
            rows.append([model, precision, threads, way, *speed, BITS[best[1]] or precision,
                         f"**{gain.median:.2f}** ({gain.low:.2f} – {gain.high:.2f})", gain.count, verdict(gain.median, bound, higher=True)])
            say("  ".join(map(str, rows[-1])))
    note = (f"{len(lengths)} turns of {min(lengths)} to {max(lengths)} tokens, {sum(lengths) / len(lengths):.0f} on average, in one call to grice; padding to the longest "
            f"would multiply the tokens by {len(lengths) * max(lengths) / sum(lengths):.2f}. `benches/turn_lengths.json`: {written['source']} "
            "A ratio above 1 means that grice is faster.")
    return table(rows), note


def child(settings, what, model, threads):
    """Figures of ONNX Runtime from a separate process."""
    command = [sys.executable, __file__, str(model), "--child", what, "--threads", str(threads)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def peer_load(model, threads):
    """Milliseconds from a file to the first answer, without starting Python and importing the library."""
    import onnxruntime  # noqa: F401

    feeds = feeds_of_shape("1x32")
    start = time.perf_counter()
    Peer(model, threads).times_ms(feeds, 1)
    return {"first_answer_ms": (time.perf_counter() - start) * 1e3}


def peer_memory(model, threads, shapes):
    import onnxruntime  # noqa: F401

    feeds = {shape: feeds_of_shape(shape) for shape in shapes}
    before = books()["VmRSS"]
    peer = Peer(model, threads)
    loaded = books()
    after = {}
    for shape in shapes:
        peer.times_ms(feeds[shape], 1)
        after[shape] = books()["VmRSS"] - before
    return {"loaded": loaded["VmRSS"] - before, "peak": loaded["VmHWM"] - before, "after": after}


def books():
    """Resident bytes of this process (VmRSS), and their peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if line.startswith(("VmRSS", "VmHWM")))
    return {name: int(value.split()[0]) * 1024 for name, value in fields.items()}


def run_grice(settings, arguments):
    """Seconds from the start of a process to its end, and its output."""
    start = time.perf_counter()
    done = subprocess.run([settings.program, *map(str, arguments)], check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    return time.perf_counter() - start, done.stdout


def measure_load(settings):
    threads = max(settings.threads)
    rows = [["model", "precision", "threads", "grice, ms", "ONNX Runtime, ms", "ratio (quartiles)", "rounds", "bound"]]
    for model in settings.models:
        for precision in settings.precisions:
            ours, theirs = [], []
            file, peer_file = (settings.folder / model / name for name in (OUR_FILES[precision], PEER_FILES[precision][0]))
            arguments = ["profile", "latency", "--model", file, "--shapes", "1x32", "--warmup", 0, "--runs", 1, "--threads", threads]
            run_grice(settings, arguments)
            for _ in range(settings.loads):
                ours.append(run_grice(settings, arguments)[0] * 1e3)
                theirs.append(child(settings, "load", peer_file, threads)["first_answer_ms"])
            ratio, median = ratios(ours, theirs), statistics.median(ours)
            bound = "–"
            if (model, precision) == ("detector", "int8"):
                bound = f"≤ {LOAD_BOUND_S * 1e3:.0f} ms {'met' if median <= LOAD_BOUND_S * 1e3 else '**missed**'}"
            rows.append([model, precision, threads, f"{median:.0f}", milliseconds(theirs), ratio.text(), ratio.count, bound])
            say("  ".join(map(str, rows[-1])))
    note = ("From the file, in the system's cache, to the answer for 1×32 tokens. grice's time is for its whole process, from start to end; ONNX Runtime's "
            "is without starting Python and importing the library.")
    return table(rows), note


def measure_memory(settings):
    threads, shapes = max(settings.threads), settings.memory_shapes
    rows = [["model", "precision", "engine", "file, MiB", "loading, peak", "loaded"] + [f"after {shape.replace('x', '×')}" for shape in shapes] + ["bound"]]
    for model in settings.models:
        for precision in settings.precisions:
            file = settings.folder / model / OUR_FILES[precision]
            size = file.stat().st_size
            _, printed = run_grice(settings, ["profile", "memory", "--json", "--model", file, "--threads", threads, "--shapes", ",".join(shapes)])
            ours = json.loads(printed)
            theirs = child(settings, "memory", file, threads)
            held = [ours["load_peak_bytes"], ours["loaded_bytes"]] + [after["resident_bytes"] for after in ours["results"]]
            theirs = [theirs["peak"], theirs["loaded"]] + [theirs["after"][shape] for shape in shapes]
            bound = "–"
            if (model, precision) == ("detector", "int8"):
                met = held[0] <= PEAK_BOUND * size and held[1] <= LOADED_BOUND * size
                bound = f"peak ≤ {PEAK_BOUND}, loaded ≤ {LOADED_BOUND} {'met' if met else '**missed**'}"
            for engine, sizes, bound in (("grice", held, bound), ("ONNX Runtime", theirs, "–")):
                cells = [f"{bytes_ / 2**20:.0f} (×{bytes_ / size:.2f})" for bytes_ in sizes]
                rows.append([model, precision, engine, f"{size / 2**20:.0f}", *cells, bound])
                say("  ".join(map(str, rows[-1])))
    note = ("Resident MiB, in brackets as a multiple of the file, each engine in its own process. grice's figures are for the whole process; ONNX Runtime's exclude what "
            "Python and the library hold before loading.")
    return table(rows), note


def compiled_bundle(settings, model):
    """The int8 file of a model as a bundle that holds only its compiled program, and that file."""
    folder = settings.folder / model / "compiled"
    compiled, onnx = folder / "onnx/model_int8.grice", folder / "onnx/model_int8.onnx"
    if not compiled.exists():
        onnx.parent.mkdir(parents=True, exist_ok=True)
        shipped = ROOT / "models/detector-mini"
        for name in ("tokenizer.json", "config.json"):
            shutil.copy(shipped / name, folder)
        manifest = json.loads((shipped / "grice.json").read_text())
        kept = {name: value for name, value in manifest.items() if name not in ("digests", "fused", "quality")}
        (folder / "grice.json").write_text(json.dumps(kept | {"name": model}))
        shutil.copy(settings.folder / model / OUR_FILES["int8"], onnx)
        run_grice(settings, ["compile", "--device", "cpu", "--model", folder])
        onnx.unlink()
    return folder, compiled


def measure_compiled(settings):
    threads = max(settings.threads)
    rows = [["model", "threads", "file, MiB", "grice, ms", "ONNX Runtime, ms", "ratio (quartiles)", "rounds", "loading, peak", "loaded", "without the program itself", "bound"]]
    for model in settings.models:
        folder, file = compiled_bundle(settings, model)
        size = file.stat().st_size
        arguments = ["profile", "latency", "--model", folder, "--shapes", "1x32", "--warmup", 0, "--runs", 1, "--threads", threads]
        run_grice(settings, arguments)
        ours, theirs = [], []
        for _ in range(settings.loads):
            ours.append(run_grice(settings, arguments)[0] * 1e3)
            theirs.append(child(settings, "load", settings.folder / model / PEER_FILES["int8"][0], threads)["first_answer_ms"])
        held = json.loads(run_grice(settings, ["profile", "memory", "--json", "--model", folder, "--threads", threads, "--shapes", "1x32"])[1])
        peak, loaded, own = held["load_peak_bytes"], held["loaded_bytes"], held["baseline_bytes"]
        ratio, bound = ratios(ours, theirs), "–"
        if model == "detector":
            bound = "; ".join([
                f"start {verdict(ratio.median, COMPILED_LOAD_BOUND)}", f"peak {verdict(peak / size, COMPILED_PEAK_BOUND)}",
                f"loaded {verdict(loaded / size, COMPILED_LOADED_BOUND)}"])
        sizes = [f"{bytes_ / 2**20:.0f} (×{bytes_ / size:.2f})" for bytes_ in (peak, loaded, loaded - own)]
        rows.append([model, threads, f"{size / 2**20:.0f}", f"{statistics.median(ours):.0f}", milliseconds(theirs), ratio.text(), ratio.count, *sizes, bound])
        say("  ".join(map(str, rows[-1])))
    note = ("From the compiled program, without an ONNX file, to the answer for 1×32 tokens: grice's whole process against ONNX Runtime's load and first run of its int8 file, "
            "as in the section above. Resident MiB, in brackets as a multiple of the file; the last one is without what the process holds before it opens the model.")
    return table(rows), note


def measure_start(settings):
    turn = ["--context", "What did you think of the film?", "--response", "Yes."]
    run_grice(settings, ["detect", *turn])
    times = [run_grice(settings, ["detect", *turn])[0] * 1e3 for _ in range(settings.starts)]
    rows = [["median (quartiles), ms", "fastest", "slowest", "runs"], [Spread.of(times).text(0), f"{min(times):.0f}", f"{max(times):.0f}", len(times)]]
    say("  ".join(map(str, rows[-1])))
    return table(rows), '`grice detect --context "What did you think of the film?" --response "Yes."` with the default model, on all threads.'


def table(rows):
    """A Markdown table with right-aligned numbers."""
    numeric = {"threads", "rounds", "runs"}
    head, *body = rows
    line = lambda cells: "| " + " | ".join(map(str, cells)) + " |"
    rule = ["--:" if name in numeric or ", ms" in name or "turns/s" in name else "---" for name in head]
    return "\n".join([line(head), line(rule), *map(line, body)])


def machine():
    """Processor, instruction sets, cores, system and current load."""
    cpu = Path("/proc/cpuinfo")
    fields = dict(line.split(":", 1) for line in cpu.read_text().split("\n\n")[0].splitlines()) if cpu.exists() else {}
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    wanted = ["avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm"]
    held = set(fields.get("flags", fields.get("Features", "")).split())
    family = f" (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else ""
    name = fields.get("model name", platform.processor() or platform.machine())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load average {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return f"{name}{family}, {', '.join(flag for flag in wanted if flag in held)}; {cores} cores; {platform.system()} {platform.release()}{load}"


def versions(settings):
    import numpy
    import onnxruntime

    ours = subprocess.run([settings.program, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    git = lambda *words: subprocess.run(["git", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
    commit = git("rev-parse", "--short", "HEAD") or "unknown commit"
    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    kernels = f", kernels {settings.info['kernels']}" if settings.info else ""
    return f"{ours} ({commit}{changed}){kernels}; ONNX Runtime {onnxruntime.__version__}, numpy {numpy.__version__}, Python {platform.python_version()}"


def section(case, settings, when, where, body, note):
    """A case as Markdown, without local paths."""
    words = [word for word in settings.words if not word.startswith("--write")]
    command = f"python benches/peers.py MODELS --cases {case}" + "".join(f" {word}" for word in words)
    return f"```sh\n{command}\n```\n\n{when}. {where}. {versions(settings)}.\n\n{body}\n\n{note}\n"


def write_section(path, case, text, script="peers.py"):
    """Replaces the text between a case's two markers."""
    begin, end = f"<!-- {script}: {case} -->", f"<!-- {script}: end of {case} -->"
    whole = path.read_text(encoding="utf-8")
    if whole.count(begin) != 1 or whole.count(end) != 1 or whole.index(begin) > whole.index(end):
        sys.exit(f"{path}: needs the line {begin} once, and {end} below it")
    before, rest = whole.split(begin)
    path.write_text(f"{before}{begin}\n{text}{end}{rest.split(end)[1]}", encoding="utf-8")


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = lambda text: text.split(",")
    parser.add_argument("folder", type=Path, metavar="MODELS", help="the folder that make_models.py filled")
    parser.add_argument("--program", default=str(ROOT / "target/release/grice"), metavar="PATH", help="the binary (default: target/release/grice)")
    parser.add_argument("--cases", type=listed, default=CASES, metavar="CASE,…", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--models", type=listed, metavar="NAME,…", help="folders in MODELS (default: detector and mini, if they exist)")
    parser.add_argument("--precisions", type=listed, metavar="P,…", help="int8, fp32 (default: both; for mixed int8)")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], metavar="N,…", help="default 2,1; for mixed 2")
    parser.add_argument("--shapes", type=listed, default=["1x32", "1x128", "8x128"], metavar="ROWSxTOKENS,…", help="batches of latency")
    parser.add_argument("--seconds", type=float, default=20, help="approximate time per case (default 20)")
    parser.add_argument("--block", type=float, default=0.15, help="approximate seconds per block of runs (default 0.15)")
    parser.add_argument("--quick", action="store_true", help="a few rounds of the small model, to test the script")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the tables to this Markdown file")
    parser.add_argument("--child", choices=["load", "memory"], help=argparse.SUPPRESS)
    return parser, parser.parse_args()


def settle(parser, args):
    """Checks the options and fills in defaults."""
    # The options that affect the figures, for the written command; paths do not.
    names = ["models", "precisions", "threads", "shapes", "seconds", "block"]
    given = {name: getattr(args, name) for name in names if getattr(args, name) != parser.get_default(name)}
    flat = lambda value: ",".join(map(str, value)) if isinstance(value, list) else f"{value:g}"
    args.words = [f"--{name} {flat(value)}" for name, value in given.items()] + ["--quick"] * args.quick
    args.rounds_min, args.rounds_max, args.loads, args.starts = (3, 5, 2, 5) if args.quick else (7, 51, 9, 40)
    args.memory_shapes, args.info = ["1x128", "8x128"], None
    if args.quick:
        args.seconds, args.models = min(args.seconds, 2), args.models or ["mini"]
    there = [name for name in ("detector", "mini") if (args.folder / name / "model.onnx").exists()]
    args.models = args.models or there
    missing = [args.folder / name / file for name in args.models or ["mini"] for file in OUR_FILES.values()]
    missing = [str(path) for path in missing if not path.exists()]
    if missing:
        parser.error(f"{', '.join(missing)}: not there; make it with python benches/make_models.py {args.folder}")
    unknown = set(args.cases) - set(CASES) | set(args.precisions or []) - set(OUR_FILES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if not Path(args.program).exists():
        parser.error(f"{args.program}: not there; build it with cargo build --release, or name it with --program")


def main():
    parser, args = options()
    if args.child:
        measured = peer_load(args.folder, args.threads[0]) if args.child == "load" else peer_memory(args.folder, args.threads[0], ["1x128", "8x128"])
        print(json.dumps(measured))
        return
    settle(parser, args)
    asked = (args.precisions, args.threads)
    measures = {"latency": measure_latency, "mixed": measure_mixed, "load": measure_load, "memory": measure_memory,
                "compiled": measure_compiled, "start": measure_start}
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > BUSY:
        say(f"warning: load average {os.getloadavg()[0]:.1f}: other programs run, and slow the two engines unequally; these ratios are not worth quoting")
    for case in args.cases:
        only_int8 = case == "mixed"
        args.precisions, args.threads = asked[0] or (["int8"] if only_int8 else ["int8", "fp32"]), asked[1] or ([2] if only_int8 else [2, 1])
        say(f"{case}:")
        when, where = datetime.date.today().isoformat(), machine()
        text = section(case, args, when, where, *measures[case](args))
        print(f"## {case}\n\n{text}", flush=True)
        if args.write:
            write_section(args.write, case, text)


if __name__ == "__main__":
    main()
