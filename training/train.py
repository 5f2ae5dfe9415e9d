"""Trains, calibrates and packs the mini detector, end to end.

    python training/train.py --data DIR --out DIR [--minutes 50] [--resume] [--start CHECKPOINT] [--everything]

`DIR` of `--data` holds `topical_chat.jsonl` and the `gricebench_*.jsonl` files (see README.md for the sources).
`--out` receives checkpoints, logs, `fp32/model.onnx`, the bundle in `bundle/` and `metrics.json`.
"""
import argparse
import copy
import json
import math
import os
import random
import time
from pathlib import Path

# Threads that spin while they wait are ruinous on a machine that is shared; this has to be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from tokenizers import Tokenizer

import data
import dialogues
import judgements
import model as models
from evaluate import macro_f1, predict
from generators import MAXIMS
from mixture import Mixture

SEED = 20
# Tokens a batch holds for each row of `--batch`.
BUDGET = 80


def prepare(folder, out, size, given=None):
    """Writes (once) the pruned tokenizer, or copies the given one, and the list of kept embedding rows."""
    path = out / "tokenizer.json"
    if given and not path.exists():
        path.write_bytes(Path(given).read_bytes())
        (out / "rows.json").write_text(json.dumps(models.kept_rows(Tokenizer.from_file(given))))
    if not path.exists():
        texts = [t["message"] for row in data.read_jsonl(Path(folder) / "topical_chat.jsonl") for t in row["turns"]]
        for name in ("gricebench_labelled", "gricebench_repair_pairs", "gricebench_preference_pairs"):
            for row in data.read_jsonl(Path(folder) / f"{name}.jsonl"):
                texts.append(row.get("response") or row.get("rejected"))
        texts += generator_phrases() * 3
        written, rows = models.pruned_tokenizer(texts, size)
        path.write_text(json.dumps(written, ensure_ascii=False), encoding="utf-8")
        (out / "rows.json").write_text(json.dumps(rows))
    return Tokenizer.from_file(str(path)), json.loads((out / "rows.json").read_text())


def generator_phrases():
    """All phrases of the generators, so that the vocabulary covers them."""
    from generators import cooperative, manner, quality, quantity, relation
    found = []

    def walk(value):
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            for key, item in value.items():
                walk(key)
                walk(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item)

    for module in (cooperative, manner, quality, quantity, relation):
        for name, value in vars(module).items():
            if name.isupper():
                walk(value)
    return found


def batches(mixture, tokenizer, seed, size, tokens):
    """Batches of near-equal length from shuffled pools of units; the two examples of a pair stay together.

    A batch has about `size * BUDGET` tokens, but at most twice `size` rows. Yields ids, mask, labels (NaN where unknown),
    the places of pairs in the batch, and the teachers' scores (NaN where there are none).
    """
    units = iter(mixture)
    budget = size * BUDGET
    rng = random.Random(seed)
    while True:
        drawn = [next(units) for _ in range(size * 16)]
        rows = models.encode(tokenizer, [e for unit in drawn for e in unit])
        at, pool = 0, []
        for unit in drawn:
            ids = rows[at: at + len(unit)]
            at += len(unit)
            width = max(map(len, ids))
            # Long rows cost most: most of them are left out.
            if width <= tokens or unit[0].made_by == "length" or rng.random() < (0.5 if unit[0].made_by == "people" else 0.25):
                pool.append((width, rng.random(), unit, ids))
        pool.sort(key=lambda entry: entry[:2])
        groups, group = [], []
        for entry in pool:
            count = sum(len(e[2]) for e in group) + len(entry[2])
            if group and (count > size * 2 or count * entry[0] > budget):
                groups.append(group)
                group = []
            group.append(entry)
        rng.shuffle(groups)
        for group in groups:
            examples = [e for entry in group for e in entry[2]]
            ids, mask = models.batch([row for entry in group for row in entry[3]])
            pairs, place = [], 0
            for entry in group:
                if len(entry[2]) == 2:
                    pairs.append(place)
                place += len(entry[2])
            labels = [[float("nan") if v is None else float(v) for v in e.labels] for e in examples]
            scores = [e.scores or (float("nan"),) * len(dialogues.SCORES) for e in examples]
            yield ids, mask, torch.tensor(labels), torch.tensor(pairs, dtype=torch.long), torch.tensor(scores)


def loss_of(logits, labels, pairs, smooth, rank, size=None):
    """Cross-entropy where the label is known, each maxim as much as its share; and the order within pairs.

    It is summed over the batch and divided by `size`, so that a row counts alike in short and in long batches.
    """
    known = ~labels.isnan()
    target = torch.where(known, labels, torch.zeros(()))
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, target * (1 - smooth) + smooth / 2, reduction="none")
    # An example with four known labels counts twice as much as one with a single label.
    size = size or len(labels)
    loss = ((each * known).sum(1) / known.sum(1).clamp(min=1).sqrt()).sum() / size
    if rank and len(pairs):
        gap = labels[pairs + 1] - labels[pairs]
        ordered = (gap > 0.5)
        margins = torch.nn.functional.softplus(1.0 - (logits[pairs + 1] - logits[pairs]))
        loss = loss + rank * (margins * ordered).sum() / size
    return loss


