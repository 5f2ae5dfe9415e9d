#!/usr/bin/env python3
"""Text generation beside CTranslate2, in turns: models of full size with random weights.

    pip install torch transformers ctranslate2
    python benches/generation.py MODELS [--threads 1,2] [--rounds 5] [--precision int8]

MODELS holds `t5-base` and `gpt2-medium` as Hugging Face folders and `ct2-t5-base-int8`, `ct2-gpt2-medium-int8` (and `-float32`) as CTranslate2
folders; those that are missing are made (6 GB). Speed does not depend on the weights. Lengths are forced, so that both engines do the same
work: 97 tokens of source to 48, and 64 tokens of prompt to 80. The ratio is the median of the rounds' ratios; the faster of CTranslate2's
thread counts counts.
"""
import argparse
import datetime
import json
import random
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Model, prompt, new tokens, beams, rows, and the limit that this project sets itself in int8.
CASES = [
    ("t5-base", 97, 48, 1, 1, 0.55), ("t5-base", 97, 48, 4, 1, 0.50), ("t5-base", 97, 48, 4, 8, 0.60),
    ("gpt2-medium", 64, 1, 1, 1, 0.50), ("gpt2-medium", 64, 80, 1, 1, 0.50), ("gpt2-medium", 64, 80, 1, 8, 0.60),
]


def make_models(folder):
    import ctranslate2.converters.transformers as converters
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    shapes = {
        "t5-base": lambda: T5ForConditionalGeneration(T5Config(
            vocab_size=32108, d_model=768, d_ff=3072, num_layers=12, num_decoder_layers=12, num_heads=12,
            decoder_start_token_id=0, eos_token_id=1, pad_token_id=0)),
        "gpt2-medium": lambda: GPT2LMHeadModel(GPT2Config(n_embd=1024, n_layer=24, n_head=16)),
    }
    for name, make in shapes.items():
        if not (folder / name).exists():
            make().eval().save_pretrained(folder / name)
        for precision in ("int8", "float32"):
            target = folder / f"ct2-{name}-{precision}"
            if target.exists():
                continue
            is_t5 = name == "t5-base"
            model = (T5ForConditionalGeneration if is_t5 else GPT2LMHeadModel).from_pretrained(folder / name)
            words = [f"t{number}" for number in range(model.config.vocab_size)]
            spec = (converters.T5Loader() if is_t5 else converters.GPT2Loader()).get_model_spec(model)
            if is_t5:
                words[:3] = ["<pad>", "</s>", "<unk>"]
                spec.register_source_vocabulary(words)
                spec.register_target_vocabulary(words)
                spec.config.bos_token = spec.config.decoder_start_token = "<pad>"
                spec.config.eos_token, spec.config.unk_token = "</s>", "<unk>"
            else:
                words[50256] = "<|endoftext|>"
                spec.register_vocabulary(words)
                spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = "<|endoftext|>"
            spec.validate()
            spec.optimize(quantization="int8" if precision == "int8" else None)
            target.mkdir()
            spec.save(str(target))


class Grice:
    def __init__(self, binary, model, precision, threads):
        command = [binary, str(model), {"float32": "fp32"}.get(precision, precision), str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.load_ms = json.loads(self.process.stdout.readline())["load_ms"]

    def run(self, prompt, new, beams, rows):
        self.process.stdin.write(json.dumps({"prompt": prompt, "new": new, "beams": beams, "rows": rows}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["ms"]


class CTranslate2:
    def __init__(self, folder, name, precision, threads):
        import ctranslate2
        self.is_t5 = name == "t5-base"
        make = ctranslate2.Translator if self.is_t5 else ctranslate2.Generator
        self.model = make(str(folder / f"ct2-{name}-{precision}"), compute_type=precision, inter_threads=1, intra_threads=threads)

    def run(self, prompt, new, beams, rows):
        words = [f"t{random.randrange(100, 30000)}" for _ in range(prompt - self.is_t5)] + ["</s>"] * self.is_t5
        start = time.perf_counter()
        if self.is_t5:
            self.model.translate_batch([words] * rows, beam_size=beams, max_decoding_length=new, min_decoding_length=new)
        else:
            self.model.generate_batch([words] * rows, max_length=new, min_length=new, beam_size=beams, include_prompt_in_result=False)
        return (time.perf_counter() - start) * 1e3


def binary():
    command = ["cargo", "build", "--release", "--workspace", "--bench", "generation", "--message-format=json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    built = [json.loads(line) for line in lines if line.startswith("{")]
    return next(unit["executable"] for unit in built if unit.get("executable") and unit["target"]["name"] == "generation")


def measure(args):
    ours = args.binary or binary()
    yield f"| model | {args.precision} | threads | rows | grice, ms | tokens/s | CTranslate2, ms | ratio | bound |"
    yield "| --- | --- | --: | --: | --: | --: | --: | --: | --- |"
    for name, prompt, new, beams, rows, bound in CASES:
        for threads in args.threads:
            mine = Grice(ours, args.models / name, args.precision, threads)
            peers = [CTranslate2(args.models, name, args.precision, count) for count in ({1, threads} if threads > 1 else {1})]
            work = (prompt, new, beams, rows)
            mine.run(*work), [peer.run(*work) for peer in peers]
            pairs = [(mine.run(*work), min(peer.run(*work) for peer in peers)) for _ in range(args.rounds)]
            mine.process.kill()
            mine_ms, peer_ms = (statistics.median(side) for side in zip(*pairs))
            ratio = statistics.median(a / b for a, b in pairs)
            kind = f"{prompt} → {new}" + (f", beam {beams}" if beams > 1 else "")
            limit = f"≤ {bound:.2f} {'met' if ratio <= bound else 'missed'}" if args.precision == "int8" else ""
            yield (f"| {name} | {kind} | {threads} | {rows} | {mine_ms:.0f} | {new * rows / mine_ms * 1e3:.0f} | {peer_ms:.0f} | "
                   f"**{ratio:.2f}** | {limit} |")


def machine():
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*: (.*)", text)
    return name.group(1) if name else "unknown processor"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("--threads", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=["int8", "float32"], default="int8")
    parser.add_argument("--binary", help="the bench, if it is built already")
    args = parser.parse_args()
    make_models(args.models)
    import ctranslate2
    print(f"{datetime.date.today()}. {machine()}; CTranslate2 {ctranslate2.__version__}.\n")
    for line in measure(args):
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
