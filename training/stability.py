"""What must not change a verdict: evidence left out, other speakers' names, lower case, a full stop at the end."""
import re
from dataclasses import replace

import data
from generators import MAXIMS
from generators.everyday import everyday_turns

NAMES = re.compile(r"\[agent_([12])\]:")


def without_evidence(example):
    return replace(example, evidence="") if data.clean_evidence(example.evidence) else None


def other_names(example):
    changed = NAMES.sub(lambda m: f"[agent_{3 - int(m.group(1))}]:", example.context)
    return replace(example, context=changed) if changed != example.context else None


def lower_case(example):
    changed = replace(example, context=example.context.lower(), response=example.response.lower(), evidence=(example.evidence or "").lower())
    return changed if changed.response != example.response else None


def full_stop(example):
    text = example.response.rstrip()
    return replace(example, response=text + ".") if text and text[-1].isalnum() else None


CHANGES = {"evidence left out": without_evidence, "speakers' names exchanged": other_names, "lower case": lower_case, "full stop added": full_stop}


def cooperative(corpus, folder):
    """Cooperative rows that nothing was trained on: labelled, generated, hand-written and everyday ones."""
    none = [0] * len(MAXIMS)
    rows = [corpus.example(r) for r in corpus.labelled["final"] + corpus.labelled["choose"] if r["violation_type"] == "none"]
    rows += data.fixed_set(corpus.topical["test"], 21, 30, "unseen", "mimic", types=("none",)) + data.fixed_set(corpus.topical["test"], 22, 30, "unseen", "natural", types=("none",))
    rows += [data.Example(" ".join(t.context), "", t.response, none, "none") for t in everyday_turns("unseen")]
    for name in ("handwritten", "handwritten_second"):
        rows += [data.Example(r["context"], r["evidence"] or "", r["response"], none, "none") for r in data.read_jsonl(folder / f"{name}.jsonl") if r["violation_type"] == "none"]
    return rows


def measure(logits_of, rows):
    """For every change: rows it applies to, and the share of them with the same four decisions; and what is flagged unchanged."""
    before = logits_of(rows) > 0
    out = {"rows": len(rows), "flagged": {m: round(float(before[:, i].mean()), 4) for i, m in enumerate(MAXIMS)}}
    for name, change in CHANGES.items():
        pairs = [(i, changed) for i, changed in enumerate(map(change, rows)) if changed is not None]
        if not pairs:
            continue
        after = logits_of([changed for _, changed in pairs]) > 0
        same = after == before[[i for i, _ in pairs]]
        out[name] = {"rows": len(pairs), "same": round(float(same.all(axis=1).mean()), 4),
                     "changed": {m: int((~same[:, i]).sum()) for i, m in enumerate(MAXIMS) if (~same[:, i]).any()}}
    return out
