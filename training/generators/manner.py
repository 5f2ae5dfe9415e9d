"""Violations of manner: vague references, jargon, disorder and sentences run together."""
import re

from .common import sentences, words

JARGON = {
    "good": "optimal", "get": "obtain", "many": "numerous", "use": "utilize", "make": "fabricate", "old": "antiquated",
    "big": "substantial", "give": "provide", "new": "novel", "sound": "acoustic waves", "water": "H2O", "bad": "suboptimal",
    "help": "assistance", "fire": "combustion", "hard": "challenging", "small": "diminutive", "take": "acquire",
    "few": "a limited quantity of", "fast": "rapid", "important": "of paramount significance", "slow": "gradual",
    "light": "electromagnetic radiation", "sugar": "sucrose", "change": "modification", "heat": "thermal energy",
    "easy": "straightforward", "air": "atmospheric gases", "cold": "low temperature",
}
STILTED = {
    "good": ["propitious", "efficacious"], "see": ["visually apprehend", "observe"], "talk": ["verbally interface", "converse"],
    "food": ["nutritional sustenance", "comestibles"], "eat": ["ingest", "masticate and consume"], "like": ["hold in favorable regard"],
    "think": ["postulate", "hypothesize"], "know": ["possess cognizance of"], "love": ["harbor profound affection for"],
    "movie": ["cinematographic production", "motion picture artifact"], "book": ["bound textual volume"], "dog": ["canine quadruped"],
    "cat": ["feline organism"], "house": ["domiciliary structure"], "money": ["pecuniary resources", "monetary instruments"],
    "people": ["human individuals", "homo sapiens specimens"], "play": ["engage in ludic activity"], "game": ["ludic competition"],
    "start": ["commence", "initiate"], "end": ["terminate"], "buy": ["procure", "effectuate the acquisition of"], "show": ["evince", "manifest"],
    "very": ["exceedingly", "to a maximal degree"], "funny": ["risible"], "happy": ["euphoric in affect"], "sad": ["lachrymose"],
    "work": ["occupational exertion"], "car": ["automotive conveyance"], "song": ["melodic composition"], "fun": ["recreationally gratifying"],
    "try": ["endeavor"], "need": ["necessitate"], "want": ["are desirous of"], "look": ["direct ocular attention"], "watch": ["visually monitor"],
    "read": ["peruse textually"], "kids": ["juvenile progeny"], "school": ["pedagogical institution"], "friend": ["interpersonal affiliate"],
    "time": ["temporal duration"], "year": ["solar revolution"], "day": ["diurnal cycle"], "night": ["nocturnal interval"],
    "weather": ["meteorological conditions"], "cool": ["thermally moderate"], "great": ["superlative"], "nice": ["salubrious"],
    "interesting": ["cognitively stimulating"], "sleep": ["enter somnolent repose"], "walk": ["ambulate"], "run": ["locomote expeditiously"],
    "said": ["articulated"], "tell": ["apprise"], "music": ["organized sonic phenomena"], "team": ["collaborative athletic unit"],
    "job": ["vocational appointment"], "problem": ["suboptimal contingency"], "idea": ["conceptual construct"], "world": ["terrestrial sphere"],
    "because": ["by virtue of the fact that"], "before": ["antecedent to"], "after": ["subsequent to"], "about": ["with regard to"],
    "now": ["at the present juncture"], "maybe": ["it is not inconceivable that"], "also": ["in conjunction therewith"],
    "enough": ["of requisite sufficiency"], "real": ["ontologically veridical"], "best": ["of optimal caliber"],
}
BUZZ = [
    "leveraging synergistic paradigms", "within the epistemic framework thereof", "per the operative heuristics", "vis-a-vis stakeholder alignment",
    "notwithstanding the aforementioned parameters", "in accordance with the pertinent ontological taxonomy", "pursuant to the requisite desiderata",
    "from a holistic bandwidth-optimization standpoint", "insofar as the dialectic obtains", "modulo hermeneutic considerations",
    "predicated upon the salient metrics thereof", "via a multimodal value-add pipeline", "inter alia and mutatis mutandis",
    "as instantiated in the prevailing discursive apparatus", "with due regard to latent confounders", "on an ex ante basis",
    "in the limit of asymptotic utility", "under a granular, scalable rubric", "given the teleological exigencies involved", "qua epiphenomenon",
]
BUZZ_SENTENCES = [
    "The operationalization of {a} necessitates a paradigmatic recalibration of {b}.", "One must interrogate the epistemological underpinnings of {a} vis-a-vis {b}.",
    "A synergistic convergence of {a} and {b} is contingent upon stakeholder bandwidth.", "The ontological status of {a} is concomitant with the instantiation of {b}.",
    "We should leverage {a} to incentivize cross-functional {b} deliverables.", "Heuristically, {a} is isomorphic to the latent manifold of {b}.",
    "The aforementioned {a} exhibits a nontrivial covariance with {b} modulo exogenous factors.", "It behooves the interlocutor to apprehend {a} qua {b}.",
    "Pursuant to best practices, {a} shall be actioned in tandem with {b} going forward.", "{a} constitutes a sine qua non for the optimization of {b} throughput.",
]


