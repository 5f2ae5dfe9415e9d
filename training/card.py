"""Renders the model card of the mini detector from the figures that export_mini.py wrote.

    python training/card.py --out DIR --card models/detector-mini/README.md
"""
import argparse
import json
from pathlib import Path

MAXIMS = ("quantity", "quality", "relation", "manner")
SETS = {
    "gricebench_held_out": "GriceBench, labelled rows of held-out dialogues",
    "generated_held_out": "Generated in GriceBench's manner on held-out Topical-Chat dialogues",
    "unseen_phrasings": "Generated with phrasings that training never uses",
    "handwritten": "Hand-written dialogues",
}
HEAD = """# detector-mini

Reads one turn of a conversation (context, evidence if there is any, response) and gives for each of Grice's four maxims
(quantity, quality, relation, manner) the probability that the response violates it. An encoder of 6 layers with one small head
per maxim on its first token; the shipped file holds int8 weights, which grice multiplies by activations rounded to int8 token by token.

## What it is for
Checking and comparing replies of dialogue systems in English, filtering training data, and trying out `grice` without a download. It
looks at form and fit far more than at facts: it has no knowledge base. It is not a fact checker, not a judge of people, and
not fit for decisions about them.

## What it was made from
| part | source | licence |
|---|---|---|
| initial weights | `sentence-transformers/all-MiniLM-L6-v2`, vocabulary cut to {vocabulary} tokens, {positions} positions | Apache-2.0 |
| dialogues | Topical-Chat (Amazon), github.com/alexa/Topical-Chat, its valid and test splits | Community Data License Agreement – Sharing 1.0 |
| labelled turns, preference and repair pairs | the GriceBench repository | MIT / Apache-2.0 |
| everyday questions and phrase banks | written for this project, `training/generators` | as the repository |

This model is derived from Topical-Chat: whoever passes on data derived from it keeps the CDLA-Sharing terms in mind. Violations are made
afresh for every batch by named generators, about two in three in GriceBench's manner, the others in other words. `training/README.md` says how to
train it again with one command.

## How it was measured
Split by dialogue, never by row. The labelled rows of about a third of the GriceBench dialogues were held out, with every preference
and repair pair that shares an utterance with them. Generated sets use Topical-Chat dialogues that training never saw. Every fifth phrase of
each bank is held out for the third set. The hand-written set (`training/handwritten.jsonl`) was written by the author of the generators and never
trained on, so it is less independent than a stranger's would be. Temperatures and biases were fitted on yet other Topical-Chat dialogues.
No held-out row was trained on, but errors on the held-out and hand-written rows were looked at between attempts, and the mix of training examples and the
rule for the biases were chosen with them in view: the figures lean a little to the good side.
{protocol}
Intervals are 95 % bootstrap intervals over rows. All figures are of the shipped int8 file by ONNX Runtime unless they say fp32.
"""


def number(value, digits=3):
    return "–" if value is None else f"{value:.{digits}f}"


def interval(pair):
    return f"[{pair[0]:.3f}, {pair[1]:.3f}]" if pair else ""


def summary(sets):
    lines = ["| set | rows | macro F1 | 95 % | all four right | macro F1 fp32 | same decisions int8/fp32 |", "|---|---|---|---|---|---|---|"]
    for name, entry in sets.items():
        lines.append(f"| {SETS.get(name, name)} | {entry['rows']} | {number(entry['macro_f1'])} | {interval(entry.get('macro_f1_95'))} | {number(entry['exact_match'])} | "
                     f"{number(entry['fp32_macro_f1'])} | {entry['int8_same_decisions']:.2%} |")
    return "\n".join(lines)


def section(name, entry):
    lines = [f"### {SETS.get(name, name)}", "", "| maxim | violated | precision | recall | F1 | 95 % | AUC | ECE | false alarms |", "|---|---|---|---|---|---|---|---|---|"]
    for maxim in MAXIMS:
        m = entry["maxims"][maxim]
        few = m["f1"] is None
        show = lambda key: "–" if few else number(m[key])
        lines.append(f"| {maxim} | {m['positives']} | {show('precision')} | {show('recall')} | {show('f1')} | {interval(m.get('f1_95'))} | {show('auc')} | {number(m['ece'])} | {m['false_alarms']} |")
    if entry["too_few"]:
        lines += ["", f"Too few violations of {', '.join(entry['too_few'])} in this set for an F1; the macro F1 is over the other maxims."]
    lines += ["", "| violation type | rows | all four right | missed | false alarms |", "|---|---|---|---|---|"]
    listed = lambda d: ", ".join(f"{k} {v}" for k, v in d.items()) or "–"
    for kind, row in entry["by_type"].items():
        lines.append(f"| {kind} | {row['rows']} | {number(row['exact'])} | {listed(row['missed'])} | {listed(row['false_alarms'])} |")
    return "\n".join(lines)


def failures(entry, most=5):
    lines = []
    for row in entry.get("failures", [])[:most]:
        clean = lambda t: t.replace("\n", " ").replace("|", "/")
        lines.append(f"- `{row['violation_type']}`, said {row['said'] or 'nothing'}: “{clean(row['context'][-90:])}” → “{clean(row['response'][:160])}”")
    return "\n".join(lines)


def card(metrics, notes=""):
    sets = metrics["sets"]
    text = HEAD.format(vocabulary=metrics["vocabulary"], positions=metrics["positions"], protocol=metrics.get("protocol", ""))
    text += "\n" + summary(sets) + "\n\n" + "\n\n".join(section(name, entry) for name, entry in sets.items())
    text += "\n\n## Calibration\n| maxim | temperature | bias folded into the head |\n|---|---|---|\n"
    text += "\n".join(f"| {m} | {metrics['temperatures'][m]:.3f} | {metrics['biases_folded'][m]:+.2f} |" for m in MAXIMS)
    text += "\n\nThe threshold is 0.5 for every maxim.\n\n## Failures seen\nReal rows of the sets above that it gets wrong:\n\n"
    text += "\n".join(failures(entry) for entry in sets.values() if entry.get("failures"))
    text += "\n\n## Limits\n" + (notes or "") + "\n"
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="the folder that train.py wrote")
    parser.add_argument("--card", required=True)
    parser.add_argument("--notes", type=Path, help="a Markdown file with the limits")
    arguments = parser.parse_args()
    figures = json.loads((Path(arguments.out) / "metrics.json").read_text())
    Path(arguments.card).write_text(card(figures, arguments.notes.read_text() if arguments.notes else ""), encoding="utf-8")
