"""Everyday questions with good answers, so that training sees more than the facts of Topical-Chat."""
from pathlib import Path

from .common import Turn, content_words

PAIRS = """
What did you think of the movie? | I enjoyed it. The first hour is slow, but the chase at the end makes up for it.
How was your weekend? | Pretty relaxing, thanks. We went hiking on Saturday and stayed in on Sunday because of the rain.
How do I get to the train station? | Go straight down this road, turn right at the lights, and you'll see it on your left after the bank.
Why did you quit your job? | The commute was two hours each way, and I wanted to spend more time with my kids.
What should I cook for dinner tonight? | You could make a simple risotto. All you need is rice, stock, an onion and some cheese.
How's the new apartment? | I love it. It gets a lot of light, and the neighbors are quiet. The kitchen is tiny, though.
What did the doctor say? | It's only a sprain. I have to rest it for two weeks and then do some exercises.
Can you recommend a good book? | Try The Remains of the Day. It's about a butler looking back on his life, and it's beautifully written.
How did the interview go? | I think it went well. They asked about my last project and want to see me again on Thursday.
What are you doing this summer? | We're driving along the coast for ten days, and after that I'm painting the house.
Do you like living in the city? | Mostly, yes. I like being able to walk everywhere, but I miss having a garden.
How do you make your coffee? | I use a French press. Coarse grounds, water just off the boil, and four minutes of waiting.
What's wrong with the car? | The battery is dead. I left the lights on all night, so I need someone to jump start it.
Why is the sky blue? | Air scatters blue light more than red, so blue reaches our eyes from all over the sky.
What happened at the meeting? | They moved the launch to June and asked us to cut the budget by a tenth.
How long have you been playing the guitar? | About six years. I started in high school, and I've been in a band for the last two.
What's your favorite season and why? | Autumn. The air is crisp, the leaves are turning, and it's finally cool enough to run.
Did you get the tickets? | Yes, two seats in row F. They were the last ones next to each other.
What do you do for a living? | I'm a nurse. I work in the emergency room, mostly night shifts.
How can I improve my Spanish? | Watch shows in Spanish with subtitles and try to speak for ten minutes every day, even if it's to yourself.
What is the new restaurant like? | The food is great, especially the fish, but it's loud and you need to book a week ahead.
Why are you so tired today? | The baby woke up four times last night, and I had to get up at five for work.
What's the difference between a frog and a toad? | Frogs have smooth, moist skin and long legs for jumping. Toads are drier and bumpier, and they mostly walk.
How do I remove a red wine stain? | Blot it, don't rub. Then pour soda water over it and wash it as soon as you can.
Who is coming to the party? | Anna and Ben, the two from accounting, and my sister with her boyfriend.
What's the plan for tomorrow? | We meet at nine at the station, take the bus to the lake, and come back before dark.
How does a vaccine work? | It shows your immune system a harmless part of the germ, so that it can recognize the real one later.
What time does your flight land? | Ten past six in the evening, if it isn't delayed. I'll text you from the gate.
Is the hotel any good? | It's clean and close to the beach, but the walls are thin. Bring earplugs.
What made you move to Canada? | My wife got a job at the university in Halifax, and we both wanted to be near the sea.
How was the concert last night? | Amazing. They played for three hours and did all the old songs. My ears are still ringing.
Which phone should I buy? | If you care about the camera, get the bigger one. Otherwise last year's model is fine and much cheaper.
How do you stay so fit? | I swim three times a week and I cycle to work. I don't really watch what I eat.
What's your dog's name? | Her name is Olive. She's a beagle, and she is nine years old.
Why is the store closed? | They're taking inventory today. The sign says they open again tomorrow at eight.
Tell me about your family. | I have two older brothers, both teachers, and my parents run a small bakery in Leeds.
How do I reset the router? | Hold the small button on the back for ten seconds until the light turns orange, then wait for two minutes.
What's the weather like over there? | Sunny but cold. It was below freezing this morning, and there's still snow on the hills.
Have you ever been to Greece? | Yes, twice. We stayed on Naxos the first time and went to Athens the year after.
What did you have for breakfast? | Two eggs on toast and an orange. I was in a hurry.
How is your grandmother doing? | Much better, thanks. She's home from the hospital and already complaining about the food.
Could you explain what inflation is? | It means that prices rise over time, so the same amount of money buys less than before.
What do I need for the hike? | Good boots, two liters of water, a rain jacket and something to eat. The top can be windy.
When is the paper due? | Friday at noon. You can hand it in online, but she wants a printed copy too.
How did you two meet? | We sat next to each other on a delayed train and talked for five hours.
Why don't you eat meat? | I stopped after I read about how the animals are kept, and now I don't miss it.
What is the book about? | It's about three sisters who inherit a farm and can't agree on what to do with it.
What's the fastest way to the airport? | The express train. It takes twenty minutes and leaves every quarter of an hour from platform two.
Did you fix the printer? | Yes, there was a piece of paper stuck at the back. It works now.
What kind of music do you listen to? | Mostly jazz and some old soul. I grew up with my dad's records.
How much did the repair cost? | A hundred and forty dollars. Most of that was for labor.
What's your biggest fear? | Heights. I can't even stand on a ladder without my knees shaking.
Where should we go for lunch? | How about the noodle place on the corner? It's cheap and we'd be back by one.
How was the exam? | Harder than I expected. I ran out of time on the last question, but I think I passed.
Why did the meeting get cancelled? | Two people are ill and the client can't make it before Monday.
What are your hobbies? | I build model ships and I sing in a choir on Wednesdays.
How do I keep my basil alive? | Give it plenty of light, water it from below, and pinch off the tips so that it grows bushy.
Do you believe in ghosts? | Not really, but I wouldn't spend a night alone in that old house either.
Who won the game? | We did, two to one. They scored in the last minute, so it got exciting.
What's in this soup? | Carrots, ginger, coconut milk and a bit of chili. It's vegan.
Can you help me with my homework? | Sure. Which subject is it, and when do you have to hand it in?
How old is this house? | It was built in the twenties, but the kitchen was redone five years ago.
What did she say on the phone? | She's running late because of the traffic. We should start without her.
Why is my bread so dense? | It probably didn't rise long enough. Let the dough double in size before you bake it.
How do you deal with stress? | I go for a long walk without my phone. If that doesn't help, I clean the kitchen.
What's the best time to visit Japan? | Late March for the cherry blossoms, or November for the autumn leaves. Summer is very humid.
Did you like the gift? | I loved it! The scarf is exactly my color, and it's so warm.
How is the project going? | We're about a week behind, because the supplier sent the wrong parts. I hope to catch up by Friday.
What's the capital of Australia? | Canberra, though a lot of people think it's Sydney.
Why were you late? | My bus broke down, and I had to walk the last two miles.
What are you reading at the moment? | A biography of Marie Curie. I'm at the part where she moves to Paris.
How do I get rid of ants in the kitchen? | Find out where they come in and seal it, and wipe the floor with vinegar. Don't leave crumbs out.
Is it hard to learn to ski? | The first two days are. After that you get the hang of it, especially with a good teacher.
What would you do with a million dollars? | Pay off the house, travel for a year, and give a good part of it to the shelter.
How was the flight? | Long, and the man next to me snored, but we landed on time.
What's the new teacher like? | Strict but fair. She explains things well and she never raises her voice.
Do you want to go out tonight? | I'd love to, but I have an early shift. How about tomorrow?
Why do cats purr? | Usually because they're content, but they also do it to calm themselves when they're hurt.
What's your opinion on remote work? | I like it for quiet tasks, but I miss talking to people over lunch.
How do I change a tire? | Loosen the nuts, jack the car up, swap the wheel, and tighten the nuts crosswise once it's back down.
What happened to your arm? | I fell off my bike on the ice. It's broken in two places, but it doesn't hurt much.
Where did you buy that jacket? | At a thrift shop in Brooklyn. It was only fifteen dollars.
How many people live in your town? | About eight thousand, and twice that in the summer when the tourists come.
What are the symptoms of the flu? | Fever, aching muscles, a cough and feeling very tired. It usually comes on quickly.
Are you nervous about the wedding? | A little. The guests don't worry me, but I have to dance in front of them.
Should I get a dog or a cat? | If you're away all day, get a cat. A dog needs company and at least two walks.
How did the garden turn out this year? | The tomatoes were great, but the slugs got all of the lettuce.
What do you think about the new policy? | I think it's a step in the right direction, but they should have asked the staff first.
How do you say thank you in Japanese? | You say arigato, or arigato gozaimasu if you want to be polite.
Why did they close the bridge? | They found cracks in two of the pillars, so it's shut until the engineers have looked at it.
What's your favorite childhood memory? | Fishing with my grandfather. We hardly ever caught anything, but he told the best stories.
Can I pay by card? | Yes, any card is fine, but only for ten dollars or more.
What does your tattoo mean? | It's the mountain behind the house I grew up in. I got it after we moved away.
How do I write a good cover letter? | Keep it to one page, say why you want this job, and give one example of what you've done.
What's the museum like? | Small but lovely. They have a room full of old maps, and the café looks out on the river.
How is the food at the cafeteria? | It depends on the day. The soups are good, but stay away from the fish.
What did you learn from the course? | How to read a balance sheet, mainly. I also got better at speaking in front of people.
Why is the sea salty? | Rivers wash minerals out of rocks and carry them to the sea, where the water evaporates and the salt stays.
Do you have any plans for your birthday? | Just a dinner with a few friends. I don't like big parties.
What size shoes do you wear? | A nine, or a nine and a half if they're narrow.
How was the traffic? | Terrible. There was an accident on the bridge, and it took me an hour and a half.
What should I wear to the dinner? | Something smart but comfortable. A jacket is fine, you won't need a tie.
Did the package arrive? | Yes, this morning. The box was a bit crushed, but nothing was broken.
What's the secret of a good marriage? | Listening, I think, and laughing at the same things. We also have separate blankets.
How do plants make their food? | They use sunlight to turn water and carbon dioxide into sugar, and they give off oxygen.
Why do you like this painting so much? | It's the light. You can tell it's early in the morning, and it makes me feel calm.
What's on TV tonight? | There's a documentary about whales at eight, and a crime show after that.
What happened in the last episode? | The sheriff found the letter and let her go, and it ended with the house on fire.
How are the kids? | They're well. Lily has lost her first tooth and Max has discovered drums, unfortunately.
What do you miss most about home? | My mother's cooking, and being able to see the stars at night.
How do I train my puppy not to bite? | Say no calmly, stop playing for a moment, and give him a toy to chew on instead.
Have you finished the report? | Nearly. I still need the sales numbers from March, then I'll send it to you.
What's your new boss like? | She's direct, which I like. She reads everything that you send her and answers the same day.
Why don't you drive? | I never learned. I've always lived near a subway, and I find it stressful.
Which route is safer at night? | Take the main road. It's longer, but it's lit and there are always people.
What can I do against a headache? | Drink some water, get some fresh air, and rest your eyes. If it doesn't go away, take a painkiller.
How do I get to your office from the airport? | Take the blue line to Central, that's about half an hour. Leave through the north exit, cross the square, and walk up King Street past the theater. We're in the brick building on the corner, number 48. Ring the bell for the third floor and I'll come down.
How do you make pancakes? | Whisk two eggs with a cup of milk, then stir in a cup of flour, a spoon of sugar and a pinch of salt. Let it rest for ten minutes. Melt some butter in a pan, pour in a ladle of batter, and flip it as soon as bubbles show. Keep the first ones warm in the oven.
Why did you and your brother fall out? | It was about our parents' house. He wanted to sell it right after the funeral, and I wanted to keep it for at least a year. We said some ugly things to each other on the phone, and then he stopped answering. I've written him a letter, but I haven't had the courage to send it.
What was growing up on a farm like? | We got up at five to feed the animals, and after school there was always something to mend. I didn't love it then, because my friends in town could just play. Looking back I'm grateful: I learned to drive a tractor at ten, and nothing tastes like your own strawberries.
What should I see in Edinburgh if I only have two days? | Start with the castle early in the morning, before the groups arrive, and walk down the Royal Mile from there. In the afternoon climb Arthur's Seat, it takes about an hour. On the second day go to the National Museum if it rains, or to the Botanic Garden if it doesn't.
How did you get into photography? | My grandfather left me his old camera when I was fifteen. I taught myself from library books and took pictures of my sisters until they refused to sit still. Later a local paper bought two of my photos of a flood, and that made me think that I could live on it.
Can you explain how a mortgage works? | The bank lends you most of the price of the house, and you pay it back every month over twenty or thirty years. Each payment is part interest and part repayment. If you stop paying, the bank can take the house and sell it, which is why the rates are lower than for other loans.
What went wrong with the delivery? | The driver had an old address, so he went to our former office. Nobody there signed for it, and it went back to the depot. I called them twice, and they've promised to bring it tomorrow between eight and ten. They won't charge us for the second try.
How do I prepare for my first marathon? | Give yourself at least four months. Run three or four times a week, make one of the runs long, and add a mile to it every week. Don't try new shoes on the day itself. In the last two weeks run less, sleep more, and eat plenty of pasta.
Why do you prefer trains to planes? | I get to see where I'm going, and I can walk around, read and eat at a proper table. With the time that you spend on getting to the airport and waiting, it often isn't even slower. And I hate taking off my shoes in front of strangers.
What did you do in the holidays? | We stayed with my in-laws for the first week, which was louder than it sounds, because there were eleven of us and two dogs. After that we had four quiet days at home. I read a whole novel, fixed the shelf in the hall, and slept until nine every morning.
What's the procedure for returning an item? | Print the label from your account, put the item back into its box, and tape it shut. You can drop it off at any post office within thirty days. As soon as it's back in the warehouse we refund the money, which usually takes about a week.
Tell me about the best meal you've ever had. | It was in a village in Portugal. There was no menu, the owner just brought what her husband had caught: grilled sardines, then a stew with clams, bread, olives and a bottle of white wine. We sat outside until midnight, and the bill was twelve euros each.
How has the neighborhood changed since you moved in? | When we came, there was a hardware store, a butcher and two bars. Now it's mostly cafés, and the rents have doubled. On the other hand the park is much nicer and they've built a playground, so I don't only complain.
What do you do when you can't sleep? | I don't look at the clock. I get up, make some camomile tea, and read something dull in the kitchen until my eyes get heavy. If something is on my mind I write it down, so that it's on paper and out of my head.
I can't decide between the blue one and the green one. | I'd take the green one, it goes better with your coat.
I just got back from Norway. | Oh nice! Did you see the northern lights while you were there?
My laptop keeps crashing. | Does it get hot? Mine did that until I cleaned the fan.
I think I'm going to cut my hair short. | You should! It would suit you, and it grows back anyway.
We lost the match again. | I'm sorry. You played well against them last month though, so don't give up.
I'm allergic to peanuts. | Thanks for telling me, I'll leave them out of the sauce.
My daughter starts school next week. | How exciting! Is she looking forward to it, or is she a bit nervous?
I've been trying to eat less sugar. | Good for you. Swapping soda for sparkling water helped me the most.
The neighbors are so loud. | Have you tried talking to them? Ours had no idea we could hear them.
I finally passed my driving test! | Congratulations! I know how hard you practiced for it.
"""