def _cased(word, new):
    return new[:1].upper() + new[1:] if word[0].isupper() else new


def _substitute(rng, text, table, share):
    hits = [m for m in re.finditer(r"[A-Za-z]+", text) if m.group().lower() in table]
    if not hits:
        return None
    keep = [m for m in hits if rng.chance(share)] or [rng.choice(hits)]
    for m in reversed(keep):
        new = table[m.group().lower()]
        new = new if isinstance(new, str) else rng.bank(new)
        text = text[: m.start()] + _cased(m.group(), new) + text[m.end():]
    return text


def jargon_words(rng, turn):
    """GriceBench: all plain words of its list replaced by their stilted ones, always in lower case."""
    hits = [m for m in re.finditer(r"[A-Za-z]+", turn.response) if m.group().lower() in JARGON]
    text = turn.response
    for m in reversed(hits):
        text = text[: m.start()] + JARGON[m.group().lower()] + text[m.end():]
    return text if hits else None


def jargon_broad(rng, turn):
    """Many plain words replaced from a wide thesaurus, with or without a stilted aside."""
    table = {**JARGON, **STILTED}
    keys = sorted(table)
    allowed = {k: table[k] for i, k in enumerate(keys) if rng.part == "all" or (i % 5 == 4) == (rng.part == "unseen")}
    text = _substitute(rng, turn.response, allowed, 0.85)
    if text is None:
        return None
    changed = sum(1 for w in words(turn.response) if w.lower() in allowed)
    if changed < 2 or rng.chance(0.25):
        parts = sentences(text)
        at = rng.randrange(len(parts))
        parts[at] = parts[at].rstrip(".!? ") + ", " + rng.bank(BUZZ) + "."
        text = " ".join(parts)
    return text


def jargon_sentence(rng, turn):
    """A sentence of pure jargon about the topic in place of plain words."""
    found = [w.lower() for w in words(turn.response + " " + " ".join(turn.context[-1:])) if len(w) > 4]
    if len(found) < 2:
        return None
    made = rng.bank(BUZZ_SENTENCES).format(a=rng.choice(found), b=rng.choice(found))
    made = made[:1].upper() + made[1:]
    if rng.chance(0.5):
        second = rng.bank(BUZZ_SENTENCES).format(a=rng.choice(found), b=rng.choice(found))
        return made + " " + second[:1].upper() + second[1:]
    return made if rng.chance(0.5) else rng.choice(sentences(turn.response)) + " " + made


PRONOUNS = ["it", "they", "this", "that", "these"]
CAPITALISED = re.compile(r"(?<=\s)[A-Z][a-z][A-Za-z'’]*")


def random_pronouns(rng, turn):
    """GriceBench: capitalised words after the first replaced by a random lower-case pronoun."""
    text = turn.response.strip()
    hits = list(CAPITALISED.finditer(text))
    if not hits:
        return None
    keep = hits[: rng.choice([1, 1, 2, 2, 3, 3, 4])] if rng.chance(0.4) else rng.sample(hits, min(len(hits), rng.choice([1, 1, 2, 2, 3])))
    for m in sorted(keep, key=lambda m: -m.start()):
        text = text[: m.start()] + rng.choice(PRONOUNS) + text[m.end():]
    return text


VAGUE = ["it", "that thing", "they", "this", "that one", "those", "the thing", "him", "the other one", "stuff", "them", "that guy", "whatever", "something", "the place"]


def vague_reference(rng, turn):
    """Names and nouns replaced by vague words, so that nobody can tell what is meant."""
    text = turn.response.strip()
    hits = [m for m in re.finditer(r"[A-Za-z][A-Za-z'-]+", text) if m.start() > 0 and (m.group()[0].isupper() or len(m.group()) > 5)
            and not m.group().startswith("I'")]
    if len(hits) < 2:
        return None
    for m in sorted(rng.sample(hits, min(len(hits), max(2, int(len(hits) * 0.7)))), key=lambda m: -m.start()):
        text = text[: m.start()] + rng.bank(VAGUE) + text[m.end():]
    return text


