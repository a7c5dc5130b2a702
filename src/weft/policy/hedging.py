"""When a second replica is asked the same, because the first takes long: only for steps that change nothing.

    delay_s = the `quantile` of what the step took lately, found by steps in the logarithm (as in `admission`)

So at most 1 − quantile of the calls are asked twice while the fleet is well, and `share` of them whatever happens.
Dean and Barroso (2013), The tail at scale.
"""

import math
from dataclasses import dataclass

from weft.core.errors import CapacityError


@dataclass(frozen=True, slots=True)
class HedgeConfig:
    quantile: float = 0.95
    share: float = 0.05
    rate: float = 0.1
    learn: int = 20
    least_s: float = 0.02

    def __post_init__(self) -> None:
        if not 0 < self.quantile < 1 or not 0 <= self.share <= 1 or self.rate <= 0 or self.learn < 1:
            raise CapacityError(
                subject="hedging",
                problem=f"quantile {self.quantile}, share {self.share}, rate {self.rate}, learn {self.learn}",
                way_out="take 0 < quantile < 1, 0 ≤ share ≤ 1, rate > 0 and learn ≥ 1",
            )


class Hedging:
    """Of one step. Nothing is asked twice before `learn` calls are known."""

    def __init__(self, config: HedgeConfig | None = None) -> None:
        self._config = config or HedgeConfig()
        self._log_s = -math.inf
        self._seen = 0
        self._asked = 0.0

    @property
    def delay_s(self) -> float | None:
        """After how long a second replica may be asked; None: not yet."""
        if self._seen < self._config.learn:
            return None
        return max(self._config.least_s, math.exp(self._log_s))

    def may_ask(self) -> bool:
        """Whether the share has room for one more; it is then counted."""
        if self._asked + 1 > self._config.share * self._seen + 1:
            return False
        self._asked += 1
        return True

    def took(self, seconds: float) -> None:
        config, log_s = self._config, math.log(max(seconds, 1e-6))
        self._seen += 1
        if self._seen <= config.learn:
            self._log_s = max(self._log_s, log_s)  # the longest so far: too late rather than too often
            return
        self._log_s += config.rate * (config.quantile if log_s > self._log_s else config.quantile - 1)
