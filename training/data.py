"""Reads the public data, splits it by dialogue, and draws examples: real ones, and ones made by the generators."""
import collections
import difflib
import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from generators import MAXIMS, MULTI, TYPES, Chooser, Turn, cooperative, labels_of, violate
from generators.common import STOP_WORDS, sentences
from generators.everyday import everyday_turns, opened
from generators.quality import NUMBER

EVIDENCE_IGNORED = ["FS1", "FS2", "FS3", *(f"AS{i}" for i in range(1, 10)), "Personal", "Knowledge"]
TEMPLATE = "Response: {response}\nContext: {context}\nEvidence: {evidence}"
TAG = re.compile(r"\[(agent_[12])\]:")


@dataclass
class Example:
    """A labelled example as the model sees it; `labels` in the order of `MAXIMS`."""

    context: str
    evidence: str
    response: str
    labels: list
    violation_type: str
    made_by: str = "data"
    original: str = ""
    # The teachers' scores of the pair, in the order of `dialogues.SCORES`; None where there are none.
    scores: tuple = None

    def text(self):
        return TEMPLATE.format(response=self.response, context=self.context, evidence=clean_evidence(self.evidence))


def clean_evidence(evidence):
    """Evidence made only of knowledge-source codes counts as absent."""
    items = [item for item in re.split(r"[\s,;]+", evidence or "") if item]
    return "" if all(item in EVIDENCE_IGNORED for item in items) else evidence


