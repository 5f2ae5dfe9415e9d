"""What the default generator learns from: cooperative answers, and preferred and rejected ones of the same context."""
from dataclasses import dataclass
from pathlib import Path

from data import clean_evidence, fraction, normal, read_jsonl, utterances
from generators import Chooser
from repair_pairs import TEMPLATES, Pairs

# Words of an answer: shorter ones say too little, longer ones seldom stay on the topic.
SHORTEST, LONGEST = 6, 40
TEMPLATE = TEMPLATES["answer"]
# How grice fills and decodes it.
RECIPES = {"answer": {"template": TEMPLATE, "source_tokens": 256, "max_new_tokens": 64, "min_new_tokens": 5, "temperature": 0.7, "top_p": 0.9, "no_repeat_ngram": 4, "retries": 2}}
# Characters of a context that training shows; grice shows up to `source_tokens`.
CONTEXT = 320


@dataclass(frozen=True)
class Preference:
    """Two answers to one context: the chosen one and one that violates a maxim."""

    context: str
    evidence: str
    chosen: str
    rejected: str

    def prompt(self):
        return TEMPLATE.format(context=self.context, evidence=self.evidence)


def tagged(turns):
    return " ".join(f"[agent_{i % 2 + 1}]: {t}" for i, t in enumerate(turns))


def ending(context, longest=CONTEXT):
    """The last turns of a context that fit into `longest` characters, at least the end of the last one."""
    while len(context) > longest and (at := context.find("[agent_", 1)) > 0:
        context = context[at:]
    return context[-longest:]


def held_utterances(source):
    """All that is said in the dialogues of a source, short remarks left out, normalised."""
    return {normal(text) for turns in source.pool.dialogues.values() for text in turns if len(text.split()) >= 6}


def leaks(held, *texts):
    """Whether one of the texts is said in held-out dialogues."""
    return any(normal(text) in held for text in texts)


class Answers:
    """Cooperative answers to learn from, preference pairs, and contexts of dialogues that neither holds anything of.

    Topical-Chat's test dialogues are held out, with every row of GriceBench that shares an utterance with them. Their contexts are split by
    dialogue: `choose` for choices, `final` for the figures.
    """

    def __init__(self, folder):
        pairs = Pairs(folder)
        held = held_utterances(pairs.corpus.topical["test"])
        self.held = pairs.corpus.topical["test"]
        fits = lambda t: t.context and SHORTEST <= len(t.response.split()) <= LONGEST
        rows = read_jsonl(Path(folder) / "gricebench_preference_pairs.jsonl")
        kept = {normal(row["chosen"]) for row in pairs.held_cooperative}
        free = [row for row in rows if normal(row["chosen"]) not in kept and not leaks(held, row["chosen"], *utterances(row["context"]))]
        self.preferences = [Preference(ending(row["context"]), clean_evidence(row["evidence"]) or "", row["chosen"].strip(), row["rejected"].strip()) for row in free]
        real = [t for t in pairs.gricebench.turns if fits(t) and not leaks(held, t.response, *t.context)]
        self.sources = [(0.70, [t for t in pairs.corpus.topical["train"].turns if fits(t)]), (0.18, real), (0.12, [t for t in pairs.corpus.everyday["train"].turns if t.context and len(t.response.split()) >= SHORTEST])]

    def stream(self, seed, refused=frozenset()):
        """Endless `(prompt, answer)`; those whose answer is in `refused` are left out."""
        rng = Chooser(seed, "train")
        while True:
            turn = rng.choice(rng.choices([s for _, s in self.sources], [w for w, _ in self.sources])[0])
            if turn.response in refused:
                continue
            turns = turn.context[-rng.choice([1, 2, 3, 3]):]
            context = tagged(turns) if rng.chance(0.75) else " ".join(turns[-1:])
            yield TEMPLATE.format(context=ending(context), evidence=clean_evidence(turn.evidence) or ""), turn.response.strip()

    def candidates(self, count, seed):
        """Turns of the training part for the detector to look at, as rows of grice."""
        rng = Chooser(seed)
        turns = self.sources[0][1]
        return [{"context": tagged(t.context), "evidence": "", "response": t.response} for t in rng.sample(turns, min(count, len(turns)))]

    def contexts(self, part, count, seed=3):
        """Held-out contexts with what a person answered."""
        wanted = [t for t in self.held.turns if t.context and len(t.response.split()) >= 4 and (part == "choose") == (self.half(t.dialogue) < 0.2)]
        found = Chooser(seed).sample(wanted, min(count, len(wanted)))
        return [{"context": tagged(t.context), "evidence": "", "human": t.response, "dialogue_id": t.dialogue} for t in found]

    @staticmethod
    def half(dialogue):
        return fraction("generator" + dialogue)