def teacher_loss(logits, labels, found, scores, size):
    """What is learned from scored pairs beside their labels: the scores themselves, and the order of any two in a batch."""
    known = ~scores.isnan()
    if not known.any():
        return torch.zeros(())
    error = torch.where(known, found - torch.where(known, scores, torch.zeros(())), torch.zeros(()))
    loss = 0.5 * ((error ** 2).sum(1) / known.sum(1).clamp(min=1)).sum() / size
    for column in range(len(MAXIMS)):
        at = (known[:, 0] & ~labels[:, column].isnan()).nonzero()[:, 0]
        if len(at) < 2:
            continue
        z, y = logits[at, column], labels[at, column]
        gap, wanted = z[:, None] - z[None, :], y[:, None] - y[None, :]
        weight = wanted.clamp(min=0)
        loss = loss + 0.7 * len(at) / size * (weight * torch.nn.functional.softplus(-gap)).sum() / weight.sum().clamp(min=1e-3)
    return loss


class Average:
    """An exponential moving average of the weights; what is evaluated and shipped."""

    def __init__(self, net, decay):
        self.decay = decay
        self.steps = 0
        self.state = {k: v.detach().clone() for k, v in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net):
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for key, value in net.state_dict().items():
            if value.is_floating_point():
                self.state[key].lerp_(value, 1 - decay)


def train(args, corpus, tokenizer, rows, judged):
    """The training loop; returns the averaged weights."""
    out = Path(args.out)
    net = models.fresh_detector(rows)
    if args.start:
        net.load_state_dict(started(args.start, net))
    # Tells the teachers' scores from the first token; only for training.
    scorer = torch.nn.Linear(net.encoder.config.hidden_size, len(dialogues.SCORES))
    encoder = list(net.encoder.parameters())
    optimizer = torch.optim.AdamW([{"params": encoder, "lr": args.lr}, {"params": [*net.heads.parameters(), *scorer.parameters()], "lr": args.head_lr}],
                                  weight_decay=0.01, betas=(0.9, 0.98), fused=True)
    peaks = [group["lr"] for group in optimizer.param_groups]
    average = Average(net, args.ema)
    state_path, step, spent = out / "checkpoint.pt", 0, 0.0
    if args.resume and state_path.exists():
        saved = torch.load(state_path)
        net.load_state_dict(saved["net"])
        scorer.load_state_dict(saved["scorer"])
        optimizer.load_state_dict(saved["optimizer"])
        average.state, average.steps = saved["average"], saved["step"]
        step, spent = saved["step"], saved["spent"]
    # The work is done in bfloat16 on a copy; the weights that are updated stay in float32.
    half = copy.deepcopy(net).bfloat16()
    masters, shadow = list(net.parameters()), list(half.parameters())
    feed = batches(mixture_of(args, corpus, judged, step), tokenizer, args.seed + step, args.batch, args.tokens)
    held = [corpus.example(row) for row in corpus.labelled["choose"]]
    chosen = judgements.sample(judged["choose"], args.judged) if judged else []
    total, last_eval, last_save, mark, before = 0.0, time.time(), time.time(), time.time(), time.time()
    net.train()
    seen, rounding = 0, random.Random(args.seed + step)
    while True:
        # A pause does not count as time spent.
        spent += min(10.0, time.time() - before)
        before = time.time()
        progress = step / args.steps if args.steps else spent / max(1e-9, args.minutes * 60)
        if progress >= 1:
            break
        warm = min(1.0, (step + 1) / args.warmup)
        rate = warm * max(0.02, (1 + math.cos(math.pi * progress)) / 2 if args.cosine else 1 - progress)
        for group, peak in zip(optimizer.param_groups, peaks):
            group["lr"] = peak * rate
        ids, mask, labels, pairs, scores = next(feed)
        with torch.no_grad():
            torch._foreach_copy_(shadow, masters)
        logits, first = models.lean_forward(half, ids, mask, steps=rounding.random() < args.rounded, first=True)
        logits = logits.float()
        loss = loss_of(logits, labels, pairs, args.smooth, args.rank, args.batch)
        if args.taught:
            loss = loss + args.taught * teacher_loss(logits, labels, scorer(first.float()), scores, args.batch)
        loss.backward()
        for master, copied in zip(masters, shadow):
            master.grad = None if copied.grad is None else copied.grad.float()
            copied.grad = None
        seen += len(labels)
        torch.nn.utils.clip_grad_norm_(masters + list(scorer.parameters()), 1.0)
        optimizer.step()
        scorer.zero_grad()
        if step % 4 == 3:
            average.update(net)
        total += loss.item()
        step += 1
        if step % 50 == 0:
            speed, seen = seen / (time.time() - mark), 0
            print(f"{time.strftime('%H:%M:%S')} step {step} {progress:.1%} loss {total / 50:.4f} {speed:.1f}/s", flush=True)
            total, mark = 0.0, time.time()
        if time.time() - last_save > 150:
            save(state_path, net, scorer, optimizer, average, step, spent)
            last_save = time.time()
        if time.time() - last_eval > args.eval_minutes * 60:
            save(state_path, net, scorer, optimizer, average, step, spent)
            judge = models.fresh_detector(rows)
            judge.load_state_dict(average.state)
            print(time.strftime("%H:%M:%S"), f"step {step} held-out labelled:", macro_f1(predict(judge, tokenizer, held, half=True), held), flush=True)
            if chosen:
                print(time.strftime("%H:%M:%S"), f"step {step} people:", judgements.line(people(judge, tokenizer, chosen)), flush=True)
            last_eval = time.time()
    save(state_path, net, scorer, optimizer, average, step, spent)
    net.load_state_dict(average.state)
    return net


