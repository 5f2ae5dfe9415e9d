"""Violations of quantity: saying far too much, or too little to be of use."""
import re

from .common import capital, lower_first, sentences, strip_end, topic_word

LINKS = ["In other words, ", "That is to say, ", "To put it another way, ", "More specifically, ", "Furthermore, ",
         "Additionally, it's worth noting that ", "To elaborate further, ", "As I mentioned, ", "To be more precise, ", "In fact, "]


def repeats_itself(rng, turn):
    """GriceBench: the first sentence repeated in lower case behind a link, and summed up at the end."""
    parts = sentences(turn.response) or [turn.response]
    first = parts[0]
    repeat = rng.choice(LINKS) + first.lower()
    rest = parts[1:]
    out = [first, repeat] + rest
    if rest and rng.chance(0.85):
        out.append("So, to summarize, " + first.lower())
        number = re.search(r"\d[\d,.]*\d|\d", " ".join(out))
        if number and rng.chance(0.6):
            out.append(f"That's right - {number.group()}.")
    return " ".join(out)


RESTATE = [
    "What I mean is that {s}.", "Let me say that again: {s}.", "To repeat, {s}.", "I mean, {s}.", "As I just said, {s}.", "Basically, {s}.",
    "Put differently, {s}.", "Or, to phrase it another way, {s}.", "In short, {s}.", "So yeah, {s}.", "Like I said, {s}.", "In essence, {s}.",
    "Once more, {s}.", "To sum up, {s}.", "All in all, {s}.", "In conclusion, {s}.", "The point I am making is that {s}.", "Again, {s}.",
    "So what I am trying to say is that {s}.", "Which is to say that {s}.", "If you want it in one sentence, {s}.", "To be absolutely clear, {s}.",
    "And just to recap, {s}.", "Bottom line, {s}.", "I repeat, {s}.",
]


def restates(rng, turn):
    """Says the same thing three or more times in other words."""
    parts = [p for p in sentences(turn.response) if len(p.split()) >= 4 and not p.endswith("?")]
    if not parts:
        return None
    said = lower_first(strip_end(rng.choice(parts)))
    text = turn.response.strip()
    if not text.endswith((".", "!", "?")):
        text += "."
    for _ in range(rng.choice([1, 2, 2, 3])):
        text += " " + capital(rng.bank(RESTATE).format(s=said))
    return text


WAFFLE = [
    "There are so many things one could say about {t}.", "I could go on about {t} for hours, and honestly I usually do.",
    "Where do I even begin with {t}, there is the history, the people, the details, the whole context of it all.",
    "My uncle once told me about {t} too, that was on a Tuesday, or maybe a Wednesday, it was raining in any case.",
    "And when I say {t}, I mean {t} in the broadest sense, including everything that goes with it.",
    "First of all, it has to be said that {t} has a long and winding story, which I will now tell from the start.",
    "You see, it all goes back to when I was seven and we lived in the yellow house with the broken gate.",
    "It was a Thursday, I had just had lunch, a sandwich with cheese, and the phone rang, but it was the wrong number.",
    "Some people like it, some people don't, and some people are somewhere in the middle, which is also fine.",
    "There are advantages and disadvantages, and of course the advantages have disadvantages and the other way round.",
    "I also want to mention the background, the background to the background, and a few side notes.",
    "Before I answer, let me explain how I came to think about {t}, and how my thinking changed over the years.",
    "On Monday I thought one thing, on Tuesday another, and by the end of the week I had seven opinions about {t}.",
    "My neighbour has views about {t}, his wife has other views, and their son, who studies law, has none at all.",
    "To be thorough I should list everything: the beginning, the middle, the end, and all that comes in between.",
    "I remember every detail, the color of the chairs, the smell of the room, the name of the man at the desk.",
    "That brings me to another point, which brings me to yet another point, which I will come to in a minute.",
    "And there's the cost, the time, the effort, the weather, the traffic, the parking, the people, the noise.",
    "I looked it up once, then I looked it up again, then I forgot it, and then I looked it up a third time.",
    "Anyway, as I was saying, and I know I say this a lot, it really depends on how you look at {t}.",
    "Now, the word {t} itself is interesting, it has several meanings and I have a favorite dictionary for these things.",
    "I should add that I don't say this lightly, I have discussed it with my sister, my dentist and the mailman.",
    "Speaking for myself, and I can only speak for myself, although others may agree, I would say quite a lot of things.",
    "There was also the time we drove up north, three hours each way, with the dog, who gets car sick.",
    "I have a list of seventeen reasons, and I will go through them one at a time, starting with the least important one.",
    "And another thing about {t}, while we are on it, is that there is always another thing about it.",
    "Let me also describe the building, it had two floors, a red door, eleven windows, and a cellar that we never used.",
    "It takes me back to school, where we had a teacher with a beard who told us all about {t} every single morning.",
    "I suppose I might add a word on the general subject of {t}, as such, and in its wider setting, so to speak.",
    "Then again there's the other side, and the other side of the other side, if you see what I mean.",
    "I had coffee first, then toast, then I read the paper, then I watered the plants, and then I thought about {t}.",
    "I could also tell you about my cousin, who has nothing to do with {t}, but who lives near somebody who does.",
    "It is what it is, as they say, and what it is, is really a great many things at the same time.",
    "For completeness I will also mention the exceptions, the exceptions to the exceptions, and how they came about.",
    "Mind you, I was younger then, and thinner, and I still had that green jacket which I lost on the train.",
    "In the first place, in the second place, and indeed in the third place, there is much to be said.",
    "I went to the store, and they were out of milk, so I went to the other store, the one by the bridge, and so on.",
    "Not that it matters, but the clock on the wall was five minutes slow, and it had been so since March.",
]


