"""Write the 60 held-out questions: `python -m tools.train_tiny.heldout`. Run once; the file is part of the repository.

Each has an entity, a question template and an espeak-ng voice that training never saw. The sound is made again from
the text whenever it is needed.
"""

import argparse
import random
from pathlib import Path

import msgspec
from tools.train_tiny import voices
from tools.train_tiny.catalogue import HELD_OUT, entities
from tools.train_tiny.facts import FACTS, Entity, state
from tools.train_tiny.questions import Question, question
from tools.train_tiny.speech import ASSETS

HELD_OUT_FILE = ASSETS / "heldout.jsonl"


class HeldOut(msgspec.Struct, frozen=True):
    """A question as it is said, by whom, and the strings that a right answer contains."""

    id: str
    question: str
    voice: str
    words_per_minute: int
    pitch: int
    expected: list[str]
    answer: str
    entity: str
    template: str
    hops: int


def expected_strings(entity: Entity, fact: str) -> list[str]:
    """The name, and the value with the words around it: ['H200 SXM', '141 gigabytes of memory.']."""
    before, after = FACTS[fact].answer.split("{v}")
    value = entity.facts[fact] + after.format(n=entity.written)
    return [entity.name, f"{before.split()[-1]} {value}" if after == "." else value]


def held_out(asked: Question, index: int, makers: dict[str, Entity], rng: random.Random) -> HeldOut:
    subject = makers[asked.entity.facts["maker"]] if asked.hops == 2 else asked.entity
    voice = voices.random_voice(rng, voices.HELD_OUT_ACCENTS, voices.HELD_OUT_VARIANTS)
    return HeldOut(
        id=f"q{index:02}",
        question=asked.text,
        voice=voice.name,
        words_per_minute=voice.words_per_minute,
        pitch=voice.pitch,
        expected=expected_strings(subject, asked.fact),
        answer=state(subject, asked.fact),
        entity=asked.entity.name,
        template=asked.template,
        hops=asked.hops,
    )


def draw(one_hop: int, two_hop: int, seed: int) -> list[HeldOut]:
    """No question twice, all held-out entities about equally often."""
    rng = random.Random(seed)
    found = entities()
    makers = {e.name: e for e in found if e.kind == "maker"}
    things = [e for e in found if e.name in HELD_OUT and e.kind != "maker"]
    asked: dict[str, Question] = {}
    while len(asked) < one_hop + two_hop:
        is_two_hop = len(asked) >= one_hop
        new = question(things[len(asked) % len(things)], rng, held_out=True, two_hop=is_two_hop)
        # AWS has no founding year in the corpus.
        if not is_two_hop or new.fact in makers[new.entity.facts["maker"]].facts:
            asked[new.text] = new
    return [held_out(q, i, makers, rng) for i, q in enumerate(asked.values(), 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--out", type=Path, default=HELD_OUT_FILE)
    options = parser.parse_args()
    drawn = draw(46, 14, options.seed)
    options.out.write_bytes(b"\n".join(msgspec.json.encode(q) for q in drawn) + b"\n")
    print(f"{len(drawn)} questions in {options.out}")


if __name__ == "__main__":
    main()
