"""Sentences that are no questions: common English, so that the transcriber knows more words than the domain's."""

import random
import re

from tools.train_tiny import names
from tools.train_tiny.facts import Entity, articles
from tools.train_tiny.names import words

_SUBJECTS = words("i i i we you you they the_people the_engineers my_friend our_team everyone someone")
_VERBS = words(
    "need want like know see find look_up look_at ask_about talk_about think_about write_down read hear "
    "understand compare choose buy sell build carry link use show explain remember forget start stop open close "
    "bring take give get make move call learn teach watch send keep hold change check count measure test run "
    "turn_on turn_off"
)
_AUXILIARIES = words("can could should would_like_to would will must may might want_to have_to need_to used_to do did")
_THINGS = words(
    "answer question second minute hour year city company founder home house river road table number word name "
    "kind type chip device computer machine memory speed size price cost power link network rack server cable "
    "board model layer head key value context length window vocabulary parameter token entry bit byte gigabyte "
    "terabyte watt dollar teraflop width depth vendor maker engine letter book page day week month morning "
    "evening light water fire stone tree bird fish car train ship plane door wall floor window chair music song "
    "game team school teacher student doctor idea reason story problem"
)
_ADJECTIVES = words(
    "big large small high low long short wide deep fast slow new old good bad cheap expensive heavy light strong "
    "weak full empty red green blue white black many much more most few little same other first last next "
    "different important"
)
_PLACES = words(
    "in on at under near behind beside from into with without there here in_the_city based_in founded_in there_in"
)
_QUESTION_WORDS = words(
    "what which who when where why how how_many how_much how_large how_high how_long how_big please"
)


def _plural(word: str, rng: random.Random) -> str:
    return f"{word}s" if rng.random() < 0.4 and not word.endswith(("s", "y", "ch")) else word


def _thing(rng: random.Random) -> str:
    article = rng.choice(("the", "the", "the", "this", "that", "one", "my", "our", "any", "some"))
    adjective = f" {rng.choice(_ADJECTIVES)}" if rng.random() < 0.4 else ""
    return f"{article}{adjective} {_plural(rng.choice(_THINGS), rng)}"


def chatter(rng: random.Random) -> str:
    """A sentence of common words: 'could you please look up the old city near our river'."""
    verb, subject = rng.choice(_VERBS), rng.choice(_SUBJECTS)
    clause = f"{verb} {_thing(rng)}"
    place = f" {rng.choice(_PLACES)} {_thing(rng)}" if rng.random() < 0.5 else ""
    forms = (
        f"{subject} {clause}{place}",
        f"{subject} {rng.choice(_AUXILIARIES)} {clause}{place}",
        f"{rng.choice(_AUXILIARIES)} {subject} {clause}{place}",
        f"{rng.choice(_QUESTION_WORDS)} {_thing(rng)} {rng.choice(_AUXILIARIES)} {subject} {verb}",
        f"{rng.choice(_QUESTION_WORDS)} {rng.choice(('is', 'are', 'was', 'were'))} {_thing(rng)}{place}",
        f"{_thing(rng)} {rng.choice(('is', 'was', 'are', 'has', 'have'))} {rng.choice(_ADJECTIVES)}{place}",
        f"please {clause} and {rng.choice(_VERBS)} {_thing(rng)}",
    )
    return rng.choice(forms).replace("_", " ")


def statement(entity: Entity, rng: random.Random) -> str:
    """A sentence of an article, as it is said: 'its memory bandwidth is forty eight hundred gigabytes per second'."""
    text = rng.choice(rng.choice(articles(entity)).text.split(". "))
    written = text.replace(entity.name, names.spoken(entity.name)).rstrip(".").split()
    spoken = (names.spoken_number(w) if re.fullmatch(r"\d{1,4}(\.\d)?|\d+000", w) else w for w in written)
    return re.sub(r"[^a-z ]", "", " ".join(spoken).lower())
