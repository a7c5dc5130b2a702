"""How much may be tried again: retries are a share of the calls, so that a fleet in trouble is not drowned in them.

Each call puts `ratio` of a retry into the purse, which holds `reserve` at most and at first; each retry takes one out.
What died with its node does not ask here: a death happens once, and to the calls that were there.
"""

from dataclasses import dataclass

from weft.core.errors import CapacityError


@dataclass(frozen=True, slots=True)
class RetryConfig:
    ratio: float = 0.2
    reserve: float = 20.0

    def __post_init__(self) -> None:
        if self.ratio < 0 or self.reserve < 0:
            raise CapacityError(
                subject="retries",
                problem=f"ratio {self.ratio}, reserve {self.reserve}",
                way_out="take nothing negative",
            )


class RetryBudget:
    def __init__(self, config: RetryConfig | None = None) -> None:
        self._config = config or RetryConfig()
        self._left = self._config.reserve

    def called(self) -> None:
        self._left = min(self._config.reserve, self._left + self._config.ratio)

    def may_retry(self) -> bool:
        """Whether one is left; it is then taken."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
