#!/usr/bin/env python3
"""Text generation beside llama.cpp, in turns: the same GGUF files in both.

    pip install numpy gguf llama-cpp-python
    python benches/llamacpp.py SmolLM2-135M-Instruct.Q4_1.gguf [--threads 1,2] [--rounds 5] [--folder FOLDER]

The given file may have any types of tensors. Its numbers are rounded to Q8_0 and to Q4_0 first (with a table of words in Q8_0), into FOLDER; grice
runs the first in 8 bits and the second in 4, with activations in 8 bits, as llama.cpp does. Build llama-cpp-python on the machine itself
(`CMAKE_ARGS=-DGGML_NATIVE=ON`), so that it uses all that the processor has. A prompt of 512 tokens is read, and 64 tokens are written after
a prompt of 64. A ratio is the median of the rounds' ratios of speeds, grice / llama.cpp; the faster of llama.cpp's thread counts counts.
"""
import argparse
import ctypes
import datetime
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from generation import Grice, binary, machine  # noqa: E402

PROMPT, BEFORE, NEW = 512, 64, 64
# Form, what is measured, and the limit that this project sets itself.
BOUNDS = {"prefill": 1.2, "decoding": 1.0}


def round_to(source, target, kind):
    """Writes the numbers of a file in another type."""
    import gguf
    reader = gguf.GGUFReader(source)
    field = reader.fields["general.architecture"]
    writer = gguf.GGUFWriter(target, field.contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            kinds = field.types
            writer.add_key_value(name, field.contents(), kinds[0], kinds[-1] if len(kinds) > 1 else None)
    for tensor in reader.tensors:
        numbers = gguf.dequantize(tensor.data, tensor.tensor_type)
        its_kind = "F32" if numbers.ndim == 1 else "Q8_0" if tensor.name in ("token_embd.weight", "output.weight") else kind
        its_kind = gguf.GGMLQuantizationType[its_kind]
        writer.add_tensor(tensor.name, gguf.quantize(numbers, its_kind), raw_dtype=its_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaCpp:
    def __init__(self, file, threads):
        import llama_cpp
        import numpy
        self.api, self.numpy = llama_cpp, numpy
        self.model = llama_cpp.Llama(str(file), n_ctx=1024, n_batch=512, n_ubatch=512, n_threads=threads, n_threads_batch=threads, verbose=False)
        self.words = self.model.n_vocab()

    def run(self, prompt, new):
        """Milliseconds from the prompt to the last token, each the likeliest one."""
        tokens = [100 + number * 37 % 20_000 for number in range(prompt)]
        self.model.reset()
        start = time.perf_counter()
        self.model.eval(tokens)
        for written in range(new):
            logits = self.api.llama_get_logits_ith(self.model.ctx, -1)
            logits = self.numpy.ctypeslib.as_array(ctypes.cast(logits, ctypes.POINTER(ctypes.c_float)), (self.words,))
            likeliest = int(logits.argmax())
            if written + 1 < new:
                self.model.eval([likeliest])
        return (time.perf_counter() - start) * 1e3


def speeds(run):
    """Tokens a second: read, and written."""
    read = run(PROMPT, 1)
    first, all_ = run(BEFORE, 1), run(BEFORE, 1 + NEW)
    return {"prefill": PROMPT / read * 1e3, "decoding": NEW / (all_ - first) * 1e3}


def measure(args):
    ours = args.binary or binary()
    yield "| weights | threads | | grice, tokens/s | llama.cpp, tokens/s | ratio | bound |"
    yield "| --- | --: | --- | --: | --: | --: | --- |"
    for kind in ("Q8_0", "Q4_0"):
        file = args.folder / f"{args.model.stem}.{kind}.gguf"
        if not file.exists():
            round_to(args.model, file, kind)
        for threads in args.threads:
            mine = Grice(ours, file, "stored", threads)
            peers = [LlamaCpp(file, count) for count in sorted({1, threads})]
            runs = [lambda prompt, new: mine.run(prompt, new, 1, 1)] + [peer.run for peer in peers]
            [speeds(run) for run in runs]
            rounds = [[speeds(run) for run in runs] for _ in range(args.rounds)]
            mine.process.kill()
            for what, bound in BOUNDS.items():
                pairs = [(own[what], max(theirs[what] for theirs in others)) for own, *others in rounds]
                own, theirs = (statistics.median(side) for side in zip(*pairs))
                ratio = statistics.median(a / b for a, b in pairs)
                met = "met" if ratio >= bound else "missed"
                yield f"| {kind} | {threads} | {what} | {own:.0f} | {theirs:.0f} | **{ratio:.2f}** | ≥ {bound:.1f} {met} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("."), help="where the rounded files are kept")
    parser.add_argument("--binary", help="the bench, if it is built already")
    args = parser.parse_args()
    import llama_cpp
    print(f"{datetime.date.today()}. {machine()}; llama-cpp-python {llama_cpp.__version__}.\n")
    for line in measure(args):
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
