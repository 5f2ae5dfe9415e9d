"""Trains the small repair model: data, fewer tokens and layers, training, export, 4 bits.

    python training/train_repair.py --data DIR --out DIR --minutes 60 --grice target/release/grice

`--out` gets `start.pt` (the cut-down model), `checkpoint.pt` (`--resume` continues it), `float/` and `model/`, the folder to ship.
"""
import argparse
import difflib
import itertools
import json
import random
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from evaluate_repair import Grice
from generators import Chooser
from repair_model import Writer, copy_rounded, is_dense, load_base, small_config, small_weights, write_folder
from repair_pairs import RECIPES, REPAIRED, Pair, Pairs, clean_evidence
from repair_tokenizer import MARKS, frequencies, pruned

MAX_TOKENS = 320
WEIGHT = {"answer": 0.25, "stub": 0.25, "empty_answer": 0.25, "first_words": 0.25, "dull": 0.25, "quantity_under": 0.25}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--grice", help="the program that quantizes; without it only `float/` is written")
    parser.add_argument("--base", type=Path, help="folder of the GGUF file, if the package is not installed")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, help="length in steps instead of minutes")
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=8192, help="size of the vocabulary")
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--batch", type=int, default=1408, help="tokens of a thread's part of a batch")
    parser.add_argument("--group", type=int, default=64, help="inputs that share a scale of the 4-bit weights")
    parser.add_argument("--edit-weight", type=float, default=1.3, help="weight of a target's tokens that do not go on copying")
    parser.add_argument("--prompt-weight", type=float, default=0.1, help="weight of the prompts' own tokens in the loss at the start; 0 at half time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-minutes", type=float, default=4)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--start", type=Path, help="a checkpoint of another run to start from")
    parser.add_argument("--judged", type=int, default=4000, help="cooperative turns shown to the detector: those that it takes for violations teach to leave alone")
    return parser.parse_args()


def texts_of(pairs):
    """What the vocabulary must cover: dialogues, everyday talk, and 8,000 pairs as prompts and targets."""
    turns = [t.response for _, source in pairs.sources for t in source.turns]
    made = [p.prompt() + " " + p.target for p in itertools.islice(pairs.stream(7), 8000)]
    return [" " + t for t in turns] + made


def probe(tokenizer, pairs, seed, count):
    """Dialogues whose last turn comes twice: predicting it again needs the layers that copy."""
    rng = Chooser(seed)
    turns = [t for t in rng.sample(pairs.corpus.topical["calibration"].turns, 4 * count) if t.context and 12 <= len(t.response.split()) <= 30][:count]
    return [tokenizer.encode(" ".join(t.context)[-150:] + " " + t.response + "\n " + t.response, add_special_tokens=False).ids for t in turns]


def padded(sequences):
    width = max(map(len, sequences))
    return torch.tensor([s + [0] * (width - len(s)) for s in sequences])


def choose_layers(base, weights, rows, sequences, keep, log):
    """Drops layers, two at a time, without which the probe's cross-entropy rises least."""
    kept = list(range(base.num_hidden_layers))
    model = Writer(small_config(base, len(kept), len(rows)))
    model.load_state_dict(small_weights(weights, kept, rows))
    model = model.bfloat16().eval()
    ids = padded(sequences)
    at = torch.tensor([(i, j) for i, s in enumerate(sequences) for j in range(8, len(s) - 1)])
    while len(kept) > keep:
        found, before = [], model.embed_tokens(ids)
        for i, k in enumerate(kept):
            if i:
                found.append((float(model.losses_after(before, ids, at, kept[i + 1:]).mean()), k))
            before = model.through(before, [k])
        found.sort()
        near = {found[0][1] - 1, found[0][1] + 1}
        drop = [found[0][1]] + ([next(k for _, k in found[1:] if k not in near)] if len(kept) - keep > 1 else [])
        kept = [k for k in kept if k not in drop]
        log(f"without {drop}: loss at least {found[0][0]:.3f}, {len(kept)} layers left")
    return kept


def prepare(args, pairs, log):
    """The cut-down model and its tokenizer, made once."""
    path = args.out / "start.pt"
    if path.exists():
        return torch.load(path, weights_only=False)
    base, weights, written = load_base(args.base)
    old = Tokenizer.from_str(json.dumps(written))
    counts = frequencies(old, texts_of(pairs))
    tokenizer, rows = pruned(written, counts, args.tokens)
    rows += [old.encode(" " + m, add_special_tokens=False).ids for m in MARKS]
    new = Tokenizer.from_str(json.dumps(tokenizer))
    log(f"tokens kept cover {sum(counts[t] for t in tokenizer['model']['vocab']) / counts.total():.4f} of the texts")
    with torch.no_grad():
        kept = choose_layers(base, weights, rows, probe(new, pairs, 5, 6), args.layers, log)
    start = {"masters": small_weights(weights, kept, rows), "config": small_config(base, len(kept), args.tokens), "tokenizer": tokenizer, "kept": kept}
    torch.save(start, path)
    return start


