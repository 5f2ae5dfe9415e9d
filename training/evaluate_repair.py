"""Figures of a repair model as grice runs it: word F1, violations removed, degenerate texts, cooperative turns left alone.

    python training/evaluate_repair.py --grice target/release/grice --model models/repair-mini --data DIR --part final

A repair counts twice: as the model writes it, and behind the gate of the pipeline, which takes it only if the detector's
worst probability falls and no maxim is violated that was not before.
"""
import argparse
import collections
import json
import random
import re
import subprocess
import tempfile
from pathlib import Path

from tokenizers import Tokenizer

from data import clean_evidence, utterances
from generators import MAXIMS, Chooser
from repair_pairs import RECIPES, REPAIRED, TEMPLATES, Pairs, word_f1, words

SOURCE_TOKENS = RECIPES["manner"]["source_tokens"]
# What `grice generate` gets for each maxim.
OPTIONS = {maxim: ["--max-new-tokens", str(RECIPES[maxim]["max_new_tokens"]), "--temperature", "0"] for maxim in REPAIRED}


def prompt_of(tokenizer, task, context, evidence, response, limit=SOURCE_TOKENS):
    """A filled template with the last three turns, their beginning cut off so that the prompt has at most `limit` tokens."""
    turns = list(utterances(context))
    starts = [m.start() for m in re.finditer(r"\[agent_[12]\]:", context)]
    if len(turns) > 3 and len(starts) >= len(turns):
        context = context[starts[-3]:]
    fill = lambda c: TEMPLATES[task].format(context=c, evidence=evidence, response=response)
    count = lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
    while context and (over := count(fill(context)) - limit) > 0:
        offsets = tokenizer.encode(context, add_special_tokens=False).offsets
        context = context[offsets[over][0]:] if over < len(offsets) else ""
    return fill(context)


class Grice:
    """The program, on files."""

    def __init__(self, program, model, threads=None, precision=None):
        self.program, self.model = program, model
        self.more = (["--threads", str(threads)] if threads else [])
        self.precision = ["--precision", precision] if precision else []

    def _run(self, command, rows, *options):
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.jsonl"), Path(folder, "out.jsonl")
            source.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
            subprocess.run([self.program, command, "--input", source, "--output", target, "-q", *self.more, *options], check=True)
            return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]

    def detect(self, rows):
        """Probabilities of the four maxims and which are violated, by row."""
        asked = [{"context": r["context"], "evidence": r["evidence"], "response": r["response"]} for r in rows]
        return [(row["probabilities"], row["violations"]) for row in self._run("detect", asked)]

    def write(self, prompts, options):
        rows = self._run("generate", [{"prompt": p} for p in prompts], "--model", str(self.model), *self.precision, *options) if prompts else []
        return [row.get("generated", "").strip() for row in rows]


def degenerate(text, response):
    """Empty, bursts of punctuation or of one word, phrases three times over, or far longer than what it repairs."""
    found = words(text)
    trigrams = collections.Counter(zip(found, found[1:], found[2:]))
    source = words(response)
    old = collections.Counter(zip(source, source[1:], source[2:]))
    burst = re.search(r"([^\w\s])\1{4,}|(\b\w+\b)(?:\W+\2\b){3,}", text)
    return bool(not found or (burst and burst.group() not in response) or any(n >= 3 and n > old[t] for t, n in trigrams.items()) or len(found) > max(70, 2 * len(source)))


def accepted(before, after):
    """Whether the pipeline takes a repair."""
    return max(after[0].values()) < max(before[0].values()) and all(before[1][m] or not after[1][m] for m in MAXIMS)


def kind_of(row):
    """The group a repair pair is reported in."""
    if len(row["violations"]) > 1:
        return "multiple"
    if row["violations"][0] == "quantity":
        return "quantity_under" if len(row["response"].split()) < len(row["target"].split()) else "quantity_over"
    return row["violations"][0]