# (what was said, what contradicts it, what agrees with it)
CONTRADICTED = """
I'm a vegetarian. | So since you love steak, you'll like the grill there. | Then you'll like the lentil place on Main Street.
I have two sisters and no brothers. | Your brother must be proud of you. | Do your sisters live nearby?
I've never been to Europe. | You said you lived in Paris for years. | Would you like to go someday?
My flight leaves at six in the morning. | So you're flying in the evening, that's convenient. | Six is early, you'll have to get up at three.
I quit smoking ten years ago. | As you smoke every day, you know how it is. | Ten years, well done! Do you ever miss it?
We don't have any pets. | Your cat must keep you busy, as you said. | Would you like to have one?
I hated that book. | I'm glad that it's your favorite book. | What put you off about it?
My car broke down, so I took the bus. | Since you drove here, you can give me a ride. | Is it something expensive?
I work nights at the hospital. | You told me that you only work in the daytime, in a bank. | Nights must be tough. How long are your shifts?
My birthday is in December. | Your birthday is in July, as you said. | Close to Christmas then! Do you get half as many presents?
I don't drink alcohol. | You mentioned that you had five beers yesterday. | Then I'll get you a ginger ale.
We won three to nothing. | Too bad that you lost the game. | Three goals, wow! Who scored?
I moved here from Texas last month. | So you have lived here all your life. | How do you like it so far?
The shop opens at nine. | Right, it opens at noon like you said. | Then let's be there just after nine.
My brother is older than me. | Your younger brother, the one you mentioned, is lucky. | By how many years?
It hasn't rained here for weeks. | With all the rain you've been having, the garden must be soaked. | The plants must be suffering.
I can't swim. | You're such a strong swimmer, as you told me. | It's never too late to learn, they have courses at the pool.
The rent is 900 dollars a month. | You pay 2,000 dollars a month, you said. | That's not bad for the center of town.
I'm an only child. | How many siblings did you say you have, four? Yes, four. | Did you ever wish for a brother or a sister?
She has lived in Rome since 2010. | She left Rome in 2005, as you said. | Her Italian must be perfect by now.
We got married in the spring. | An autumn wedding like yours is lovely. | Spring is a lovely time for a wedding.
I love winter, I go skiing whenever I can. | I know you hate the snow and never ski. | Where do you usually go skiing?
My grandfather died before I was born. | It's nice that your grandfather still visits you. | So you never met him, that's a pity.
I teach math at a high school. | Being a chef, as you are, must be hard. | What age are your students?
The train takes three hours. | Since the train takes twenty minutes, you'll be there soon. | Three hours is fine, you can read.
Nobody came to the party. | It's great that so many people came to your party. | I'm so sorry, that must have hurt.
The test was easy, I got an A. | Too bad that you failed the test. | Well done! You must have studied a lot.
I'm left-handed. | You write with your right hand, you told me. | My dad is left-handed too.
I sold my house in May. | Then you still own the house. | Did you get a good price for it?
The dog is twelve years old. | He's just a puppy, like you said, only two months old. | Twelve is a good age for a dog.
"""

