"""Trains the default generator: cooperative answers first, then preferred against rejected ones (DPO), then 8 bits.

    python training/train_generator.py --data DIR --out DIR --grice target/release/grice

The start is SmolLM2-135M-Instruct with fewer tokens; only its upper layers are trained. `--out` gets `start.pt`, `checkpoint.pt` (a run that was
stopped goes on from it with `--resume`), and `model/`, the folder to use. DPO: Rafailov et al. 2023, arXiv 2305.18290.
"""
import argparse
import copy
import itertools
import json
import shutil
import subprocess
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn import functional as F

from evaluate_repair import Grice
from generator_pairs import RECIPES, Answers
from generators import Chooser
from repair_model import Writer, load_base, small_config, small_weights, write_folder
from repair_tokenizer import MARKS, frequencies, pruned
from train_repair import Clock, padded

MAX_TOKENS = 224
END = 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--grice", help="the program that looks for uncooperative turns and quantizes; without it all turns are used and only `float/` is written")
    parser.add_argument("--base", type=Path, help="folder of the GGUF file, if the package is not installed")
    parser.add_argument("--minutes", type=float, default=30, help="length of the first part")
    parser.add_argument("--dpo-minutes", type=float, default=15)
    parser.add_argument("--tokens", type=int, default=16384, help="size of the vocabulary")
    parser.add_argument("--layers", type=int, default=8, help="upper layers that are trained")
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--dpo-rate", type=float, default=4e-5)
    parser.add_argument("--beta", type=float, default=0.1, help="DPO: how strongly the model is tied to where it began")
    parser.add_argument("--keep", type=float, default=0.2, help="DPO: weight of the chosen answers' own cross-entropy")
    parser.add_argument("--batch", type=int, default=2048, help="tokens of a batch")
    parser.add_argument("--judged", type=int, default=6000, help="turns of the training part that the detector looks at; those that it finds uncooperative are left out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save-minutes", type=float, default=3)
    parser.add_argument("--resume", action="store_true")
    return parser.parse_args()


def prepare(args, answers, log):
    """The model with fewer tokens and its tokenizer, made once."""
    path = args.out / "start.pt"
    if path.exists():
        return torch.load(path, weights_only=False)
    base, weights, written = load_base(args.base)
    old = Tokenizer.from_str(json.dumps(written))
    texts = [prompt + " " + answer for prompt, answer in itertools.islice(answers.stream(7), 12000)] + [" " + t.response for _, turns in answers.sources for t in turns]
    counts = frequencies(old, texts)
    tokenizer, rows = pruned(written, counts, args.tokens)
    rows += [old.encode(" " + m, add_special_tokens=False).ids for m in MARKS]
    log(f"tokens kept cover {sum(counts[t] for t in tokenizer['model']['vocab']) / counts.total():.4f} of the texts")
    layers = base.num_hidden_layers
    start = {"masters": small_weights(weights, list(range(layers)), rows), "config": small_config(base, layers, args.tokens), "tokenizer": tokenizer}
    torch.save(start, path)
    return start


def suitable(args, answers, log):
    """Leaves out of Topical-Chat's turns those that the detector finds uncooperative, and those that it did not look at; looked at once."""
    path = args.out / "cooperative.jsonl"
    if not path.exists():
        rows = answers.candidates(args.judged, args.seed)
        fine = [row for row, (_, wrong) in zip(rows, Grice(args.grice, None, args.threads).detect(rows)) if not any(wrong.values())]
        path.write_text("".join(json.dumps(row["response"]) + "\n" for row in fine), encoding="utf-8")
        log(f"the detector finds {len(fine)} of {len(rows)} turns cooperative")
    fine = {json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()}
    share, turns = answers.sources[0]
    answers.sources[0] = (share, [t for t in turns if t.response in fine])


def encode(tokenizer, prompt, answer):
    """Ids of prompt, answer and end, and where the answer begins."""
    ids = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    before = ids(prompt)
    return before + ids(" " + answer) + [END], len(before)


def grouped(rows, size, length, rng):
    """Rows in batches of at most `size` tokens with padding, rows of like length together; in a random order."""
    groups, now, widest = [], [], 0
    for row in sorted(rows, key=lambda row: length(row) + rng.uniform(-4, 4)):
        widest = max(widest, length(row))
        if now and (len(now) + 1) * widest > size:
            groups.append(now)
            now, widest = [], length(row)
        now.append(row)
    groups += [now] if now else []
    rng.shuffle(groups)
    return groups


