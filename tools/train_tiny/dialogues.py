"""Training dialogues for the language model: spoken question, tool calls, passages, answer.

Most names and all values are made up, so that the model cannot know an answer and must copy it from the passage. Some
passages are about something else: then the model searches again with other words, three times at most.
"""

import json
import random
from dataclasses import dataclass

from tools.train_tiny import facts
from tools.train_tiny.facts import FACTS, Article, Entity
from tools.train_tiny.questions import question, random_entity

NOT_FOUND = "I could not find that."
MAX_SEARCHES = 3
Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Noise:
    """All that the transcriber heard for a word, right or wrong, mined from a real round trip (confusions.json)."""

    heard_as: dict[str, list[str]]

    def apply(self, text: str, rng: random.Random) -> str:
        heard = (rng.choice(self.heard_as.get(word, [word])) for word in text.split())
        return " ".join(word for word in heard if word) or text


NO_NOISE = Noise({})


def query(fact: str, entity_words: str, attempt: int) -> str:
    """Search words: the topic, then words of the passage hoped for, then both; always with the name as it was heard."""
    row = FACTS[fact]
    opening = (row.topic, row.unit_words, f"{row.topic} {row.unit_words}")[attempt]
    return f"{opening} {entity_words}"


def tool_call(words: str) -> Message:
    return {"role": "assistant", "content": json.dumps({"tool": "search", "query": words})}


def passage(article: Article) -> Message:
    return {"role": "tool", "content": f"{article.title}: {article.text}"}


def _without(article: Article, entity: Entity, fact: str) -> Article | None:
    """The right article, but with the wanted fact missing."""
    kept = tuple(f for f in article.facts if f != fact)
    if not kept:
        return None
    text = " ".join(facts.state(entity, f, first=i == 0) for i, f in enumerate(kept))
    return Article(article.title, article.spoken, text, kept)


def wrong_article(entity: Entity, other: Entity, fact: str, rng: random.Random) -> Article:
    """A passage that does not hold the answer: another topic, another entity, or the fact missing."""
    choice = rng.random()
    if choice < 0.25:
        stripped = _without(facts.article_with(entity, fact), entity, fact)
        if stripped:
            return stripped
    if choice < 0.65:
        others = [a for a in facts.articles(entity) if fact not in a.facts]
        if others:
            return rng.choice(others)
    if fact in other.facts and choice < 0.9:
        return facts.article_with(other, fact)
    return rng.choice([a for a in facts.articles(other) if fact not in a.facts] or facts.articles(other))


def _search(entity: Entity, other: Entity, fact: str, words: str, wrong: int, rng: random.Random) -> list[Message]:
    """Tool calls and passages for one fact; the first `wrong` passages do not hold it."""
    turns: list[Message] = []
    for attempt in range(min(wrong + 1, MAX_SEARCHES)):
        is_wrong = attempt < wrong
        article = wrong_article(entity, other, fact, rng) if is_wrong else facts.article_with(entity, fact)
        turns += [tool_call(query(fact, words, attempt)), passage(article)]
    return turns


def _answer(entity: Entity, fact: str) -> Message:
    return {"role": "assistant", "content": facts.state(entity, fact)}


def _wrong_passages(hard: bool, rng: random.Random) -> int:
    return rng.choices((0, 1, 2, 3), (80, 12, 4, 4))[0] if hard else 0


def dialogue(rng: random.Random, real: list[Entity], noise: Noise, *, hard: bool) -> list[Message]:
    """One conversation; `hard` ones have two hops or wrong passages now and then."""
    thing, maker = random_entity(rng, real)
    two_hop = hard and rng.random() < 0.2
    entity = maker if not two_hop and rng.random() < 0.12 else thing
    other = random_entity(rng, real)[0 if entity is thing else 1]
    asked = question(entity, rng, two_hop=two_hop)
    spoken_words = noise.apply(entity.said.removeprefix("the "), rng)
    said = ("the " if entity.kind == "device" else "") + spoken_words
    turns: list[Message] = [{"role": "user", "content": noise.apply(asked.template, rng).format(e=said)}]
    if two_hop:
        turns += _search(thing, other, "maker", spoken_words, 0, rng)
        turns += [tool_call(query(asked.fact, maker.name, 0)), passage(facts.article_with(maker, asked.fact))]
        return [*turns, _answer(maker, asked.fact)]
    wrong = _wrong_passages(hard, rng)
    turns += _search(entity, other, asked.fact, spoken_words, wrong, rng)
    return [
        *turns,
        {"role": "assistant", "content": NOT_FOUND} if wrong == MAX_SEARCHES else _answer(entity, asked.fact),
    ]