def rambles(rng, turn):
    """Buries the answer under three to seven sentences of waffle and side stories."""
    topic = topic_word(rng, turn, "it").lower()
    count = rng.choice([3, 4, 4, 5, 6, 7])
    extra, used = [], set()
    for _ in range(count * 3):
        line = rng.bank(WAFFLE)
        if line not in used:
            used.add(line)
            extra.append(line.format(t=topic))
        if len(extra) == count:
            break
    parts = sentences(turn.response)
    if rng.chance(0.4):
        for line in extra:
            parts.insert(rng.randint(0, len(parts)), line)
    else:
        parts = parts + extra if rng.chance(0.75) else extra + parts
    return " ".join(parts)


def everything_at_once(rng, turn):
    """An answer followed by several further turns' worth of talk from the same conversation, unasked."""
    if not turn.pool:
        return None
    more = []
    for _ in range(rng.choice([4, 5, 6])):
        other = turn.pool.same_dialogue(rng, turn)
        if other and other not in more and other != turn.response:
            more.append(other)
    if sum(len(m.split()) for m in more) < 55:
        return None
    links = ["Also, ", "Oh and another thing, ", "And ", "By the way, ", "I should also say, ", "On top of that, ", "Not to mention, "]
    return " ".join([turn.response.strip()] + [(rng.bank(links) + lower_first(m) if rng.chance(0.5) else m) for m in more])


STUBS = ["It varies.", "Regarding {t}, there are various aspects.", "Yes, {t} is quite something.", "{T}... that's interesting to consider."]

VAGUE_STUBS = ["Many people wonder about this.", "It depends on various factors.", "It's quite complex.", "That's a good question.", "There are different perspectives on this.", "It's worth thinking about.",
               "There's a lot to say about that.", "That's interesting.", "It's complicated.", "Opinions vary on this.", "There are many factors.", "It's hard to say.", "People disagree about that.",
               "That is worth discussing.", "Some people have thoughts about it.", "There are several ways to look at it."]


def stub(rng, turn):
    """GriceBench: one of its four empty answers."""
    if rng.chance(0.25):
        return STUBS[0]
    if rng.chance(0.45):
        return rng.choice(VAGUE_STUBS)
    source = sentences(turn.response)[0] if turn.response and rng.chance(0.6) else (turn.context[-1] if turn.context else turn.response)
    found = [w.strip(".,!?\"'") for w in source.split() if len(w.strip(".,!?\"'")) > 4]
    topic = rng.choice(found[:4]) if found else "that"
    return rng.choice(STUBS[1:]).replace("{t}", topic.lower()).replace("{T}", topic)


