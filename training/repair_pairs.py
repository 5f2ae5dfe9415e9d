"""Pairs that teach a small model to repair a response and to answer: what was said, and what should have been said."""
import re
from dataclasses import dataclass, replace
from pathlib import Path

from data import Corpus, Source, Pool, clean_evidence, fraction, infer_type, normal, read_jsonl, render, utterances
from generators import Chooser, everyday, garble, manner, quality, quantity
from generators.common import capital, lower_first, sentences, strip_end

REPAIRED = ("quantity", "quality", "manner")
TEMPLATES = {maxim: f"fix {maxim}: [CONTEXT] {{context}} [EVIDENCE] {{evidence}} [RESPONSE] {{response}} [REPAIR]" for maxim in REPAIRED}
TEMPLATES["answer"] = "answer: [CONTEXT] {context} [EVIDENCE] {evidence} [RESPONSE]"
# How grice fills and decodes them; a penalty for repetition would punish copying, so there is none.
RECIPES = {task: {"template": template, "max_new_tokens": 96, "source_tokens": 256} for task, template in TEMPLATES.items()}
for task in REPAIRED:
    # Most of a repair stands in the response, so guesses from it save passes and change no text.
    RECIPES[task] |= {"retries": 3, "draft": 8}
# Without it manner loses more words than it mends (models/repair-mini/README.md).
RECIPES["manner"]["min_word_f1"] = 0.9
RECIPES["answer"] |= {"retries": 1, "max_new_tokens": 48, "min_new_tokens": 5, "no_repeat_ngram": 3}


@dataclass(frozen=True)
class Pair:
    """A prompt's parts and the text that should follow it; `task` is a maxim or "answer"."""

    task: str
    context: str
    evidence: str
    response: str
    target: str
    kind: str

    def prompt(self):
        return TEMPLATES[self.task].format(context=self.context, evidence=self.evidence, response=self.response)


def words(text):
    return re.findall(r"\w+(?:['’]\w+)*", text.lower())


# Violations that the detector's generators lack, or for which they do not say what is right.
VERBS = ["liked", "loved", "enjoyed", "hated", "disliked", "adored", "preferred", "missed", "expected", "recommended"]
DEGREES = ["a lot", "very much", "a great deal", "quite a bit", "so much"]
REASONS = ["The acting was great.", "The people were kind.", "It was over too soon.", "The ending surprised me.", "It felt a bit long, though.", "I would go again.", "The music was perfect.",
           "It made me laugh.", "I learned something new.", "It was worth the money.", "My sister did too.", "The first half is slow, but the end makes up for it."]


def opinion_repeated(rng, turn):
    """One opinion said up to four times, the last in the passive voice; returns (context, response, target)."""
    thing, verb, degree = rng.bank(quantity.THINGS), rng.bank(VERBS), rng.bank(DEGREES)
    question = rng.choice(["What did you think of {x}?", "How was {x}?", "How did you like {x}?", "Did you like {x}?", "Any thoughts on {x}?", "Tell me about {x}."]).format(x=thing)
    subject = rng.choice(["I", "I", "I", "We"])
    short, full = f"{subject} {verb} it.", f"{subject} {verb} it {degree}."
    thing = thing.replace("your ", "my ")
    passive = f"{rng.choice(quantity.LINKS)}{thing} was {verb} by {'me' if subject == 'I' else 'us'} {rng.choice([degree, degree, ''])}".strip() + "."
    summary = capital(rng.bank(quantity.RESTATE).format(s=lower_first(strip_end(full))))
    reason = rng.bank(REASONS) if rng.chance(0.6) else ""
    before = [short, full] if not reason or rng.chance(0.5) else [full]
    after = [passive] if rng.chance(0.6) else [summary] if rng.chance(0.5) else [passive, summary]
    said = [*before, reason] if reason and rng.chance(0.7) else before
    target = [*before, reason] if reason else before
    return (question,), " ".join(said + after + ([reason] if reason and said is before else [])), " ".join(target)