def started(paths, net):
    """The mean of the weights of checkpoints and bundles. Runs that set out from the same weights may be averaged."""
    states = [models.shipped_state(p, net) if Path(p).is_dir() else torch.load(p)["average"] for p in paths]
    return {key: sum(s[key].float() for s in states).div(len(states)).to(value.dtype) for key, value in states[0].items()}


def people(net, tokenizer, rows):
    """The agreement with judged rows."""
    turns, index = judgements.unique(rows)
    return judgements.agreement(rows, predict(net, tokenizer, turns, half=True)[index])


def mixture_of(args, corpus, judged, step):
    pairs = Path(args.out) / "pairs.jsonl"
    shares = json.loads(args.shares) if args.shares else None
    return Mixture(corpus, judged["train"] if judged else (), pairs if pairs.exists() else None, args.seed + step, "all" if args.everything else "train", shares)


def save(path, net, scorer, optimizer, average, step, spent):
    partial = path.with_suffix(".tmp")
    torch.save({"net": net.state_dict(), "scorer": scorer.state_dict(), "optimizer": optimizer.state_dict(), "average": average.state, "step": step, "spent": spent}, partial)
    partial.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, default=50, help="0 packs the mean of what --start names")
    parser.add_argument("--steps", type=int, default=0, help="instead of --minutes")
    parser.add_argument("--start", nargs="+", help="checkpoints or bundles' folders with whose mean weights to start")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--everything", action="store_true", help="train on the test dialogues and held-out phrases too")
    parser.add_argument("--vocabulary", type=int, default=9600)
    parser.add_argument("--tokenizer", help="a tokenizer.json of an earlier run to keep, instead of --vocabulary")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1.5e-4)
    parser.add_argument("--head-lr", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=60)
    parser.add_argument("--cosine", action="store_true", help="the learning rate falls along a cosine, not a line")
    parser.add_argument("--smooth", type=float, default=0.0)
    parser.add_argument("--ema", type=float, default=0.98)
    parser.add_argument("--eval-minutes", type=float, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--tokens", type=int, default=140, help="three of four longer rows are left out")
    parser.add_argument("--rank", type=float, default=0.5, help="weight of the order within pairs")
    parser.add_argument("--rounded", type=float, default=0.3, help="share of batches in which dense layers read what int8 kernels read")
    parser.add_argument("--taught", type=float, default=1.0, help="weight of the teachers' scores and of the order of scored pairs")
    parser.add_argument("--shares", help="JSON: how often each kind of unit is drawn, instead of mixture.SHARES")
    parser.add_argument("--pairs", type=int, default=24000, help="pairs for the teacher; 0 for none")
    parser.add_argument("--scored", type=int, default=2400, help="so many of them by the language model as well")
    parser.add_argument("--judged", type=int, default=60, help="judged rows a question and answer in the evaluations on the way")
    parser.add_argument("--no-bundle", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer, rows = prepare(args.data, out, args.vocabulary, args.tokenizer)
    corpus = data.Corpus(args.data, everything=args.everything)
    file = Path(args.data) / judgements.FILE
    judged = judgements.load(file) if file.exists() else None
    if judged and args.pairs and not (out / "pairs.jsonl").exists():
        dialogues.write(corpus, judged["train"], out / "pairs.jsonl", args.pairs, args.scored, log=lambda text: print(text, flush=True))
    train(args, corpus, tokenizer, rows, judged)
    if not args.no_bundle:
        from export_mini import finish
        finish(out, args.data)


if __name__ == "__main__":
    main()
