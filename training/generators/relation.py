"""Violations of relation: replies that do not belong to the conversation."""
from .common import capital, content_words, sentences, topic_word

SUBJECTS = [
    "my neighbor", "my sister", "the dentist", "our landlord", "my old boss", "a friend from college", "my grandmother", "the new intern", "my roommate",
    "the guy at the gym", "my cousin", "the plumber", "our mayor", "the barista", "my aunt in Ohio", "the librarian", "my mechanic", "the mailman",
]
EVENTS = [
    "just bought a new lawn mower", "painted the kitchen yellow", "is learning to knit", "lost the car keys again", "got a parking ticket yesterday",
    "makes the best lasagna", "is moving to Portugal next month", "started a candle business", "never closes the garage door", "collects old stamps",
    "has three parakeets", "repaired the roof last weekend", "is allergic to peanuts", "signed up for pottery classes", "ordered the wrong curtains",
    "planted tomatoes on the balcony", "broke the office printer", "won a raffle at church", "has been baking bread all week", "is getting new glasses",
    "found an umbrella on the bus", "forgot to return the ladder", "likes to iron on Sundays", "adopted a turtle", "is scared of escalators",
]
STATEMENTS = [
    "The price of copper went up again this week.", "I need to renew my passport before June.", "Bananas are technically berries.", "The wifi in this building is terrible.",
    "I prefer my eggs scrambled with a bit of chives.", "Photosynthesis turns sunlight into chemical energy.", "The bus to downtown leaves every twenty minutes.",
    "My favorite color has always been green.", "It is supposed to rain all weekend.", "I had pancakes for breakfast this morning.", "The Great Wall of China is very long.",
    "You should always stretch before running.", "Our dishwasher makes a strange noise.", "The committee will vote on the bylaws on Friday.", "I think mushrooms taste like soil.",
    "The speed of light is constant in a vacuum.", "There was a sale on winter boots at the mall.", "Penguins cannot fly but they swim very well.", "My shoes got wet in the puddle.",
    "The invoice is due at the end of the month.", "A triangle has three sides.", "I have to water the ferns twice a week.", "Sourdough needs a long time to rise.",
    "The elevator is out of order.", "Mount Everest is the tallest mountain in the world.", "Don't forget to back up your files.", "The stapler is in the second drawer.",
    "Cheese goes well with red wine.", "The moon affects the tides.", "I just changed the oil in my car.", "The museum is closed on Mondays.", "Honey never spoils.",
    "Parallel parking is the hardest part of the driving test.", "The library got new chairs.", "My phone battery dies so quickly these days.", "Gardening is a relaxing hobby.",
    "The traffic on the highway was awful today.", "I like to take long baths in the evening.", "We should repaint the fence before winter.", "The recipe calls for two cups of flour.",
    "Tulips bloom in spring.", "The printer is out of toner.", "Octopuses have three hearts.", "I could really use a haircut.", "The stock market closed higher today.",
    "The new bakery on Main Street sells great croissants.", "I'm thinking of getting a standing desk.", "Salt dissolves in water.", "The train was late again this morning.",
    "My favorite season is autumn because of the leaves.", "I can never remember my passwords.", "Venus is hotter than Mercury.", "They finally fixed the street lamp on our corner.",
    "Knitting a scarf takes me about a week.", "Yesterday I organized my sock drawer.", "The pharmacy closes at nine.", "Concrete takes 28 days to cure.", "Cows have four stomach compartments.",
    "I ordered a pizza with extra olives.", "The dog next door barks all night.", "We ran out of laundry detergent.", "Chess was never my strong suit.", "Grapes are on sale this week.",
    "The weather has been really nice lately.", "I went grocery shopping this morning.", "Did you remember to take out the trash?", "What time does the post office open?",
    "Have you tried the new soup place?", "Do you know a good plumber?", "Which side of the bed do you sleep on?", "Should I wear the blue tie or the red one?",
]
PLATITUDES = [
    "Life is full of surprises.", "Communication is important in any relationship.", "Technology has changed a lot over the years.", "Everyone has their own opinion on things.",
    "It is important to stay healthy.", "Time flies when you are having fun.", "There are many different people in the world.", "You never know what tomorrow brings.",
    "It's always good to learn new things.", "The world is changing faster than ever.", "Education is the key to success.", "Everything happens for a reason.",
    "History tends to repeat itself.", "Money can't buy happiness.", "Change is the only constant.", "Balance is important in life.", "Hard work pays off in the end.",
    "Every culture has its own traditions.", "People have different tastes, and that is what makes life interesting.", "We all need a bit of rest sometimes.",
    "Good things come to those who wait.", "Science has made a lot of progress.", "It takes all kinds of people.", "Health is the most important thing.", "Practice makes perfect.",
    "The internet is full of information these days.", "Society is always evolving.", "Kindness costs nothing.", "There are two sides to every story.", "Variety is the spice of life.",
    "Travel broadens the mind.", "Nature is beautiful in every season.", "A lot of things depend on context.", "It's the little things that count.", "Family is what matters in the end.",
    "Everybody should follow their dreams.", "In general, there are many factors to consider in any situation.", "Things have been changing a lot in recent years.",
    "There are a lot of opinions about everything nowadays.", "Some things are better than others.", "People often forget to enjoy the moment.", "The economy affects all of us.",
    "Entertainment comes in many forms.", "Sports bring people together.", "Music is a universal language.", "Animals are a part of nature.", "Movies are a popular form of entertainment.",
    "Books can teach us many things.", "Food is an important part of every culture.", "Governments have a lot of responsibilities.",
]
TANGENTS = [
    "Speaking of {t}, the word {t} always reminds me of {x}.", "That reminds me of {x}.", "{T} makes me think of {x}, and I really should call my brother about that.",
    "I used to know someone who talked about {t}, and they {e}.", "On a side note, {s}", "Anyway, {s}", "By the way, {s}", "Funny you say {t}, because {s2}", "Oh, before I forget, {s}",
    "{T} is also the name of a street in my home town, near {x}.", "My spelling teacher hated the word {t}.", "The color of {t} is something else. I prefer {x}.",
    "You said {t}, and now I want to talk about {x}.", "{P} But enough about that, {s}", "{P}", "{P} {P2}", "In general, {p}", "Well, {p}", "I always say that {p}", "You know what they say, {p}",
    "I once gave a talk about {t}, nobody came.", "{T} was on the cover of a magazine that I saw at the dentist.", "People have been talking about {t} for centuries.",
    "{T} comes in many shapes and sizes.", "My uncle knows a lot about {t}.", "There is a museum about {t} somewhere.", "The word {t} has a nice sound to it.", "I can spell {t} backwards.",
    "A lot of people are interested in {t} these days.", "In the north they have more {t} than in the south.", "I saw a sign about {t} the other day.", "Philosophers have written about {t}.",
    "In some countries they do not care about {t} at all.", "You could fill a library with books on {t}.", "They used to teach {t} in schools.", "You can buy books about {t} in any shop.",
    "My favorite thing about {t} is the smell.", "My sister wrote an essay on {t} once.", "{T} was different in the old days.", "There used to be a TV show about {t}.", "I think {t} is older than most people believe.",
    "{T} is important for the economy.", "Some {t} are bigger than others.", "My first {t} was red.", "You don't see much {t} in paintings.", "Children often draw {t} at school.",
    "It's funny how many songs there are about {t}.", "{T} and {x}, those are two things I know little about.", "Everyone has a memory of {t}, mine has to do with {x}.", "As they say, {p}", "{T} is one thing, but {p}", "With {t} or without it, {p}", "Interesting. {P}", "Yeah, {p}", "Hmm, {p}", "Oh, {p}",
]
THINGS = [
    "my first bicycle", "the soup my grandmother made", "a dream I had last night", "the curtains in my office", "old radio shows", "the smell of rain", "a trip to the dentist",
    "the parking lot behind the bank", "my collection of spoons", "train timetables", "the price of tomatoes", "ironing shirts", "how to fold a map", "my cousin's wedding",
    "the color of the carpet", "wooden furniture", "garden gnomes", "crossword puzzles", "my insurance policy", "the new traffic light",
]


