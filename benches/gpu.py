"""grice and PyTorch side by side on one GPU, taking turns.

    pip install torch transformers onnx onnxruntime numpy
    cargo build --release -p grice-gpu --example measure
    python benches/make_models.py MODELS detector   # once
    python benches/gpu.py MODELS --write docs/benchmarks.md

PyTorch runs the detector in f16, as it is (eager) and compiled (torch.compile); grice runs the file in f16, f32 and int8, and in f16 once more
without cooperative matrices, which shows what they gain. All of them stay loaded. For each batch they alternate, as in peers.py, each from token ids in the
processor's memory to logits there; who goes first changes every round, and a ratio is ours / theirs of one round.

Then, each by itself: the rate of the detector's largest products beside that of torch.matmul on the same shapes, memory on the device, and how busy the device
was (nvidia-smi, where there is one).

`--device cpu --tiny` tries the script out where there is no GPU: grice on whatever adapter there is, PyTorch on the processor, a model with few weights. What
it then prints says nothing about speed.
"""
import argparse
import contextlib
import datetime
import functools
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from peers import ROOT, alternate, milliseconds, ratios, say, table, write_section

CASES = ["latency", "products", "memory", "busy"]
# What runs: a precision, and whether cooperative matrices are left out.
OURS = {"f16": ("fp16", False), "f16 portable": ("fp16", True), "f32": ("fp32", False), "int8": ("int8", False)}
# The detector's layers as [k, n]: Q, K and V together, the projection after attention, up and down.
LAYERS = [(768, 2304), (768, 768), (768, 3072), (3072, 768)]
BOUND = 1.0


