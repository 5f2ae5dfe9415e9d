"""Cooperative turns that look like violations: short but sufficient, long but relevant, figures with support, wanted changes of topic."""
import re

from . import everyday
from .common import capital, sentences
from .quality import spoken

SHORT_SOCIAL = [
    ("Have a good day!", ["You too!", "Thanks, you too!", "Same to you!", "You as well!", "Thanks!", "Same here, have a good one.", "You too, bye!"]),
    ("It was nice chatting with you.", ["Same here, have a good one.", "You too, take care!", "Likewise!", "Nice chatting with you too!", "Same here, bye!", "It was great, take care."]),
    ("Thank you so much!", ["You're welcome!", "No problem!", "Anytime!", "My pleasure.", "Sure thing.", "Of course!"]),
    ("See you tomorrow at nine.", ["See you then!", "Sounds good.", "Will do, see you.", "Great, see you tomorrow.", "Perfect, bye."]),
    ("Happy birthday!", ["Thank you!", "Thanks so much!", "Aw, thanks!", "That's sweet, thank you."]),
    ("I'm sorry I am late.", ["No worries!", "That's fine, we just started.", "Don't worry about it.", "No problem at all."]),
    ("I'll send you the file tonight.", ["Great, thanks!", "Perfect, thank you.", "Thanks, no rush.", "Sounds good."]),
    ("Good night!", ["Good night!", "Night, sleep well!", "Sleep well!", "You too, good night."]),
    ("Hi there!", ["Hello!", "Hi! How are you?", "Hey, how are you doing?", "Hi, nice to meet you.", "Hello, how's it going?"]),
    ("How are you today?", ["I'm good, thanks. How are you?", "Doing well, and you?", "Pretty good, thank you!", "Great, how about you?", "A bit tired, but fine."]),
    ("Congratulations on the new job!", ["Thank you!", "Thanks, I start on Monday.", "Thanks a lot, I'm excited!"]),
    ("Should we leave at six?", ["Yes, six works.", "Six is perfect.", "Make it half past, I finish late.", "Sure, six it is."]),
]
FACTS = [
    ("What is the capital of {a}?", "{b}.", [("France", "Paris"), ("Japan", "Tokyo"), ("Italy", "Rome"), ("Egypt", "Cairo"), ("Canada", "Ottawa"), ("Peru", "Lima"), ("Kenya", "Nairobi"), ("Spain", "Madrid"), ("Germany", "Berlin"), ("Norway", "Oslo"), ("Cuba", "Havana"), ("Greece", "Athens")]),
    ("Who wrote {a}?", "{b}.", [("Hamlet", "Shakespeare"), ("Emma", "Jane Austen"), ("The Odyssey", "Homer"), ("Dracula", "Bram Stoker"), ("1984", "George Orwell"), ("The Raven", "Edgar Allan Poe"), ("Ulysses", "James Joyce"), ("Dune", "Frank Herbert")]),
    ("What time does {a}?", "At {b}.", [("the train leave", "7:40"), ("the store close", "nine"), ("the game start", "8 pm"), ("your class begin", "noon"), ("the film start", "half past eight"), ("the bank open", "ten")]),
    ("How many {a}?", "{b}.", [("legs does a spider have", "Eight"), ("players are on a soccer team", "Eleven"), ("days are there in a leap year", "366"), ("states are there in the US", "Fifty"), ("strings does a violin have", "Four"), ("planets are in the solar system", "Eight"), ("cats do you have", "Two"), ("siblings do you have", "Three, all brothers")]),
    ("Where {a}?", "{b}.", [("do you live", "In Boston"), ("are my keys", "On the kitchen table"), ("did you park", "Behind the station"), ("is the restroom", "Second door on the left"), ("were you born", "In Texas"), ("is the meeting", "Room 204"), ("do you work", "At the hospital downtown")]),
    ("When {a}?", "{b}.", [("is your birthday", "On May 3rd"), ("did the war end", "In 1945"), ("are you coming back", "On Sunday evening"), ("is the deadline", "Friday at five"), ("did you move here", "About two years ago"), ("is the next bus", "In ten minutes")]),
    ("What {a}?", "{b}.", [("color is your car", "Red"), ("is your favorite animal", "Dogs, definitely"), ("language do they speak in Brazil", "Portuguese"), ("day is it", "Thursday"), ("is 12 times 12", "144"), ("is your dog's name", "Biscuit"), ("currency does Japan use", "The yen"), ("are you reading", "A novel by Murakami"), ("did you have for lunch", "Just a salad")]),
    ("Which {a}?", "{b}.", [("is bigger, Jupiter or Saturn", "Jupiter"), ("team do you support", "The Cubs"), ("one do you want", "The blue one, please"), ("movie won", "Moonlight"), ("season do you like best", "Fall")]),
    ("Do you {a}?", "{b}.", [("like coffee", "Yes, every morning"), ("have any pets", "No, but I want a cat"), ("want some tea", "Yes, please"), ("play any sports", "Tennis, on weekends"), ("need a ride", "No thanks, I'll walk"), ("speak Spanish", "A little"), ("like jazz", "I love it"), ("drive", "No, I never learned")]),
    ("Have you {a}?", "{b}.", [("seen the new Star Wars", "Not yet, is it any good?"), ("been to Rome", "Yes, twice"), ("eaten yet", "Yes, I just had lunch"), ("met Anna", "No, who is she?"), ("finished the report", "Almost, give me an hour"), ("fed the cat", "Yes, an hour ago")]),
    ("Is {a}?", "{b}.", [("the shop open on Sunday", "No, only until Saturday"), ("it raining", "Yes, take an umbrella"), ("this seat taken", "No, go ahead"), ("your sister coming", "Yes, around seven"), ("the water cold", "Not at all"), ("he still in the office", "No, he left at four")]),
    ("Did you {a}?", "{b}.", [("lock the door", "Yes, I did"), ("call your mom", "Yes, this morning"), ("vote", "I did, early in the day"), ("watch the game", "I missed it, who won?"), ("get my message", "Yes, thanks"), ("turn off the oven", "Yes, I checked twice")]),
    ("Can you {a}?", "{b}.", [("hear me", "Yes, loud and clear"), ("come at eight", "Sure, eight is fine"), ("swim", "Yes, since I was five"), ("lend me a pen", "Sure, here"), ("pass the salt", "Here you go")]),
]


