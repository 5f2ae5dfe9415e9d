"""The stream of training examples: GriceBench-like turns with all four labels, and examples that answer one question.

Labels are numbers from 0 to 1, or None where nothing is known: a row that people found relevant may still be untrue.
"""
import collections
import math
import re
from dataclasses import replace

import data
import dialogues
import judgements
import measures
from generators import MAXIMS, Chooser, garble, persona, quality, quantity
from generators.common import sentences

QUANTITY, QUALITY, RELATION, MANNER = range(4)
# How often each kind of unit is drawn.
SHARES = {"stream": 30, "people": 14, "teacher": 26, "contradiction": 4, "evidence": 4, "garbled": 3, "quantity": 6, "length": 5}
# The share of everyday turns in what the generators make.
EVERYDAY = 0.5
# How often each question of the judged sets is drawn.
QUESTIONS = {
    "begin_v1/attribution": 7, "begin_v2/attribution": 8, "kg_audit/attribution": 7, "q2/consistency": 7, "qa_feedback/factual": 2.5, "begin_v1/on_topic": 6, "begin_v1/generic": 6,
    "begin_v2/generic": 1.5, "qa_feedback/redundant": 1.5, "qa_feedback/superfluous": 2, "qa_feedback/missing_info": 2, "qa_feedback/irrelevant": 0.5, "clarity/evades": 0.7,
    "clarity/general_or_partial": 0.3, "dbdc3/breakdown": 6, "conture/overall_impression": 2,
}


def only(**labels):
    """Four labels of which only the named ones are known."""
    return [labels.get(m) for m in MAXIMS]