class Grice:
    """The bench's program with a model on a GPU, answering one request at a time."""

    def __init__(self, settings, precision, portable):
        self.before = device_memory()
        file = "model_int8.onnx" if precision == "int8" else "model.onnx"
        command = [settings.program, "--model", settings.model / file, "--precision", precision]
        command += ["--portable"] * portable
        command += [] if settings.adapter is None else ["--adapter", str(settings.adapter)]
        command += ["--cache", settings.cache]
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.info = self._read()
        for warning in self.info["warnings"]:
            say(f"grice: {warning}")

    def ask(self, request):
        self.process.stdin.write(f"{request}\n")
        return self._read()

    def times_ms(self, shape, runs, engines=1):
        return self.ask(f"run {shape} {runs} {engines}")["times_ms"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("grice ended early; see above")
        return json.loads(line)


class Torch:
    """The detector in PyTorch, as it is or compiled."""

    def __init__(self, settings, compiled):
        import torch

        self.torch, self.device = torch, settings.device
        dtype = torch.float16 if settings.device == "cuda" else torch.float32
        torch.manual_seed(0)
        self.model = build_detector(settings.tiny).to(settings.device, dtype).eval()
        self.vocabulary = self.model.encoder.config.vocab_size
        if compiled:
            # One graph for each shape: the best it does.
            self.model = torch.compile(self.model, dynamic=False)
        self.feeds = {}

    def times_ms(self, shape, runs):
        torch = self.torch
        if shape not in self.feeds:
            rows, tokens = map(int, shape.split("x"))
            ids = torch.randint(1, self.vocabulary, (rows, tokens))
            self.feeds[shape] = (ids, torch.ones_like(ids))
        times = []
        with torch.inference_mode():
            for _ in range(runs):
                start = time.perf_counter()
                logits, _ = self.model(*(part.to(self.device) for part in self.feeds[shape]))
                # Waits for the device.
                logits.cpu()
                times.append((time.perf_counter() - start) * 1e3)
        return times


def build_detector(tiny):
    import make_models

    encoder = make_models.build_detector()
    if tiny:
        from transformers import DebertaV2Model

        config = encoder.config
        config.vocab_size, config.hidden_size, config.intermediate_size = 128, 32, 64
        config.num_hidden_layers, config.num_attention_heads = 2, 2
        config.pooler_hidden_size = 32
        encoder = DebertaV2Model(config)
    return make_models.FourHeads(encoder)


def export_tiny(settings):
    """The tiny model as the files that make_models.py makes of the large ones."""
    import torch
    import make_models

    settings.model.mkdir(parents=True, exist_ok=True)
    make_models.ENCODERS["tiny"] = lambda: build_detector(True).encoder
    torch.manual_seed(0)
    fp32 = settings.model / "model.onnx"
    if not fp32.exists():
        make_models.export_fp32("tiny", fp32)
    if not (settings.model / "model_int8.onnx").exists():
        make_models.quantize(fp32, settings.model / "model_int8.onnx", False)


def each_ours(settings):
    """(name, grice) for all that was asked for, started."""
    for name in settings.ours:
        yield name, Grice(settings, *OURS[name])


def measure_latency(settings):
    ours = dict(each_ours(settings))
    settings.info = next(iter(ours.values())).info
    theirs = {"eager": Torch(settings, False)}
    if not settings.no_compile:
        theirs["compiled"] = Torch(settings, True)
    peer = "f16" if settings.device == "cuda" else "f32 on the processor"
    rows = [["batch", "grice", "grice, ms"] + [f"PyTorch {peer} {name}, ms" for name in theirs] + [f"ratio to {name} (quartiles)" for name in theirs]
            + ["turns/s", "rounds", "bound"]]
    for shape in settings.shapes:
        jobs = {name: lambda runs, grice=grice: grice.times_ms(shape, runs) for name, grice in ours.items()}
        jobs |= {name: lambda runs, torch=torch: torch.times_ms(shape, runs) for name, torch in theirs.items()}
        blocks = alternate(jobs, settings)
        for name in ours:
            spreads = [ratios(blocks[name], blocks[peer]) for peer in theirs]
            median = statistics.median(blocks[name])
            # Against the faster of the two.
            worst = max(spread.median for spread in spreads)
            bound = f"≤ {BOUND:.2f} {'met' if worst <= BOUND else '**missed**'}" if name == "f16" and settings.device == "cuda" else "–"
            rows.append([shape.replace("x", "×"), name, milliseconds(blocks[name]), *(milliseconds(blocks[peer]) for peer in theirs),
                         *(f"**{spread.median:.2f}** ({spread.low:.2f} – {spread.high:.2f})" for spread in spreads),
                         f"{int(shape.split('x')[0]) / median * 1e3:.0f}", spreads[0].count, bound])
            say("  ".join(map(str, rows[-1])))
        if {"f16", "f16 portable"} <= set(ours) and "cooperative-matrix" in settings.info["features"]:
            gain = ratios(blocks["f16 portable"], blocks["f16"])
            say(f"{shape}: cooperative matrices gain {gain.text()}")
            settings.gains.append(f"{shape.replace('x', '×')}: {gain.text()}")
    for grice in ours.values():
        grice.close()
    note = ("Batches are sequences × tokens; times are medians of the rounds' medians, from ids to logits in the processor's memory. A ratio below 1 means that grice is "
            "faster; `f16 portable` does without cooperative matrices.")
    if settings.gains:
        note += f" Times faster with cooperative matrices than without them: {'; '.join(settings.gains)}."
    return table(rows), note


def matmul_seconds(settings, m, k, n):
    """The median time of torch.matmul, many in a row."""
    import torch

    cuda = settings.device == "cuda"
    dtype = torch.float16 if cuda else torch.float32
    a, b = torch.randn(m, k, dtype=dtype, device=settings.device), torch.randn(k, n, dtype=dtype, device=settings.device)
    times = []
    repeats = 50 if cuda else 3
    for _ in range(7):
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            torch.matmul(a, b)
        if cuda:
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / repeats)
    return statistics.median(times)


def measure_products(settings):
    rows = [["rows", "k × n", "grice", "best guess, TFLOP/s", "fastest, TFLOP/s", "without cooperative matrices, TFLOP/s", "torch.matmul, TFLOP/s", "share of it"]]
    for name in [name for name in settings.ours if name != "f16 portable"]:
        grice = Grice(settings, *OURS[name])
        for m in settings.rows:
            for k, n in settings.layers:
                products = grice.ask(f"product {m} {k} {n}")["products"]
                if not products:
                    sys.exit(f"no product of {m}x{k}x{n} ran in {name}")
                rate = lambda seconds: 2 * m * k * n / seconds / 1e12
                fastest = min(product["seconds"] for product in products)
                portable = min(product["seconds"] for product in products if not product["cooperative"])
                peer = matmul_seconds(settings, m, k, n)
                digits = 2 if settings.device == "cuda" else 5
                shown = [f"{rate(seconds):.{digits}f}" for seconds in (products[0]["seconds"], fastest, portable, peer)]
                rows.append([m, f"{k} × {n}", name, *shown, f"**{peer / fastest:.0%}**"])
                say("  ".join(map(str, rows[-1])))
        grice.close()
    dtype = "f16" if settings.device == "cuda" else "f32 on the processor"
    return table(rows), (f"Many products one after another, two operations for each product of numbers; torch.matmul in {dtype}, which stands for what the card can do. "
                         "`best guess` is what the table for this kind of card says before anything was timed.")


