"""Spoken questions: for training (many wrappings, made-up names) and held out (other wrappings, other entities)."""

import random
from dataclasses import dataclass

from tools.train_tiny import facts, names
from tools.train_tiny.catalogue import HELD_OUT
from tools.train_tiny.facts import FACTS, Entity
from tools.train_tiny.small_talk import chatter, statement


@dataclass(frozen=True, slots=True)
class Question:
    """`fact` is asked of `entity`; with `hops` 2 it is asked of the entity's maker."""

    text: str
    entity: Entity
    fact: str
    template: str
    hops: int = 1


# Words that carry no meaning here; they open questions so that unknown openings do not disturb the models.
FILLER = names.words(
    "well now okay right hey computer assistant quickly just maybe then also actually today friend listen wonder "
    "kindly say show find check explain help us with this thing could would like know please need want can you i "
    "we look up see answer question about there really got one more next first last new old good time use used "
    "using do did does for from into and or but that these they have has had been will shall may might must let "
    "me my your our am are is was were be"
)


def _pattern(fact: str, rng: random.Random) -> str:
    row = FACTS[fact]
    if row.nouns and (not row.asks or rng.random() < 0.45):
        return rng.choice(facts.WRAPPERS).format(q=rng.choice(row.nouns))
    return rng.choice(facts.ASK_WRAPPERS).format(q=rng.choice(row.asks))


def _held_out_pattern(fact: str, rng: random.Random) -> str:
    row = FACTS[fact]
    if row.nouns and rng.random() < 0.5:
        return rng.choice(facts.HELD_OUT_WRAPPERS).format(q=rng.choice(row.nouns))
    return rng.choice(row.held_out_asks)


def _askable(entity: Entity) -> list[str]:
    return [f for f in entity.facts if FACTS[f].asks]


def question(entity: Entity, rng: random.Random, *, held_out: bool = False, two_hop: bool = False) -> Question:
    """A random question about an entity, or about its maker."""
    fact = rng.choice(tuple(facts.TWO_HOP)) if two_hop else rng.choice(_askable(entity))
    pattern = (_held_out_pattern if held_out else _pattern)(fact, rng)
    if two_hop:
        pattern = pattern.format(e=facts.TWO_HOP[fact])
    if not held_out and rng.random() < 0.15:
        pattern = " ".join(rng.choices(FILLER, k=rng.randint(1, 4))) + " " + pattern
    return Question(pattern.format(e=entity.said), entity, fact, pattern, 2 if two_hop else 1)


_CITIES = (
    "Santa Clara", "Mountain View", "Seattle", "Cupertino", "Menlo Park", "Paris", "Hangzhou", "Beijing", "Redmond",
    "San Francisco", "Austin", "London", "Berlin", "Tokyo", "Toronto", "Zurich", "Oslo", "Madrid", "Vienna",
    "Cambridge",
    "Seoul", "Singapore", "New York", "Tel Aviv",
)  # fmt: skip


def _number(rng: random.Random, low: int, high: int) -> str:
    """Numbers of all lengths are equally likely, round ones too."""
    digits = rng.randint(len(str(low)), len(str(high)))
    number = rng.randint(max(low, 10 ** (digits - 1)), min(high, 10**digits - 1))
    return str(number if rng.random() < 0.6 or number < 100 else round(number, -(digits - 2)))


def made_up_maker(rng: random.Random) -> Entity:
    form = rng.random()
    word = names.made_up_word(rng)
    name = word if form < 0.6 else f"{word} AI" if form < 0.8 else "".join(rng.choices("ABCDEFGHIKLMNOPRSTUVWXYZ", k=3))
    city = rng.choice(_CITIES) if rng.random() < 0.6 else names.made_up_word(rng)
    return Entity("maker", name, {"headquarters": city, "founded": str(rng.randint(1900, 2024))})


def _some(facts_of: dict[str, str], rng: random.Random) -> dict[str, str]:
    """Drop a few facts, as the real catalogue does."""
    return {fact: value for fact, value in facts_of.items() if fact == "maker" or rng.random() < 0.9}


def with_made_up_facts(kind: str, name: str, maker: str, rng: random.Random) -> Entity:
    """An entity whose values are random, so that they can only be read off the passage."""
    device_kinds = ("a graphics processor", "an accelerator chip", "a processor", "a system on a chip")
    if kind == "device":
        values = {
            "maker": maker,
            "device_kind": rng.choice(device_kinds),
            "memory": _number(rng, 8, 999),
            "bandwidth": _number(rng, 50, 9999),
            "compute16": _number(rng, 50, 9999),
            "compute8": _number(rng, 50, 9999),
            "power": _number(rng, 50, 1999),
            "price": _number(rng, 100, 49999),
            "link": _number(rng, 10, 999),
            "group": _number(rng, 2, 9999),
        }
    else:
        values = {
            "maker": maker,
            "model_kind": "a language model",
            "parameters": _number(rng, 1, 1100) if rng.random() < 0.8 else f"{rng.randint(0, 1)}.{rng.randint(1, 9)}",
            "layers": str(rng.randint(12, 128)),
            "width": _number(rng, 500, 9999),
            "heads": str(rng.randint(4, 128)),
            "kv_heads": str(rng.randint(1, 32)),
            "context": f"{rng.randint(4, 500)} thousand" if rng.random() < 0.9 else f"{rng.randint(1, 20)} million",
            "vocabulary": f"{rng.randint(10, 300)} thousand",
        }
    return Entity(kind, name, _some(values, rng))


def _random_name(rng: random.Random, things: list[Entity], real_share: float) -> tuple[str, str]:
    """Kind and name: a real one, a variation of it, or made up; never one that is held out."""
    while True:
        if rng.random() < real_share:
            like = rng.choice(things)
            kind, name = like.kind, like.name if rng.random() < 0.5 else names.varied(like.name, rng)
        elif rng.random() < 0.5:
            kind, name = "device", names.made_up_device(rng)
        else:
            kind, name = "model", names.made_up_model(rng)
        if name not in HELD_OUT:
            return kind, name


def random_entity(rng: random.Random, real: list[Entity], *, real_share: float = 0.4) -> tuple[Entity, Entity]:
    """An entity with random facts and its maker."""
    makers = [e for e in real if e.kind == "maker"]
    maker = made_up_maker(rng)
    if rng.random() < 0.4:
        maker = Entity("maker", rng.choice(makers).name, maker.facts)
    kind, name = _random_name(rng, [e for e in real if e.kind != "maker"], real_share)
    return with_made_up_facts(kind, name, maker.name, rng), maker


def speech_sentence(rng: random.Random, real: list[Entity]) -> str:
    """A sentence for the transcriber: mostly questions, and statements, small talk and mere words."""
    kind = rng.random()
    if kind < 0.25:
        return chatter(rng)
    thing, maker = random_entity(rng, real)
    if kind < 0.40:
        return statement(thing if rng.random() < 0.9 else maker, rng)
    if kind < 0.48:
        return " ".join([*rng.choices(FILLER, k=rng.randint(2, 7)), names.spoken(names.made_up_device(rng))])
    if kind < 0.54:
        return question(maker, rng).text
    return question(thing, rng, two_hop=rng.random() < 0.12).text
