"""Reading CTC output with the help of a word list: prefix beam search under a small bigram model.

A letter-by-letter reading misspells ("por sekend"); knowing which words exist repairs most of that. Unknown words stay
possible, at a price per letter, because names are made of them.
"""

import math
from collections import defaultdict
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

ALPHABET = " abcdefghijklmnopqrstuvwxyz"  # symbol i + 1; 0 is CTC's blank
BEAM_WIDTH = 12
_NEVER = -math.inf
_LEAST_LOG_PROB = -8.0  # symbols less likely than this in a frame are not followed


class WordModel(msgspec.Struct, frozen=True, dict=True):
    """Counts of words and of pairs 'first second' in training text, and how much they weigh against the sound."""

    words: dict[str, int]
    pairs: dict[str, int]
    weight: float = 0.8
    word_bonus: float = 1.5
    unknown_word: float = -6.0
    unknown_letter: float = -1.0

    @cached_property
    def total(self) -> int:
        return sum(self.words.values())

    @cached_property
    def beginnings(self) -> frozenset[str]:
        """All that a known word can begin with."""
        return frozenset(word[:i] for word in self.words for i in range(1, len(word) + 1))

    def word_score(self, before: str, word: str) -> float:
        """The score of a whole word after another."""
        count = self.words.get(word)
        if count is None:
            return self.unknown_word + self.unknown_letter * len(word)
        after = self.pairs.get(f"{before} {word}", 0) / self.words.get(before, 1)
        return self.weight * math.log(0.5 * after + 0.5 * count / self.total) + self.word_bonus

    def started_score(self, part: str) -> float:
        """The score of a word that has begun: no known word begins so."""
        return 0.0 if not part or part in self.beginnings else self.unknown_word + self.unknown_letter * len(part)


def read_word_model(path: Path) -> WordModel:
    """OSError or msgspec.DecodeError when there is none."""
    return msgspec.json.decode(path.read_bytes(), type=WordModel)


class _Scores:
    """Word scores of prefixes, each computed once."""

    def __init__(self, words: WordModel) -> None:
        self._words = words
        self._whole: dict[str, float] = {"": 0.0}

    def whole(self, text: str) -> float:
        """All words of a text, the last one ended."""
        known = self._whole.get(text)
        if known is None:
            before, _, word = text.rpartition(" ")
            known = self.whole(before) + self._words.word_score(before.rpartition(" ")[2], word)
            self._whole[text] = known
        return known

    def open(self, prefix: str) -> float:
        """All words of a prefix, the last one perhaps unfinished."""
        before, _, part = prefix.rpartition(" ")
        return self.whole(before) + self._words.started_score(part)


def greedy_text(symbols: list[int]) -> str:
    """CTC's plain reading rule: merge repeats, then drop blanks."""
    kept = [s for s, before in zip(symbols, [0, *symbols], strict=False) if s and s != before]
    return " ".join("".join(ALPHABET[s - 1] for s in kept).split())


def beam_text(log_probs: npt.NDArray[np.float32], words: WordModel, width: int = BEAM_WIDTH) -> str:
    """The best text for log-probabilities (frames, 1 + len(ALPHABET))."""
    scores = _Scores(words)
    beam: dict[str, tuple[float, float]] = {"": (0.0, _NEVER)}  # prefix -> it ends in a blank, it ends in its letter
    for frame in log_probs:
        likely = [(int(s), float(frame[s])) for s in np.flatnonzero(frame > _LEAST_LOG_PROB)]
        followed = _follow(beam, likely)
        ranked = sorted(followed.items(), key=lambda item: _sum(*item[1]) + scores.open(item[0]), reverse=True)
        beam = dict(ranked[:width])
    return max(beam, key=lambda prefix: _sum(*beam[prefix]) + scores.whole(prefix.rstrip())).rstrip()


def _follow(beam: dict[str, tuple[float, float]], likely: list[tuple[int, float]]) -> dict[str, tuple[float, float]]:
    """Extend every prefix by one frame; ways to the same prefix add up."""
    in_blank: defaultdict[str, float] = defaultdict(lambda: _NEVER)
    in_letter: defaultdict[str, float] = defaultdict(lambda: _NEVER)
    for prefix, (blank, letter) in beam.items():
        either = _sum(blank, letter)
        for symbol, log_prob in likely:
            if symbol == 0:
                in_blank[prefix] = _sum(in_blank[prefix], either + log_prob)
                continue
            character = ALPHABET[symbol - 1]
            repeats = prefix[-1:] == character
            if repeats:  # the same letter goes on; only after a blank is it a second one
                in_letter[prefix] = _sum(in_letter[prefix], letter + log_prob)
            if character == " " and (repeats or not prefix):
                continue
            longer = prefix + character
            in_letter[longer] = _sum(in_letter[longer], (blank if repeats else either) + log_prob)
    return {prefix: (in_blank[prefix], in_letter[prefix]) for prefix in {*in_blank, *in_letter}}


def _sum(a: float, b: float) -> float:
    """log(exp(a) + exp(b))"""
    low, high = (a, b) if a < b else (b, a)
    return high if low == _NEVER else high + math.log1p(math.exp(low - high))