SWAPS = {"movie": "film", "film": "movie", "great": "very good", "good": "nice", "like": "enjoy", "liked": "enjoyed", "love": "really like", "think": "believe", "big": "large", "funny": "amusing",
         "crazy": "wild", "cool": "neat", "interesting": "fascinating", "know": "am aware", "people": "folks", "really": "truly", "kids": "children", "amazing": "astonishing", "a lot of": "many",
         "many": "a lot of", "started": "began", "use": "make use of", "show": "series", "wow": "oh", "because": "since", "sure": "certain", "guess": "suppose", "heard": "was told", "sad": "unhappy"}


def reworded(rng, turn):
    """A sentence, and the same again with a few other words."""
    parts = sentences(turn.response)
    longer = [i for i, p in enumerate(parts) if len(p.split()) >= 4 and not p.endswith("?")]
    if not longer:
        return None
    at = rng.choice(longer)
    text = lower_first(strip_end(parts[at]))
    for old, new in SWAPS.items():
        if rng.chance(0.8):
            text = re.sub(rf"\b{old}\b", new, text)
    if rng.chance(0.3) and " because " in text:
        first, _, second = text.partition(" because ")
        text = f"because {second}, {first}"
    link = rng.choice(quantity.LINKS + ["", "", "I mean, ", "Again, ", "That means that ", "So ", "Or rather, "])
    again = capital(link + text) + "."
    parts.insert(at + 1 if rng.chance(0.6) else len(parts), again)
    return " ".join(parts)


def repeated_plainly(rng, turn):
    """Sentences said twice, with or without a summary."""
    parts = sentences(turn.response)
    if not parts or len(parts[0].split()) < 3:
        return None
    out = list(parts)
    for _ in range(rng.choice([1, 1, 2, 3])):
        again = rng.choice(parts)
        out.insert(rng.randint(out.index(again) + 1, len(out)), again if rng.chance(0.5) else f"{rng.choice(quantity.LINKS)}{again.lower()}")
    return " ".join(out)


LOST = re.compile(r"\b[A-Z][A-Za-z]*(?:['’][a-z]+)?\b")


def lost_names(rng, turn):
    """Capitalised words, the first one and "I've" among them, replaced by a pronoun."""
    hits = [m for m in LOST.finditer(turn.response) if m.group() not in ("I",)]
    if not hits:
        return None
    known = " ".join(turn.context)
    better = [m for m in hits if m.group() in known or "'" in m.group()]
    pool = better if better and rng.chance(0.6) else hits
    text = turn.response
    for m in sorted(rng.sample(pool, min(len(pool), rng.choice([1, 1, 1, 2, 3]))), key=lambda m: -m.start()):
        text = text[: m.start()] + rng.choice(manner.PRONOUNS) + text[m.end():]
    return text


def glued(rng, turn):
    """Sentences run together by the detector's second generator, without those of other turns."""
    return manner.run_on_natural(rng, replace(turn, pool=None))


def supported(function):
    """A generator of claims, only where the response itself is still there."""
    def made(rng, turn):
        text = function(rng, turn)
        return text if text and set(words(turn.response)) <= set(words(text)) else None
    made.__name__ = function.__name__
    return made


OVER = [(3, quantity.repeats_itself), (2, quantity.restates), (1, quantity.rambles), (0.7, quantity.everything_at_once), (2, reworded), (2, repeated_plainly), (1.2, opinion_repeated)]
UNDER = [(2, quantity.stub), (1, quantity.empty_answer), (1, quantity.first_words), (0.5, quantity.dull)]
CLAIMED = [(3, supported(quality.inserted_claim)), (3, supported(quality.invented_support))]
DENIED = [(2, quality.against_evidence), (2, everyday.fact_contradicted), (1, quality.contradicts_itself), (0.7, everyday.denied_statement), (1, quality.altered_number)]
UNCLEAR = [(3, manner.jargon_words), (2.5, manner.jargon_broad), (1, manner.random_pronouns), (3, lost_names), (3, manner.run_on), (1.5, glued), (0.3, manner.shuffled),
           (0.5, garble.doubled_words), (0.2, garble.wrong_forms)]