def measure_memory(settings):
    rows = [["engine", "weights on the device, MiB", "held after the largest batch, MiB", "device, as nvidia-smi counts, MiB"]]
    largest = max(settings.shapes, key=lambda shape: int(shape.split("x")[0]) * int(shape.split("x")[1]))
    mib = lambda count: "–" if count is None else f"{count / 2**20:.0f}"
    for name, grice in each_ours(settings):
        grice.times_ms(largest, 1)
        held, after = grice.ask("memory")["bytes"], device_memory()
        whole = None if after is None or grice.before is None else after - grice.before
        rows.append([f"grice {name}", mib(grice.info["weight_bytes"]), mib(held), mib(whole)])
        grice.close()
        say("  ".join(map(str, rows[-1])))
    if settings.device == "cuda":
        rows.append(["PyTorch f16 eager", *torch_memory(settings, largest)])
    return table(rows), f"After a batch of {largest.replace('x', '×')}. Word embeddings stay in the processor's memory with grice."


def torch_memory(settings, shape):
    import torch

    mib = lambda count: f"{count / 2**20:.0f}"
    before, start = device_memory(), torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    peer = Torch(settings, False)
    weights = torch.cuda.memory_allocated() - start
    peer.times_ms(shape, 1)
    after = device_memory()
    return [mib(weights), mib(torch.cuda.max_memory_allocated() - start), mib(after - before) if before is not None and after is not None else "–"]


def measure_busy(settings):
    rows = [["engine", "batch", "device busy, %", "turns/s"]]
    ours = list(each_ours(settings))
    jobs = [(f"grice {name}", grice.times_ms) for name, grice in ours]
    jobs += [(f"grice {name}, 2 replicas", functools.partial(grice.times_ms, engines=2)) for name, grice in ours]
    jobs.append(("PyTorch eager", Torch(settings, False).times_ms))
    for name, times_ms in jobs:
        for shape in settings.shapes:
            runs = max(1, round(settings.busy_s * 1e3 / max(min(times_ms(shape, 2)), 1e-3)))
            with busy_samples() as samples:
                start = time.perf_counter()
                batches = len(times_ms(shape, runs))
                rate = int(shape.split("x")[0]) * batches / (time.perf_counter() - start)
            busy = f"{statistics.mean(samples):.0f}" if samples else "–"
            rows.append([name, shape.replace("x", "×"), busy, f"{rate:.0f}"])
            say("  ".join(map(str, rows[-1])))
    for _, grice in ours:
        grice.close()
    note = "One batch after another for a few seconds, each engine by itself; two replicas, as `grice serve --device gpu:0,gpu:0` has, work at once. "
    return table(rows), note + "`utilization.gpu` of nvidia-smi, every 100 ms."