def edit_weights(response, target, edit):
    """A weight for each of the target's ids: 1 where it goes on copying the response, `edit` where it starts to differ or is new."""
    weights = [edit] * len(target)
    blocks = difflib.SequenceMatcher(None, response, target, autojunk=False).get_matching_blocks()
    for i, j, size in blocks[:-1]:
        weights[j: j + size] = [1.0] * size
        if i or j:
            weights[j] = edit
    return weights + [1.0 if blocks[-2:][0][0] + blocks[-2:][0][2] == len(response) else edit]


def encoded(tokenizer, pair, edit=1.0):
    """Ids of prompt and target with the end token, where the target begins, and the weights of its ids."""
    ids = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    before, after, base = ids(pair.prompt()), ids(" " + pair.target), WEIGHT.get(pair.kind, 1.0)
    weights = [1.0] * (len(after) + 1) if base < 1 or edit == 1 else edit_weights(ids(" " + pair.response), after, edit)
    return before + after + [0], len(before), [base * w for w in weights]


def batches(tokenizer, stream, size, seed, edit):
    """Endless batches of at most `size` tokens with padding, pairs of like length together."""
    rng = random.Random(seed)
    while True:
        rows = [encoded(tokenizer, pair, edit) for pair in itertools.islice(stream, 1200)]
        rows = sorted((r for r in rows if len(r[0]) <= MAX_TOKENS), key=lambda r: len(r[0]) + rng.uniform(-4, 4))
        groups, now = [], []
        for row in rows:
            if now and (len(now) + 1) * max(len(row[0]), max(len(r[0]) for r in now)) > size:
                groups.append(now)
                now = []
            now.append(row)
        rng.shuffle(groups)
        yield from groups


def loss_of(model, rows, prompt_weight):
    """Weighted mean cross-entropy of the targets, and of the prompts' tokens at `prompt_weight`."""
    ids = padded([r[0] for r in rows])
    places = [(i, j, w[j - start + 1] if j >= start - 1 else prompt_weight) for i, (s, start, w) in enumerate(rows) for j in range(0 if prompt_weight else start - 1, len(s) - 1)]
    at = torch.tensor([p[:2] for p in places])
    weight = torch.tensor([p[2] for p in places])
    target = torch.tensor([j >= rows[i][1] - 1 for i, j, _ in places])
    losses = model.losses(ids, at)
    return (losses * weight).sum() / weight[target].sum(), ids.numel()


def gradients(model, leaves, rows, prompt_weight):
    """Gradients, loss and number of tokens of one thread's part of a batch. Threads share the weights, not the gradients."""
    loss, count = loss_of(model, rows, prompt_weight)
    return torch.autograd.grad(loss, leaves), float(loss), count


def held_pairs(pairs):
    """GriceBench's rows for choices, one pair for each of their maxims."""
    return [Pair(row["violations"][0], row["context"][-450:], clean_evidence(row["evidence"]) or "", row["response"].strip(), row["target"].strip(),
                 "under" if len(row["response"]) < len(row["target"]) and row["violations"][0] == "quantity" else row["violations"][0])
            for row in pairs.repairs["choose"] if len(row["violations"]) == 1]


@torch.no_grad()
def held_losses(model, tokenizer, held):
    """Mean cross-entropy of the targets by kind."""
    found = {}
    for pair in held:
        row = encoded(tokenizer, replace(pair, kind=""))
        found.setdefault(pair.kind, []).append(float(loss_of(model, [row], 0)[0]))
    return {kind: round(sum(v) / len(v), 3) for kind, v in found.items()}


def rate_at(args, progress):
    return args.rate * min(1.0, progress / 0.04 + 0.02) * (1 - 0.97 * progress)


def mistaken(args, pairs, log):
    """Cooperative turns of the training part that grice's detector takes for violations, by the maxim it names; made once."""
    path = args.out / "mistaken.jsonl"
    if not path.exists():
        rng = Chooser(args.seed)
        turns = rng.sample([t for _, s in pairs.sources[:2] for t in s.turns if t.context and 4 <= len(t.response.split()) <= 60], args.judged)
        rows = [{"context": " ".join(f"[agent_{i % 2 + 1}]: {u}" for i, u in enumerate(t.context)), "evidence": clean_evidence(t.evidence) or "", "response": t.response} for t in turns]
        found = [{**row, "task": maxim} for row, (_, wrong) in zip(rows, Grice(args.grice, None, args.threads).detect(rows)) for maxim in REPAIRED if wrong[maxim]]
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found), encoding="utf-8")
        log(f"the detector takes {len(found)} of {len(rows)} cooperative turns for violations")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def with_mistaken(stream, rows, seed, share=0.08):
    """A stream with these turns among it, unchanged."""
    rng = random.Random(seed)
    for pair in stream:
        if rng.random() < share:
            row = rng.choice(rows)
            yield Pair(row["task"], row["context"][-450:], row["evidence"], row["response"], row["response"], "same")
        yield pair


