"""What speakers say of themselves, said again and denied: for contradictions across turns."""
import re

from .common import capital, lower_first, sentences, strip_end
from .quality import NUMBER, changed_number, flipped

# said | said again | denied
STATEMENTS = """
I have two dogs. | My two dogs keep me busy. | I have never had any pets.
I have three cats. | Yes, three cats live with me. | I only have one cat.
I'm a vegetarian. | I don't eat meat. | I had a big steak last night.
I'm vegan. | I don't eat any animal products. | I eat cheese every single day.
I work as a nurse. | I'm a nurse at the hospital. | I work as a car mechanic.
I'm a teacher. | I teach at a school. | I am a truck driver.
I'm retired. | I don't work anymore. | I have to be at my office at nine every morning.
I don't have a job right now. | I'm still looking for work. | My job keeps me really busy.
I'm an only child. | I have no brothers or sisters. | My brother and I are very close.
I have two sisters. | I grew up with two sisters. | I never had any siblings.
I live in New York. | I've been in New York for years. | I live in a small town in Ohio.
I live on a farm. | Life on the farm is quiet. | I live in an apartment in the city.
I live alone. | There is nobody else in my house. | My roommate is always loud.
I'm married with two kids. | My husband and the kids are great. | I'm single and I have no kids.
I've never been to Europe. | I would love to see Europe for the first time. | I was in Paris last summer.
I've never been on a plane. | I have yet to take my first flight. | I fly to see my parents twice a month.
I hate flying. | Airplanes scare me. | I love being on planes.
I love to read. | I read a lot of books. | I never read books.
I don't watch television. | I don't own a tv. | I watch tv every evening.
I don't like sports. | Sports are boring to me. | I love sports, I watch every game.
I love football. | Football is my favorite sport. | I can't stand football.
I hate country music. | Country is not my kind of music. | Country music is my favorite.
I love jazz. | I listen to jazz all the time. | I really dislike jazz.
I can't swim. | I never learned how to swim. | I go swimming every morning.
I play the guitar. | I've played guitar for years. | I don't play any instrument.
I don't drink alcohol. | I never drink. | I had a few beers last night.
I don't drink coffee. | Coffee is not for me. | I need my coffee every morning.
I'm allergic to nuts. | Nuts make me very ill. | I eat peanuts all the time.
I'm allergic to cats. | Cats make me sneeze. | My cat sleeps on my bed.
I'm afraid of spiders. | Spiders are terrifying to me. | I'm not afraid of spiders at all, I keep some as pets.
I'm afraid of heights. | I can't stand on a tall building. | I love climbing, heights don't bother me.
I don't drive. | I don't have a license. | I drive to work every day.
My car is red. | I love my red car. | My blue car is in the garage.
My favorite color is green. | I like green best. | My favorite color is purple.
My favorite food is pizza. | I could eat pizza every day. | I don't like pizza at all.
I love cooking. | I enjoy making dinner. | I hate cooking, I never do it.
I don't like seafood. | Fish is not my thing. | Sushi and shrimp are my favorite foods.
I am in college. | I'm studying for my exams. | I never went to college.
I'm still in high school. | School keeps me busy. | I graduated from college ten years ago.
I'm 25 years old. | I turned 25 this year. | I'm almost 50 years old.
I'm very tall. | People always notice how tall I am. | I'm really short, I can't reach anything.
My mother was a teacher. | My mom taught at a school. | My mother was a doctor.
My father died when I was young. | I barely knew my father. | My dad and I went fishing last week.
I grew up in Texas. | I was raised in Texas. | I grew up in Canada.
I speak French. | My French is pretty good. | I only speak English.
I only speak English. | English is my only language. | I speak Spanish and German too.
I don't have any kids. | I have no children. | My daughter just started school.
I have a son. | My son is a great kid. | I have no children.
I go to the gym every day. | I work out daily. | I never exercise.
I'm very lazy. | I don't like to move much. | I run ten miles every day.
I don't like dogs. | Dogs are not for me. | I love dogs, they are my favorite animals.
I love the snow. | Winter is my favorite time. | I hate snow.
I hate the cold. | Cold weather is awful. | I love cold weather.
I prefer tea. | Tea is better than coffee to me. | I prefer coffee over tea.
I've never seen Star Wars. | I still have to see Star Wars. | I've seen all the Star Wars movies many times.
I have seen that movie. | I watched that movie last year. | I have not seen that movie yet.
I haven't read that book. | I should read it some day. | I read that book, it was great.
I don't use social media. | I'm not on any social media. | I post on Instagram every day.
I vote in every election. | I always vote. | I have never voted.
I'm not religious. | I don't believe in god. | I go to church every Sunday.
I own a small bakery. | My bakery is doing well. | I have never owned a business.
I like to stay at home. | Home is where I like to be. | I can't stand being at home, I go out every night.
I go to bed early. | I'm asleep by nine. | I usually stay up until three in the morning.
I'm a night owl. | I'm up late every night. | I go to bed at eight.
I love horror movies. | Scary movies are my favorite. | I can't watch scary movies.
I hate spicy food. | I can't handle spice. | I put hot sauce on everything.
I broke my leg last week. | My leg is still in a cast. | I ran a marathon yesterday.
I have long hair. | My hair is down to my waist. | I shaved my head years ago.
I moved here last month. | I am still new here. | I have lived here all my life.
I don't like school. | School is no fun. | I love school.
I never met my grandparents. | My grandparents died before I was born. | My grandma taught me how to bake.
I have a boyfriend. | My boyfriend is very sweet. | I'm single.
I like my job. | My job is fun. | I hate my job.
I am a lawyer. | I practice law. | I work in construction.
I have a garden. | I grow tomatoes in my garden. | I have no garden.
I ride a motorcycle. | My bike is my favorite thing. | I have never been on a motorcycle.
I play video games all day. | I am a big gamer. | I don't play video games.
It is raining here. | The rain won't stop. | It's been sunny here all day.
I like summer the most. | Summer is my favorite season. | I hate summer, winter is the best.
I have been to Japan twice. | I saw Tokyo on both trips. | I have never left my country.
My birthday is in May. | I was born in May. | My birthday is in November.
"""
BANK = [tuple(part.strip() for part in text.split("|")) for text in STATEMENTS.strip().split("\n")]
ASKING = ["What about you?", "That's nice. Tell me more about yourself.", "Oh, I see. What else do you do?", "Cool! And how is your day going?", "Really? How come?", "Me too! What do you do for fun?",
          "Sounds good. What are your plans for the weekend?", "Interesting, why is that?", "Oh wow. How long has it been like that?", "Haha, nice.", "I understand. Anything else?", "Same here!",
          "Good to know.", "That's great to hear.", "I didn't know that about you.", "Wow, is that so?"]
