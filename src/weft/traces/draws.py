"""Random numbers that belong to a request, not to an order of events: a counter through splitmix64.

The same seed gives the same numbers on every machine, whatever PYTHONHASHSEED is.
"""

import math
from statistics import NormalDist

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_NORMAL = NormalDist()


def mixed(value: int) -> int:
    """splitmix64's finaliser: 64 bits in, 64 well-mixed bits out."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)


class Draws:
    """The stream of request `number` under `seed`."""

    __slots__ = ("_state",)

    def __init__(self, seed: int, number: int) -> None:
        self._state = mixed(mixed(seed & _MASK) + number * _GOLDEN & _MASK)

    def uniform(self) -> float:
        """In (0, 1)."""
        self._state = self._state + _GOLDEN & _MASK
        return ((mixed(self._state) >> 11) + 0.5) * 2.0**-53

    def exponential(self, mean: float) -> float:
        return -mean * math.log(self.uniform())

    def lognormal(self, mean: float, cv: float) -> float:
        """With that mean and coefficient of variation."""
        if cv <= 0:
            return mean
        variance = math.log1p(cv * cv)
        return mean * math.exp(math.sqrt(variance) * _NORMAL.inv_cdf(self.uniform()) - variance / 2)
