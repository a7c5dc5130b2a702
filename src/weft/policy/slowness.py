"""Which node of a pool is so much slower than the others that its replies had better go on there.

    pace = tokens / (replies under way / what the plan promised one reply at this batch)   over the last `looks`

It is measured against the best of the pool in the same time, never against a clock or the promise alone: where the
whole machine lags, or is no planned device at all, nobody is left. All looks count together, for one that gets a part
of its machine now and then writes in bursts. After one was left nobody of the pool is for `rest` looks, so that replies
do not go to and fro.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from weft.core.errors import CapacityError


@dataclass(frozen=True, slots=True)
class SlownessConfig:
    """`share` of the best pace; `least`: tokens that the best has to show in its looks."""

    share: float = 0.2
    looks: int = 6
    rest: int = 100
    least: float = 7.0

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
        self._seen: dict[str, deque[Look]] = {}
        self._rest = 0

    def look(self, seen: Mapping[str, Look]) -> str | None:
        """Who is to be left now, of the nodes that had replies under way all the time."""
        config = self._config
        self._seen = {name: self._seen.get(name, deque(maxlen=config.looks)) for name in seen}
        for name, look in seen.items():
            self._seen[name].append(look)
        if self._rest:
            self._rest -= 1
            return None
        lately = {name: _together(looks) for name, looks in self._seen.items() if len(looks) == config.looks}
        best = max((each.pace for each in lately.values() if each.tokens >= config.least), default=0.0)
        slow = {name: each.pace for name, each in lately.items() if each.pace < config.share * best}
        if not slow:
            return None
        self._rest = config.rest
        self._seen.clear()
        return min(slow, key=lambda name: (slow[name], name))


def _together(looks: Iterable[Look]) -> Look:
    tokens, promised = 0, 0.0
    for each in looks:
        tokens, promised = tokens + each.tokens, promised + each.promised
    return Look(tokens, promised)