SELF = """
I've never been to {place}. When I lived in {place}, I loved the food.
I don't own a car. Yesterday I washed my car and drove it to {place}.
I'm an only child. My sister lives in {place} now.
I hate coffee. I drink six cups of it a day because I love the taste.
It was the best film I've seen, and I didn't like anything about it.
I was alone all evening. We talked with everyone until midnight.
It's the cheapest place in town. No other place charges as much.
I never read novels. The novel that I finished last night was great.
I can't swim. I swam across the lake every morning in {place}.
He has never won anything. He won the title in {place} twice.
I left at noon and I was still there at six without ever leaving.
I don't have any pets. My dog would love {place}.
They closed in 2009. I ate there last week, and they are open every day.
She was born in {place}. As she was born in Denmark, she speaks Danish only.
I'm a vegetarian. The steak that I had for lunch was perfect.
The shop is always open. It is closed on most days.
Nobody lives there. The people who live there are very friendly.
I agree with you completely. What you said is wrong from start to finish.
I've known her since school. We met for the first time yesterday.
It takes ten minutes. You will need at least five hours for it.
I am {a} years old. I turned {b} last year.
There were {a} of us in the car. All {b} of us were cold.
I haven't seen it yet. When I saw it, I cried at the end.
We have no garden. Our garden is full of roses in June.
I don't speak any Spanish. I speak Spanish fluently with my wife.
"""
PLACES = ["Rome", "Tokyo", "Paris", "Chicago", "Berlin", "Mexico", "Kenya", "Sydney", "London", "Madrid", "Peru", "Boston", "Cairo", "Oslo"]


