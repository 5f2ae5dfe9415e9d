"""Pairs of a context and a response that a teacher scores: what was really said, what was said elsewhere, and garbled text.

    python training/dialogues.py --data DIR --out DIR      writes DIR/pairs.jsonl (train.py does it too)
"""
import argparse
import collections
import json
import time
from pathlib import Path

import numpy as np

import data
import judgements
from generators import Chooser
from generators.common import content_words
from generators.garble import FUNCTIONS

TALK = ("dbdc3", "conture", "begin_v1", "begin_v2", "kg_audit", "q2")


def overlapping(rng, index, pool, turn):
    """A turn of another dialogue that shares a content word with what the partner said last."""
    found = [w.lower() for w in content_words(turn.context[-1])] if turn.context else []
    rng.shuffle(found)
    for word in found[:4]:
        others = [t for t in index.get(word, ()) if t.dialogue != turn.dialogue and t.response != turn.response]
        if others:
            return rng.choice(others).response
    return None


def candidate(rng, source, turn, index):
    """`(kind, response)`: the true reply or one of four kinds of other turn."""
    at = rng.random()
    if at < 0.33 or not turn.dialogue:
        return "true", turn.response
    if at < 0.48:
        turns = [t for t in source.pool.dialogues.get(turn.dialogue, []) if t != turn.response and t not in turn.context]
        return "same dialogue", rng.choice(turns) if turns else turn.response
    if at < 0.72:
        text = overlapping(rng, index, source.pool, turn)
        if text:
            return "shared word", text
    return "elsewhere", source.pool.elsewhere(rng, turn)


def index_of(source):
    index = collections.defaultdict(list)
    for turn in source.turns:
        for word in content_words(turn.response):
            index[word.lower()].append(turn)
    return {w: turns for w, turns in index.items() if len(turns) <= 400}


def make_pairs(corpus, judged, count, seed):
    """Dicts with `context`, `evidence`, `response`, `kind`; every third is garbled."""
    rng = Chooser(seed, "train")
    sources = [corpus.topical["train"], corpus.gricebench, corpus.everyday["train"]]
    indexes = [index_of(s) for s in sources]
    rows = [r for r in judged if r["set"] in TALK and r["context"] and len(r["response"].split()) < 60]
    by_set = collections.defaultdict(list)
    for row in rows:
        by_set[row["set"]].append(row)
    out, seen = [], set()
    while len(out) < count:
        if rng.chance(0.3):
            row = rng.choice(rows)
            context, evidence = row["context"], row["evidence"]
            kind, response = ("judged", row["response"]) if rng.chance(0.5) else ("judged elsewhere", rng.choice(by_set[row["set"]])["response"])
            if evidence and rng.chance(0.3):
                evidence = rng.choice(by_set[row["set"]])["evidence"]
            if rng.chance(0.25):
                made = rng.choice(FUNCTIONS)(rng, data.Turn((), response, pool=sources[0].pool))
                if made:
                    kind, response = "garbled", made
        else:
            evidence = ""
            at = rng.choices(range(3), [70, 12, 18])[0]
            turn = rng.choice(sources[at].turns)
            if not turn.context or len(turn.response.split()) > 50 or len(turn.context[-1].split()) > 60:
                continue
            context = data.render(rng, turn.context, None, shorten=rng.chance(0.5))
            if rng.chance(0.33):
                response = rng.choice(FUNCTIONS)(rng, turn)
                kind = "garbled"
                if not response:
                    continue
            else:
                kind, response = candidate(rng, sources[at], turn, indexes[at])
        if rng.chance(0.25):
            context, response, evidence = context.lower(), response.lower(), evidence.lower()
        response = response.strip()
        if response and (context, response) not in seen:
            seen.add((context, response))
            out.append({"context": context, "evidence": data.clean_evidence(evidence) or "", "response": response, "kind": kind})
    return out


