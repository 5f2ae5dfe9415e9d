"""Text that is hard to understand as machines write it: words lost, doubled, exchanged, and halves that do not belong together."""
import re

from .common import STOP_WORDS, sentences

FUNCTION = STOP_WORDS - {"not", "no", "yes"}


def _words(text):
    return text.split()


def lost_words(rng, turn):
    """Several small words left out."""
    found = _words(turn.response)
    at = [i for i, w in enumerate(found) if w.lower().strip(".,!?") in FUNCTION]
    if len(found) < 6 or len(at) < 2:
        return None
    drop = set(rng.sample(at, max(2, int(len(at) * rng.uniform(0.4, 1.0)))))
    return " ".join(w for i, w in enumerate(found) if i not in drop)


def doubled_words(rng, turn):
    """Words or short phrases said twice in a row."""
    found = _words(turn.response)
    if len(found) < 4:
        return None
    for _ in range(rng.choice([1, 2, 2, 3])):
        at, size = rng.randrange(len(found)), rng.choice([1, 1, 2, 3])
        found[at:at] = found[at: at + size]
    return " ".join(found)


def strange_words(rng, turn):
    """Content words exchanged for words of other conversations."""
    if not turn.pool:
        return None
    found = _words(turn.response)
    at = [i for i, w in enumerate(found) if len(w) > 3 and w.lower().strip(".,!?") not in STOP_WORDS]
    if len(found) < 5 or not at:
        return None
    nouns = [w for w in re.findall(r"[A-Za-z]{4,}", turn.pool.elsewhere(rng, turn) + " " + turn.pool.elsewhere(rng, turn)) if w.lower() not in STOP_WORDS]
    if len(nouns) < 3:
        return None
    for i in rng.sample(at, max(1, int(len(at) * rng.uniform(0.35, 0.9)))):
        tail = re.search(r"[.,!?]*$", found[i]).group()
        found[i] = rng.choice(nouns) + tail
    return " ".join(found)


def two_halves(rng, turn):
    """The beginning of one turn and the end of another, in one sentence."""
    if not turn.pool:
        return None
    other = turn.pool.elsewhere(rng, turn)
    a, b = _words(rng.choice(sentences(turn.response) or [""])), _words(rng.choice(sentences(other) or [""]))
    if len(a) < 6 or len(b) < 6:
        return None
    return " ".join(a[: rng.randint(3, len(a) - 2)]).rstrip(".,!?") + " " + " ".join(b[rng.randint(2, len(b) - 3):])


def near_shuffle(rng, turn):
    """Words moved a few places."""
    found = _words(turn.response)
    if len(found) < 6:
        return None
    reach = rng.choice([1.6, 2.5, 4.0])
    keyed = sorted(range(len(found)), key=lambda i: i + rng.uniform(0, reach))
    if keyed == list(range(len(found))):
        return None
    return " ".join(found[i] for i in keyed)


def wrong_forms(rng, turn):
    """Endings, articles and small words confused, as by a beginner."""
    found, changed = _words(turn.response), 0
    swaps = {"is": "are", "are": "is", "was": "were", "were": "was", "the": "a", "a": "the", "have": "has", "has": "have", "in": "at", "on": "in", "to": "for", "do": "does", "does": "do",
             "of": "from", "i": "me", "they": "them", "he": "him", "it": "its", "my": "me", "their": "them", "an": "a", "at": "on", "for": "to", "with": "by"}
    for i, word in enumerate(found):
        plain = word.lower()
        if plain in swaps and rng.chance(0.6):
            found[i], changed = swaps[plain], changed + 1
        elif len(plain) > 4 and plain.isalpha() and rng.chance(0.25):
            found[i], changed = (word[:-1] if plain.endswith("s") else word + "s") if rng.chance(0.6) else word.removesuffix("ed").removesuffix("ing"), changed + 1
    return " ".join(found) if changed >= 3 else None


def broken_off(rng, turn):
    """A text that stops in mid-sentence, with another one that starts there."""
    parts = sentences(turn.response)
    longer = [i for i, p in enumerate(parts) if len(p.split()) >= 7]
    if not longer:
        return None
    i = rng.choice(longer)
    found = parts[i].split()
    parts[i] = " ".join(found[: rng.randint(3, len(found) - 3)])
    if rng.chance(0.5):
        parts[i + 1:] = []
    return " ".join(parts)


TYPOS = {"you": "u", "are": "r", "because": "cuz", "people": "ppl", "though": "tho", "please": "plz", "really": "rly", "the": "teh", "that": "taht", "with": "wiht", "just": "jsut", "know": "kno",
         "your": "ur", "don't": "dont", "i'm": "im", "it's": "its", "can't": "cant", "there": "ther", "have": "hav", "would": "wuld", "think": "thnik", "about": "abotu", "something": "smth"}


def sloppy(rng, turn):
    """Typing errors all over, no capitals, no stops."""
    found, changed = _words(turn.response.lower()), 0
    if len(found) < 8:
        return None
    for i, word in enumerate(found):
        plain = word.strip(".,!?")
        if plain in TYPOS and rng.chance(0.7):
            found[i], changed = TYPOS[plain], changed + 1
        elif len(plain) > 4 and rng.chance(0.3):
            at = rng.randint(1, len(plain) - 3)
            found[i], changed = rng.choice([plain[:at] + plain[at + 1] + plain[at] + plain[at + 2:], plain[:at] + plain[at + 1:], plain[:at] + plain[at] + plain[at:]]), changed + 1
    return re.sub(r"[.,!]", "", " ".join(found)) if changed >= 3 else None


FUNCTIONS = [lost_words, lost_words, doubled_words, strange_words, strange_words, two_halves, near_shuffle, near_shuffle, wrong_forms, wrong_forms, broken_off, sloppy]