def read_jsonl(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def normal(text):
    return re.sub(r"\W+", " ", text.lower()).strip()


def fraction(key):
    """A number in [0, 1) that depends only on the key."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 2**32


def utterances(context):
    """The turns of a context written with tags, without the tags."""
    return tuple(part.strip() for part in TAG.split(context)[2::2] if part.strip())


class Pool:
    """Turns of a set of dialogues, with what the generators ask of it: other turns, names, nouns."""

    def __init__(self, dialogues):
        self.dialogues = {key: turns for key, turns in dialogues.items() if turns}
        self.keys = sorted(self.dialogues)
        # Where a turn was really said: its text to the turns before it.
        self.before = {text: tuple(turns[max(0, i - 3): i]) for turns in self.dialogues.values() for i, text in enumerate(turns)}
        counts, names = collections.Counter(), collections.Counter()
        for turns in self.dialogues.values():
            for text in turns:
                names.update(re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,}(?: [A-Z][a-z]+)*", text))
                counts.update({w for w in re.findall(r"[a-z]{4,}", text)})
        self.names = sorted(name for name, n in names.items() if n >= 2) or ["Alice"]
        self.nouns = {w for w, n in counts.items() if 8 <= n <= 400 and w not in STOP_WORDS}

    def name(self, rng):
        return rng.choice(self.names)

    def fact(self, rng):
        """One or two statements of fact from anywhere, to serve as evidence in words; set by `Source`."""
        return " ".join(rng.choice(self.facts) for _ in range(rng.choice([1, 1, 2]))) if self.facts else ""

    def same_dialogue(self, rng, turn):
        return rng.choice(self.dialogues[turn.dialogue]) if turn.dialogue in self.dialogues else self.elsewhere(rng, turn)

    def elsewhere(self, rng, turn):
        for _ in range(5):
            key = rng.choice(self.keys)
            if key != turn.dialogue:
                break
        return rng.choice(self.dialogues[key])

    def following(self, turn):
        """What the same speaker says in the next turn but one."""
        turns = self.dialogues.get(turn.dialogue, [])
        if turn.response in turns and turns.index(turn.response) + 2 < len(turns):
            return turns[turns.index(turn.response) + 2]
        return None


class Source:
    """Cooperative turns to start from, those with a number kept apart."""

    def __init__(self, turns, pool):
        self.turns = [replace(turn, pool=pool) for turn in turns]
        self.numbered = [turn for turn in self.turns if NUMBER.search(turn.response)]
        self.named = [t for t in self.turns if re.search(r"(?<=\s)[A-Z][a-z]", t.response)]
        self.pool = pool
        # Statements of fact that can serve as evidence in words.
        self.facts = pool.facts = [s for turn in self.turns for s in sentences(turn.response) if 7 <= len(s.split()) <= 30 and not s.endswith("?")
                                   and (NUMBER.search(s) or re.search(r"[a-z,] [A-Z][a-z]{2,}", s))]


def _pairs(changed, original):
    a = re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", original)
    b = re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", changed)
    codes = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    return [(" ".join(a[i1:i2]), " ".join(b[j1:j2])) for tag, i1, i2, j1, j2 in codes if tag != "equal"]


STUB = re.compile(r"^(It varies\.?|Many people wonder about this\.|It depends on various factors\.|It's quite complex\.|That's a good question\.|There are different perspectives on this\.|"
                  r"It's worth thinking about\.|There's a lot to say about that\.|That's interesting\.|Regarding .*, there are various aspects\.?|Yes, .* is quite something\.?|.*\.\.\. that's interesting to consider\.?)$")
CLAIM = re.compile(r"studied extensively by researchers|significant implications for the future|according to recent studies\.|one of the most \w+ in history|"
                   r"a popular subject among \w+ experts|experts believe this will continue|Statistics show this affects|accounts for approximately")
REPEAT = re.compile(r"So, to summarize,|In other words,|That is to say,|(?:they|this|it|these|that) is to say,|To put it another way,|More specifically,|Furthermore,|"
                    r"Additionally, it's worth noting|To elaborate further|As I mentioned,|To be more precise,|In fact,")


DRIFT = re.compile(r"^(This topic has been extensively studied by|From a theoretical perspective, there are multiple|The origins of this subject date back|There are many interesting historical aspects|"
                   r"Popular opinions on this matter vary)")
OFF_TOPIC = re.compile(r"^(The Mediterranean diet emphasizes|Coral reefs support approximately|Migration patterns of birds are|The printing press, invented by|The first smartphone was introduced|"
                       r"Water molecules consist of|Photosynthesis allows plants|Coffee originated in Ethiopia|Rainforests produce about 20%|Ancient Rome's road system)")


def infer_type(chosen, rejected):
    """The violation that turned `chosen` into `rejected`, as a type and labels; None where it cannot be told."""
    kinds = []
    for pattern, kind in ((STUB, "quantity_under"), (DRIFT, "relation_drift"), (OFF_TOPIC, "relation_off_topic")):
        if pattern.match(rejected.strip()):
            return kind, labels_of(kind)
    added = len(REPEAT.findall(rejected)) > len(REPEAT.findall(chosen))
    if CLAIM.search(rejected) and not CLAIM.search(chosen):
        kinds.append("quality_unsupported")
    if added:
        kinds.append("quantity_over")
    plain = lambda t: re.findall(r"\w+", t)
    if not kinds:
        if plain(chosen) == plain(rejected):
            kinds.append("manner_runon")
        elif sorted(normal(chosen).split()) == sorted(normal(rejected).split()):
            kinds.append("manner_shuffled")
    if not kinds or (added and re.search(r"(?<![.!?] )\b(these|it|they|this|that)\b", rejected)):
        for old, new in _pairs(rejected, chosen):
            if re.fullmatch(r"(it|they|this|that|these)( (it|they|this|that|these))*", new) and re.match(r"[A-Z]", old):
                kinds.append("manner_ambiguous")
                break
            if not kinds and re.search(r"\d", old) and re.search(r"\d", new):
                kinds.append("quality_contradiction")
                break
        else:
            if not kinds and any(old and new and new[0].islower() == old[0].islower() for old, new in _pairs(rejected, chosen)):
                kinds.append("manner_jargon")
    if not kinds:
        return None
    return (kinds[0] if len(kinds) == 1 else "multi_" + "_".join(k.split("_")[0] for k in kinds)), labels_of("", tuple(kinds))


class Corpus:
    """All data of a folder, split by dialogue into `train`, `calibration` and `test`; nothing of a test dialogue leaks.

    GriceBench rows without a dialogue are tied to one through shared utterances; where that joins a test dialogue they
    go to the test side as well. `everything=True` puts all of it into `train` (for a last run, after evaluation).
    """

    def __init__(self, folder, everything=False, test_share=0.35):
        folder = Path(folder)
        self.everything = everything
        labelled = read_jsonl(folder / "gricebench_labelled.jsonl")
        repairs = read_jsonl(folder / "gricebench_repair_pairs.jsonl")
        preferences = read_jsonl(folder / "gricebench_preference_pairs.jsonl")
        first = len(labelled)
        before = self._groups(labelled, repairs, preferences)
        seen_before = set(range(first)) - self._held_out(before, range(first), test_share)
        if (folder / "gricebench_labelled_second.jsonl").exists():
            labelled += read_jsonl(folder / "gricebench_labelled_second.jsonl")
        group = self._groups(labelled, repairs, preferences)
        # What version 1.0.0 was trained on is never a test row, so that a run may start from its weights.
        closed = {group["l", i] for i in seen_before}
        held = self._held_out(group, range(len(labelled)), test_share, closed)
        test_groups = {group["l", i] for i in held}
        self.labelled = {"train": [], "choose": [], "final": []}
        for i, row in enumerate(labelled):
            half = "choose" if fraction("half" + group["l", i]) < 0.5 else "final"
            self.labelled[half if i in held else "train"].append(row)
        self.labelled["test"] = self.labelled["choose"] + self.labelled["final"]
        keep = lambda kind, i: everything or group[kind, i] not in test_groups
        self.real = []
        base = {}
        dialogues = collections.defaultdict(list)
        for i, row in enumerate(labelled):
            if keep("l", i):
                self.real.append(self.example(row))
                if "original_response" in row or row["violation_type"] == "none":
                    self._add(base, dialogues, row["context"], row.get("original_response", row["response"]), row["evidence"], group["l", i])
        for i, row in enumerate(repairs):
            if keep("r", i):
                labels = [int(m in row["violations"]) for m in MAXIMS]
                self.real.append(Example(row["context"], row["evidence"], row["response"], labels, "repair_" + "_".join(row["violations"])))
                self._add(base, dialogues, row["context"], row["target"], row["evidence"], group["r", i])
        for i, row in enumerate(preferences):
            if keep("p", i):
                found = infer_type(row["chosen"].strip(), row["rejected"].strip())
                if found:
                    self.real.append(Example(row["context"], row["evidence"], row["rejected"].strip(), found[1], found[0]))
                self._add(base, dialogues, row["context"], row["chosen"], row["evidence"], group["p", i])
        self.gricebench = Source(list(base.values()), Pool(dialogues))
        self.everyday = {part: Source(turns, Pool({t.dialogue: list(t.context) + [t.response] for t in turns}))
                         for part in ("train", "unseen", "all") for turns in [everyday_turns(part)]}
        self.topical = {}
        split = collections.defaultdict(dict)
        for row in read_jsonl(folder / "topical_chat.jsonl"):
            at = fraction(row["dialogue_id"])
            split["test" if at < 0.05 else "calibration" if at < 0.10 else "train"][row["dialogue_id"]] = row["turns"]
        if everything:
            split["train"] = {k: v for part in split.values() for k, v in part.items()}
        for part, rows in split.items():
            texts = {key: [t["message"].strip() for t in turns] for key, turns in rows.items()}
            turns = [Turn(tuple(messages[max(0, i - 3): i]), message, "", True, key)
                     for key, messages in texts.items() for i, message in enumerate(messages) if message]
            self.topical[part] = Source(turns, Pool(texts))

    @staticmethod
    def _held_out(group, rows, share, closed=()):
        """Rows of whole groups, drawn by the groups' names, until their share is reached."""
        members = collections.defaultdict(set)
        for i in rows:
            members[group["l", i]].add(i)
        held = set()
        for name in sorted(members, key=lambda g: fraction("gricebench" + g)):
            if len(held) < share * len(rows) and name not in closed:
                held |= members[name]
        return held

    @staticmethod
    def _add(base, dialogues, context, response, evidence, key):
        turns = utterances(context)
        response = response.strip()
        base.setdefault((normal(context), normal(response)), Turn(turns, response, evidence, True, key))
        dialogues[key].extend(t for t in turns + (response,) if t not in dialogues[key])

    @staticmethod
    def _groups(labelled, repairs, preferences):
        parent = {}

        def root(x):
            parent.setdefault(x, x)
            while parent[x] != x:
                parent[x] = parent[parent[x]]
                x = parent[x]
            return x

        rows = {("l", i): (row, row.get("original_response", "")) for i, row in enumerate(labelled)}
        rows |= {("r", i): (row, row["target"]) for i, row in enumerate(repairs)}
        rows |= {("p", i): (row, row["chosen"]) for i, row in enumerate(preferences)}
        keys = {}
        for key, (row, response) in rows.items():
            ties = ["d:" + row["dialogue_id"]] if "dialogue_id" in row else []
            ties += ["u:" + normal(t) for t in utterances(row["context"]) + (response,) if len(t.split()) >= 6]
            ties = ties or ["u:" + normal(row["context"] + response)]
            for tie in ties[1:]:
                a, b = sorted((root(ties[0]), root(tie)))
                parent[b] = a
            keys[key] = ties[0]
        return {key: root(tie) for key, tie in keys.items()}

    @staticmethod
    def example(row):
        return Example(row["context"], row["evidence"], row["response"], [row["labels"][m] for m in MAXIMS], row["violation_type"])


def render(rng, context, tagged=True, shorten=True):
    """The turns of a context as one text: mostly tagged, sometimes as plain sentences, often only the last words."""
    turns = list(context)
    if tagged is None:
        tagged = rng.chance(0.75)
    if shorten and rng.chance(0.3):
        turns = turns[-rng.choice([1, 1, 2]):]
    first = rng.choice([0, 1])
    text = " ".join(f"[agent_{(i + first) % 2 + 1}]: {t}" for i, t in enumerate(turns)) if tagged else " ".join(turns)
    limit = rng.choice([12, 18, 24, 30, 30, 45, 60, 150] if shorten else [1000])
    found = text.split(" ")
    return " ".join(found[-limit:])


WEIGHTS = {
    "none": 30, "quantity_over": 6, "quantity_under": 7, "quality_unsupported": 7, "quality_contradiction": 14, "relation_off_topic": 16,
    "relation_drift": 5, "manner_ambiguous": 12, "manner_jargon": 8, "manner_runon": 9, "manner_shuffled": 14, "multi": 14,
}


PAIRED = ("relation_off_topic", "quality_contradiction", "manner_ambiguous", "manner_jargon", "manner_runon", "manner_shuffled")


def pick(rng, source, violation_type):
    """A turn of a source that suits the violation."""
    if violation_type == "quality_contradiction" or (violation_type == "none" and rng.chance(0.3)):
        return rng.choice(source.numbered or source.turns)
    if violation_type == "manner_ambiguous":
        return rng.choice(source.named or source.turns)
    return rng.choice(source.turns)


def draw(rng, source, violation_type, style=None, shorten=True):
    """One example of a violation type from a source; tries until a generator fits."""
    for _ in range(60):
        turn = pick(rng, source, violation_type)
        if len(turn.response.split()) > 110:
            continue
        evidence, tagged, loose = "", None, ""
        if turn.dialogue.startswith("everyday"):
            tagged = rng.chance(0.4)
            turn = replace(turn, context=opened(rng, turn.context))
        if rng.chance(0.12):
            evidence = loose = source.pool.fact(rng)
            turn = replace(turn, evidence=evidence)
        elif rng.chance(0.3):
            evidence = rng.choice(["FS1", "FS2", "FS3", "AS1", "FS1; FS2", "Personal Knowledge"])
        if violation_type == "none":
            context, response, name = turn.context, turn.response, "original"
            if style == "natural" or (style is None and rng.chance(0.3)):
                function = rng.choice(cooperative.FUNCTIONS)
                made = function(rng, turn)
                if not made:
                    continue
                name = function.__name__
                if isinstance(made, tuple):
                    tagged = rng.chance(0.4) if made[0] is not turn.context else tagged
                    context, response, evidence = made if len(made) > 2 else (*made, "")
                else:
                    response = made
            labels, kind, right = [0, 0, 0, 0], "none", ""
        elif violation_type == "multi":
            parts = rng.choice(MULTI)
            style = style or ("mimic" if rng.chance(0.75) else "natural")
            context, response, name = turn.context, turn.response, ""
            for i, part in enumerate(parts):
                # The second violation must change the text of the first, not replace it.
                wild = i == 0 or part == "quantity_over"
                made = violate(rng, replace(turn, context=context, response=response), part, style if wild else "mimic")
                if not made:
                    break
                context, response, name = made[0], made[1], name + "+" + made[3]
            else:
                made = True
            if not made:
                continue
            labels, right = labels_of("", parts), ""
            kind = "multi_" + "_".join(part.split("_")[0] for part in parts)
        else:
            made = violate(rng, turn, violation_type, style)
            if not made:
                continue
            context, response, given, name, right = made
            if context is not turn.context:
                tagged = rng.chance(0.4)
            if len(given) or context is not turn.context:
                evidence = given
            labels, kind = labels_of(violation_type), violation_type
        if not response.strip() or len(response.split()) > 190:
            continue
        right = right if len(kind.split("_")) > 1 and violation_type != "multi" else ""
        if loose and evidence == loose and name not in ("supported_figure", "against_evidence") and not labels[1]:
            # Evidence that the reply does not draw on: whether it bears the reply out is not known.
            labels = [None if m == "quality" else v for m, v in zip(MAXIMS, labels)]
        return Example(render(rng, context, tagged, shorten), evidence, response, labels, kind, name, right)
    raise RuntimeError(f"no turn fits {violation_type}")


def stream(corpus, seed, part="train", real_share=0.2, everyday=0.32):
    """Endless training examples: real rows, and fresh violations of GriceBench's, Topical-Chat's and everyday turns."""
    rng = Chooser(seed, part)
    kinds, weights = zip(*WEIGHTS.items())
    while True:
        if rng.chance(real_share):
            row = rng.choice(corpus.real)
            context = row.context
            turns = utterances(context)
            yield replace(row, context=render(rng, turns, None if rng.chance(0.3) else True))
            continue
        at = rng.random()
        source = corpus.everyday[part] if at >= 1 - everyday else corpus.gricebench if at < 0.45 * (1 - everyday) else corpus.topical["train"]
        kind = rng.choices(kinds, weights)[0]
        # There are few everyday answers: another of them as a reply must not teach only which pairs belong together.
        if source is corpus.everyday[part] and kind == "relation_off_topic" and rng.chance(0.4):
            kind = "none"
        style = None
        if at >= 1 - everyday:
            style = "mimic" if kind == "none" or (kind != "quality_contradiction" and rng.chance(0.3)) else "natural"
        example = draw(rng, source, kind, style)
        yield example
        # The same turn unharmed, so that the violation is all that differs.
        if kind in PAIRED and example.original and rng.chance(0.9 if example.made_by in ("fact_contradicted", "against_evidence") else 0.6 if kind == "relation_off_topic" else 0.35):
            # What the evidence was, it stays: where it does not bear on the reply, quality is left open.
            fine = [0, 0 if example.labels[1] is not None else None, 0, 0]
            yield replace(example, response=example.original, labels=fine, violation_type="none", made_by="pair")
        # A turn of another dialogue, and the same turn where it belongs.
        if example.made_by == "other_dialogue" and source.pool.before.get(example.response) and rng.chance(0.5):
            context = render(rng, source.pool.before[example.response], None)
            yield replace(example, context=context, labels=[0, None if clean_evidence(example.evidence) else 0, 0, 0], violation_type="none", made_by="home")


def fixed_set(source, seed, per_type, part, style, types=TYPES + ("none", "multi")):
    """A reproducible evaluation set: `per_type` examples of each type."""
    rng = Chooser(seed, part)
    found = [draw(rng, source, kind, style, shorten=False) for kind in types for _ in range(per_type)]
    # Evidence that does not bear on the reply is left out, so that every label is known.
    return [e if None not in e.labels else replace(e, evidence="", labels=[v or 0 for v in e.labels]) for e in found]