def answer_batches(tokenizer, stream, size, seed):
    """Endless batches of `(ids, start)`."""
    rng = Chooser(seed)
    while True:
        rows = [encode(tokenizer, prompt, answer) for prompt, answer in itertools.islice(stream, 800)]
        yield from grouped([r for r in rows if len(r[0]) <= MAX_TOKENS], size, lambda r: len(r[0]), rng)


def preference_batches(tokenizer, preferences, size, seed):
    """Endless batches of `(chosen, rejected)`, each `(ids, start)`."""
    rng = Chooser(seed)
    rows = [(encode(tokenizer, p.prompt(), p.chosen), encode(tokenizer, p.prompt(), p.rejected)) for p in preferences if p.chosen != p.rejected]
    longest = lambda row: max(len(row[0][0]), len(row[1][0]))
    rows = [row for row in rows if longest(row) <= MAX_TOKENS]
    while True:
        yield from grouped(rows, size // 2, longest, rng)


def places_of(rows):
    """Positions before the tokens of the answers, `[row, column]`."""
    return torch.tensor([(i, j) for i, (ids, start) in enumerate(rows) for j in range(start - 1, len(ids) - 1)])


def sums(losses, at, count):
    """Log-probability of each row's answer from the cross-entropies of its tokens."""
    return -torch.zeros(count).index_add(0, at[:, 0], losses)


def preference_loss(chosen, rejected, chosen_before, rejected_before, beta):
    """DPO: `-log sigmoid(beta · ((chosen − chosen before) − (rejected − rejected before)))` of log-probabilities `[n]`, and the share already in order."""
    margin = (chosen - chosen_before) - (rejected - rejected_before)
    return -F.logsigmoid(beta * margin).mean(), (margin > 0).float().mean()


class Trainer:
    """A model of bf16 weights whose upper layers follow fp32 masters."""

    def __init__(self, start, layers, saved=None):
        self.model = Writer(start["config"]).bfloat16()
        self.model.load_state_dict({k: v.bfloat16() for k, v in start["masters"].items()})
        count = len(self.model.layers)
        self.lower, self.upper = range(count - layers), range(count - layers, count)
        self.model.requires_grad_(False)
        self.leaves = {name: p for name, p in self.model.named_parameters() if name == "norm.weight" or any(name.startswith(f"layers.{i}.") for i in self.upper)}
        self.masters = {name: torch.nn.Parameter((saved or start["masters"])[name].float().clone()) for name in self.leaves}
        self.copy()
        for p in self.leaves.values():
            p.requires_grad_(True)

    def copy(self):
        with torch.no_grad():
            for name, p in self.leaves.items():
                p.copy_(self.masters[name])

    def below(self, ids):
        """Hidden states before the upper layers."""
        with torch.no_grad():
            return self.model.through(self.model.embed_tokens(ids), self.lower)

    def answers_loss(self, rows):
        """Mean cross-entropy of the answers' tokens; number of tokens."""
        ids, at = padded([r[0] for r in rows]), places_of(rows)
        return self.model.losses_after(self.below(ids), ids, at, self.upper).mean(), ids.numel()

    def step(self, optimizer, loss, rate):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for (name, _), grad in zip(self.leaves.items(), torch.autograd.grad(loss, list(self.leaves.values()))):
            self.masters[name].grad = grad.float()
        torch.nn.utils.clip_grad_norm_(self.masters.values(), 1.0)
        optimizer.step()
        self.copy()


def pairs_loss(trainer, reference, rows, args):
    """DPO's loss with the chosen answers' cross-entropy, the share of pairs in order, and the number of tokens."""
    flat = [c for c, _ in rows] + [r for _, r in rows]
    ids, at = padded([r[0] for r in flat]), places_of(flat)
    below = trainer.below(ids)
    losses = trainer.model.losses_after(below, ids, at, trainer.upper)
    with torch.no_grad():
        before = sums(reference.losses_after(below, ids, at, trainer.upper), at, len(flat))
    now, n = sums(losses, at, len(flat)), len(rows)
    loss, right = preference_loss(now[:n], now[n:], before[:n], before[n:], args.beta)
    return loss + args.keep * losses[at[:, 0] < n].mean(), right, ids.numel()


def rate_at(rate, progress):
    return rate * min(1.0, progress / 0.05 + 0.02) * (1 - 0.95 * progress)


class Run:
    """One of the two parts: its clock, its log and its checkpoint."""

    def __init__(self, args, name, minutes, saved, log):
        self.args, self.name, self.minutes, self.log = args, name, minutes, log
        self.step, self.clock = saved.get("step", 0), Clock(saved.get("elapsed", 0.0))
        self.last = self.clock.elapsed
        self.mean, self.tokens, self.shown = None, 0, time.time()

    def progress(self):
        return self.clock.tick() / 60 / self.minutes if self.minutes > 0 else 1.0

    def save(self, trainer, optimizer, **more):
        path = self.args.out / "checkpoint.pt"
        state = {"part": self.name, "step": self.step, "elapsed": self.clock.elapsed, "masters": {k: p.detach() for k, p in trainer.masters.items()}, "optimizer": optimizer.state_dict(), **more}
        torch.save(state, str(path) + ".new")
        Path(str(path) + ".new").replace(path)
        self.last = self.clock.elapsed

    def note(self, loss, tokens, extra=""):
        self.step, self.tokens = self.step + 1, self.tokens + tokens
        self.mean = loss if self.mean is None else 0.95 * self.mean + 0.05 * loss
        if self.step % 20 == 0:
            self.log(f"{self.name} step {self.step} {self.progress():.1%} loss {self.mean:.4f} {extra} {self.tokens / (time.time() - self.shown):.0f} tokens/s")
            self.tokens, self.shown = 0, time.time()

    def is_due(self):
        return self.clock.tick() - self.last > 60 * self.args.save_minutes


def optimizer_of(trainer, saved):
    optimizer = torch.optim.AdamW(list(trainer.masters.values()), lr=1e-4, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    if saved.get("optimizer"):
        optimizer.load_state_dict(saved["optimizer"])
    return optimizer


def learn_answers(args, trainer, tokenizer, answers, saved, log):
    run, optimizer = Run(args, "answers", args.minutes, saved, log), optimizer_of(trainer, saved)
    for rows in answer_batches(tokenizer, answers.stream(args.seed + run.step), args.batch, args.seed + run.step):
        progress = run.progress()
        if progress >= 1:
            break
        loss, count = trainer.answers_loss(rows)
        trainer.step(optimizer, loss, rate_at(args.rate, progress))
        run.note(float(loss.detach()), count)
        if run.is_due():
            run.save(trainer, optimizer)
    run.save(trainer, optimizer)


def learn_preferences(args, trainer, tokenizer, answers, saved, log):
    run, optimizer = Run(args, "preferences", args.dpo_minutes, saved, log), optimizer_of(trainer, saved)
    begin = saved.get("begin") or {k: p.detach().clone() for k, p in trainer.masters.items()}
    reference = copy.deepcopy(trainer.model).requires_grad_(False)
    reference.load_state_dict({**reference.state_dict(), **{k: v.bfloat16() for k, v in begin.items()}})
    for rows in preference_batches(tokenizer, answers.preferences, args.batch, args.seed + run.step):
        progress = run.progress()
        if progress >= 1:
            break
        loss, right, count = pairs_loss(trainer, reference, rows, args)
        trainer.step(optimizer, loss, rate_at(args.dpo_rate, progress))
        run.note(float(loss.detach()), count, f"in order {float(right):.2f}")
        if run.is_due():
            run.save(trainer, optimizer, begin=begin)
    run.save(trainer, optimizer, begin=begin)


def export(args, start, trainer, log):
    masters = {**start["masters"], **{k: p.detach() for k, p in trainer.masters.items()}}
    write_folder(args.out / "float", masters, start["config"], start["tokenizer"])
    if not args.grice:
        return
    shutil.rmtree(args.out / "model", ignore_errors=True)
    subprocess.run([args.grice, "quantize", "--model", args.out / "float", "--to", "int8", "--output", args.out / "model", "--force"], check=True)
    manifest = {"format": 2, "task": "generate", "name": "generator-mini", "version": "1.0.0", "recipes": RECIPES}
    (args.out / "model" / "grice.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("generator_card.md"), args.out / "model" / "README.md")
    shutil.rmtree(args.out / "float")
    log(f"{sum(f.stat().st_size for f in (args.out / 'model').iterdir()) / 1e6:.1f} MB in {args.out / 'model'}")


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    def log(text):
        line = f"{time.strftime('%H:%M:%S')} {text}"
        print(line, flush=True)
        with open(args.out / "log.txt", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    answers = Answers(args.data)
    start = prepare(args, answers, log)
    if args.grice and args.judged:
        suitable(args, answers, log)
    path = args.out / "checkpoint.pt"
    saved = torch.load(path, weights_only=False) if args.resume and path.exists() else {}
    trainer, tokenizer = Trainer(start, args.layers, saved.get("masters")), Tokenizer.from_str(json.dumps(start["tokenizer"]))
    if saved.get("part") != "preferences":
        learn_answers(args, trainer, tokenizer, answers, saved, log)
        saved = {}
    learn_preferences(args, trainer, tokenizer, answers, saved, log)
    export(args, start, trainer, log)


if __name__ == "__main__":
    main()
