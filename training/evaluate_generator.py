"""Measures a generator alone and the whole pipeline on contexts of held-out dialogues: by the detector, and by judges that the pipeline does not use.

    python training/evaluate_generator.py --grice target/release/grice --data DIR --generator FOLDER [--count 500] [--part final]

The second judge is SmolLM2-135M-Instruct as it was published: a reply passes if the context makes it as much more likely, and if it is as likely, as
all but a tenth of what people answered to other contexts. The third is all-MiniLM-L6-v2: the cosine of the last utterance and the reply. They judge relation and
fluency, not truth. Their bounds come from people's replies to the contexts for choices.
"""
import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from evaluate_repair import interval
from generator_pairs import Answers
from generators import MAXIMS

# The share of people's replies that a judge's bound lets through.
PASSING = 0.9
VIOLATED = 0.5


def answered(grice, contexts, more):
    """What `grice pipeline` makes of contexts, in order."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.jsonl"), Path(folder, "out.jsonl")
        source.write_text("".join(json.dumps({"context": row["context"], "evidence": row["evidence"]}) + "\n" for row in contexts), encoding="utf-8")
        subprocess.run([grice, "--quiet", "pipeline", "--input", source, "--output", target, *more], check=True)
        return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]


def bounds(scores, passing=PASSING):
    """For each column of `[n, k]` scores the bound above which the same share of rows lies, such that `passing` of all rows lie above every bound."""
    scores = np.asarray(scores, dtype=float)
    low, high = 0.0, 1.0
    for _ in range(40):
        cut = (low + high) / 2
        bound = np.quantile(scores, cut, axis=0)
        low, high = (cut, high) if (scores >= bound).all(1).mean() >= passing else (low, cut)
    return np.quantile(scores, low, axis=0)


def passes(scores, bound):
    """Which rows of `[n, k]` scores reach every bound."""
    return (np.asarray(scores, dtype=float) >= bound).all(1)


def cooperative(probabilities):
    return all(probabilities[maxim] <= VIOLATED for maxim in MAXIMS)


def judges():
    """By name, a function of contexts and replies to `[n, k]` scores."""
    from teacher import Likeness, SmolLM
    likely, like = SmolLM(), Likeness()

    def language_model(contexts, replies):
        found = likely(contexts, replies)
        return np.stack([found[:, 0] - found[:, 1], found[:, 0]], 1)

    return {"SmolLM2": language_model, "MiniLM": lambda contexts, replies: like(contexts, replies)[:, None]}


def shares(rows, outs):
    """For the answer as it was written and after the pipeline: which rows the detector finds cooperative."""
    return {name: [cooperative(out[field]) for out in outs] for name, field in (("alone", "before"), ("pipeline", "after"))}


def report(name, found, groups):
    """Shares with 95 % intervals by resampling dialogues, and their difference in points."""
    gain = [float(b) - float(a) for a, b in zip(found["alone"], found["pipeline"])]
    line = "  ".join(f"{key} {m:.3f} ({a:.3f} to {b:.3f})" for key, (m, a, b) in ((key, interval([float(v) for v in values], groups)) for key, values in found.items()))
    m, a, b = interval(gain, groups)
    print(f"{name:10} {line}  gain {100 * m:.1f} points ({100 * a:.1f} to {100 * b:.1f})", flush=True)
    return {**{key: interval([float(v) for v in values], groups) for key, values in found.items()}, "gain": [m, a, b]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grice", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--generator", required=True)
    parser.add_argument("--model", help="the model that repairs; the built-in one if left out")
    parser.add_argument("--corpus", help="a corpus of replies, with --embedder; MiniLM is then no judge from outside")
    parser.add_argument("--embedder")
    parser.add_argument("--part", choices=["choose", "final"], default="final")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-judges", action="store_true", help="only the detector")
    parser.add_argument("--json", type=Path, help="where all rows and figures go")
    args = parser.parse_args()
    answers = Answers(args.data)
    rows = answers.contexts(args.part, args.count)
    more = [part for name in ("generator", "model", "corpus", "embedder", "threads") if getattr(args, name) for part in (f"--{name}", str(getattr(args, name)))]
    outs = answered(args.grice, rows, more)
    groups = [row["dialogue_id"] for row in rows]
    figures = {"detector": report("detector", shares(rows, outs), groups)}
    if not args.no_judges:
        people = answers.contexts("choose", 300, seed=5)
        contexts = [row["context"] for row in rows]
        for name, judge in judges().items():
            bound = bounds(judge([row["context"] for row in people], [row["human"] for row in people]))
            texts = {"alone": [out["generated"] for out in outs], "pipeline": [out["repaired"] for out in outs], "people": [row["human"] for row in rows]}
            figures[name] = report(name, {key: list(passes(judge(contexts, replies), bound)) for key, replies in texts.items()}, groups)
    if args.json:
        args.json.write_text(json.dumps({"figures": figures, "rows": [{**row, **out} for row, out in zip(rows, outs)]}, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
