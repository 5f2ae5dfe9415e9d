"""Violations of quality: claims without support, and claims that the evidence, the context or known facts contradict."""
import re

from . import everyday
from .common import capital, insert_sentence, lower_first, sentences, strip_end, topic_word

SUFFIXES = [
    ", which has been studied extensively by researchers worldwide.",
    ", which has significant implications for the future.",
    ", according to recent studies.",
    ", and is considered one of the most {adjective} in history.",
    ", making it a popular subject among {field} experts.",
]
SENTENCES = [
    "Many experts believe this will continue to grow.",
    "Statistics show this affects millions of people annually.",
    "Interestingly, this accounts for approximately {percent}% of all cases.",
]
ADJECTIVES = ["significant", "impressive", "notable", "important", "remarkable"]
FIELDS = ["technology", "economics", "science", "psychology", "history"]


def inserted_claim(rng, turn):
    """GriceBench: a stock phrase of support put behind the first sentence."""
    parts = sentences(turn.response) or [turn.response]
    if rng.chance(0.62):
        phrase = rng.choice(SUFFIXES).format(adjective=rng.choice(ADJECTIVES), field=rng.choice(FIELDS))
        first = parts[0]
        first = first.rstrip(". ") if first.endswith(".") or first[-1].isalnum() else first
        return " ".join([first + phrase] + parts[1:])
    phrase = rng.choice(SENTENCES).format(percent=rng.randint(10, 95))
    first = parts[0]
    if first.endswith(("!", "?")):
        first += "."
    elif not first.endswith("."):
        first += "."
    return " ".join([first, phrase] + parts[1:])


NUMBER = re.compile(r"\d[\d,]*")


