"""How far one number moves when each of its inputs does: the rows of a tornado diagram."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Inputs = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Range:
    """One input with its base and its plausible ends."""

    name: str
    low: float
    base: float
    high: float


@dataclass(frozen=True, slots=True)
class Swing:
    """The result with this input at either end and all others at their base. None where there is no result."""

    input: Range
    at_low: float | None
    at_high: float | None

    @property
    def span(self) -> float:
        """How far apart the two results lie; infinite where one end has none."""
        return float("inf") if self.at_low is None or self.at_high is None else abs(self.at_high - self.at_low)


def tornado(result: Callable[[Inputs], float | None], ranges: Sequence[Range]) -> tuple[Swing, ...]:
    """One swing an input, the widest first. `result` is any function of the inputs by name."""
    base = {each.name: each.base for each in ranges}
    swings = [
        Swing(each, result({**base, each.name: each.low}), result({**base, each.name: each.high})) for each in ranges
    ]
    return tuple(sorted(swings, key=lambda swing: -swing.span))
