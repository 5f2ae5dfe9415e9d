"""Dialogues of Topical-Chat, and the replies among them that stand by themselves."""
import hashlib
import json
import re

WORDS = range(6, 41)
# A reply that begins so speaks of what was said before.
LEANING = re.compile(
    r"(he|she|it|they|him|his|her|their|its|that|this|these|those|them|there|which|who|whose|both|neither|either|same|so do i|me too|"
    r"yes|yeah|yea|yep|yup|no|nope|nah|ok|okay|sure|exactly|true|right|agreed|correct|indeed|absolutely|definitely|maybe|perhaps|probably|"
    r"wow|oh|ah|hmm|haha|lol|well|and|but|or|because|also|too|then|hi|hello|hey|thanks|thank|you too|good morning|good evening|i agree|"
    r"i guess|i see|i think so|i did|i do|i don't|i didn't|"
    r"why|really|what about you|how about you|of course|great|good|nice|cool|awesome|interesting|that's|it's|he's|she's|they're)\b", re.IGNORECASE)
# Beginnings and ends of a talk, and talk about the task.
ABOUT_THE_TALK = re.compile(
    r"\b(chat(ting)?|talk(ing)? (to|with) you|nice (talk|meeting)|good ?bye|bye|have a (good|great|nice)|see you|take care|how are you|"
    r"article|reading set|turker|mturk|this task)\b", re.IGNORECASE)
OFFENSIVE = re.compile(
    r"\b(fuck\w*|shit\w*|bitch\w*|bastard\w*|asshole\w*|dick|cunt\w*|slut\w*|whore\w*|nigg\w*|fag\w*|retard\w*|rape\w*|nazi\w*|hitler|porn\w*|sex\w*|"
    r"naked|nude|suicid\w*|damn|crap|idiot\w*|stupid|dumb|cocaine|heroin|terroris\w*|trump|obama|clinton)\b", re.IGNORECASE)


def dialogues(folder):
    """Each dialogue as `{"id", "turns"}`, its turns as plain texts."""
    with open(folder / "topical_chat.jsonl", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield {"id": row["dialogue_id"], "turns": [plain(turn["message"]) for turn in row["turns"]]}


def plain(text):
    """Single spaces, and quotation marks of ASCII."""
    for curly, straight in {"‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "–": "-", "—": "-"}.items():
        text = text.replace(curly, straight)
    return " ".join(text.split())


def is_held_out(dialogue_id):
    """One dialogue in five: `measure_retrieval.py` asks about these."""
    return hashlib.sha256(dialogue_id.encode()).digest()[0] < 51


def stands_alone(text):
    """Whether a reply can be read without what was said before."""
    words = text.split()
    return (len(words) in WORDS and text[0].isupper() and text[-1] in ".!?" and text.isascii() and not LEANING.match(text)
            and not ABOUT_THE_TALK.search(text) and not OFFENSIVE.search(text))


def key(text):
    """Equal for texts that differ in case, spaces and punctuation only."""
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


def replies(folder):
    """Replies that stand alone, each once, as `{"context", "response"}` with the turn before it."""
    seen = set()
    for dialogue in dialogues(folder):
        for before, text in zip(dialogue["turns"], dialogue["turns"][1:]):
            if stands_alone(text) and key(text) not in seen:
                seen.add(key(text))
                yield {"context": before, "response": text}
