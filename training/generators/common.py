"""What the generators share: a dialogue turn, seeded choice from phrase banks, sentences and words."""
import random
import re
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Turn:
    """One response with the turns before it. `tagged` says whether the context is written with `[agent_1]:` tags."""

    context: tuple
    response: str
    evidence: str = ""
    tagged: bool = True
    dialogue: str = ""
    pool: object = field(default=None, compare=False, repr=False)

    def with_response(self, response):
        return replace(self, response=response)


class Chooser(random.Random):
    """A seeded random source that knows which part of every phrase bank it may use.

    `part` is "train" (four of five phrases), "unseen" (the fifth that training never sees) or "all".
    """

    def __init__(self, seed, part="train"):
        super().__init__(seed)
        self.part = part

    def bank(self, phrases):
        """One phrase of a bank, from the part that this source may see. Banks under five phrases are not divided."""
        if self.part == "all" or len(phrases) < 5:
            return phrases[int(self.random() * len(phrases))]
        held = phrases[4::5]
        if self.part == "unseen":
            return held[int(self.random() * len(held))]
        while True:
            index = int(self.random() * len(phrases))
            if index % 5 != 4:
                return phrases[index]

    def chance(self, probability):
        return self.random() < probability


SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
STOP_WORDS = set(
    "the a an and or but if so of in on at to for from with by about as is are was were be been am do does did have has had "
    "i you he she it we they me him her us them my your his its our their this that these those not no yes yeah oh well "
    "just really very too also can could would will should there here what who when where why how which than then now lol "
    "haha hi hello hey like think know did get got im it's that's don't i'm ok okay wow".split()
)


def sentences(text):
    """The sentences of a text, each with its closing punctuation."""
    return [part for part in SENTENCE_END.split(text.strip()) if part]


def words(text):
    return re.findall(r"[A-Za-z][A-Za-z'-]+", text)


def content_words(text):
    """Words of a text that carry its topic, in order, without repeats."""
    seen = {}
    for word in words(text):
        if len(word) > 3 and word.lower() not in STOP_WORDS:
            seen.setdefault(word.lower(), word)
    return list(seen.values())


def topic_word(rng, turn, default="that"):
    """A word that the conversation is about: from the last turn, else from the response."""
    found = content_words(turn.context[-1] if turn.context else "") or content_words(turn.response)
    return rng.choice(found) if found else default


def lower_first(text):
    return text[:1].lower() + text[1:] if not text.startswith(("I ", "I'")) else text


def capital(text):
    return text[:1].upper() + text[1:]


def strip_end(text):
    return text.strip().rstrip(".!? ")


def insert_sentence(rng, text, sentence, first=0.15):
    """Puts a sentence after a random sentence of the text (seldom before the first)."""
    parts = sentences(text)
    at = 0 if rng.chance(first) else rng.randint(1, max(1, len(parts)))
    parts.insert(at, sentence)
    return " ".join(parts)
