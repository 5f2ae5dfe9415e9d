"""Scores a detector: per maxim precision, recall, F1, AUC, ECE, bootstrap intervals, and errors by violation type."""
import copy

import numpy as np
import torch

import model as models
from generators import MAXIMS


def run_batched(tokenizer, examples, forward, size=32):
    """Logits of examples, `[n, 4]`: `forward(ids, mask)` in batches of like length, answers in the examples' order."""
    rows = models.encode(tokenizer, examples)
    out = np.zeros((len(rows), 4), dtype=np.float32)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), size):
        group = order[start: start + size]
        out[group] = forward(*models.batch([rows[i] for i in group]))
    return out


@torch.no_grad()
def predict(net, tokenizer, examples, half=False):
    """Logits of examples by PyTorch, `[n, 4]`; `half` takes bfloat16, a third of the time and right to some hundredths."""
    net = (copy.deepcopy(net).bfloat16() if half else net).eval()
    return run_batched(tokenizer, examples, lambda ids, mask: models.lean_forward(net, ids, mask).float().numpy())


def truth(examples):
    return np.array([e.labels for e in examples])


def f1_of(said, true):
    tp = (said & true).sum()
    return 2 * tp / max(1, said.sum() + true.sum())


def macro_f1(logits, examples):
    """A one-line summary: F1 by maxim at logit 0 where it has positives, and their mean."""
    said, true = logits > 0, truth(examples).astype(bool)
    scores = {m: round(float(f1_of(said[:, i], true[:, i])), 3) for i, m in enumerate(MAXIMS) if true[:, i].any()}
    return {"macro": round(float(np.mean(list(scores.values()))), 4), **scores}


def auc(scores, true):
    """Area under the ROC curve by ranks; None without both classes."""
    positives, negatives = int(true.sum()), int((~true).sum())
    if not positives or not negatives:
        return None
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    for value in np.unique(scores):
        same = scores == value
        ranks[same] = ranks[same].mean()
    return float((ranks[true].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def ece(probabilities, true, bins=10):
    """Expected calibration error over bins of equal width."""
    at = np.minimum((probabilities * bins).astype(int), bins - 1)
    return float(sum(abs(probabilities[at == b].mean() - true[at == b].mean()) * (at == b).mean() for b in range(bins) if (at == b).any()))


def report(logits, examples, temperatures, rounds=1000, fewest=5, seed=0):
    """All figures of one set. The macro F1 is over the maxims with at least `fewest` positives; others are named in `too_few`."""
    true, said = truth(examples).astype(bool), logits > 0
    usable = [i for i in range(4) if true[:, i].sum() >= fewest]
    out = {"rows": len(examples), "maxims": {}, "too_few": [MAXIMS[i] for i in range(4) if i not in usable]}
    for i in range(4):
        t, s = true[:, i], said[:, i]
        probability = 1 / (1 + np.exp(-logits[:, i] / temperatures[i]))
        hit = int((s & t).sum())
        entry = {"positives": int(t.sum()), "false_alarms": int((s & ~t).sum()), "precision": round(hit / max(1, int(s.sum())), 4),
                 "recall": round(hit / max(1, int(t.sum())), 4), "f1": round(float(f1_of(s, t)), 4) if i in usable else None,
                 "auc": auc(logits[:, i], t), "ece": round(ece(probability, t), 4)}
        entry["auc"] = None if entry["auc"] is None else round(entry["auc"], 4)
        out["maxims"][MAXIMS[i]] = entry
    macro = lambda a, b: float(np.mean([f1_of(a[:, i], b[:, i]) for i in usable]))
    out["macro_f1"] = round(macro(said, true), 4)
    out["exact_match"] = round(float((said == true).all(axis=1).mean()), 4)
    if rounds:
        rng = np.random.default_rng(seed)
        draws = [rng.integers(0, len(examples), len(examples)) for _ in range(rounds)]
        values = np.array([[f1_of(said[d][:, i], true[d][:, i]) for i in usable] for d in draws])
        interval = lambda column: [round(float(x), 4) for x in np.percentile(column, [2.5, 97.5])]
        out["macro_f1_95"] = interval(values.mean(axis=1))
        for k, i in enumerate(usable):
            out["maxims"][MAXIMS[i]]["f1_95"] = interval(values[:, k])
    out["by_type"] = by_type(said, true, examples)
    return out


def by_type(said, true, examples):
    """For each violation type: rows, all four labels right, missed, and false alarms by maxim."""
    out = {}
    for kind in sorted({e.violation_type for e in examples}):
        at = np.array([e.violation_type == kind for e in examples])
        out[kind] = {"rows": int(at.sum()), "exact": round(float((said[at] == true[at]).all(axis=1).mean()), 3),
                     "missed": {m: int((~said[at] & true[at])[:, i].sum()) for i, m in enumerate(MAXIMS) if (~said[at] & true[at])[:, i].any()},
                     "false_alarms": {m: int((said[at] & ~true[at])[:, i].sum()) for i, m in enumerate(MAXIMS) if (said[at] & ~true[at])[:, i].any()}}
    return out


def failures(logits, examples, most=40):
    """Rows with a wrong label, one of each violation type in turn."""
    said, true = logits > 0, truth(examples).astype(bool)
    wrong = [i for i in range(len(examples)) if (said[i] != true[i]).any()]
    seen, order = {}, []
    for i in wrong:
        seen[examples[i].violation_type] = seen.get(examples[i].violation_type, 0) + 1
        order.append((seen[examples[i].violation_type], i))
    return [{"context": examples[i].context, "evidence": examples[i].evidence, "response": examples[i].response,
             "violation_type": examples[i].violation_type, "said": ", ".join(m for m, s in zip(MAXIMS, said[i]) if s)} for _, i in sorted(order)[:most]]