class Mixture:
    """Draws units: one example, or two that differ only in what is wrong with one of them (the fine one first)."""

    def __init__(self, corpus, judged=(), pairs=None, seed=0, part="train", shares=None):
        self.corpus, self.part = corpus, part
        self.rng = Chooser(seed, part)
        self.stream = data.stream(corpus, seed + 1, part, everyday=EVERYDAY)
        self.shares = dict(shares or SHARES)
        self.source = corpus.topical["train"]
        self._people(judged)
        self.pairs = self._pairs(pairs) if pairs else []
        if not self.cells:
            self.shares.update(people=0, evidence=0, length=0)
        if not self.pairs:
            self.shares.update(teacher=0)

    def _people(self, judged):
        """Judged turns with all that was asked of them, filed by question and answer."""
        turns = {}
        for row in judged:
            found = turns.setdefault((row["context"], row["evidence"], row["response"]), judgements.example(row))
            if row["maxim"]:
                found.labels[MAXIMS.index(row["maxim"])] = int(row["violated"])
            elif row["set"] == "dbdc3":
                # A reply that breaks the dialogue down does mostly not fit what was said.
                found.labels[RELATION] = 0.85 if row["violated"] else 0.15
            elif row["violated"]:
                found.labels[RELATION] = 0.7
            else:
                found.labels[:] = [0.1, 0.1, 0.1, 0.1]
        self.cells, self.supported = collections.defaultdict(list), []
        for row in judged:
            example = turns[row["context"], row["evidence"], row["response"]]
            if judgements.name_of(row) in QUESTIONS:
                self.cells[judgements.name_of(row), bool(row["violated"])].append(example)
            if row["question"] in ("attribution", "consistency") and not row["violated"] and row["evidence"]:
                self.supported.append(example)
        self.evidences = [e.evidence for e in self.supported]
        # Questions to people who write an answer rather than chat: what is enough depends on what was asked.
        self.asked = sorted({r["context"] for r in judged if r["set"] in ("qa_feedback", "clarity") and r["context"]}) or [e.context for e in self.supported]
        self.questions = [q for q in QUESTIONS if (q, True) in self.cells or (q, False) in self.cells]

    def _pairs(self, path):
        rows = data.read_jsonl(path)
        held = {u for row in self.corpus.labelled["test"] for u in data.utterances(row["context"]) + (row["response"],) if len(u.split()) >= 6}
        relation, manner = dialogues.soft_labels(rows)
        out = []
        for row, r, m, scores in zip(rows, relation, manner, dialogues.scores(rows)):
            labels = only(relation=None if r != r else float(r), manner=None if m != m else float(m))
            if any(labels) and not held & set(data.utterances(row["context"]) + (row["response"],)):
                out.append(data.Example(row["context"], row.get("evidence", ""), row["response"], labels, row["kind"], "teacher", scores=tuple(float(s) for s in scores)))
        self.likelihoods = [e for e in out if e.scores[1] == e.scores[1]]
        return out

    def __iter__(self):
        kinds, weights = zip(*self.shares.items())
        while True:
            unit = getattr(self, "draw_" + self.rng.choices(kinds, weights)[0])()
            if unit:
                yield [self.varied(e) for e in unit]

    def turn(self):
        source = self.source if self.rng.chance(0.75) else self.corpus.gricebench if self.rng.chance(0.5) else self.corpus.everyday[self.part]
        while True:
            turn = self.rng.choice(source.turns)
            if turn.context and len(turn.response.split()) <= 60:
                return turn

    def pair(self, turn, fine, wrong, name, maxim, evidence="", context=None, rest=None):
        context = data.render(self.rng, turn.context if context is None else context, None, shorten=False)
        labels = lambda value: [value if m == maxim else rest if value == 0 else None for m in MAXIMS]
        unit = [data.Example(context, evidence, fine, labels(0), "none", name), data.Example(context, evidence, wrong, labels(1), name, name)]
        return unit if fine and wrong else None

    def draw_stream(self):
        return [next(self.stream)]

    def draw_teacher(self):
        """A scored pair, sometimes with evidence; what its words and its length tell is added to what the models said."""
        rng = self.rng
        # Those that the language model scored as well say more.
        example = rng.choice(self.likelihoods if self.likelihoods and rng.chance(0.6) else self.pairs)
        evidence, context = example.evidence, example.context
        if not evidence and self.evidences and rng.chance(0.15):
            evidence = rng.choice(self.evidences)
        # Both scores hang on the last words most; the earlier ones cost time.
        said = data.utterances(context)
        if len(said) > 1 and rng.chance(0.5):
            context = data.render(rng, said[-1:], True, shorten=False)
        labels = list(example.labels)
        if example.violation_type != "garbled":
            labels[QUANTITY] = measures.wrong_length(example.response, context)
            labels[QUALITY] = measures.unsupported(example.response, evidence) if evidence else None
        return [replace(example, context=context, evidence=evidence, labels=labels)]

    def beside_evidence(self, unit):
        """The same unit with evidence that it does not draw on; whether that bears it out is not known."""
        if not unit or not self.evidences or not self.rng.chance(0.25):
            return unit
        evidence = self.rng.choice(self.evidences)
        return [replace(e, evidence=evidence, labels=[None if i == QUALITY else v for i, v in enumerate(e.labels)]) for e in unit]

    def draw_people(self):
        """A fine and a violating answer to the same question, so that their order counts; one of them where there is no other."""
        name = self.rng.choices(self.questions, [QUESTIONS[q] for q in self.questions])[0]
        return [self.rng.choice(self.cells[name, answer]) for answer in (False, True) if (name, answer) in self.cells]

    def draw_contradiction(self):
        turn = self.turn()
        made = persona.own_words_denied(self.rng, turn) if self.rng.chance(0.45) else persona.said_again(self.rng, turn)
        if not made:
            return None
        context, fits, denied = made
        if self.rng.chance(0.3):
            # What the partner said of themselves, denied by the other.
            return self.pair(turn, turn.response, quality.denies_context(self.rng, turn) or "", "partner_denied", "quality")
        return self.pair(turn, fits, denied, "self_denied", "quality", context=context)

    def draw_evidence(self):
        example = self.rng.choice(self.supported)
        at = self.rng.random()
        if at < 0.3:
            other = self.rng.choice(self.evidences)
            wrong = replace(example, evidence=other, labels=only(quality=1), made_by="other_evidence")
            return [wrong] if other != example.evidence else None
        changed = self.corrupted(example.response, example.evidence)
        if not changed or changed == example.response:
            return None
        return [replace(example, labels=only(quality=0)), replace(example, response=changed, labels=only(quality=1), made_by="against_evidence")]

    def corrupted(self, text, evidence):
        """A supported response with one number, name or word exchanged, or turned into its opposite."""
        rng = self.rng
        kinds = ["word", "flip", "flip"] + (["number"] * 3 if quality.NUMBER.search(text) else [])
        kind = rng.choice(kinds)
        if kind == "number":
            return quality.changed_number(rng, text)
        if kind == "flip":
            return quality.flipped(rng, text) or persona.opposite(text)
        inside = {w for w in re.findall(r"[A-Za-z]{4,}", evidence)}
        hits = [m for m in re.finditer(r"[A-Za-z]{4,}", text) if m.group() in inside or m.group().capitalize() in inside]
        if not hits:
            return None
        at = rng.choice(hits)
        outside = [w for w in re.findall(r"[A-Za-z]{4,}", rng.choice(self.evidences)) if w not in inside and w[:1].isupper() == at.group()[:1].isupper()]
        return text[: at.start()] + rng.choice(outside) + text[at.end():] if outside else None

    def draw_garbled(self):
        turn = self.turn()
        wrong = self.rng.choice(garble.FUNCTIONS)(self.rng, turn)
        if not wrong or wrong == turn.response:
            return None
        unit = self.pair(turn, turn.response, wrong, "manner_garbled", "manner", rest=0)
        if self.rng.chance(0.35):
            unit = [replace(e, context="", labels=only(manner=e.labels[MANNER])) for e in unit]
        return self.beside_evidence(unit)

    def draw_quantity(self):
        rng, turn = self.rng, self.turn()
        if rng.chance(0.3):
            return self.brief()
        if rng.chance(0.4):
            wrong = quantity.said_before(rng, turn)
            return self.beside_evidence(self.pair(turn, turn.response, wrong or "", "said_before", "quantity", rest=0))
        if len(turn.response.split()) < 9:
            return None
        return self.beside_evidence(self.pair(turn, turn.response, quantity.dull(rng, turn), "dull", "quantity", rest=0))

    def brief(self):
        """A real reply to something longer: never clearly too little, but the likelier so the shorter it is."""
        turn = self.rng.choice(self.source.turns)
        if not turn.context or len(turn.context[-1].split()) < 12:
            return None
        context = data.render(self.rng, turn.context, None, shorten=False)
        unit = [data.Example(context, "", turn.response, only(quantity=measures.wrong_length(turn.response, context)), "brief", "brief")]
        return self.beside_evidence(unit) if len(turn.response.split()) <= 60 else None

    def draw_length(self):
        """A written answer to a question, right in length for what was asked, far too long, or a line to a long question."""
        rng = self.rng
        asked = rng.choice(self.asked)
        if rng.chance(0.7):
            asked = " ".join([asked] + rng.sample(self.evidences, min(3, len(self.evidences)))).split()
            asked = " ".join(asked[: rng.randint(25, 130)])
        length = round((20 + 0.5 * len(asked.split())) * math.exp(rng.uniform(-2, 1.8)))
        text = " ".join(rng.sample(self.evidences, min(8, len(self.evidences)))).split()
        text = sentences(" ".join(text[:length]).rstrip(",;: ") + ".")
        if length < 4 or len(" ".join(text).split()) < 0.8 * length:
            return None
        text = " ".join(text)
        return [data.Example(asked, "", text, only(quantity=measures.wrong_length(text, asked, 0.7)), "length", "length")]

    def varied(self, example):
        """The same example as others might write it; what a change leaves unknown is masked."""
        rng, labels = self.rng, example.labels
        context, response, evidence = example.context, example.response, example.evidence
        kind = example.violation_type
        fine = 1 not in labels and not any(v and v > 0.5 for v in labels)
        if rng.chance(0.35 if fine else 0.15):
            context, response, evidence = context.lower(), response.lower(), evidence.lower() if data.clean_evidence(evidence) else evidence
        if rng.chance(0.25 if fine else 0.12) and kind not in ("manner_runon", "quantity_under"):
            response = response.rstrip(".") if response.endswith(".") else response + "." if response[-1:].isalnum() else response
        if rng.chance(0.3):
            context = re.sub(r"\[agent_([12])\]:", lambda m: f"[agent_{3 - int(m.group(1))}]:", context)
        if evidence and data.clean_evidence(evidence):
            drop = 0.4 if not any(labels[i] is None or labels[i] for i in range(4)) else 0.12
            if example.made_by in ("against_evidence", "fact_contradicted", "other_evidence"):
                drop = 0
            if rng.chance(drop):
                evidence = ""
                if labels[QUALITY]:
                    labels = [None if i == QUALITY else v for i, v in enumerate(labels)]
        if rng.chance(0.1) and not data.clean_evidence(evidence):
            evidence = rng.choice(["FS1", "FS2", "AS1", "Personal Knowledge", ""])
        return replace(example, context=context, response=response, evidence=evidence, labels=labels)