EMPTY = [
    "Hmm.", "Sure.", "I guess.", "Maybe.", "It depends.", "Yes.", "No.", "Ok.", "Okay.", "Whatever.", "Things.", "Stuff.", "Some.", "Fine.", "Sort of.",
    "Kind of.", "Who knows.", "Could be.", "Probably.", "It is what it is.", "Not much.", "Yeah.", "Nope.", "Uh huh.", "Good.", "Nice.", "Perhaps.",
    "You know.", "For reasons.", "It's complicated.", "Possibly.", "In a way.", "Right.", "Cool.", "That happens.", "Hard to say.", "Well.", "I see.",
    "Because.", "Mm-hmm.", "Alright.", "Yep.", "Nah.", "The usual.", "Something like that.", "Depends.", "K.", "Eh.", "True.", "Not really.",
    "It happens.", "Lots of things.", "Many things.", "Several.", "A few.", "People.", "Somewhere.", "Sometime.", "Somehow.", "Someone.", "It was okay.",
    "It was fine.", "Could be better.", "I don't know.", "No idea.", "Not sure.", "You'll see.", "Look it up.", "Ask someone else.", "Anyway.",
    "There are many.", "It has its moments.", "I have thoughts.", "There's a lot.", "A bit of this, a bit of that.", "Same as always.", "More or less.",
    "What can I say.", "It's a thing.", "Such is life.", "Next question.", "That's a question.", "Opinions differ.", "One never knows.", "So-so.",
]
EMPTY_TOPIC = [
    "{T}, yes.", "{T} is {t}.", "Well, {t}.", "{T} is a thing.", "There is a lot to say about {t}.", "{T} exists.", "Ah, {t}.", "With {t} it depends.",
    "{T}? Sure.", "As for {t}, well.", "{T} can be many things.", "{T} is interesting.", "I have opinions on {t}.", "{T}, I suppose.", "Something about {t}.",
    "There are different views on {t}.", "{T} has its sides.", "People say things about {t}.", "You know how {t} is.", "{T} is what it is.",
    "It has to do with {t}.", "I heard about {t} once.", "Various things about {t}.", "{T}... yes and no.", "Many factors play a role in {t}.",
    "When it comes to {t}, it varies.", "That's {t} for you.", "{T} is a topic.", "Some like {t}, some don't.", "Hm, {t}.",
]
OPEN_QUESTION = re.compile(r"\b(what|why|how|who|where|which|when|tell me|describe|explain|do you think|your favorite|have you|did you|are you|do you)\b", re.I)
QUESTIONS = [
    "What did you think of {x}?", "How do I get to {x}?", "Why do you like {x}?", "Can you explain how {x} works?", "Tell me about {x}.",
    "What happened at {x}?", "How was {x}?", "What should I know about {x}?", "Could you describe {x} to me?", "How did {x} go?",
    "What do you like most about {x}?", "What are your plans for {x}?", "Why did you choose {x}?", "How does {x} compare to the last one?",
    "Where can I find {x} and what does it cost?", "What went wrong with {x}?", "Who worked on {x}, and what did they do?", "How would you improve {x}?",
    "What's the best way to prepare for {x}?", "Any advice on {x}?", "What makes {x} so special?", "How do you feel about {x}?", "Which part of {x} did you enjoy?",
    "What did they say about {x}?", "What is {x} about?", "Why is everybody talking about {x}?", "How did you end up with {x}?", "What was the hardest part of {x}?",
]
THINGS = [
    "the film", "the movie", "the concert", "your trip to Italy", "the new restaurant", "the interview", "your job", "the book club", "the exam", "the game last night",
    "the conference", "your new apartment", "the recipe", "the project", "the meeting", "the museum", "the wedding", "your holiday", "the workshop", "the train strike",
    "the course", "that novel", "the play", "the new phone", "the budget", "the garden", "the hike", "the airport", "the city", "the company", "the festival", "her speech",
    "the exhibition", "the podcast", "the software update", "the car repair", "the new teacher", "the marathon", "the surgery", "the lecture", "the album", "the museum tour",
    "the train station", "the old bridge", "this printer", "photosynthesis", "the tax form", "a sourdough starter", "the washing machine", "the election", "the article",
]


def empty_answer(rng, turn):
    """A stub in place of an answer, to what the other really said."""
    text = rng.bank(EMPTY_TOPIC) if rng.chance(0.35) else rng.bank(EMPTY)
    topic = topic_word(rng, turn).lower()
    text = text.replace("{t}", topic).replace("{T}", capital(topic))
    return text if rng.chance(0.8) else text.rstrip(".").lower()


BARE = ["Yes.", "No.", "Yeah.", "Ok.", "Sure.", "Fine.", "Good.", "Maybe.", "Nope.", "It was.", "Yep.", "Okay.", "Right.", "Hm.", "I did.", "Yes", "no", "ok", "I do.", "Things.", "Bad."]