def smi(*arguments):
    """What nvidia-smi says, line by line; nothing where there is none."""
    if not shutil.which("nvidia-smi"):
        return []
    done = subprocess.run(["nvidia-smi", "--format=csv,noheader,nounits", *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.splitlines() if done.returncode == 0 else []


def device_memory():
    """Bytes in use on the first card, by all of its processes; None where nobody says."""
    lines = smi("--query-gpu=memory.used")
    return int(float(lines[0])) * 2**20 if lines else None


@contextlib.contextmanager
def busy_samples():
    """A list that fills while the block runs."""
    samples, done = [], threading.Event()

    def watch():
        while not done.wait(0.1):
            samples.extend(float(line) for line in smi("--query-gpu=utilization.gpu")[:1])

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield samples
    done.set()
    watcher.join()


def where(settings):
    """Card, driver and versions."""
    import torch
    import transformers

    git = lambda *words: subprocess.run(["git", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
    commit = git("rev-parse", "--short", "HEAD") or "unknown commit"
    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    card = smi("--query-gpu=name,driver_version")
    info = settings.info or {"adapter": "no adapter asked", "driver": "", "features": []}
    return (f"{card[0] if card else 'No NVIDIA card'}; grice {commit}{changed} on {info['adapter']}, {info['driver']} ({', '.join(info['features'])}); "
            f"PyTorch {torch.__version__} on {settings.device}, transformers {transformers.__version__}, Python {platform.python_version()}; {platform.system()}")


def section(case, settings, when, body, note):
    command = f"python benches/gpu.py MODELS --cases {case}" + "".join(f" {word}" for word in settings.words)
    return f"```sh\n{command}\n```\n\n{when}. {where(settings)}.\n\n{body}\n\n{note}\n"


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = lambda text: text.split(",")
    numbers = lambda text: [int(number) for number in text.split(",")]
    program = "target/release/examples/measure"
    parser.add_argument("folder", type=Path, metavar="MODELS", help="the folder that make_models.py filled; with --tiny any")
    parser.add_argument("--program", default=str(ROOT / program), metavar="PATH", help=f"the bench's program (default: {program})")
    parser.add_argument("--cases", type=listed, default=CASES, metavar="CASE,…", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--ours", type=listed, default=list(OURS), metavar="NAME,…", help=f"of {', '.join(OURS)} (default: all)")
    parser.add_argument("--shapes", type=listed, default=["1x32", "1x128", "8x128", "16x128", "64x128"], metavar="ROWSxTOKENS,…")
    parser.add_argument("--rows", type=numbers, default=[128, 1024, 8192], metavar="N,…", help="tokens of products (default 128,1024,8192)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="of PyTorch (default cuda)")
    parser.add_argument("--adapter", type=int, metavar="N", help="of grice (default: the best; `measure --adapters` lists them)")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="where grice keeps what it timed (default: a new one)")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    parser.add_argument("--tiny", action="store_true", help="a model of few weights: shows that all works, not how fast")
    parser.add_argument("--seconds", type=float, default=20, help="of a batch, about (default 20)")
    parser.add_argument("--block", type=float, default=0.15, help="seconds of a block of runs, about (default 0.15)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this Markdown file")
    return parser, parser.parse_args()


def settle(parser, args):
    """Checks what was asked for and fills in the rest."""
    names = ["ours", "shapes", "rows", "device", "no_compile", "tiny", "seconds", "block"]
    given = {name: getattr(args, name) for name in names if getattr(args, name) != parser.get_default(name)}
    flat = lambda value: "" if value is True else f" {','.join(map(str, value))}" if isinstance(value, list) else f" {value:g}" if isinstance(value, float) else f" {value}"
    args.words = [f"--{name.replace('_', '-')}{flat(value)}" for name, value in given.items()]
    args.rounds_min, args.rounds_max, args.busy_s = (3, 3, 0.5) if args.tiny else (7, 51, 3)
    args.layers = [(32, 96), (64, 32)] if args.tiny else LAYERS
    args.model, args.info, args.gains = args.folder / ("tiny" if args.tiny else "detector"), None, []
    for name, known in (("cases", CASES), ("ours", list(OURS))):
        unknown = set(getattr(args, name)) - set(known)
        if unknown:
            parser.error(f"--{name}: {', '.join(sorted(unknown))} is not among {', '.join(known)}")
    args.cache = args.cache or Path(tempfile.mkdtemp(prefix="grice-gpu-"))
    if args.tiny:
        export_tiny(args)
    missing = [str(path) for path in (args.model / "model.onnx", args.model / "model_int8.onnx") if not path.exists()]
    if missing:
        parser.error(f"{', '.join(missing)}: not there; make it with python benches/make_models.py {args.folder} detector")
    if not Path(args.program).exists():
        parser.error(f"{args.program}: not there; make it with cargo build --release -p grice-gpu --example measure")
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU; --device cpu --tiny tries the script out without one")


def main():
    parser, settings = options()
    settle(parser, settings)
    when = datetime.date.today().isoformat()
    for case in settings.cases:
        body, note = globals()[f"measure_{case}"](settings)
        text = section(case, settings, when, body, note)
        print(text)
        if settings.write:
            write_section(settings.write, case, text, "gpu.py")


if __name__ == "__main__":
    main()
