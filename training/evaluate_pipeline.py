"""Measures `grice repair` as a whole, gate and further tries included, on rows that no training saw.

    python training/evaluate_pipeline.py --grice target/release/grice --data DIR [--model FOLDER] [--detector FOLDER] [--part final]
"""
import argparse
import collections
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

from data import clean_evidence
from evaluate_repair import cooperative_turns, interval, kind_of, word_f1
from repair_pairs import REPAIRED, Pairs

# detector-mini's thresholds.
VIOLATED = 0.5


def repair(grice, rows, more):
    """What `grice repair` makes of rows, in order."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.jsonl"), Path(folder, "out.jsonl")
        turns = [{"context": row["context"], "evidence": row["evidence"], "response": row["response"]} for row in rows]
        source.write_text("".join(json.dumps(turn) + "\n" for turn in turns), encoding="utf-8")
        subprocess.run([grice, "--quiet", "repair", "--input", source, "--output", target, "--json", *more], check=True)
        return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]


def figures(rows, found):
    """By kind of violation: F1 of the words to the target before and after, and the share of seen violations that are gone."""
    kinds = collections.defaultdict(list)
    for row, out in zip(rows, found):
        wanted = [maxim for maxim in row["violations"] if maxim in REPAIRED]
        seen = any(out["before"][maxim] > VIOLATED for maxim in wanted)
        gone = not any(out["after"][maxim] > VIOLATED for maxim in wanted)
        figure = {"before": word_f1(row["response"], row["target"]), "after": word_f1(out["repaired"], row["target"]), "removed": gone if seen else None,
                  "dialogue": row.get("dialogue_id", row["context"])}
        for kind in {kind_of(row), kind_of(row).split("_")[0], "all"}:
            kinds[kind].append(figure)
    return kinds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grice", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", help="the model that repairs; the built-in one if left out")
    parser.add_argument("--detector", help="a bundle's folder; the built-in one if left out")
    parser.add_argument("--part", choices=["choose", "final", "train"], default="final")
    parser.add_argument("--turns", type=int, default=500, help="cooperative turns, of which the share that stays as it is counts")
    args = parser.parse_args()
    pairs = Pairs(args.data)
    more = [part for name in ("model", "detector") if getattr(args, name) for part in (f"--{name}", getattr(args, name))]
    rows = [{**row, "evidence": clean_evidence(row["evidence"]) or ""} for row in pairs.repairs[args.part]]
    for kind, part in sorted(figures(rows, repair(args.grice, rows, more)).items()):
        groups = [figure["dialogue"] for figure in part]
        gain = interval([figure["after"] - figure["before"] for figure in part], groups)
        removed = [figure["removed"] for figure in part if figure["removed"] is not None]
        means = [statistics.mean(figure[name] for figure in part) for name in ("before", "after")]
        print(f"{kind:15} rows {len(part):3}  F1 {means[0]:.3f} -> {means[1]:.3f} (gain {gain[0]:.3f}, {gain[1]:.3f} to {gain[2]:.3f})  "
              f"removed {sum(removed)} of {len(removed)}")
    turns = cooperative_turns(pairs, args.turns, 11)
    found = repair(args.grice, turns, more)
    same = sum(out["repaired"].split() == row["response"].split() for row, out in zip(turns, found))
    print(f"cooperative turns unchanged: {same} of {len(turns)}")


if __name__ == "__main__":
    main()