def bare_answer(rng, turn):
    """A bare word to an open question. Makes the question too; returns (context, response)."""
    question = rng.bank(QUESTIONS).format(x=rng.bank(THINGS))
    before = []
    if rng.chance(0.3):
        before = [rng.choice(["Hi! How are you?", "Hello there.", "Good morning!", "Hey, long time no see.", "I was thinking about you yesterday.", "Nice to see you again."])]
    if rng.chance(0.15):
        question = question[:1].lower() + question[1:]
    reply = rng.bank(BARE) if rng.chance(0.55) else rng.bank(EMPTY)
    return (tuple(before + [question]), reply)


def first_words(rng, turn):
    """The answer broken off after a few words."""
    found = turn.response.split()
    if len(found) < 12:
        return None
    cut = found[: rng.choice([2, 3, 3, 4])]
    return " ".join(cut).rstrip(",;:.!?") + rng.choice(["...", ".", "...", "", " and so on.", " etc.", " or something."])


DULL = [
    "I see.", "Oh, I see.", "That is interesting.", "That's interesting.", "That's nice.", "That's cool.", "Oh wow.", "Wow, that's cool.", "I don't know.", "I am not sure.", "I'm not sure about that.", "I think so.",
    "Yes, I do.", "Yeah, I do.", "No, I don't.", "Yes, I think so too.", "I agree.", "I agree with you.", "That is true.", "That's true.", "True, I guess.", "Yes, it is.", "It is, yes.", "That's good to know.",
    "Good for you.", "That's great.", "Okay, cool.", "Oh, okay.", "Really?", "Oh really?", "Haha, yes.", "Lol, yeah.", "I have heard of it.", "I have not heard of that.", "I didn't know that.", "I never knew that.",
    "I like it too.", "I love it too.", "I like that.", "Me too, I love it.", "That sounds good.", "That sounds fun.", "That's a good one.", "It is a good thing.", "They are good.", "They are great.", "It's pretty good.",
    "I've never thought of that.", "I guess it is.", "I guess so.", "That makes sense.", "You are right.", "You're right about that.", "Maybe you are right.", "I don't have an opinion on that.", "I have no idea.",
    "I would like to do that.", "I hope so.", "Thanks for telling me.", "It's a lot of things.", "Yes, they are very good at what they do.", "I think it is a good thing, yes.", "That is a very good point.",
    "There are a lot of things like that.", "I am not too familiar with it.", "I do not know much about it.", "It is very interesting, I think.", "Yes, I like it a lot.", "I think it is great.", "He is great.", "She is great.",
]
DULL_MORE = ["I think so.", "What about you?", "It is nice.", "That is good.", "I like it.", "Do you?", "So interesting.", "Very cool.", "I don't know much about it.", "It's good.", "I guess.", "Haha."]


def dull(rng, turn):
    """A reply that would do after anything, in place of one with something to say."""
    text = rng.bank(DULL)
    return text + " " + rng.choice(DULL_MORE) if rng.chance(0.35) else text


ASKED_AGAIN = ["So, {q}", "By the way, {q}", "Anyway, {q}", "Tell me, {q}", "{q}", "{q}"]


def said_before(rng, turn):
    """What was said a moment ago once more: the speaker's own words, the partner's, or a question that was answered."""
    if len(turn.context) < 2:
        return None
    own, partner = sentences(turn.context[-2]), sentences(turn.context[-1])
    asked = [p for p in own if p.endswith("?") and len(p.split()) >= 4]
    if asked and rng.chance(0.45):
        question = rng.choice(ASKED_AGAIN).format(q=lower_first(rng.choice(asked)))
        head = rng.choice(sentences(turn.response)) if rng.chance(0.5) else ""
        return (head + " " + capital(question)).strip()
    longer = lambda parts: [p for p in parts if len(p.split()) >= 5]
    pool = longer(own) if rng.chance(0.7) else longer(partner)
    if not pool:
        return None
    again = rng.choice(pool)
    at = rng.random()
    if at < 0.35:
        return " ".join(own) if pool == longer(own) and len(own) < 4 else again
    rest = sentences(turn.response)
    return " ".join([rest[0], again]) if at < 0.7 else " ".join([again] + rest[-1:])


MIMIC = {"quantity_over": [repeats_itself], "quantity_under": [stub]}
NATURAL = {"quantity_over": [restates, rambles, everything_at_once], "quantity_under": [empty_answer, bare_answer, first_words]}