VAGUE_SENTENCES = [
    "{p} did the thing with {q} and then {p} was all about it.", "It was when {p} told {q} about the other one, you know.",
    "He said he told him that he should have given it to him.", "She told her that she was wrong about it.",
    "You know, that thing with the stuff from that place, they did it again.", "They said that it was what they did when it happened to them.",
    "It's like the one that they had before that one, but with the other thing.", "{p} gave it to {q} because {p} wanted them to have that.",
    "When that happened they put it over there, and then it was like this.", "The thing about it is that it's what makes it the thing it is.",
    "He met him when he was working on it, and that is why he did that.", "Those were for them but these took it, so that was it.",
    "I told them it was that, but they thought it was the other.", "That's what she said he said about that, and it was.",
    "The one who did that to the other one said this was because of it.", "They took this there so that those could do it.",
]


def vague_sentence(rng, turn):
    """Whole sentences of pronouns without anything they could stand for."""
    pick = lambda: rng.bank(VAGUE_SENTENCES).format(p=rng.choice(["he", "she", "they", "it"]), q=rng.choice(["him", "them", "her", "that one"]))
    text = pick()
    text = text[:1].upper() + text[1:]
    if rng.chance(0.4):
        more = pick()
        text += " " + more[:1].upper() + more[1:]
    if rng.chance(0.35):
        text = rng.bank(["Yeah, ", "Oh yes, ", "Well, ", "Right, ", "I think "]) + text[:1].lower() + text[1:]
    return text


def run_on(rng, turn):
    """GriceBench: the punctuation that ends sentences removed, everything else kept."""
    parts = sentences(turn.response)
    if len(parts) < 2:
        return None
    return " ".join(part.rstrip(".!? ") for part in parts)


JOINS = [" ", " ", " and ", " and then ", " so ", ", ", ", ", " but also ", " because ", " and like ", ", and "]


def run_on_natural(rng, turn):
    """Three or more sentences glued with commas, "and", or nothing, often without capitals."""
    parts = sentences(turn.response)
    if len(parts) < 2:
        return None
    if len(parts) < 3 or len(turn.response.split()) < 14:
        if not turn.pool or len(parts) < 2:
            return None
        parts = parts + sentences(turn.pool.same_dialogue(rng, turn))[:2]
    lower = rng.chance(0.7)
    mode = rng.choice(["none", "none", "comma", "mixed"])
    text = parts[0].rstrip(".!? ")
    for part in parts[1:]:
        part = part.rstrip(".!? ")
        part = part[:1].lower() + part[1:] if lower and not part.startswith(("I ", "I'")) else part
        text += {"none": " ", "comma": ", ", "mixed": rng.bank(JOINS)}[mode] + part
    if rng.chance(0.6):
        text = text.replace(",", "") if mode == "none" else text
    return text.lower() if lower and rng.chance(0.4) else text + ("." if mode != "none" and rng.chance(0.5) else "")


def shuffled(rng, turn):
    """GriceBench: the sentences in another order."""
    parts = sentences(turn.response)
    if len(parts) < 2 or (len(parts) == 2 and rng.chance(0.5)):
        return None
    other = list(parts)
    for _ in range(8):
        rng.shuffle(other)
        if other != parts and (other[0] != parts[0] or rng.chance(0.5)):
            return " ".join(other)
    return None


def word_salad(rng, turn):
    """The words of the response out of order, so that no sentence holds together."""
    found = turn.response.split()
    if len(found) < 6:
        return None
    if rng.chance(0.5):
        rng.shuffle(found)
    else:
        size = rng.choice([2, 3, 3, 4])
        chunks = [found[i: i + size] for i in range(0, len(found), size)]
        if len(chunks) < 3:
            rng.shuffle(found)
        else:
            rng.shuffle(chunks)
            found = [w for chunk in chunks for w in chunk]
    text = " ".join(found)
    if rng.chance(0.4):
        text = text.lower()
    return text


def clause_scramble(rng, turn):
    """Clauses of a sentence torn apart and put together in another order."""
    parts = [c for c in re.split(r"(?<=[,;.!?])\s+|\s+(?=(?:because|and|but|which|that|when|who|if|so)\s)", turn.response.strip()) if c]
    if len(parts) < 3:
        return None
    other = list(parts)
    rng.shuffle(other)
    return " ".join(other) if other != parts else None


MIMIC = {"manner_jargon": [jargon_words], "manner_ambiguous": [random_pronouns], "manner_runon": [run_on], "manner_shuffled": [shuffled]}
NATURAL = {
    "manner_jargon": [jargon_broad, jargon_sentence], "manner_ambiguous": [vague_reference, vague_sentence],
    "manner_runon": [run_on_natural], "manner_shuffled": [word_salad, clause_scramble],
}
