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
    "handwritten_second": "Hand-written dialogues by someone who had not seen the generators",
}
# What each question asks of the raters, and what other systems reach on the rows of the whole set (theirs are not the same rows).
ASKED = {
    "usr_topical": "USR, Topical-Chat", "usr_persona": "USR, PersonaChat", "abc_eval": "ABC-Eval", "grade": "GRADE", "dailydialogpp": "DailyDialog++", "begin_v1": "BEGIN, first version",
    "begin_v2": "BEGIN", "holistic": "Holistic evaluation (Pang et al.)", "fed": "FED", "kg_audit": "knowledge audit of grounded dialogues", "q2": "Q², Wizard of Wikipedia",
    "dialfact_small": "DialFact", "decode_200": "DECODE", "qa_feedback": "QA-Feedback", "quest": "StackExchange answers (QUEST)", "haluquestqa": "HaluQuestQA", "clarity": "CLARITY, interviews",
    "abg_coqa": "Abg-CoQA", "finedialfact": "FineDialFact", "prosecco": "PROSECCO", "dbdc3": "dialogue breakdown (DBDC3)", "conture": "ConTurE", "lm_pragmatics": "linguists' examples",
}
PUBLISHED = {
    "usr_topical/maintains_context": "UniEval (770 M) 0.830", "usr_topical/understandable": "UniEval (770 M) 0.787", "usr_topical/engaging": "UniEval (770 M) 0.857", "dialfact_small/verification": "a FEVER model 0.846",
    "begin_v2/attribution": "Granite Guardian 0.79", "q2/consistency": "Granite Guardian 0.87",
}
HEAD = """# detector-mini

This model reads one turn of a conversation (context, optional evidence, response). For each of Grice's four maxims
(quantity, quality, relation, manner) it returns the probability that the response violates the maxim. It is an encoder of 6 layers with one small head
per maxim on its first token. The shipped file holds int8 weights; grice multiplies them by activations rounded to int8 for each token.

## Intended use
Use it to check and compare replies of dialogue systems in English, to filter training data, and to try `grice` without a download. It
judges form and relevance far more than facts: it has no knowledge base. It is not a fact checker. Do not use it to judge people or to make
decisions about them.

## Sources
| part | source | licence |
|---|---|---|
| initial weights | `sentence-transformers/all-MiniLM-L6-v2`, vocabulary cut to {vocabulary} tokens, {positions} positions | Apache-2.0 |
| dialogues | Topical-Chat (Amazon), github.com/alexa/Topical-Chat, its valid and test splits | Community Data License Agreement – Sharing 1.0 |
| labelled turns, preference and repair pairs | the GriceBench repository | MIT / Apache-2.0 |
| judgements: attribution, relevance, generic replies | BEGIN (google/BEGIN-dataset), both versions | CC-BY-4.0 over Wizard of Wikipedia and CMU-DoG, CDLA-Sharing-1.0 over Topical-Chat |
| judgements: attribution | the knowledge audit “On the Origin of Hallucinations” (McGill-NLP/FaithDial) | MIT |
| judgements: consistency | Q² (orhonovich/q-squared) | MIT |
| judgements: spans of answers | QA-Feedback of Fine-Grained RLHF (allenai/FineGrainedRLHF) | Apache-2.0 |
| judgements: evasive and general answers | CLARITY (political interviews, QEvasion) | MIT |
| judgements: breakdowns, overall impression | DBDC3 (dialogue breakdown detection challenge); ConTurE (alexa/conture) | MIT; CC-BY-4.0 |
| soft labels for real and exchanged replies | similarity by all-MiniLM-L6-v2, log-probabilities by SmolLM2-135M-Instruct | Apache-2.0 |
| everyday questions and phrase banks | written for this project, `training/generators` | as the repository |

This model is derived from Topical-Chat: if you share data derived from it, follow the CDLA-Sharing terms. Named generators make new violations
for every batch, about two in three in GriceBench's style, the others in other words. `training/README.md` explains how to
train it again with one command.

{people}
## How the other sets were measured
Splits are by dialogue, never by row. The labelled rows of about a third of the GriceBench dialogues were held out, with every preference
and repair pair that shares an utterance with them. Generated sets use Topical-Chat dialogues that were not used in training. Every fifth phrase of
each bank is held out for the third set. The author of the generators wrote the hand-written set (`training/handwritten.jsonl`); it was not used in
training, but it is less independent than a set by someone else. Temperatures and biases were fitted on other Topical-Chat dialogues, on GriceBench rows reserved for model selection, and on rows that people judged fine.
No held-out row was used in training. However, the last selection, between two means of weights, used the hand-written rows, and earlier selections used the GriceBench rows of this table. Errors on the held-out and hand-written rows were inspected between attempts, and influenced the mix of training examples and the
rule for the biases. The figures are therefore slightly optimistic.
{protocol}
Intervals are 95 % bootstrap intervals over rows. All figures of these sets are for the shipped int8 file in ONNX Runtime, unless marked fp32.
"""