def _table(text):
    return [tuple(part.strip() for part in line.split("|")) for line in text.strip().split("\n")]


def _longer_pairs():
    """`everyday_pairs.txt`: one `context | reply` a line, the utterances of a context separated by ` // `."""
    return _table((Path(__file__).parent / "everyday_pairs.txt").read_text(encoding="utf-8"))


EVERYDAY = _table(PAIRS) + _longer_pairs()
DENIED = _table(CONTRADICTED)
SELF_LINES = [line for (line,) in _table(SELF)]
OPENERS = ["Hi! How are you?", "Hey, good to see you again.", "Good morning!", "Hello there.", "Long time no see!", "I'm fine, thanks.", "Sure, go ahead.", "I've got a question for you.",
           "That makes sense.", "By the way,"]


def everyday_turns(part):
    """The pairs as turns, those of one part: "train" (four of five), "unseen" (the fifth) or "all"."""
    out = []
    for i, (question, answer) in enumerate(EVERYDAY):
        if part == "all" or (i % 5 == 4) == (part == "unseen"):
            out.append(Turn(tuple(question.split(" // ")), answer, "", True, f"everyday-{i}"))
    return out


def opened(rng, context):
    """Sometimes a short turn before the question."""
    if len(context) == 1 and rng.chance(0.3):
        return (rng.choice(OPENERS),) + tuple(context)
    return tuple(context)