GROUPS = {"over": ("quantity", OVER), "under": ("quantity", UNDER), "claimed": ("quality", CLAIMED), "denied": ("quality", DENIED), "unclear": ("manner", UNCLEAR)}
SHARES = {"over": 0.15, "under": 0.03, "claimed": 0.14, "denied": 0.06, "unclear": 0.28, "same": 0.29, "answer": 0.05}
REAL = 0.42


def known_number(wrong, right, support):
    """Whether what was changed back into `right` can be read off the context or the evidence."""
    return all(n in support for n in set(re.findall(r"\d[\d,.]*\d|\d", right)) - set(re.findall(r"\d[\d,.]*\d|\d", wrong)))


def drawn(rng, table):
    weights, functions = zip(*table)
    return rng.choices(functions, weights)[0]


class Pairs:
    """Endless pairs from the training part of all data, and fixed rows for choosing and for the figures.

    GriceBench's repair pairs are split by groups of linked dialogues: half trains, a fifth is for choices, the rest for the figures.
    """

    def __init__(self, folder):
        folder = Path(folder)
        self.corpus = Corpus(folder, everything=False)
        repairs = read_jsonl(folder / "gricebench_repair_pairs.jsonl")
        preferences = read_jsonl(folder / "gricebench_preference_pairs.jsonl")
        labelled = read_jsonl(folder / "gricebench_labelled.jsonl")
        group = Corpus._groups(labelled, repairs, preferences)
        part = lambda kind, i: self.part_of(group[kind, i])
        held = {group["r", i] for i in range(len(repairs)) if part("r", i) != "train"}
        self.repairs = {name: [row for i, row in enumerate(repairs) if part("r", i) == name] for name in ("train", "choose", "final")}
        self.real, base, dialogues = [], {}, {}
        for i, row in enumerate(repairs):
            if part("r", i) == "train":
                self.real += [self.real_pair(row, row["violations"][0], row["target"], "row")] * 4 if len(row["violations"]) == 1 else []
                Corpus._add(base, _Lists(dialogues), row["context"], row["target"], row["evidence"], group["r", i])
        for kind, rows, right in (("l", labelled, "original_response"), ("p", preferences, "chosen")):
            for i, row in enumerate(rows):
                if group[kind, i] in held or not row.get(right):
                    continue
                wrong = row.get("rejected", row.get("response"))
                found = infer_type(row[right].strip(), wrong.strip()) if kind == "p" else (row["violation_type"], None)
                maxim = found and found[0].split("_")[0]
                guess = found and found[0] == "quality_contradiction" and not known_number(wrong, row[right], row["context"] + row["evidence"])
                if maxim in REPAIRED and not guess:
                    self.real.append(self.real_pair({**row, "response": wrong}, maxim, row[right], found[0]))
                Corpus._add(base, _Lists(dialogues), row["context"], row[right], row["evidence"], group[kind, i])
        self.held_cooperative = [row for i, row in enumerate(preferences) if group["p", i] in held]
        self.gricebench = Source(list(base.values()), Pool(dialogues))
        self.sources = [(0.35, self.gricebench), (0.45, self.corpus.topical["train"]), (0.20, self.corpus.everyday["train"])]

    @staticmethod
    def part_of(group):
        at = fraction("repair" + group)
        return "train" if at < 0.5 else "choose" if at < 0.7 else "final"

    @staticmethod
    def real_pair(row, maxim, target, kind):
        return Pair(maxim, row["context"], clean_evidence(row["evidence"]) or "", row["response"].strip(), target.strip(), kind)

    def shortened(self, rng, context, task):
        """The end of the context, as much as the task needs: deleting needs little, answering more; sometimes all of it."""
        turns = list(utterances(context)) or [context]
        needed = rng.choice([2, 2, 3]) if task in ("under", "answer") else rng.choice([1, 1, 2])
        longest = 450 if rng.chance(0.15) else 240 if task in ("under", "answer") else 140
        return render(rng, turns[-needed:], None if len(turns) == 1 else True, shorten=False).strip()[-longest:]

    def evidence(self, rng, source):
        return source.pool.fact(rng) if rng.chance(0.08) and source.pool.facts else ""

    def stream(self, seed):
        rng = Chooser(seed, "train")
        kinds, weights = zip(*SHARES.items())
        while True:
            pair = self.real_drawn(rng) if rng.chance(REAL) else self.made(rng, rng.choices(kinds, weights)[0])
            if pair and pair.target and pair.response != "" and len(pair.response.split()) <= 120 and len(pair.target.split()) <= 70:
                yield pair

    def real_drawn(self, rng):
        pair = rng.choice(self.real)
        # The right order of sentences can seldom be told: most shuffled rows teach to copy.
        if rng.chance(0.8 if pair.kind == "manner_shuffled" else 0.2):
            return replace(pair, context=self.shortened(rng, pair.context, "over"), response=pair.target, kind="same")
        under = pair.kind == "quantity_under"
        if under and rng.chance(0.8):
            return None
        return replace(pair, context=self.shortened(rng, pair.context, "under" if under else "over"))

    def made(self, rng, name):
        source = rng.choices([s for _, s in self.sources], [w for w, _ in self.sources])[0]
        turn = rng.choice(source.named if name == "unclear" and rng.chance(0.5) else source.numbered if name == "denied" and source.numbered and rng.chance(0.5) else source.turns)
        if not 3 <= len(turn.response.split()) <= 60:
            return None
        evidence = clean_evidence(turn.evidence) or self.evidence(rng, source)
        context = self.shortened(rng, " ".join(f"[agent_{i % 2 + 1}]: {t}" for i, t in enumerate(turn.context)), name) if turn.context else ""
        if name == "answer":
            return Pair("answer", context, evidence, "-", turn.response, name) if len(turn.response.split()) >= 5 else None
        if name == "same":
            return Pair(rng.choices(REPAIRED, (2, 3, 4))[0], context, evidence, turn.response, turn.response, name)
        task, table = GROUPS[name]
        if name == "under" and len(turn.response.split()) < 8:
            return None
        function = drawn(rng, table)
        made = function(rng, turn)
        if not made:
            return None
        return self.finished(rng, turn, task, name, function.__name__, made, context, evidence)

    def finished(self, rng, turn, task, name, kind, made, context, evidence):
        """A pair of what a generator made: text alone, or a tuple with a context of its own and what is right."""
        target = turn.response
        if isinstance(made, tuple):
            turns, text, target = made if len(made) == 3 and kind == "opinion_repeated" else (made[0], made[1], made[3] if len(made) > 3 else "")
            evidence = made[2] if len(made) > 3 else ""
            context = render(rng, turns, rng.chance(0.4), shorten=False)
        else:
            text = made
        if kind == "altered_number" and not known_number(text, target, context + " " + evidence):
            return None
        if name in ("over", "claimed") and rng.chance(0.06) and kind != "opinion_repeated":
            # Something else is wrong too, and stays: only the named maxim is repaired.
            other = manner.jargon_words(rng, replace(turn, response=target))
            again = drawn(rng, GROUPS[name][1][:2])(rng, replace(turn, response=other)) if other else None
            text, target = (again, other) if isinstance(again, str) else (text, target)
        if text.strip() == target.strip():
            return None
        return Pair(task, context, evidence, text.strip(), target.strip(), kind)


class _Lists(dict):
    """A view of a dict that makes missing lists, as `Corpus._add` expects of its `dialogues`."""

    def __init__(self, below):
        super().__init__()
        self.below = below

    def __getitem__(self, key):
        return self.below.setdefault(key, [])


def word_f1(text, target):
    """F1 of the bags of lower-case words."""
    from collections import Counter
    a, b = Counter(words(text)), Counter(words(target))
    both = sum((a & b).values())
    return 1.0 if not a and not b else 2 * both / (sum(a.values()) + sum(b.values())) if both else 0.0