def standard(values):
    """Values with mean 0 and spread 1; NaN stays, and so do values that are all NaN."""
    return (values - np.nanmean(values)) / np.nanstd(values) if np.isfinite(values).any() else values


# What the models say of a pair: likeness, what the context adds to the log-probability, that after the context, and the least likely token's.
SCORES = ("likeness", "gain", "after", "least")


def scores(rows):
    """`[n, 4]`: each of `SCORES` with mean 0 and spread 1, NaN where the language model was not asked."""
    likely = np.array([r.get("logprobs") or [np.nan] * 3 for r in rows], float)
    columns = np.array([r["likeness"] for r in rows]), likely[:, 0] - likely[:, 1], likely[:, 0], likely[:, 2]
    return np.stack([standard(c).clip(-3, 3) for c in columns], axis=1)


def soft_labels(rows):
    """`(relation, manner)` in [0, 1] for every row from its scores and its kind; NaN where it is not asked.

    Relation: likeness counts twice, the gain of the log-probability by the context once, the log-probability after it 0.7
    times. Manner: the log-probability after the context, that of the least likely token, and likeness, each once. Where
    the kind tells the answer it counts a third.
    """
    kinds = np.array([r["kind"] for r in rows])
    likeness, gain, after, least = scores(rows).T[:4]
    relation = np.where(np.isnan(gain), likeness, standard(2 * likeness + gain + 0.7 * after))
    fluent = standard(after + least + likeness)
    relation, fluent = 1 / (1 + np.exp(1.6 * relation)), 1 / (1 + np.exp(1.6 * (fluent + 0.5)))
    hard = np.select([kinds == "true", kinds == "elsewhere", kinds == "judged elsewhere"], [0.05, 0.95, 0.95], np.nan)
    relation = np.where(np.isnan(hard), relation, relation * 0.67 + hard * 0.33)
    garbled = kinds == "garbled"
    relation[garbled] = np.nan
    manner = np.where(np.isnan(fluent), np.where(garbled, 0.85, np.nan), np.where(garbled, 0.5 * fluent + 0.5, np.where(kinds == "judged", fluent, 0.7 * fluent)))
    return relation, manner


def write(corpus, judged, path, count, scored, seed=3, log=print):
    """Makes the pairs and has them scored: all by likeness, `scored` of them by the language model as well."""
    import teacher
    rows = make_pairs(corpus, judged, count, seed)
    before = {(r["context"], r["response"]): r["likeness"] for r in data.read_jsonl(path)} if path.exists() else {}
    new = [r for r in rows if (r["context"], r["response"]) not in before]
    if new:
        values = teacher.Likeness()([r["context"] for r in new], [r["response"] for r in new])
        before.update(((r["context"], r["response"]), round(float(value), 4)) for r, value in zip(new, values))
        log(f"{time.strftime('%H:%M:%S')} likeness of {len(new)} pairs")
    for row in rows:
        row["likeness"] = before[row["context"], row["response"]]
    save(rows, path)
    ask_language_model(rows, path.with_name("logprobs.jsonl"), scored, log)
    save(rows, path)


def ask_language_model(rows, cache, scored, log=print):
    """Gives `scored` of the rows, those in the cache among them, their `logprobs`."""
    import teacher
    model = teacher.SmolLM(cache)
    known = sum((r["context"], r["response"]) in model.known for r in rows)
    some = [r for r in rows if (r["context"], r["response"]) not in model.known][: max(0, scored - known)]
    if some:
        model([r["context"] for r in some], [r["response"] for r in some], log=log)
    for row in rows:
        values = model.known.get((row["context"], row["response"]))
        if values and not any(v != v for v in values):
            row["logprobs"] = values


def save(rows, path):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--pairs", type=int, default=24000)
    parser.add_argument("--scored", type=int, default=2400)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    write(data.Corpus(args.data), judgements.load(Path(args.data) / judgements.FILE)["train"], args.out / "pairs.jsonl", args.pairs, args.scored, log=lambda x: print(x, flush=True))
