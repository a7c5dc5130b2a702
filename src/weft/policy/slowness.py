"""Which node of a pool is so much slower than the others that its replies had better go on there.

    pace = tokens of a look / replies under way / what the plan promised one reply at this batch

It is measured against the best of the pool in the same look, never against a clock or the promise alone: where the
whole machine lags, or is no planned device at all, nobody is left. A node has to be slow for `looks` looks in a row,
and after one was left nobody of the pool is for `rest` looks, so that replies do not go to and fro.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from weft.core.errors import CapacityError


@dataclass(frozen=True, slots=True)
class SlownessConfig:
    """`share` of the best pace; `least`: replies times tokens that the best has to show in a look."""

    share: float = 0.2
    looks: int = 3
    rest: int = 40
    least: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1 or self.looks < 1 or self.rest < 0 or self.least <= 0:
            raise CapacityError(
                subject="slowness",
                problem=f"share {self.share}, looks {self.looks}, rest {self.rest}, least {self.least}",
                way_out="take 0 ≤ share < 1, looks ≥ 1, rest ≥ 0 and least > 0",
            )


@dataclass(frozen=True, slots=True)
class Look:
    """Of one node since the last look. `promised`: tokens that the plan has for all its replies in that time."""

    tokens: int
    promised: float

    @property
    def pace(self) -> float:
        return self.tokens / self.promised


class Slowness:
    """Of one pool."""

    def __init__(self, config: SlownessConfig | None = None) -> None:
        self._config = config or SlownessConfig()
        self._slow: Counter[str] = Counter()
        self._rest = 0

    def look(self, seen: Mapping[str, Look]) -> str | None:
        """Who is to be left now, of the nodes that had replies under way all the time."""
        config = self._config
        best = max((look.pace for look in seen.values() if look.tokens >= config.least), default=0.0)
        slow = {name: look.pace for name, look in seen.items() if look.pace < config.share * best}
        self._slow = Counter({name: self._slow[name] + 1 for name in slow})
        if self._rest:
            self._rest -= 1
            return None
        due = [name for name in slow if self._slow[name] >= config.looks]
        if not due:
            return None
        self._rest = config.rest
        self._slow.clear()
        return min(due, key=lambda name: (slow[name], name))