def short_social(rng, turn):
    """A short courtesy that is all the occasion asks for; returns (context, response)."""
    said, replies = SHORT_SOCIAL[rng.randrange(len(SHORT_SOCIAL))]
    return ((said,), rng.bank(replies))


def short_fact(rng, turn):
    """A short answer that answers the question in full; returns (context, response)."""
    question, answer, pairs = FACTS[rng.randrange(len(FACTS))]
    a, b = rng.bank(pairs)
    reply = answer.format(b=b)
    if rng.chance(0.3):
        reply = rng.choice(["I think it's {}", "That would be {}", "It's {}", "{} I believe.", "{}"]).format(reply if not answer.startswith("At") else reply.lower())
        reply = re.sub(r"\.( I believe\.)", r",\1", reply)
    if rng.chance(0.15):
        reply = reply.rstrip(".")
    return ((question.format(a=a),), reply)


def supported_figure(rng, turn):
    """A statement with what the evidence says, figures and all; returns (context, response, evidence)."""
    evidence = turn.evidence or (turn.pool.fact(rng) if turn.pool else "")
    parts = [p for p in sentences(evidence) if len(p.split()) >= 5]
    if not parts:
        return None
    claim = rng.choice(parts).strip().rstrip(".!?")
    return everyday.asked_about(rng, claim), spoken(rng, claim), evidence


SWITCH = [
    "Let's talk about something else. Do you know anything about {t}?", "Can we change the subject? What about {t}?", "Enough about that. Tell me about {t}.",
    "On another note, are you into {t}?", "Anyway, what do you know about {t}?", "I'd rather hear about {t}, if you don't mind.", "Let's switch topics, how about {t}?",
    "Moving on, do you like {t}?", "Changing the subject, have you heard anything about {t}?", "By the way, what can you tell me about {t}?",
]


def wanted_change(rng, turn):
    """The partner asks for another topic and the reply takes it up; returns (context, response)."""
    if not turn.pool:
        return None
    for _ in range(6):
        text = turn.pool.elsewhere(rng, turn)
        found = [w for w in re.findall(r"[A-Za-z][A-Za-z'-]{3,}", text) if w.lower() in turn.pool.nouns]
        if found and len(text.split()) >= 7:
            return (tuple(list(turn.context[-1:]) + [rng.bank(SWITCH).format(t=rng.choice(found))]), text)
    return None


def long_relevant(rng, turn):
    """Two turns of the same speaker joined: long, but all of it to the point."""
    if not turn.pool:
        return None
    more = turn.pool.following(turn)
    return f"{turn.response.strip()} {more}" if more and len(more.split()) > 8 else None


FUNCTIONS = [short_social, short_fact, short_fact, supported_figure, wanted_change, long_relevant, everyday.accepted_statement,
             everyday.fact_supported, everyday.fact_supported]
