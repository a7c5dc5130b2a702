"""Beam search over CTC output: against enumeration, and with words."""

import itertools
import math
from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weft.runtime.steps.decode import ALPHABET, WordModel, beam_text, greedy_text

NO_WORDS = WordModel({}, {}, weight=0, word_bonus=0, unknown_word=0, unknown_letter=0)
SYMBOLS = (0, 2, 3)  # blank, a, b


def frames(rows: list[dict[int, float]]) -> np.ndarray:
    """Log-probabilities; symbols that are not named are impossible."""
    filled = np.full((len(rows), 1 + len(ALPHABET)), -100.0, np.float32)
    for frame, row in zip(filled, rows, strict=True):
        for symbol, probability in row.items():
            frame[symbol] = math.log(probability)
    return filled


@given(st.lists(st.tuples(*[st.floats(0.05, 1.0)] * 3), min_size=1, max_size=5))
def test_a_wide_beam_finds_the_most_probable_text(rows: list[tuple[float, float, float]]) -> None:
    normal: list[dict[int, float]] = [dict(zip(SYMBOLS, np.array(row) / sum(row), strict=True)) for row in rows]
    probability: defaultdict[str, float] = defaultdict(float)
    for path in itertools.product(SYMBOLS, repeat=len(rows)):
        probability[greedy_text(list(path))] += math.prod(normal[t][s] for t, s in enumerate(path))
    found = beam_text(frames(normal), NO_WORDS, width=1000)
    assert probability[found] >= max(probability.values()) * (1 - 1e-5)


def spelled(likely: str, second: str) -> np.ndarray:
    """Frames in which `second` is almost as likely as `likely`, letter by letter."""
    pairs = [(ALPHABET.index(a) + 1, ALPHABET.index(b) + 1) for a, b in zip(likely, second, strict=True)]
    return frames([{a: 1.0} if a == b else {a: 0.55, b: 0.45} for a, b in pairs])


def test_a_known_word_beats_a_slightly_likelier_misspelling() -> None:
    words = WordModel({"": 1, "the": 1, "second": 1, "word": 1}, {})
    sound = spelled("the secend word", "the second word")
    assert greedy_text(sound.argmax(-1).tolist()) == "the secend word"
    assert beam_text(sound, words) == "the second word"


def test_the_word_before_decides_between_known_words() -> None:
    words = WordModel({"": 2, "to": 50, "two": 50, "hundred": 50, "h": 50}, {"h two": 40, "two hundred": 40}, weight=1)
    assert beam_text(spelled("h twu hundred", "h two hundred"), words) == "h two hundred"


@given(st.text("abc ", min_size=1, max_size=12))
def test_clear_sound_of_unknown_words_is_believed(text: str) -> None:
    wanted = " ".join(text.split())
    rows: list[dict[int, float]] = []
    for character in wanted:
        rows += [{ALPHABET.index(character) + 1: 1.0}, {0: 1.0}]
    assert beam_text(frames(rows), WordModel({"zebra": 1}, {})) == wanted if rows else True
