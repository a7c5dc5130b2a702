"""How long a node may leave a question unanswered before its work goes on elsewhere.

    patience_s = max(least_s, times · best_s, margin · own_s)

`best_s` is what the quickest other node of its pool took for the same question, asked a moment later: where the
whole machine lags, or whoever asks does, that is long too, and nobody is left for it. `own_s` is the longest that the
node itself took lately; it fades with each answer.
"""

from dataclasses import dataclass

from weft.core.errors import CapacityError


@dataclass(frozen=True, slots=True)
class SilenceConfig:
    """A node that has work and says nothing for `quiet_s` is asked."""

    quiet_s: float = 0.1
    least_s: float = 0.3
    times: float = 5.0
    margin: float = 2.0
    fades: float = 0.8

    def __post_init__(self) -> None:
        if not (self.quiet_s > 0 < self.least_s and self.times >= 1 <= self.margin and 0 <= self.fades < 1):
            raise CapacityError(
                subject="silence",
                problem=f"quiet_s {self.quiet_s}, least_s {self.least_s}, times {self.times}, margin {self.margin}, "
                f"fades {self.fades}",
                way_out="take quiet_s and least_s > 0, times and margin ≥ 1, 0 ≤ fades < 1",
            )


USUAL = SilenceConfig()


class Patience:
    """With one node."""

    def __init__(self, config: SilenceConfig = USUAL) -> None:
        self._config = config
        self._own_s = 0.0

    def patience_s(self, best_s: float) -> float:
        config = self._config
        return max(config.least_s, config.times * best_s, config.margin * self._own_s)

    def answered(self, took_s: float) -> None:
        self._own_s = max(took_s, self._config.fades * self._own_s)