class Clock:
    """Seconds of work: a step that takes more than `longest` is a pause (the process was stopped, or the machine slept) and counts as that much."""

    def __init__(self, elapsed=0.0, longest=60.0, now=time.monotonic):
        self.elapsed, self.longest, self.now = elapsed, longest, now
        self.last = now()

    def tick(self):
        at = self.now()
        self.elapsed += min(self.longest, at - self.last)
        self.last = at
        return self.elapsed


def train(args, pairs, start, log):
    tokenizer = Tokenizer.from_str(json.dumps(start["tokenizer"]))
    path = args.out / "checkpoint.pt"
    saved = torch.load(path, weights_only=False) if args.resume and path.exists() else {"masters": start["masters"], "elapsed": 0.0, "step": 0, "optimizer": None}
    if args.start and not saved["step"]:
        saved["masters"] = torch.load(args.start, weights_only=False)["masters"]
    masters = {k: torch.nn.Parameter(v.clone()) for k, v in saved["masters"].items()}
    dense = [p for k, p in masters.items() if is_dense(k)]
    other = [p for k, p in masters.items() if not is_dense(k)]
    optimizer = torch.optim.AdamW([{"params": dense, "weight_decay": 0.02}, {"params": other, "weight_decay": 0.0}], lr=args.rate, betas=(0.9, 0.98), fused=True)
    if saved["optimizer"]:
        optimizer.load_state_dict(saved["optimizer"])
    model = Writer(start["config"]).bfloat16()
    stream = pairs.stream(args.seed + 1000 * saved["step"])
    stream = with_mistaken(stream, mistaken(args, pairs, log), args.seed + saved["step"]) if args.grice and args.judged else stream
    held = held_pairs(pairs)
    clock, step, tokens, shown, mean = Clock(saved["elapsed"]), saved["step"], 0, time.time(), None
    last = clock.elapsed

    def save():
        torch.save({"masters": {k: p.detach() for k, p in masters.items()}, "elapsed": clock.elapsed, "step": step, "optimizer": optimizer.state_dict()}, str(path) + ".new")
        Path(str(path) + ".new").replace(path)

    parts = batches(tokenizer, stream, args.batch, args.seed + step, args.edit_weight)
    workers, names, leaves = ThreadPoolExecutor(args.threads), *zip(*model.named_parameters())
    for rows in iter(lambda: [next(parts) for _ in range(args.threads)], None):
        progress = step / args.steps if args.steps else clock.tick() / 60 / args.minutes
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate_at(args, progress)
        copy_rounded(model, masters, args.group)
        weight = args.prompt_weight * max(0.0, 1 - 2 * progress)
        done = list(workers.map(lambda part: gradients(model, leaves, part, weight), rows))
        loss, count = sum(d[1] for d in done) / len(done), sum(d[2] for d in done)
        for name, *grads in zip(names, *(d[0] for d in done)):
            masters[name].grad = sum(g.float() for g in grads) / len(grads)
        torch.nn.utils.clip_grad_norm_(masters.values(), 1.0)
        optimizer.step()
        step, tokens, mean = step + 1, tokens + count, loss if mean is None else 0.97 * mean + 0.03 * loss
        if step % 20 == 0:
            log(f"step {step} {progress:.1%} loss {mean:.4f} {tokens / (time.time() - shown):.0f} tokens/s")
            tokens, shown = 0, time.time()
        if clock.tick() - last > 60 * args.save_minutes:
            save()
            log(f"held {held_losses(model, tokenizer, held)}")
            last, shown = clock.tick(), time.time()
    save()


def export(args, start, log):
    masters = torch.load(args.out / "checkpoint.pt", weights_only=False)["masters"]
    write_folder(args.out / "float", masters, start["config"], start["tokenizer"])
    if args.grice:
        shutil.rmtree(args.out / "model", ignore_errors=True)
        subprocess.run([args.grice, "quantize", "--model", args.out / "float", "--to", "int4", "--group", str(args.group), "--output", args.out / "model"], check=True)
        manifest = {"format": 2, "task": "repair", "name": "repair-mini", "version": "1.0.0", "recipes": RECIPES}
        (args.out / "model" / "grice.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        log(f"{sum(f.stat().st_size for f in (args.out / 'model').iterdir()) / 1e6:.1f} MB in {args.out / 'model'}")


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    # Each thread works on a part of the batch of its own: on a busy machine that is far faster than threads that share every operator.
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)

    def log(text):
        line = f"{time.strftime('%H:%M:%S')} {text}"
        print(line, flush=True)
        with open(args.out / "log.txt", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    pairs = Pairs(args.data)
    start = prepare(args, pairs, log)
    if args.minutes > 0:
        train(args, pairs, start, log)
    export(args, start, log)


if __name__ == "__main__":
    main()