def interval(values, groups, seed=0, rounds=1000):
    """Mean and the 95 % interval by resampling whole dialogues."""
    by = collections.defaultdict(list)
    for value, group in zip(values, groups):
        by[group].append(value)
    rng, parts = random.Random(seed), list(by.values())
    means = []
    for _ in range(rounds):
        drawn = [v for part in rng.choices(parts, k=len(parts)) for v in part]
        means.append(sum(drawn) / len(drawn))
    means.sort()
    return [round(sum(values) / len(values), 4), round(means[int(0.025 * rounds)], 4), round(means[int(0.975 * rounds)], 4)]


def repaired(grice, tokenizer, rows, recipes):
    """The texts of rows after a repair of each of their violations in turn."""
    texts = [row["response"] for row in rows]
    for maxim in REPAIRED:
        at = [i for i, row in enumerate(rows) if maxim in row["violations"]]
        prompts = [prompt_of(tokenizer, maxim, rows[i]["context"], rows[i]["evidence"], texts[i]) for i in at]
        for i, text in zip(at, grice.write(prompts, recipes[maxim])):
            texts[i] = text
    return texts


def judged(grice, rows, texts):
    return grice.detect([{**row, "response": text or "."} for row, text in zip(rows, texts)]) if rows else []


def tried(grice, tokenizer, rows, recipes, before, texts, after, tries):
    """What the gate takes of the first texts, and where it takes none, of `tries` drawn ones: `(text, verdict)` or None by row."""
    taken = lambda i, text, a: (text, a) if not degenerate(text, rows[i]["response"]) and accepted(before[i], a) else None
    out = [taken(i, text, a) for i, (text, a) in enumerate(zip(texts, after))]
    for seed in range(1, tries + 1):
        open_ = [i for i, o in enumerate(out) if o is None]
        part = [rows[i] for i in open_]
        drawn = repaired(grice, tokenizer, part, {m: r[:2] + ["--temperature", "0.8", "--top-p", "0.95", "--seed", str(seed)] for m, r in recipes.items()}) if part else []
        for i, text, a in zip(open_, drawn, judged(grice, part, drawn)):
            out[i] = taken(i, text, a)
    return out


def pair_figures(grice, tokenizer, rows, recipes, tries=0):
    texts = repaired(grice, tokenizer, rows, recipes)
    before, after = grice.detect(rows), judged(grice, rows, texts)
    kept = tried(grice, tokenizer, rows, recipes, before, texts, after, tries)
    found = []
    for row, text, b, a, k in zip(rows, texts, before, after, kept):
        bad = degenerate(text, row["response"])
        gated = k[0] if k else row["response"]
        flagged = any(b[1][m] for m in row["violations"])
        found.append({"kind": kind_of(row), "dialogue": row.get("dialogue_id", row["context"]), "response": row["response"], "target": row["target"], "text": text, "gated": k is not None, "final": gated,
                      "before": word_f1(row["response"], row["target"]), "after": word_f1(text, row["target"]), "after_gate": word_f1(gated, row["target"]), "degenerate": bad,
                      "flagged": flagged, "removed": not any(a[1][m] for m in row["violations"]),
                      "removed_gate": k is not None and not any(k[1][1][m] for m in row["violations"]), "p": [round(b[0][row["violations"][0]], 3), round(a[0][row["violations"][0]], 3)]})
    return found


def summary(found):
    out = {}
    for kind in ("quantity_over", "quantity_under", "quantity", "quality", "manner", "multiple", "all"):
        rows = [f for f in found if kind == "all" or f["kind"].startswith(kind)]
        if not rows:
            continue
        mean = lambda field, rows: interval([float(r[field]) for r in rows], [r["dialogue"] for r in rows]) if rows else None
        flagged = [r for r in rows if r["flagged"]]
        out[kind] = {"rows": len(rows), "flagged": len(flagged), **{f: mean(f, rows) for f in ("before", "after", "after_gate", "degenerate", "gated")},
                     "gain": interval([r["after"] - r["before"] for r in rows], [r["dialogue"] for r in rows]),
                     "gain_gate": interval([r["after_gate"] - r["before"] for r in rows], [r["dialogue"] for r in rows]), "removed": mean("removed", flagged), "removed_gate": mean("removed_gate", flagged)}
    return out