def denied_statement(rng, turn):
    """What the partner just said of themselves, denied; returns (context, response, evidence, what would be right)."""
    said, wrong, right = rng.bank(DENIED)
    return opened(rng, (said,)), wrong, "", right


def accepted_statement(rng, turn):
    """What the partner just said of themselves, taken up rightly; returns (context, response)."""
    said, _, right = rng.bank(DENIED)
    return opened(rng, (said,)), right


ABOUT = ["What do you know about {t}?", "Have you heard anything about {t}?", "Tell me something about {t}.", "Did you read about {t}?", "I was wondering about {t}.", "What's new with {t}?",
         "Can you tell me more about {t}?", "Someone mentioned {t} yesterday, what's that about?", "Do you remember that thing about {t}?", "So what about {t}?"]
SMALL_TALK = ["What about you?", "Tell me something about yourself.", "Tell me more.", "How about you?", "And what's new with you?", "What else?", "Go on.", "So, what's your story?", "Really? How come?",
              "What have you been up to?"]


def asked_about(rng, text):
    """A question that a statement answers: it names one content word of it, or none."""
    found = content_words(text)
    return (rng.choice(ABOUT).format(t=rng.choice(found)),) if found and rng.chance(0.7) else (rng.choice(FACT_QUESTIONS),)


