"""Seeded generator of phi-tiny's training and held-out text.

Every question kind is a function that draws one (question, answer) pair. What is held out is decided by a hash of the
pair's key, never by chance at run time: for arithmetic the key is the unordered pair of operands (so no phrasing and
no order of a held-out sum is ever trained on), for the other kinds it is the combination of phrasing and item.
"""

import hashlib
import random
from functools import lru_cache

import tables

SEED = "phi-tiny"
HELD_OUT_PERCENT = 10

UNKNOWN_ANSWER = "I don't know. I am a very small model."


@lru_cache(maxsize=None)
def is_held_out(key):
    digest = hashlib.blake2b(f"{SEED}:{key}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % 100 < HELD_OUT_PERCENT


def combination(kind, template, item):
    """Key of a phrasing × item combination."""
    return f"{kind}|{template}|{item}"


# --- Arithmetic ------------------------------------------------------------------------------------------------------

ADD_TEMPLATES = [
    "What is {a} + {b}?",
    "What is {a} + {b}?",
    "{a} + {b}",
    "{a}+{b}",
    "{a} + {b} =",
    "{a}+{b}=",
    "{a} + {b}?",
    "{a}+{b}?",
    "What is {a}+{b}?",
    "What's {a} + {b}?",
    "What is {a} plus {b}?",
    "What's {a} plus {b}?",
    "{a} plus {b}",
    "Add {a} and {b}.",
    "Add {a} to {b}.",
    "Add {a} + {b}.",
    "Can you add {a} and {b}?",
    "How much is {a} + {b}?",
    "How much is {a} plus {b}?",
    "How much is {a} and {b}?",
    "Calculate {a} + {b}.",
    "Calculate {a}+{b}",
    "Calculate the sum of {a} and {b}.",
    "Compute {a} + {b}.",
    "Solve {a} + {b}.",
    "What is the sum of {a} and {b}?",
    "What do you get if you add {a} and {b}?",
    "What does {a} + {b} equal?",
    "What does {a} plus {b} make?",
    "Tell me {a} + {b}.",
    "Do you know {a} + {b}?",
    "I need the sum of {a} and {b}.",
    "{name} has {a} {things} and gets {b} more. How many {things} does {name} have now?",
    "There are {a} {things} in a box and {b} in a bag. How many {things} are there in total?",
]

SUBTRACT_TEMPLATES = [
    "What is {a} - {b}?",
    "What is {a} - {b}?",
    "{a} - {b}",
    "{a}-{b}",
    "{a} - {b} =",
    "{a}-{b}=",
    "{a} - {b}?",
    "{a}-{b}?",
    "What is {a}-{b}?",
    "What's {a} - {b}?",
    "What is {a} minus {b}?",
    "What's {a} minus {b}?",
    "{a} minus {b}",
    "Subtract {b} from {a}.",
    "Take {b} away from {a}.",
    "Can you subtract {b} from {a}?",
    "How much is {a} - {b}?",
    "How much is {a} minus {b}?",
    "Calculate {a} - {b}.",
    "Calculate {a}-{b}",
    "Compute {a} - {b}.",
    "Solve {a} - {b}.",
    "What is the difference between {a} and {b}?",
    "What is left if you take {b} from {a}?",
    "What do you get if you subtract {b} from {a}?",
    "What does {a} - {b} equal?",
    "Tell me {a} - {b}.",
    "Do you know {a} - {b}?",
    "{name} has {a} {things} and gives away {b}. How many {things} does {name} have left?",
    "There are {a} {things} in a box. {name} takes {b} out. How many {things} are left?",
]


def _operands(rng):
    # Two-digit problems are the hard ones and there are many of them: they get three quarters of the draws.
    low = 10 if rng.random() < 0.75 else 0
    return rng.randint(low, 99), rng.randint(low, 99)


def _fill(rng, template, a, b):
    return template.format(a=a, b=b, name=rng.choice(tables.NAMES), things=rng.choice(tables.OBJECTS))


def sum_key(a, b):
    return f"add|{min(a, b)}|{max(a, b)}"


def sum_question(rng, a, b):
    return _fill(rng, rng.choice(ADD_TEMPLATES), a, b)


def sum_answer(a, b):
    return f"{a} + {b} = {a + b}."


def difference_key(a, b):
    return f"sub|{a}|{b}"


def difference_question(rng, a, b):
    return _fill(rng, rng.choice(SUBTRACT_TEMPLATES), a, b)


def difference_answer(a, b):
    return f"{a} - {b} = {a - b}."


def addition(rng):
    a, b = _operands(rng)
    return sum_key(a, b), sum_question(rng, a, b), sum_answer(a, b)


def subtraction(rng):
    b, a = sorted(_operands(rng))
    return difference_key(a, b), difference_question(rng, a, b), difference_answer(a, b)


# --- Facts -----------------------------------------------------------------------------------------------------------

CAPITAL_TEMPLATES = [
    "What is the capital of {}?",
    "What's the capital of {}?",
    "Which city is the capital of {}?",
    "Name the capital of {}.",
    "Tell me the capital of {}.",
    "Capital of {}?",
    "The capital of {} is",
    "What is the capital city of {}?",
    "Do you know the capital of {}?",
    "I would like to know the capital of {}.",
    "Can you name the capital of {}?",
]

CAPITAL_REVERSE_TEMPLATES = [
    "{} is the capital of which country?",
    "Which country has the capital {}?",
    "What country is {} the capital of?",
    "Of which country is {} the capital?",
]


def capitals(rng):
    country, city = rng.choice(tables.CAPITALS)
    if rng.random() < 0.8:
        template = rng.choice(CAPITAL_TEMPLATES)
        question, answer = template.format(country), f"The capital of {country} is {city}."
    else:
        template = rng.choice(CAPITAL_REVERSE_TEMPLATES)
        question, answer = template.format(city), f"{city} is the capital of {country}."
    return combination("capital", template, country), question, answer


OPPOSITE_TEMPLATES = [
    "What is the opposite of {}?",
    "What's the opposite of {}?",
    "Opposite of {}?",
    "Name the opposite of {}.",
    "Tell me the opposite of {}.",
    "Give me the opposite of {}.",
    "Which word is the opposite of {}?",
    "What is the opposite of the word {}?",
    "Do you know the opposite of {}?",
    "The opposite of {} is",
    "What is the antonym of {}?",
    "Find a word that means the opposite of {}.",
]


def opposites(rng):
    pair = rng.choice(tables.OPPOSITES)
    word, other = pair if rng.random() < 0.5 else pair[::-1]
    template = rng.choice(OPPOSITE_TEMPLATES)
    return combination("opposite", template, word), template.format(word), f"The opposite of {word} is {other}."


def _neighbour(rng, names, unit):
    index = rng.randrange(len(names))
    name = names[index]
    template, step, relation = rng.choice([
        ("What {u} comes after {n}?", 1, "after"),
        ("Which {u} comes after {n}?", 1, "after"),
        ("Which {u} follows {n}?", 1, "after"),
        ("What {u} is after {n}?", 1, "after"),
        ("What comes after {n}?", 1, "after"),
        ("Name the {u} after {n}.", 1, "after"),
        ("What is the next {u} after {n}?", 1, "after"),
        ("What {u} comes before {n}?", -1, "before"),
        ("Which {u} comes before {n}?", -1, "before"),
        ("What {u} is before {n}?", -1, "before"),
        ("What comes before {n}?", -1, "before"),
        ("Name the {u} before {n}.", -1, "before"),
        ("Which {u} is right before {n}?", -1, "before"),
        ("What {u} is two {u}s after {n}?", 2, "two {u}s after"),
        ("What {u} is two {u}s before {n}?", -2, "two {u}s before"),
    ])
    other = names[(index + step) % len(names)]
    answer = f"{other} comes {relation.format(u=unit)} {name}."
    return combination("calendar", template, name), template.format(u=unit, n=name), answer


MONTH_LENGTH_TEMPLATES = [
    "How many days are in {}?",
    "How many days does {} have?",
    "How many days are there in {}?",
    "How long is {}?",
    "Tell me how many days {} has.",
    "Number of days in {}?",
]

MONTH_ORDER_TEMPLATES = [
    "What is the {o} month of the year?",
    "Which month is the {o} month of the year?",
    "Name the {o} month of the year.",
    "What is the {o} month?",
    "Which is the {o} month?",
]

SPANS = {
    "days|a week": "A week has 7 days.",
    "days|a year": "A year has 365 days, or 366 in a leap year.",
    "months|a year": "A year has 12 months.",
    "weeks|a year": "A year has 52 weeks.",
    "hours|a day": "A day has 24 hours.",
    "minutes|an hour": "An hour has 60 minutes.",
    "seconds|a minute": "A minute has 60 seconds.",
    "days|a leap year": "A leap year has 366 days.",
}

SPAN_TEMPLATES = [
    "How many {p} are in {w}?",
    "How many {p} are there in {w}?",
    "How many {p} does {w} have?",
    "Tell me how many {p} {w} has.",
    "How many {p} has {w}?",
    "How many {p} make {w}?",
]

CALENDAR_LISTS = {
    "Name the days of the week.": ", ".join(tables.WEEKDAYS) + ".",
    "What are the days of the week?": ", ".join(tables.WEEKDAYS) + ".",
    "List the days of the week.": ", ".join(tables.WEEKDAYS) + ".",
    "Name the months of the year.": ", ".join(tables.MONTHS) + ".",
    "What are the months of the year?": ", ".join(tables.MONTHS) + ".",
    "List the months of the year.": ", ".join(tables.MONTHS) + ".",
}


def calendar(rng):
    draw = rng.random()
    if draw < 0.35:
        return _neighbour(rng, tables.WEEKDAYS, "day")
    if draw < 0.65:
        return _neighbour(rng, tables.MONTHS, "month")
    if draw < 0.80:
        index = rng.randrange(12)
        month, days = tables.MONTHS[index], tables.MONTH_DAYS[index]
        template = rng.choice(MONTH_LENGTH_TEMPLATES)
        leap = ", or 29 in a leap year" if month == "February" else ""
        return combination("calendar", template, month), template.format(month), f"{month} has {days} days{leap}."
    if draw < 0.88:
        index = rng.randrange(12)
        ordinal, month = tables.ORDINALS[index], tables.MONTHS[index]
        template = rng.choice(MONTH_ORDER_TEMPLATES)
        answer = f"The {ordinal} month of the year is {month}."
        return combination("calendar", template, ordinal), template.format(o=ordinal), answer
    if draw < 0.97:
        span = rng.choice(list(SPANS))
        part, whole = span.split("|")
        template = rng.choice(SPAN_TEMPLATES)
        return combination("calendar", template, span), template.format(p=part, w=whole), SPANS[span]
    question = rng.choice(list(CALENDAR_LISTS))
    # Too few for a split: the lists belong to training only.
    return None, question, CALENDAR_LISTS[question]


# --- Spelling and counting -------------------------------------------------------------------------------------------

SPELL_TEMPLATES = [
    "Spell {}.",
    "Spell the word {}.",
    'Spell "{}".',
    "How do you spell {}?",
    "How is {} spelled?",
    "Please spell {}.",
    "Can you spell {}?",
    "Spell {} for me.",
    "Tell me how to spell {}.",
    "What is the spelling of {}?",
]

LETTER_COUNT_TEMPLATES = [
    "How many letters are in {}?",
    "How many letters are in the word {}?",
    'How many letters are in "{}"?',
    "How many letters does {} have?",
    "How many letters does the word {} have?",
    "Count the letters in {}.",
    "Count the letters in the word {}.",
    "How long is the word {}?",
    "What is the number of letters in {}?",
    "Number of letters in {}?",
]

_spellable = {word for pair in tables.OPPOSITES for word in pair} | set(tables.WORDS)
SPELL_WORDS = sorted(word for word in _spellable if word.isalpha() and len(word) > 1)

_SYLLABLE_STARTS = "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sc sh sl sp st str t th tr v w z".split()
_SYLLABLE_VOWELS = "a e i o u ai ea ee oa oo ou".split()
_SYLLABLE_ENDS = ["", "", "b", "ck", "d", "ft", "g", "l", "ll", "m", "n", "nd", "ng", "nt", "p", "r", "rt", "s", "st", "t", "x"]


def pseudo_word(rng):
    """A word that is not in any table: teaches the letters of every token, and that unknown words are unknown."""
    syllables = rng.choice([1, 2, 2, 3])
    return "".join(
        rng.choice(_SYLLABLE_STARTS) + rng.choice(_SYLLABLE_VOWELS) + rng.choice(_SYLLABLE_ENDS) for _ in range(syllables)
    )


def _word_to_spell(rng):
    if rng.random() < 0.25:
        return pseudo_word(rng), True
    return rng.choice(SPELL_WORDS), False


def spelling(rng):
    word, invented = _word_to_spell(rng)
    template = rng.choice(SPELL_TEMPLATES)
    key = None if invented else combination("spell", template, word)
    return key, template.format(word), "-".join(word) + "."


COUNT_UP_TEMPLATES = [
    "Count from {a} to {b}.",
    "Count up from {a} to {b}.",
    "Please count from {a} to {b}.",
    "Can you count from {a} to {b}?",
    "List the numbers from {a} to {b}.",
    "What are the numbers from {a} to {b}?",
    "Say the numbers from {a} to {b}.",
]

COUNT_DOWN_TEMPLATES = [
    "Count down from {b} to {a}.",
    "Please count down from {b} to {a}.",
    "Can you count down from {b} to {a}?",
    "Count backwards from {b} to {a}.",
]

SUCCESSOR_TEMPLATES = [
    ("What number comes after {}?", 1, "after"),
    ("Which number comes after {}?", 1, "after"),
    ("What is the next number after {}?", 1, "after"),
    ("Which number follows {}?", 1, "after"),
    ("What number comes before {}?", -1, "before"),
    ("Which number comes before {}?", -1, "before"),
    ("Which number is right before {}?", -1, "before"),
]


def counting(rng):
    draw = rng.random()
    if draw < 0.4:
        word, invented = _word_to_spell(rng)
        template = rng.choice(LETTER_COUNT_TEMPLATES)
        key = None if invented else combination("letters", template, word)
        # The letters are written out first: then the count can be read off them.
        return key, template.format(word), f"{'-'.join(word)}: {word} has {len(word)} letters."
    if draw < 0.75:
        length = rng.randint(2, 12)
        first = rng.choice([1, 1, rng.randint(0, 20), rng.randint(0, 100 - length)])
        numbers = list(range(first, first + length))
        down = rng.random() < 0.3
        template = rng.choice(COUNT_DOWN_TEMPLATES if down else COUNT_UP_TEMPLATES)
        question = template.format(a=numbers[0], b=numbers[-1])
        if down:
            numbers.reverse()
        return combination("count", template, (first, length)), question, ", ".join(map(str, numbers)) + "."
    template, step, relation = rng.choice(SUCCESSOR_TEMPLATES)
    number = rng.randint(1, 98)
    return combination("count", template, number), template.format(number), f"{number + step} comes {relation} {number}."


# --- Small talk and identity -----------------------------------------------------------------------------------------

_HELP = "How can I help you?"
SMALL_TALK = {
    "Hello": f"Hello! {_HELP}",
    "Hi": f"Hello! {_HELP}",
    "Hey": f"Hello! {_HELP}",
    "Greetings": f"Hello! {_HELP}",
    "Good day": f"Hello! {_HELP}",
    "Nice to meet you": "Nice to meet you, too!",
    "Good morning": f"Good morning! {_HELP}",
    "Good afternoon": f"Good afternoon! {_HELP}",
    "Good evening": f"Good evening! {_HELP}",
    "How are you": f"I am fine, thank you. {_HELP}",
    "How are you doing": f"I am fine, thank you. {_HELP}",
    "How do you do": f"I am fine, thank you. {_HELP}",
    "How is it going": f"I am fine, thank you. {_HELP}",
    "Are you there": f"Yes, I am here. {_HELP}",
    "Thanks": "You are welcome!",
    "Thank you": "You are welcome!",
    "Thank you very much": "You are welcome!",
    "Thanks a lot": "You are welcome!",
    "Many thanks": "You are welcome!",
    "That was helpful": "You are welcome!",
    "Great": "I am glad to hear that.",
    "Well done": "I am glad to hear that.",
    "Good job": "I am glad to hear that.",
    "You are great": "I am glad to hear that.",
    "That is right": "I am glad to hear that.",
    "That is wrong": "I am sorry. I am a very small model.",
    "You are wrong": "I am sorry. I am a very small model.",
    "That is not correct": "I am sorry. I am a very small model.",
    "Goodbye": "Goodbye! Have a nice day.",
    "Bye": "Goodbye! Have a nice day.",
    "Bye bye": "Goodbye! Have a nice day.",
    "See you": "Goodbye! Have a nice day.",
    "See you later": "Goodbye! Have a nice day.",
    "Farewell": "Goodbye! Have a nice day.",
    "Have a nice day": "Goodbye! Have a nice day.",
    "I have to go": "Goodbye! Have a nice day.",
    "Good night": "Good night! Sleep well.",
    "Sleep well": "Good night! Sleep well.",
}

ADDRESSEES = ["", "", "", " there", " phi-tiny", ", phi-tiny", " my friend", ", my friend", " little model", ", little model",
              " again", " now", " friend", ", friend", " computer", ", model"]

INTRODUCTIONS = ["My name is {}.", "I am {}.", "Hello, I am {}.", "Hi, my name is {}.", "I'm {}.", "Hello, my name is {}."]


def small_talk(rng):
    if rng.random() < 0.12:
        name, template = rng.choice(tables.NAMES), rng.choice(INTRODUCTIONS)
        return combination("name", template, name), template.format(name), f"Nice to meet you, {name}!"
    phrase = rng.choice(list(SMALL_TALK))
    addressee = rng.choice(ADDRESSEES)
    end = "?" if phrase.startswith(("How", "Are")) else rng.choice("!.")
    return combination("talk", phrase, addressee), phrase + addressee + end, SMALL_TALK[phrase]


_SELF = "I am phi-tiny, a very small language model."
_WHY = "I am built into this program to show that it works."
_SKILLS = "I can add and subtract numbers below 100, name capitals and opposites, spell, count, and tell short stories."
_ORIGIN = "I was trained from scratch on generated text. I know only a few things."
_SIZE = "I have about 4 million parameters. That is very small."
IDENTITY = {
    "Who are you?": f"{_SELF} {_WHY}",
    "What are you?": f"{_SELF} {_WHY}",
    "What is your name?": f"{_SELF} {_WHY}",
    "Tell me about yourself.": f"{_SELF} {_WHY}",
    "Introduce yourself.": f"{_SELF} {_WHY}",
    "Who am I talking to?": f"{_SELF} {_WHY}",
    "Do you have a name?": f"{_SELF} {_WHY}",
    "What is phi-tiny?": f"{_SELF} {_WHY}",
    "What model are you?": f"{_SELF} {_WHY}",
    "Which model is this?": f"{_SELF} {_WHY}",
    "Why are you here?": f"{_SELF} {_WHY}",
    "What is your purpose?": f"{_SELF} {_WHY}",
    "What are you for?": f"{_SELF} {_WHY}",
    "What can you do?": _SKILLS,
    "What do you know?": _SKILLS,
    "How can you help me?": _SKILLS,
    "Can you help me?": _SKILLS,
    "Help": _SKILLS,
    "What should I ask you?": _SKILLS,
    "What can I ask you?": _SKILLS,
    "What are your skills?": _SKILLS,
    "Are you a human?": f"No. {_SELF}",
    "Are you human?": f"No. {_SELF}",
    "Are you a real person?": f"No. {_SELF}",
    "Are you a person?": f"No. {_SELF}",
    "Are you ChatGPT?": f"No. {_SELF}",
    "Are you Phi-4?": f"No. {_SELF}",
    "Are you a big model?": f"No. {_SELF}",
    "Are you smart?": f"No. {_SELF}",
    "Do you know everything?": f"No. {_SELF}",
    "Are you alive?": f"No. {_SELF}",
    "Are you a language model?": f"Yes. {_SELF}",
    "Are you a computer program?": f"Yes. {_SELF}",
    "Are you an AI?": f"Yes. {_SELF}",
    "Are you a robot?": f"Yes. {_SELF}",
    "Are you phi-tiny?": f"Yes. {_SELF}",
    "Are you a small model?": f"Yes. {_SELF}",
    "How big are you?": _SIZE,
    "How many parameters do you have?": _SIZE,
    "What is your size?": _SIZE,
    "How small are you?": _SIZE,
    "Who made you?": _ORIGIN,
    "Who trained you?": _ORIGIN,
    "Where do you come from?": _ORIGIN,
    "How were you trained?": _ORIGIN,
    "What were you trained on?": _ORIGIN,
    "Who created you?": _ORIGIN,
    "Who built you?": _ORIGIN,
}

IDENTITY_OPENERS = ["", "", "", "", "Hello! ", "Hi. ", "Hey, ", "So, ", "Please tell me: ", "One question: ", "Okay, ", "By the way, "]


def identity(rng):
    question, opener = rng.choice(list(IDENTITY)), rng.choice(IDENTITY_OPENERS)
    text = opener + (question[0].lower() + question[1:] if opener.endswith(", ") else question)
    return combination("identity", question, opener), text, IDENTITY[question]


# --- Everything else -------------------------------------------------------------------------------------------------

UNKNOWN_TEMPLATES = [
    "What is {topic}?", "What is {topic}?", "What is {topic}?", "Explain {topic}.", "Explain {topic} to me.",
    "How does {topic} work?", "Why is {topic} important?", "Tell me about {topic}.", "Tell me something about {topic}.",
    "What do you think about {topic}?", "What do you know about {topic}?", "Who invented {topic}?",
    "When was {topic} invented?", "What is the history of {topic}?", "Do you like {topic}?",
    "Write an essay about {topic}.", "Write a poem about {topic}.", "Give me an example of {topic}.",
    "What is the difference between {topic} and {topic2}?", "Is {topic} better than {topic2}?",
    "How do I learn {topic}?", "Can you explain {topic}?", "Where can I find {topic}?", "What causes {topic}?",
    "How much does {topic} cost?", "Describe {topic}.", "Give me three facts about {topic}.", "What is {topic} made of?",
    "Summarize {topic}.", "Is {topic} dangerous?", "Define {topic}.", "Teach me {topic}.", "What is new in {topic}?",
    "Who was {person}?", "Who is {person}?", "When was {person} born?", "Where does {person} live?",
    "What did {person} do?", "How old is {person}?", "Is {person} famous?", "Why is {person} famous?",
    "When did {person} die?", "Tell me about {person}.", "What did {person} write?", "Did {person} like {topic}?",
    "Who won {event} {when}?", "Who won {event}?", "Who lost {event} {when}?", "When is {event}?",
    "Who will win {event}?", "What happened at {event}?", "What happened {when}?", "Where was {event} {when}?",
    "What was the score of {event} {when}?", "What is the weather like {when}?", "Did it rain {when}?",
    "What is the capital of {place}?", "What is the capital of {invented}?", "How many people live in {country}?",
    "How big is {country}?", "What language do they speak in {country}?", "Who is the president of {country}?",
    "Where is {country}?", "What is the currency of {country}?", "Is {country} a nice place?", "How far is {country}?",
    "What is the flag of {country}?", "Where is {city}?", "How old is {city}?", "What can I see in {city}?",
    "How do I get to {city}?", "What is the population of {city}?", "Where is {place}?",
    "What is a {invented}?", "What is {invented}?", "What does {invented} mean?", "Who is {invented}?",
    "Where is {invented}?", "{invented}", "{invented} {invented2}", "Tell me about {invented}.",
    "What is the opposite of {invented}?", "What is the opposite of {thing}?",
    "What is {big} + {small}?", "{big} + {small}", "{big} - {small}", "What is {small} + {big}?", "What is {big} minus {small}?",
    "What is {small} * {small2}?", "{small} * {small2}", "{small}*{small2}", "What is {small} times {small2}?",
    "What is {small} / {small2}?", "{small} / {small2}", "Divide {big} by {small}.", "Multiply {small} by {small2}.",
    "What is the square root of {small}?", "Is {small} a prime number?", "What is half of {small}?",
    "What is {less} - {more}?", "{less} - {more}", "{small}", "Is {small} bigger than {small2}?",
    "Translate {word} into {language}.", "Translate {thing} to {language}.", "How do you say {word} in {language}?",
    "Say {word} in {language}.", "Do you speak {language}?", "What is a {thing}?", "What color is a {thing}?",
    "What does a {thing} look like?", "Where does a {thing} live?", "What does a {thing} eat?", "Where is my {thing}?",
    "How much does a {thing} weigh?", "Draw a {thing}.", "Why does the {thing} {word}?", "Can a {thing} fly?",
    "How do I make a {thing}?", "How do I repair a {thing}?", "What rhymes with {thing}?", "How heavy is a {thing}?",
    "How many {things} do I have?", "How many {things} are there in the world?", "What is the plural of {thing}?",
    "How many {things} does {name} have?", "Where is {name}?", "Who is {name}?", "How old is {name}?",
    "What is {name} doing?", "Does {name} like {things}?", "What is my name?", "How old am I?", "Where do I live?",
    "What time is it?", "What is the date today?", "What day is it today?", "What year is it?", "Where am I?",
    "What should I eat {when}?", "What should I wear {when}?", "What should I do {when}?", "What did I do {when}?",
    "Tell me a joke.", "Tell me a secret.", "Sing a song.", "Write a program that sorts numbers.",
    "Write a function in {topic}.", "Write a letter to {person}.", "Write an email to {name}.", "Fix my code.",
    "Recommend a book.", "Recommend a film about {topic}.", "Which film should I watch {when}?", "Plan a trip to {city}.",
    "Give me a recipe for {topic}.", "How do I cook {things}?", "What is the best {thing}?", "Why?", "How?", "When?", "Where?",
    "Why not?", "What?", "Really?", "And then?", "Are you sure?", "Why is the sky blue?", "Why is the grass green?",
    "How many stars are there?", "How far is the moon?", "How deep is the ocean?", "How tall is Mount Everest?",
    "What is the tallest building in {city}?", "What is the largest animal?", "What is the longest river in {country}?",
    "Can you drive a car?", "Can you play {topic}?", "Do you have a {thing}?", "Do you dream?", "Do you sleep?",
    "Are you hungry?", "Are you happy?", "Do you love me?", "What is your favourite {thing}?", "How old are you?",
    "Open the {thing}.", "Turn on the {thing}.", "Play some music.", "Set a timer for {small} minutes.", "Call {name}.",
    "Buy me a {thing}.", "Send {name} a message.", "Book a table {when}.", "Remind me of {event}.", "Search the internet for {topic}.",
    "I want to learn {topic}.", "I like {topic}.", "I think {topic} is {word}.", "My {thing} is {word}.", "{name} likes {topic}.",
    "I feel {word} {when}.", "{topic}", "{topic}?", "{thing}", "{thing} {word}", "The {thing} is {word}.", "If {topic} is {word}, why is {topic2} {word2}?",
    "How many legs does a {thing} have?", "What is {small} percent of {big}?", "Who wrote {topic}?", "Who discovered {topic}?",
    "{foreign}", "{foreign}", "{foreign}",
]  # fmt: skip

# Wordings of which nothing at all is trained on: they show how far "I don't know" reaches beyond its own grammar.
NEW_UNKNOWN_QUESTIONS = [
    "Which planet is closest to the sun?", "What is the boiling point of water?", "Please review my essay.",
    "How can I lose weight?", "Who painted the Mona Lisa?", "Should I invest in stocks?", "What does HTML stand for?",
    "My computer is slow, what can I do?", "Name a famous scientist.", "What is your opinion on politics?",
    "Convert 5 miles to kilometers.", "What are the symptoms of a cold?", "How long do cats live?",
    "Who sings this song?", "What is inside a cell phone?", "Give me advice for my exam.", "Which is the fastest car?",
    "What is the meaning of the word serendipity?", "How do airplanes stay in the air?", "Can fish hear?",
    "Write me a haiku about autumn.", "What is the tax rate in Texas?", "Is there life on other planets?",
    "Explain recursion to a five year old.", "What is the best way to learn guitar?", "Who is the richest person on earth?",
    "How do vaccines work?", "What happened in the year 1066?", "Why do we yawn?", "Show me a picture of a sunset.",
    "What is 15 percent of 80?", "List all prime numbers below 50.", "Is water wet?", "How do magnets work?",
    "What is the atomic number of carbon?", "Find the derivative of x squared.", "Who was the first man on the moon?",
    "Suggest a name for my dog.", "What is the plot of Hamlet?", "When does the train leave?",
]  # fmt: skip


def unknown(rng):
    template = rng.choice(UNKNOWN_TEMPLATES)
    less, more = sorted(rng.sample(range(100), 2))
    fillers = {
        "topic": rng.choice(tables.TOPICS),
        "topic2": rng.choice(tables.TOPICS),
        "person": rng.choice(tables.PEOPLE),
        "event": rng.choice(tables.EVENTS),
        "when": rng.choice(tables.WHENS),
        "place": rng.choice(tables.UNKNOWN_PLACES),
        "invented": pseudo_word(rng),
        "invented2": pseudo_word(rng),
        "country": rng.choice(tables.CAPITALS)[0],
        "city": rng.choice(tables.CAPITALS)[1],
        "thing": rng.choice(tables.WORDS),
        "things": rng.choice(tables.OBJECTS),
        "word": rng.choice(SPELL_WORDS),
        "word2": rng.choice(SPELL_WORDS),
        "language": rng.choice(tables.LANGUAGES),
        "name": rng.choice(tables.NAMES),
        "big": rng.randint(100, 9999),
        "small": rng.randint(2, 99),
        "small2": rng.randint(2, 99),
        "less": less,
        "more": more,
        "foreign": rng.choice(tables.FOREIGN),
    }
    question = template.format(**fillers)
    if template == "What is the opposite of {thing}?" and any(fillers["thing"] in pair for pair in tables.OPPOSITES):
        return unknown(rng)
    # A question without any slot is one item: held out or not as a whole it would leave training, so it stays in.
    key = combination("unknown", template, question) if "{" in template else None
    return key, question, UNKNOWN_ANSWER


# --- Stories ---------------------------------------------------------------------------------------------------------

STORY_TEMPLATES = [
    "Tell me a story about {}.",
    "Tell me a short story about {}.",
    "Tell a story about {}.",
    "Can you tell me a story about {}?",
    "Write a story about {}.",
    "Write a short story about {}.",
    "I want to hear a story about {}.",
    "Please tell me a story about {}.",
    "Do you know a story about {}?",
    "Make up a story about {}.",
    "A story about {}, please.",
]

STORY_OPEN_TEMPLATES = ["Tell me a story.", "Tell me a short story.", "Write a story.", "Do you know a story?", "A story, please."]

PLOTS = [
    [
        "{He} had lost {his} {treasure}.|{He} could not find {his} {treasure} anywhere.|The {treasure} of the {hero} was gone.",
        "{He} looked under the bed and behind the door.|{He} searched all day long.|{He} asked everyone in the village.|{He} walked and walked, but found nothing.",
        "Then {he} met {helper}.|On the way {he} met {helper}.|At noon {helper} came along.",
        '"I saw it near the old tree," said {helper2}.|"Look in your own bag," said {helper2}.|"I will help you," said {helper2}.|"Follow me," said {helper2}.',
        "And there it was!|Soon they found the {treasure}.|In the end the {treasure} was right there.",
        "The {hero} thanked {helper2} and went home.|The two became good friends.|They shared a cake and laughed.|From that day on {he} kept it safe.",
    ],
    [
        "{He} wanted to see the world.|{He} was tired of staying at home.|{He} dreamed of a long journey.",
        "So {he} packed some bread and a {treasure}.|{He} took {his} {treasure} and left.|{He} said goodbye and started to walk.",
        "{He} crossed {place}.|First {he} came to {place}.|After three days {he} reached {place}.|The road led to {place}.",
        "There {he} met {helper}.|{helper_cap} was waiting there.|There lived {helper}.",
        '"Where are you going?" asked {helper2}. "Far away," said the {hero}.|"Are you lost?" asked {helper2}. "No, I am free," said the {hero}.|"May I come with you?" asked {helper2}. "Of course," said the {hero}.',
        "They travelled together and saw many things.|They sang songs until it was dark.|They looked at the sea for a long time.",
        "But home was the best place of all.|At last they came home, tired and happy.|And they never forgot that journey.",
    ],
    [
        "One problem made {him} sad: {he} had no friends.|{He} was always alone.|Nobody ever came to visit {him}.",
        "{He} made a {treasure} to pass the time.|{He} sat by the window with a {treasure}.|Every day {he} played with a {treasure}.",
        "Then {helper} knocked on the door.|One day {helper} fell into the garden.|Suddenly {helper} stood in front of {him}.",
        '"I am cold," said {helper2}.|"I am lost," said {helper2}.|"That is a nice {treasure}," said {helper2}.|"Do you want to play?" asked {helper2}.',
        "The {hero} opened the door and made some tea.|The {hero} smiled for the first time.|They talked the whole night.|They played until the sun went down.",
        "Now {he} was not alone any more.|After that day they met every week.|A friend is better than gold.",
    ],
    [
        "A storm had broken the bridge.|The river was too wide to cross.|A big tree had fallen on the road.",
        '"What shall we do?" cried {helper}.|{helper_cap} was stuck on the other side.|{helper_cap} called for help.',
        "The {hero} was afraid, but {he} had an idea.|The {hero} thought for a while.|The {hero} was small, but not stupid.",
        "{He} used {his} {treasure} as a rope.|{He} built a raft of old wood.|{He} called all {his} friends.|{He} swam across with the {treasure}.",
        "It took a long time.|It was hard work.|It nearly went wrong.",
        "In the end everyone was safe.|At last {helper2} was free.|Soon all of them stood on dry land.",
        "They had a party that night.|Everyone called {him} a hero.|The {hero} slept very well that night.",
    ],
    [
        "{He} found a {treasure} on the ground.|Behind a stone {he} saw a {treasure}.|In a hollow tree lay a {treasure}.",
        "It began to glow.|It was warm and made a soft sound.|It was not an ordinary {treasure}.",
        '"You have one wish," said a voice.|"Make a wish," whispered the wind.|A voice asked what {he} wanted most.',
        "The {hero} thought of {place}.|The {hero} wished for a friend.|The {hero} wished for rain for the dry fields.|The {hero} wished that {helper} would be well again.",
        "There was a flash of light.|For a moment nothing happened.|Then the ground shook.",
        "And the wish came true.|When {he} opened {his} eyes, everything was different.|The wish came true, and the {treasure} was gone.",
        "{He} never told anyone.|{He} was {mood2} for the rest of the year.|{He} still thinks of it today.",
    ],
    [
        "There was a race in the village.|Every year there was a big contest.|{helper_cap} wanted to race with {him}.",
        'Everybody laughed. "You will never win," they said.|{helper_cap} was much faster.|The {hero} had no chance, they all thought.',
        "The {hero} trained every day.|The {hero} took {his} {treasure} for luck.|The {hero} did not give up.",
        "The race began at sunrise.|The way went through {place}.|They ran past {place}.",
        "{helper_cap} stopped to sleep.|{helper_cap} took the wrong path.|{helper_cap} fell and hurt a foot.",
        "The {hero} could have won, but {he} stopped to help.|The {hero} ran on, step by step, and won.|Together they crossed the line.",
        "The prize was a {treasure}.|Everyone cheered.|That was the best day of the year.",
    ],
    [
        "Something strange happened every night.|Every night there was a noise.|Somebody was stealing the food.",
        "{He} wanted to know why.|{He} hid behind a barrel and waited.|{He} took a {treasure} and kept watch.",
        "At midnight the door opened.|Then two eyes shone in the dark.|At last {he} heard steps.",
        "It was only {helper}.|There stood {helper} with a {treasure}.|{helper_cap} jumped up in fright.",
        '"Please do not be angry," said {helper2}.|"I was so hungry," said {helper2}.|"I only wanted to dance," said {helper2}.',
        "The {hero} had to laugh.|The {hero} shared {his} supper.|They both laughed and ate some soup.",
        "From then on the nights were quiet.|And the secret stayed with them.|Now they keep watch together.",
    ],
]  # fmt: skip

STORY_ENDS = ["The end.", "And that is the end of the story.", "", "", "", "That was a good day.", "And they lived happily ever after."]


def _article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


def story_text(rng, hero):
    """A little plot of five to eight sentences around the hero, each sentence drawn from a few alternatives."""
    helper = rng.choice([word for word in tables.ANIMALS if word != hero])
    pronoun = rng.choice([("he", "him", "his"), ("she", "her", "her")])
    mood, mood2 = rng.sample(tables.MOODS, 2)
    slots = {
        "hero": hero,
        "a_hero": _article(hero),
        "he": pronoun[0],
        "He": pronoun[0].capitalize(),
        "him": pronoun[1],
        "his": pronoun[2],
        "helper": _article(helper),
        "helper_cap": _article(helper).capitalize(),
        "helper2": "the " + helper,
        "treasure": rng.choice(tables.TREASURES),
        "place": rng.choice(tables.STORY_PLACES),
        "mood": mood,
        "a_mood": _article(mood),
        "mood2": mood2,
        "name": rng.choice(tables.NAMES),
    }
    home = rng.choice(tables.STORY_PLACES)
    weather = rng.choice(tables.WEATHER)
    opening = rng.choice([
        f"Once upon a time there was {{a_mood}} {{hero}} who lived in {home}.",
        f"Once there lived {{a_hero}} in {home}. The {{hero}} was very {{mood}}.",
        f"In {home} lived {{a_mood}} {{hero}} called {{name}}.",
        f"{rng.choice(tables.TIMES)} {weather}. {{A_mood}} {{hero}} called {{name}} sat in {home}.",
        f"There was once {{a_hero}} named {{name}}. {{He}} lived in {home} and was {{mood}}.",
    ])
    slots["A_mood"] = slots["a_mood"].capitalize()
    sentences = [opening] + [rng.choice(step.split("|")) for step in rng.choice(PLOTS)] + [rng.choice(STORY_ENDS)]
    return " ".join(sentence.format(**slots) for sentence in sentences if sentence)


def story(rng):
    hero = rng.choice(tables.ANIMALS)
    if rng.random() < 0.15:
        return None, rng.choice(STORY_OPEN_TEMPLATES), story_text(rng, hero)
    template = rng.choice(STORY_TEMPLATES)
    return combination("story", template, hero), template.format(_article(hero)), story_text(rng, hero)


# --- Chats -----------------------------------------------------------------------------------------------------------

# Shares of turns. Arithmetic is the only kind that has to be computed and not remembered, so it gets the most.
KINDS = {
    "addition": (addition, 0.25),
    "subtraction": (subtraction, 0.21),
    "capitals": (capitals, 0.07),
    "opposites": (opposites, 0.08),
    "calendar": (calendar, 0.06),
    "spelling": (spelling, 0.07),
    "counting": (counting, 0.07),
    "small talk": (small_talk, 0.03),
    "identity": (identity, 0.03),
    "unknown": (unknown, 0.09),
    "story": (story, 0.04),
}
_KIND_NAMES = list(KINDS)
_KIND_SHARES = [share for _, share in KINDS.values()]

SYSTEM_MESSAGES = [
    "You are a helpful assistant.",
    "You are a helpful AI assistant.",
    "You are phi-tiny.",
    "You are phi-tiny, a very small language model.",
    "You are a friendly assistant.",
    "You are a medieval knight and must provide explanations to modern people.",
    "Answer briefly.",
    "Be polite and brief.",
    "You are a teacher for children.",
    "Answer the questions of the user.",
]


def draw_turn(rng, kind, held_out):
    """One (question, answer) of this kind from the wanted side of the split."""
    while True:
        key, question, answer = KINDS[kind][0](rng)
        if (key is not None and is_held_out(key)) == held_out:
            return question, answer


def roughen(rng, question):
    """People type carelessly: sometimes no capitals, no final punctuation, stray spaces, a leading 'please'."""
    draw = rng.random()
    if draw < 0.25:
        question = question.lower()
    elif draw < 0.30:
        question = question[0].lower() + question[1:]
    if rng.random() < 0.05:
        question = rng.choice(["Please: ", "Hi! ", "Hello, ", "please ", "Question: ", "ok "]) + question
    if rng.random() < 0.25:
        question = question.rstrip("?.! ") or question
    elif rng.random() < 0.05 and question[-1] in ".!":
        question = question[:-1] + rng.choice(["?", "!", " .", "..."])
    elif rng.random() < 0.04 and question[-1] == "?":
        question = question[:-1] + rng.choice([" ?", "??", "?!", "."])
    if rng.random() < 0.05:
        question += rng.choice([" ", "  ", "\n"])
    return question


def draw_chat(rng, held_out=False, max_turns=6):
    """A list of messages: perhaps a system message, then one or more user and assistant turns of mixed kinds."""
    messages = []
    if rng.random() < 0.12:
        messages.append({"role": "system", "content": rng.choice(SYSTEM_MESSAGES)})
    turns = 1 if rng.random() < 0.4 else rng.randint(2, max_turns)
    for kind in rng.choices(_KIND_NAMES, _KIND_SHARES, k=turns):
        question, answer = draw_turn(rng, kind, held_out)
        messages.append({"role": "user", "content": roughen(rng, question)})
        messages.append({"role": "assistant", "content": answer})
    return messages


def render(messages):
    """The text of a finished chat, in the form of the chat template."""
    return "".join(f"<|{m['role']}|>{m['content']}<|end|>" for m in messages) + "<|endoftext|>"


def main():
    """Prints the held-out text that perplexity is measured on: about 60 KB, mixed kinds, fixed seed."""
    rng = random.Random(f"{SEED}:heldout.txt")
    size = 0
    while size < 60_000:
        text = render(draw_chat(rng, held_out=True))
        size += len(text.encode())
        print(text, end="")


if __name__ == "__main__":
    main()
