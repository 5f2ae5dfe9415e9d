"""Judgements by people: reads them, splits them by dialogue, and says how well a detector agrees with them.

One row is one response and the answer to one question that raters were asked about it. A row says nothing about the
maxims that its question is not about.
"""
import collections
import random

import numpy as np

from data import Example, fraction, read_jsonl
from evaluate import auc
from generators import MAXIMS

FILE = "judgements.jsonl"
# The questions that ask for the maxim itself; their mean is the figure of a maxim.
WEIGHED = {
    "relation": ["usr_topical/maintains_context", "usr_persona/maintains_context", "abc_eval/irrelevant", "abc_eval/ignore", "grade/coherence",
                 "dailydialogpp/relevance", "begin_v1/on_topic", "holistic/context_coherence", "fed/relevant"],
    "quality": ["begin_v2/attribution", "begin_v1/attribution", "kg_audit/attribution", "q2/consistency", "dialfact_small/verification",
                "decode_200/self_contradiction", "abc_eval/self_contradiction", "abc_eval/partner_contradiction", "qa_feedback/factual"],
    "quantity": ["abc_eval/redundant", "qa_feedback/redundant", "qa_feedback/superfluous", "qa_feedback/missing_info", "quest/too_much",
                 "quest/too_little", "fed/specific", "usr_topical/engaging", "begin_v1/generic"],
    "manner": ["usr_topical/understandable", "fed/understandable", "holistic/fluency", "qa_feedback/incoherent", "quest/well_written"],
}
# Sets whose licence lets a model be trained on them.
TRAINABLE = ("begin_v1", "begin_v2", "kg_audit", "q2", "qa_feedback", "clarity", "dbdc3", "conture")


def name_of(row):
    return f"{row['set']}/{row['question']}"


def part_of(row):
    """"train", "choose" or "final" by the row's dialogue; sets that may only be measured are never in "train"."""
    at = fraction("judgements" + row["group"])
    if row["set"] in TRAINABLE:
        return "train" if at < 0.70 else "choose" if at < 0.85 else "final"
    return "choose" if at < 0.5 else "final"


def load(path):
    """The rows of a file by part."""
    parts = collections.defaultdict(list)
    for row in read_jsonl(path):
        row["evidence"] = row["evidence"] or ""
        parts[part_of(row)].append(row)
    return parts


def example(row):
    """A row as an example: one label, or with `maxim` null none (then `violated` counts for any of the four)."""
    labels = [int(row["violated"]) if m == row["maxim"] else None for m in MAXIMS]
    return Example(row["context"], row["evidence"], row["response"], labels, name_of(row), "people")


def sample(rows, most, seed=0):
    """At most so many violated and so many fine rows of each question that counts."""
    rng, by = random.Random(seed), collections.defaultdict(list)
    for row in rows:
        if row["maxim"] and name_of(row) in WEIGHED[row["maxim"]]:
            by[name_of(row), row["violated"]].append(row)
    return [row for key in sorted(by) for row in (by[key] if len(by[key]) <= most else rng.sample(by[key], most))]


def unique(rows):
    """The different turns of rows as examples, and the index of each row's turn."""
    at, turns, index = {}, [], []
    for row in rows:
        key = (row["context"], row["evidence"], row["response"])
        if key not in at:
            at[key] = len(turns)
            turns.append(example(row))
        index.append(at[key])
    return turns, np.array(index)


def interval(rows, scores, rounds=200):
    """95 % of the AUC when whole dialogues are drawn again."""
    groups = collections.defaultdict(list)
    for i, row in enumerate(rows):
        groups[row["group"]].append(i)
    names, rng, found = sorted(groups), np.random.default_rng(0), []
    true = np.array([bool(r["violated"]) for r in rows])
    for _ in range(rounds):
        drawn = np.concatenate([groups[names[i]] for i in rng.integers(0, len(names), len(names))])
        value = auc(scores[drawn], true[drawn])
        if value is not None:
            found.append(value)
    return [round(float(x), 3) for x in np.percentile(found, [2.5, 97.5])] if found else None


def agreement(rows, scores, intervals=False):
    """AUC by question and the mean by maxim; `scores` is `[rows, 4]`, larger for likelier violations, 0 the threshold."""
    by = collections.defaultdict(list)
    for i, row in enumerate(rows):
        by[row["maxim"], name_of(row)].append(i)
    questions = {}
    for (maxim, name), at in sorted(by.items(), key=str):
        part = [rows[i] for i in at]
        column = scores[at].max(axis=1) if maxim is None else scores[at, MAXIMS.index(maxim)]
        true = np.array([bool(r["violated"]) for r in part])
        value = auc(column, true)
        if value is None:
            continue
        questions[f"{maxim or 'any'} {name}"] = {
            "auc": round(value, 4), "violated": int(true.sum()), "fine": int((~true).sum()), "found": round(float((column[true] > 0).mean()), 3),
            "flagged": round(float((column[~true] > 0).mean()), 3), "counted": bool(maxim) and name in WEIGHED[maxim]}
        if intervals:
            questions[f"{maxim or 'any'} {name}"]["interval"] = interval(part, column)
    means = {}
    for maxim in MAXIMS:
        values = [entry["auc"] for key, entry in questions.items() if key.startswith(maxim) and entry["counted"]]
        means[maxim] = round(float(np.mean(values)), 4) if values else None
    return {"questions": questions, "means": means}


def simple_scores(rows):
    """What scores without a model reach on the same questions: the response's length, and the share of its words that are new."""
    words = lambda text: [w.strip(".,!?;:\"'()").lower() for w in text.split()]
    length, absent = np.zeros((len(rows), len(MAXIMS))), np.zeros((len(rows), len(MAXIMS)))
    for i, row in enumerate(rows):
        said, known = words(row["response"]), set(words(row["evidence"] or row["context"]))
        length[i] = len(said)
        absent[i] = sum(w not in known for w in said) / max(1, len(said))
    found = {name: agreement(rows, scores)["questions"] for name, scores in (("length", length), ("absent", absent))}
    return {key: {name: found[name][key]["auc"] for name in found} for key in found["length"]}


def line(result):
    """A result on one line, for logs."""
    counted = {k.split(" ")[1]: v["auc"] for k, v in result["questions"].items() if v["counted"]}
    return f"means {result['means']} | " + " ".join(f"{k}={v:.2f}" for k, v in counted.items())