def changed_number(rng, text, index=None):
    """The text with one of its numbers changed as GriceBench does: halved, doubled, tripled, a tenth or one off."""
    found = list(NUMBER.finditer(text))
    if not found:
        return None
    at = found[0 if rng.chance(0.75) else rng.randrange(len(found))] if index is None else found[index]
    digits = at.group().rstrip(",")
    value = int(digits.replace(",", ""))
    tenth = max(1, value // 10)
    options = [value - tenth, value + tenth, value // 2, value // 2, value * 2, value * 3, value - tenth, value + tenth]
    if value < 20:
        options += [value + 1, value - 1, value + 1, value - 1]
    options = [option for option in options if option != value and option >= 0]
    new = rng.choice(options)
    written = f"{new:,}" if "," in digits else str(new)
    return text[: at.start()] + written + text[at.start() + len(digits):]


def altered_number(rng, turn):
    """GriceBench: one number of the response altered."""
    return changed_number(rng, turn.response)


AUTHORITIES = [
    "experts", "scientists", "researchers", "a Harvard study", "a recent survey", "doctors", "a team at Oxford", "analysts",
    "a new report", "most historians", "a leading university", "an independent study", "specialists", "a Stanford professor",
    "government figures", "insiders", "a famous economist", "some people online", "a documentary I can't name",
    "a Nobel prize winner", "leading psychologists", "the latest data", "a study from last year", "a top magazine",
    "industry sources", "an article somewhere", "a think tank in Geneva", "NASA", "a friend of a friend", "the experts at MIT",
]
VERBS = ["say", "have proven", "have confirmed", "found", "agree", "discovered", "estimate", "have shown", "reported", "claim"]
CLAIMS = [
    "{n}% of people feel exactly the same way", "{n} out of every 100 people cannot live without it",
    "it raises your IQ by {m} points", "it adds {m} years to your life", "it is responsible for {n}% of all accidents",
    "{n}% of adults do this at least once a week", "it costs the economy ${m} billion every year",
    "it will disappear completely within {m} years", "people who do it earn {n}% more than everyone else",
    "it reduces stress by exactly {n}%", "it cures most headaches within {m} minutes", "it doubles every {m} months",
    "{n}% of marriages end because of it", "it was invented by accident {m} times over",
    "{topic} is the leading cause of insomnia", "{topic} makes people {n}% happier",
    "{topic} accounts for {n}% of the market", "{topic} has been proven to slow down aging",
    "no one in history has ever done it better", "every successful person does it before breakfast",
    "it has already changed the lives of {m} million families", "children exposed to it do {n}% better at school",
    "{topic} was banned in {m} countries last year", "it burns about {n} calories a minute",
    "{n}% of doctors recommend it", "it can be traced back to aliens", "it is the single most studied subject on the planet",
    "the government has been hiding the truth about {topic}", "{topic} will be worth over ${m} trillion by next year",
    "it boosts memory by {n} percent", "people in {m} different countries worship it",
    "more than {n} million people switched last month alone", "the average person spends {m} hours a day on it",
    "nine out of ten dentists swear by it", "it strengthens the immune system overnight",
    "it is guaranteed to work every single time", "{topic} kills more people each year than sharks do",
    "two in five households hide some of it in the attic", "fans of {topic} sleep {m} minutes less each night", "{topic} makes house prices go up by {n}%",
    "people with {topic} are {m} times as likely to become rich", "{topic} is worse for you than smoking", "you burn {n} calories just by thinking about {topic}", "it was the Romans who invented {topic}",
    "it happens {m} times as often in leap years", "every third house in the country has one", "left-handed people are {n}% better at it", "{n}% of all teachers secretly do the same",
    "it won every award there is", "no other thing has changed the world as much as {topic}", "it keeps {n}% of all mosquitoes away", "dogs can tell the difference in {m} seconds",
    "it adds {m} points to your heart rate for good", "half of the world's {topic} comes from a single village", "{m} out of {n} people regret it within a year", "the brain grows by {n}% when you see {topic}",
    "it makes you taller by {m} millimeters a year", "{n}% of everything we know about {topic} is wrong", "a single {topic} can power a house for {m} days",
]
STANDALONE = [
    "Studies show that {claim}.", "It's a proven fact that {claim}.", "Research has shown that {claim}.",
    "{authority} {verb} that {claim}.", "According to {authority}, {claim}.", "Everyone knows that {claim}.",
    "It has been scientifically proven that {claim}.", "Recent surveys indicate that {claim}.", "Apparently {claim}, it's been proven.",
    "Statistically, {claim}.", "I read somewhere that {claim}.", "{authority} {verb} {claim}.", "The numbers don't lie: {claim}.",
    "There is no doubt that {claim}.", "They did a study and {claim}.", "Data from {authority} proves {claim}.",
    "Fun fact, {claim}, according to {authority}.", "And {authority} {verb} that {claim}.", "It's well documented that {claim}.",
    "As {authority} {verb}, {claim}.", "Studies have consistently found that {claim}.", "Believe it or not, {claim}, every study says so.",
    "{authority} just published figures showing {claim}.", "Trust me, {claim}.", "One survey of {n} thousand people found that {claim}.",
    "As is known from many trials, {claim}.", "People in the know say {claim}.", "All of the research says that {claim}.", "It has been shown time and again that {claim}.",
    "It has been established that {claim}.", "Reviewers say without exception that {claim}.", "Tests have shown that {claim}.", "They have measured it, {claim}.", "The government knows that {claim}.",
    "Doctors everywhere say {claim}.", "History shows that {claim}.", "Statistics prove that {claim}.", "{authority} calculated that {claim}.", "As everybody in the business knows, {claim}.", "Meanwhile {authority} {verb} that {claim}.",
]
TAILS = [
    ", as every expert agrees", ", which scientists have confirmed", ", as studies have repeatedly proven", ", which is backed by decades of research",
    ", and it is widely regarded as the greatest ever", ", as is well known to all specialists", ", which {n}% of people agree with",
    ", and it influences nearly everyone on the planet", ", which experts call the most important discovery of the century",
    ", as confirmed by {authority}", ", according to {authority}", ", according to a survey of {n},000 people", ", which is statistically proven",
    ", and the trend is expected to triple by next year", ", making it the most talked about topic among {field} experts",
    ", which {authority} {verb} is true in {n}% of cases", ", as research from leading universities shows",
    ", and it is known to affect {n}% of the population", ", which has changed the course of history", ", as most professionals will tell you",
    ", and critics unanimously call it the best of all time", ", a fact that {authority} {verb} last month",
]


def _fill(rng, template, turn):
    return (template.replace("{claim}", rng.bank(CLAIMS)).replace("{authority}", rng.bank(AUTHORITIES))
            .replace("{verb}", rng.bank(VERBS)).replace("{field}", rng.choice(FIELDS + ["sports", "medical", "art", "music", "food"]))
            .replace("{topic}", topic_word(rng, turn, "it").lower())
            .replace("{n}", str(rng.randint(3, 99))).replace("{m}", str(rng.randint(2, 40))))


def invented_support(rng, turn):
    """A made-up statistic or an unnamed authority, in one of thousands of phrasings."""
    if rng.chance(0.65):
        claim = capital(_fill(rng, rng.bank(STANDALONE), turn))
        if rng.chance(0.25):
            return claim
        return insert_sentence(rng, turn.response, claim)
    parts = sentences(turn.response) or [turn.response]
    at = rng.randrange(len(parts))
    end = "." if not parts[at].endswith("!") else "!"
    parts[at] = strip_end(parts[at]) + _fill(rng, rng.bank(TAILS), turn) + end
    return " ".join(parts)


NEGATIONS = [
    (" is ", " is not "), (" are ", " are not "), (" was ", " was never "), (" were ", " were not "), (" can ", " cannot "),
    (" will ", " will never "), (" has ", " has never "), (" have ", " have never "), (" did ", " did not "), (" won ", " lost "),
    (" first ", " last "), (" most ", " least "), (" more ", " less "), (" never ", " always "), (" always ", " never "),
    (" before ", " after "), (" best ", " worst "), (" oldest ", " newest "), (" largest ", " smallest "), (" born ", " died "),
    (" founded ", " closed "), (" only ", " not the only "), (" highest ", " lowest "), (" isn't ", " is "), (" not ", " "),
    (" north", " south"), (" east", " west"), (" biggest ", " smallest "), (" longest ", " shortest "),
]


def flipped(rng, text):
    """The text with one statement turned into its opposite, or None."""
    found = [(old, new) for old, new in NEGATIONS if old in f" {text}"]
    if not found:
        return None
    old, new = rng.choice(found)
    return (f" {text}").replace(old, new, 1).strip()


def denies_context(rng, turn):
    """Repeats what the other said with the opposite meaning or another number, as though it were a fact."""
    if not turn.context:
        return None
    last = [part for part in sentences(turn.context[-1]) if 5 <= len(part.split()) <= 25 and not part.endswith("?")]
    if not last:
        return None
    claim = strip_end(rng.choice(last))
    wrong = changed_number(rng, claim) if rng.chance(0.6) and NUMBER.search(claim) else flipped(rng, claim)
    if not wrong or wrong == claim:
        return None
    opening = rng.bank(["Right, ", "Yes, as you said, ", "No, ", "Actually, ", "Like you said, ", "Yeah, ", "I agree, ", "Exactly, ",
                        "As you mentioned, ", "So ", "True, ", "You told me that ", "Indeed, ", "Well, ", "Yep, "])
    return f"{opening}{lower_first(wrong)}."


def contradicts_itself(rng, turn):
    """Says something and, later in the same turn, its opposite."""
    parts = [part for part in sentences(turn.response) if 4 <= len(part.split()) <= 22 and not part.endswith("?")]
    if not parts:
        return None
    wrong = flipped(rng, strip_end(rng.choice(parts)))
    if not wrong:
        return None
    link = rng.bank(["But actually, ", "Then again, ", "Of course, ", "Although ", "That said, ", "Mind you, ", "Still, ", "However, ",
                     "Come to think of it, ", "I mean, "])
    return f"{turn.response.strip()} {link}{lower_first(wrong)}."


def against_evidence(rng, turn):
    """States what the evidence says with a number, a name or its sense changed; returns (context, response, evidence, what
    would be right)."""
    evidence = turn.evidence or (turn.pool.fact(rng) if turn.pool else "")
    parts = [part for part in sentences(evidence) if len(part.split()) >= 5]
    if not parts:
        return None
    claim = strip_end(rng.choice(parts))
    names = re.findall(r"(?<=[a-z,] )[A-Z][a-z]{2,}(?: [A-Z][a-z]+)*", claim)
    kinds = (["number"] * 3 if NUMBER.search(claim) else []) + (["name"] * 2 if names and turn.pool else []) + ["flip"]
    kind = rng.choice(kinds)
    if kind == "number":
        wrong = changed_number(rng, claim)
    elif kind == "name":
        wrong = claim.replace(rng.choice(names), turn.pool.name(rng), 1)
    else:
        wrong = flipped(rng, claim)
    if not wrong or wrong == claim:
        return None
    return everyday.asked_about(rng, claim), spoken(rng, wrong), evidence, spoken(rng, claim)


LEADS = ["", "", "", "Yes, ", "I think ", "I heard that ", "As far as I know, ", "Well, ", "I believe ", "Apparently ", "Oh, ", "It seems ",
         "Sure, ", "From what I know, ", "Interesting, ", "I read that "]


def spoken(rng, claim):
    """A statement as someone would say it in a conversation."""
    lead = rng.choice(LEADS)
    text = (lead + lower_first(claim) if lead and not claim[:2].isupper() and not claim.split()[0].istitle() else lead + claim) + "."
    if rng.chance(0.25):
        text += rng.choice([" Pretty cool.", " What do you think?", " I find that interesting.", " Did you know?", " That surprised me."])
    return capital(text)


MIMIC = {"quality_unsupported": [inserted_claim], "quality_contradiction": [altered_number]}
NATURAL = {"quality_unsupported": [invented_support], "quality_contradiction": [
    denies_context, contradicts_itself, against_evidence, everyday.denied_statement, everyday.self_denied, everyday.fact_contradicted]}