def random_statement(rng, turn):
    """A fluent statement about something else altogether."""
    if rng.chance(0.4):
        text = capital(f"{rng.bank(SUBJECTS)} {rng.bank(EVENTS)}.")
    else:
        text = rng.bank(STATEMENTS)
    if rng.chance(0.35):
        text += " " + (rng.bank(STATEMENTS) if rng.chance(0.5) else capital(f"{rng.bank(SUBJECTS)} {rng.bank(EVENTS)}."))
    return text


def _overlap(a, b):
    left = {w.lower() for w in content_words(a)}
    return len(left & {w.lower() for w in content_words(b)})


def other_dialogue(rng, turn):
    """A turn of another conversation that shares no content word with this one."""
    if not turn.pool or not turn.context:
        return None
    here = " ".join(turn.context[-3:]) + " " + turn.response
    for _ in range(6):
        text = turn.pool.elsewhere(rng, turn)
        if len(content_words(text)) >= 3 and not _overlap(here, text):
            return text
    return None


def other_fact(rng, turn):
    """The middle of a turn of another conversation, so that no greeting or thanks gives it away."""
    text = other_dialogue(rng, turn)
    if not text:
        return None
    parts = [p for p in sentences(text) if len(content_words(p)) >= 3]
    return rng.choice(parts) if parts else None