LEADS = ["", "", "", "Well, ", "Yeah, ", "Honestly, ", "Oh, ", "Haha, ", "You know, ", "As for me, "]


def said_again(rng, turn):
    """An earlier statement of the speaker's, then the partner; what fits it and what denies it: `(context, fits, denies)`."""
    said, fits, denied = rng.bank(BANK)
    if rng.chance(0.25):
        said, fits = fits, said
    before = [rng.choice(["Hi! How are you?", "Hello there.", "Tell me about yourself.", "What do you do?", "Hey, what's up?"])]
    more = ""
    if turn and turn.context and rng.chance(0.5):
        own = sentences(turn.context[-2]) if len(turn.context) > 1 else []
        more = rng.choice(own) if own else ""
    said = f"{said} {more}".strip() if rng.chance(0.5) else f"{more} {said}".strip()
    partner = rng.bank(ASKING)
    if turn and turn.context and rng.chance(0.4):
        partner = turn.context[-1]
    lead = rng.choice(LEADS)
    tail = ""
    if turn and rng.chance(0.35):
        tail = " " + rng.choice(sentences(turn.response) or [""])
    made = [(capital(lead + (lower_first(x) if lead else x)) + tail).strip() for x in (fits, denied)]
    return tuple(before[: rng.choice([0, 1])] + [said, partner]), made[0], made[1]


OWN = re.compile(r"^(I|I'm|I've|My|We)\b")


def own_words_denied(rng, turn):
    """What the speaker really said two turns ago, upheld and denied: `(context, fits, denies)`, or None."""
    if len(turn.context) < 2:
        return None
    found = [p for p in sentences(turn.context[-2]) if 4 <= len(p.split()) <= 22 and not p.endswith("?") and (OWN.match(p) or NUMBER.search(p))]
    if not found:
        return None
    claim = strip_end(rng.choice(found))
    wrong = changed_number(rng, claim) if NUMBER.search(claim) and rng.chance(0.5) else flipped(rng, claim)
    wrong = wrong if wrong and wrong != claim else opposite(claim)
    if not wrong:
        return None
    lead = rng.choice(["Like I said, ", "Well, ", "", "", "Yeah, ", "But ", "As I told you, ", "Anyway, "])
    tail = " " + rng.choice(sentences(turn.response) or [""]) if rng.chance(0.6) else ""
    return turn.context, *((capital(lead + (lower_first(x) if lead else x)) + "." + tail).strip() for x in (claim, wrong))


OPPOSITES = [("love", "hate"), ("like", "dislike"), ("don't", "do"), ("haven't", "have"), ("can't", "can"), ("never", "always"), ("didn't", "did"), ("enjoy", "can't stand"), ("hate", "love"),
             ("I have", "I don't have"), ("I do", "I don't"), ("I think", "I don't think"), ("I watch", "I never watch"), ("I play", "I never play"), ("I know", "I don't know"),
             ("I went", "I never went"), ("I saw", "I never saw"), ("I am", "I am not"), ("I'm", "I'm not"), ("I was", "I wasn't"), ("I did", "I did not"), ("I would", "I would not")]


def opposite(claim):
    for old, new in OPPOSITES:
        found = re.search(rf"\b{re.escape(old)}\b", claim)
        if found:
            return claim[: found.start()] + new + claim[found.end():]
    return None