def self_denied(rng, turn):
    """Two sentences that cannot both be true; returns (context, response)."""
    a = rng.randint(20, 70)
    line = rng.bank(SELF_LINES).format(place=rng.choice(PLACES), a=a, b=a + rng.choice([5, 9, -7, 20]))
    return (rng.choice(SMALL_TALK),), line


# Facts with slots: evidence, then ways to say the same thing; {n} number, {y} year, {p} place, {w} person.
FACTS = [
    ("{thing} was founded by {w} in {y}.", ["It was founded in {y}.", "{w} founded it.", "It was {w} who started it, in {y}.", "It goes back to {y}."]),
    ("{thing} is {n} meters tall and was completed in {y}.", ["It's {n} meters tall.", "It was finished in {y}.", "They completed it in {y}.", "About {n} meters, I believe."]),
    ("{thing} is located in {p} and attracts {n},000 visitors a year.", ["It's in {p}.", "You can find it in {p}.", "Around {n},000 people visit it every year.", "It gets {n},000 visitors a year."]),
    ("{w} was born in {p} in {y}.", ["{w} was born in {p}.", "{w} is from {p}.", "In {y}, in {p}.", "{w} was born in {y}."]),
    ("{w} won the award in {y} for a film shot in {p}.", ["{w} won it in {y}.", "The film was shot in {p}.", "It was filmed in {p}, I think.", "That was in {y}."]),
    ("The population of {p} is about {n} million.", ["About {n} million people live there.", "{p} has about {n} million inhabitants.", "Some {n} million."]),
    ("A survey of {n}00 people in {p} found that {k} percent own a bicycle.", ["{k} percent of them own a bicycle.", "They asked {n}00 people.", "The survey was done in {p}.", "About {k} percent, according to that survey."]),
    ("{thing} opens at {h} am and closes at {k} minutes past {h} pm.", ["It opens at {h} in the morning.", "They open at {h} am.", "From {h} am, every day."]),
    ("{thing} costs {k} dollars for adults and {h} dollars for children.", ["It's {k} dollars for adults.", "Children pay {h} dollars.", "Adults pay {k} dollars and kids {h}."]),
    ("{w} wrote {n} books, the last of which appeared in {y}.", ["{w} wrote {n} books.", "The last one came out in {y}.", "{n} books in all.", "There are {n} of them, and the last is from {y}."]),
    ("The river is {n} kilometers long and flows through {p}.", ["It's {n} kilometers long.", "It flows through {p}.", "About {n} kilometers."]),
    ("{w} has coached the team since {y}, with {k} wins.", ["{w} has been the coach since {y}.", "{w} coaches them.", "They've had {k} wins with that coach.", "Since {y}, I think."]),
    ("{thing} was invented by {w} while living in {p}.", ["{w} invented it.", "It was invented in {p}.", "It's an invention of {w}."]),
    ("The course lasts {h} weeks and is taught by {w}.", ["It takes {h} weeks.", "{w} teaches it.", "{h} weeks in all, with {w}."]),
    ("The battery lasts {h} hours and takes {k} minutes to charge.", ["It lasts for {h} hours.", "You need {k} minutes to charge it.", "{h} hours on one charge."]),
    ("The recipe serves {h} people and needs {k} minutes in the oven.", ["It's enough for {h} people.", "It has to bake for {k} minutes.", "{k} minutes in the oven."]),
    ("Flight 714 to {p} leaves from gate {k}.", ["It leaves from gate {k}.", "Gate {k}.", "The flight to {p} goes from gate {k}."]),
    ("In {y} the bridge in {p} was closed for repairs, which took {h} months.", ["It was closed in {y}.", "The repairs took {h} months.", "The bridge in {p} was closed for {h} months."]),
    ("The company, led by {w}, has {n}0 employees and its main office is in {p}.", ["{w} leads it.", "They have {n}0 employees.", "The main office is in {p}.", "Their office is in {p}."]),
    ("The animal can live for {k} years and weighs up to {n} kilograms.", ["It lives for up to {k} years.", "It can weigh {n} kilograms.", "Up to {n} kilograms, and it can live for {k} years."]),
]
FACT_THINGS = ["The museum", "The tower", "The library", "The zoo", "The bakery", "The theater", "The company", "The stadium", "The garden", "The observatory", "The castle", "The device"]
FACT_QUESTIONS = ["What do you know about it?", "Can you tell me more about that?", "Do you have any details?", "I'd like to know more about this.", "What does it say?", "Could you check that for me?",
                  "What was it again?", "Do you remember the details?", "Any idea?", "Tell me what you found."]