def cooperative_turns(pairs, count, seed):
    """Turns of dialogues that no training saw: half Topical-Chat's, half GriceBench's."""
    rng = Chooser(seed)
    rows = [{"context": " ".join(f"[agent_{i % 2 + 1}]: {t}" for i, t in enumerate(turn.context)), "evidence": "", "response": turn.response}
            for turn in rng.sample([t for t in pairs.corpus.topical["test"].turns if t.context and 5 <= len(t.response.split()) <= 60], count // 2)]
    held = [{"context": r["context"], "evidence": clean_evidence(r["evidence"]) or "", "response": r["chosen"].strip()} for r in rng.sample(pairs.held_cooperative, count - count // 2)]
    return rows + held


def harm_figures(grice, tokenizer, rows, recipes):
    """Shares of cooperative turns that stay as they are: in the pipeline (repaired only where flagged, behind the gate), and if each is repaired for a maxim all the same."""
    before = grice.detect(rows)
    texts = [row["response"] for row in rows]
    for maxim in REPAIRED:
        at = [i for i in range(len(rows)) if before[i][1][maxim]]
        written = grice.write([prompt_of(tokenizer, maxim, rows[i]["context"], rows[i]["evidence"], texts[i]) for i in at], recipes[maxim])
        after = grice.detect([{**rows[i], "response": text or "."} for i, text in zip(at, written)]) if at else []
        for i, text, a in zip(at, written, after):
            if not degenerate(text, rows[i]["response"]) and accepted(before[i], a):
                texts[i], before[i] = text, a
    same = lambda a, b: a.split() == b.split()
    out = {"rows": len(rows), "flagged": sum(any(b[1][m] for m in REPAIRED) for b in grice.detect(rows)), "unchanged": sum(same(t, r["response"]) for t, r in zip(texts, rows)) / len(rows)}
    changed = [(r["response"], t) for t, r in zip(texts, rows) if not same(t, r["response"])]
    for k, maxim in enumerate(REPAIRED):
        part = rows[k::len(REPAIRED)]
        written = grice.write([prompt_of(tokenizer, maxim, r["context"], r["evidence"], r["response"]) for r in part], recipes[maxim])
        out["forced_" + maxim] = sum(same(t, r["response"]) for t, r in zip(written, part)) / len(part)
        changed += [(maxim, r["response"], t) for t, r in zip(written, part) if not same(t, r["response"])][:15]
    return out, changed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grice", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", choices=["choose", "final", "train"], default="choose")
    parser.add_argument("--turns", type=int, default=500, help="cooperative turns for the harmlessness figure")
    parser.add_argument("--tries", type=int, default=0, help="how often a text is drawn again (temperature 0.8, top-p 0.95) where the gate takes none")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--precision")
    parser.add_argument("--recipes", type=Path, help="JSON: options of `grice generate` by maxim")
    parser.add_argument("--json", type=Path, help="where all rows and figures go")
    args = parser.parse_args()
    pairs = Pairs(args.data)
    grice, tokenizer = Grice(args.grice, args.model, args.threads, args.precision), Tokenizer.from_file(str(args.model / "tokenizer.json"))
    recipes = {**OPTIONS, **(json.loads(args.recipes.read_text(encoding="utf-8")) if args.recipes else {})}
    rows = [{**r, "evidence": clean_evidence(r["evidence"]) or ""} for r in pairs.repairs[args.part]]
    found = pair_figures(grice, tokenizer, rows, recipes, args.tries)
    report = {"part": args.part, "pairs": summary(found)}
    if args.turns:
        report["harm"], report["changed"] = harm_figures(grice, tokenizer, cooperative_turns(pairs, args.turns, 11), recipes)
    for kind, f in report["pairs"].items():
        print(f"{kind:15} n {f['rows']:3}  F1 {f['before'][0]:.3f} -> {f['after'][0]:.3f} (gate {f['after_gate'][0]:.3f})  flagged {f['flagged']:3} removed {f['removed'] and f['removed'][0]} "
              f"(gate {f['removed_gate'] and f['removed_gate'][0]})  taken {f['gated'][0]}  degenerate {f['degenerate'][0]}")
    print(json.dumps(report.get("harm")))
    if args.json:
        args.json.write_text(json.dumps({**report, "all": found}, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
