"""When requests come: seeded processes of a given mean rate. The same seed gives the same times on every machine."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, repeat
from random import Random

from weft.core.errors import InputError


class ArrivalKind(StrEnum):
    POISSON = "poisson"
    """Independent requests: gaps are exponential."""

    BURSTY = "bursty"
    """Gamma gaps of the same mean with coefficient of variation `cv`."""

    MMPP = "mmpp"
    """Poisson whose rate jumps between 1 + swing and 1 − swing times the mean; each lasts `period_s / 2` on average."""

    DIURNAL = "diurnal"
    """Poisson whose rate is the mean times 1 + swing · sin(2π t / period_s)."""

    UNIFORM = "uniform"
    """Equal gaps."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    kind: ArrivalKind
    rate_per_s: float
    cv: float = 3.0
    swing: float = 0.8
    period_s: float = 600.0

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {value:g}, must be {must}"
            for name, value, good, must in (
                ("rate_per_s", self.rate_per_s, 0 < self.rate_per_s < math.inf, "above 0"),
                ("cv", self.cv, 0 < self.cv < math.inf, "above 0"),
                ("swing", self.swing, 0 <= self.swing <= 1, "from 0 to 1"),
                ("period_s", self.period_s, 0 < self.period_s < math.inf, "above 0"),
            )
            if not good
        ]
        if wrong:
            raise InputError(subject="arrivals", problem=", ".join(wrong), way_out="correct these numbers")

    def times_s(self, seed: int) -> Iterator[float]:
        """Without end."""
        draw = Random(seed)
        match self.kind:
            case ArrivalKind.POISSON:
                return _poisson(draw, self.rate_per_s)
            case ArrivalKind.BURSTY:
                shape = 1 / (self.cv * self.cv)
                return accumulate(draw.gammavariate(shape, 1 / (shape * self.rate_per_s)) for _ in repeat(None))
            case ArrivalKind.UNIFORM:
                return accumulate(repeat(1 / self.rate_per_s))
            case ArrivalKind.MMPP:
                return self._switching(draw)
            case ArrivalKind.DIURNAL:
                return self._thinned(draw)

    def _switching(self, draw: Random) -> Iterator[float]:
        at_s, high = 0.0, True
        until_s = draw.expovariate(2 / self.period_s)
        while True:
            rate = self.rate_per_s * (1 + self.swing if high else 1 - self.swing)
            gap_s = draw.expovariate(rate) if rate > 0 else math.inf
            if at_s + gap_s > until_s:  # the other state begins first: gaps have no memory
                at_s, high = until_s, not high
                until_s += draw.expovariate(2 / self.period_s)
            else:
                at_s += gap_s
                yield at_s

    def _thinned(self, draw: Random) -> Iterator[float]:
        """Lewis and Shedler: from a process of the highest rate, each is kept with probability rate(t) / highest."""
        highest, at_s = self.rate_per_s * (1 + self.swing), 0.0
        while True:
            at_s += draw.expovariate(highest)
            rate = self.rate_per_s * (1 + self.swing * math.sin(2 * math.pi * at_s / self.period_s))
            if draw.random() * highest <= rate:
                yield at_s


def _poisson(draw: Random, rate_per_s: float) -> Iterator[float]:
    """Gaps as `Random.expovariate` draws them, without a call of its own for each."""
    at_s, uniform, log = 0.0, draw.random, math.log
    while True:
        at_s -= log(1.0 - uniform()) / rate_per_s
        yield at_s