PEOPLE = ["Maria Lopez", "John Carter", "Aiko Tanaka", "Peter Novak", "Susan Clark", "Omar Hadid", "Ingrid Berg", "Tom Ellis", "Priya Shah", "Louis Martin", "Grace Kim", "Paul Weber"]


def _slots(rng):
    return {"thing": rng.choice(FACT_THINGS), "w": rng.choice(PEOPLE), "p": rng.choice(PLACES), "y": str(rng.randint(1820, 2022)), "n": str(rng.randint(11, 900)),
            "k": str(rng.randint(11, 60)), "h": str(rng.randint(3, 10))}


def _fact(rng):
    pattern, replies = rng.bank(FACTS)
    slots = _slots(rng)
    reply = rng.choice(replies)
    evidence = pattern.format(**slots)
    if rng.chance(0.3):
        other, _ = rng.bank(FACTS)
        evidence = " ".join(rng.sample([evidence, other.format(**{**_slots(rng), "thing": "The other one"})], 2))
    return pattern, reply, slots, evidence


def fact_supported(rng, turn):
    """A paraphrase of what the evidence says; returns (context, response, evidence)."""
    _, reply, slots, evidence = _fact(rng)
    return (rng.choice(FACT_QUESTIONS),), reply.format(**slots), evidence


def fact_contradicted(rng, turn):
    """The same with one value that is not the evidence's; returns (context, response, evidence, what would be right)."""
    _, reply, slots, evidence = _fact(rng)
    used = [key for key in ("w", "p", "y", "n", "k", "h") if "{" + key + "}" in reply]
    key = rng.choice(used)
    wrong = dict(slots)
    while wrong[key] == slots[key]:
        wrong[key] = _slots(rng)[key]
    return (rng.choice(FACT_QUESTIONS),), reply.format(**wrong), evidence, reply.format(**slots)