PEOPLE = """Raters answered one question about one reply. The detector's probability for the maxim of that question should be higher if they
saw a violation. AUC is how often it is higher, for a random violated and a random fine reply; 0.5 is chance level. The table uses {rows} rows from dialogues that were excluded from training and from the samples
for model selection (an earlier attempt was measured on them, and two of them led to the generator of long answers, so they are not fully untouched). Each question has at most 80 violated and 80 fine rows, judged by grice with the shipped file; intervals come from resampling whole dialogues. `length` and `absent words` (the share of the response's words that are not in
the evidence, or without evidence in the context) are scores without a model, larger for likelier violations; where they do better, a model is hardly needed. `found` and `flagged` are the shares of
violated and of fine replies above the threshold of 0.5. Training used only BEGIN, the knowledge audit, Q², QA-Feedback, CLARITY, DBDC3 and ConTurE (other dialogues of these sets); all
other sets are new to the model. Published figures are for all rows of a set, not for these rows.
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


def people(entry):
    """The table of what people judged, and what the figures mean."""
    before = entry.get("before", {"means": {}, "questions": {}})
    lines = ["## Agreement with people", PEOPLE.format(rows=entry["rows"]), f"| maxim | mean AUC, {before.get('version', 'before')} | mean AUC now | fp32, {entry['fp32']['rows']} of the rows | the shipped file, same rows |", "|---|---|---|---|---|"]
    for maxim in MAXIMS:
        lines.append(f"| {maxim} | {number(before['means'].get(maxim))} | {number(entry['means'][maxim])} | {number(entry['fp32']['means'][maxim])} | {number(entry['fp32']['int8_means'][maxim])} |")
    for counted, title in ((True, "Questions that count"), (False, "Other questions")):
        if not any(q["counted"] == counted for q in entry["questions"].values()):
            continue
        lines += ["", f"### {title}", "", f"| maxim | set and question | violated / fine | AUC | 95 % | {before.get('version', 'before')} | length | absent words | published | found | flagged |", "|---|---|---|---|---|---|---|---|---|---|---|"]
        for key, q in entry["questions"].items():
            if q["counted"] != counted:
                continue
            maxim, name = key.split(" ")
            low_high = f"[{q['interval'][0]:.2f}, {q['interval'][1]:.2f}]" if q.get("interval") else ""
            old, simple = before["questions"].get(key, {}).get("auc"), entry["simple"].get(key, {})
            name_text = f"{ASKED.get(name.split('/')[0], name.split('/')[0])}: {name.split('/')[1].replace('_', ' ')}"
            lines.append(f"| {maxim} | {name_text} | {q['violated']} / {q['fine']} | {number(q['auc'])} | {low_high} | {number(old)} | {number(simple.get('length'))} | {number(simple.get('absent'))} "
                         f"| {PUBLISHED.get(name, '')} | {q['found']:.2f} | {q['flagged']:.2f} |")
    return "\n".join(lines) + "\n"


def steady(entry):
    lines = [f"## Robustness\n{entry['rows']} cooperative rows that were not used in training; the share with the same four decisions after a change.\n", "| change | rows | same | changed |", "|---|---|---|---|"]
    for name, row in entry.items():
        if isinstance(row, dict) and "same" in row:
            lines.append(f"| {name} | {row['rows']} | {row['same']:.1%} | {', '.join(f'{m} {n}' for m, n in row['changed'].items()) or '–'} |")
    lines.append("\nFlagged unchanged: " + ", ".join(f"{m} {share:.1%}" for m, share in entry["flagged"].items()) + ".\n")
    return "\n".join(lines)


def card(metrics, notes=""):
    sets = metrics["sets"]
    text = HEAD.format(vocabulary=metrics["vocabulary"], positions=metrics["positions"], protocol=metrics.get("protocol", ""),
                       people=people(metrics["people"]) if "people" in metrics else "")
    text += "\n" + summary(sets) + "\n\n" + "\n\n".join(section(name, entry) for name, entry in sets.items())
    if "stability" in metrics:
        text += "\n\n" + steady(metrics["stability"])
    text += "\n\n## Calibration\n| maxim | temperature | bias folded into the head |\n|---|---|---|\n"
    text += "\n".join(f"| {m} | {metrics['temperatures'][m]:.3f} | {metrics['biases_folded'][m]:+.2f} |" for m in MAXIMS)
    text += "\n\nThe threshold is 0.5 for every maxim.\n\n## Known failures\nReal rows of the sets above with wrong verdicts:\n\n"
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