def drift(rng, turn):
    """A platitude or a tangent hung on one word of the conversation in place of the answer."""
    topic = topic_word(rng, turn).lower()
    text = rng.bank(TANGENTS)
    first, second = rng.bank(PLATITUDES), rng.bank(PLATITUDES)
    said = rng.bank(STATEMENTS)
    values = {"{t}": topic, "{T}": capital(topic), "{x}": rng.bank(THINGS), "{e}": rng.bank(EVENTS), "{s}": said, "{s2}": said[:1].lower() + said[1:],
              "{P}": first, "{P2}": second, "{p}": first[:1].lower() + first[1:]}
    for key in sorted(values, key=len, reverse=True):
        text = text.replace(key, values[key])
    return text


STOCK_FACTS = [
    "The Mediterranean diet emphasizes olive oil, fish, and vegetables, and has been associated with numerous health benefits.",
    "Coral reefs support approximately 25% of all marine species despite covering less than 1% of the ocean floor.",
    "Migration patterns of birds are influenced by changes in daylight hours and temperature.",
    "The printing press, invented by Gutenberg in the 15th century, transformed the spread of knowledge.",
    "The first smartphone was introduced in the early 1990s, combining phone and PDA features.", "Water molecules consist of two hydrogen atoms bonded to one oxygen atom.",
    "Photosynthesis allows plants to convert sunlight into chemical energy for growth.", "Coffee originated in Ethiopia and has become one of the world's most popular beverages.",
    "Rainforests produce about 20% of the world's oxygen and are often called the lungs of the Earth.", "Ancient Rome's road system spanned over 50,000 miles and connected the vast empire.",
    "The human heart beats about 100,000 times a day and pumps blood through the whole body.", "Volcanoes form where molten rock from the mantle rises to the surface.",
    "The Silk Road connected China with the Mediterranean and carried goods as well as ideas.", "Steel is an alloy of iron and carbon and is used in most modern buildings.",
    "Bees communicate the location of flowers to each other by a dance.", "The Amazon River carries more water than any other river in the world.",
    "Paper was first made in China around the second century from bark and rags.", "Glaciers store most of the fresh water on the planet.", "The Renaissance began in Italy and spread across Europe in the 15th century.",
    "Tectonic plates move a few centimeters each year, about as fast as fingernails grow.", "Solar panels convert sunlight into electricity by means of semiconductor cells.",
    "The nervous system transmits signals between the brain and the rest of the body.", "Wheat was one of the first crops that people cultivated in the Middle East.",
    "Elephants live in herds that are led by the oldest female.", "The steam engine powered the factories of the Industrial Revolution.", "Rice is the staple food of more than half of the world's population.",
    "Sound travels faster through water than through air.", "The Great Barrier Reef lies off the coast of Australia.", "Vitamins are organic compounds that the body needs in small amounts.",
    "Concrete was used by Roman engineers for harbors, domes and aqueducts.", "Mangrove forests protect coastlines from storms and erosion.", "The compass was invented in China and later guided sailors across the oceans.",
]
STOCK_DRIFTS = [
    "This topic has been extensively studied by researchers over the years.", "From a theoretical perspective, there are multiple frameworks to consider.", "The origins of this subject date back many centuries.",
    "There are many interesting historical aspects to consider here.", "Popular opinions on this matter vary widely across different cultures.", "Scholars have written many books about this subject.",
    "The wider context of this issue has changed over time.", "In many countries this matter is seen in a different light.", "There is a long tradition of debate around this question.", "Several disciplines have dealt with this phenomenon.",
    "From a historical point of view, there are several periods to distinguish.", "The public interest in such matters has grown in recent decades.",
]


def stock_fact(rng, turn):
    """GriceBench: a statement from an encyclopedia about something else."""
    text = rng.choice(STOCK_FACTS)
    return None if _overlap(" ".join(turn.context[-2:]), text) else text


def stock_drift(rng, turn):
    """GriceBench: a general remark about the subject as such."""
    return rng.choice(STOCK_DRIFTS)


MIMIC = {"relation_off_topic": [other_dialogue, other_dialogue, other_fact, stock_fact, stock_fact, random_statement], "relation_drift": [drift, stock_drift]}
NATURAL = {"relation_off_topic": [random_statement, other_dialogue, other_dialogue], "relation_drift": [drift]}
