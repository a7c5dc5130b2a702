"""Stop asking what does not answer: after some failures in a row nothing is tried for a while, then one call probes.

The pause doubles with each failed probe, up to a limit. Time is an argument.
"""

from dataclasses import dataclass

from weft.core.errors import CapacityError


@dataclass(frozen=True, slots=True)
class CircuitConfig:
    failures: int = 3
    pause_s: float = 5.0
    pause_limit_s: float = 120.0

    def __post_init__(self) -> None:
        if self.failures < 1 or not 0 < self.pause_s <= self.pause_limit_s:
            raise CapacityError(
                subject="circuit",
                problem=f"failures {self.failures}, pause_s {self.pause_s}, pause_limit_s {self.pause_limit_s}",
                way_out="take failures ≥ 1 and 0 < pause_s ≤ pause_limit_s",
            )


class Circuit:
    """`allows` before each call, `succeeded` or `failed` after it."""

    def __init__(self, config: CircuitConfig | None = None) -> None:
        self._config = config or CircuitConfig()
        self._failures = 0
        self._pause_s = 0.0
        self._open_until_s = 0.0
        self._probing = False
        self.opened = 0

    @property
    def is_open(self) -> bool:
        return self._failures >= self._config.failures

    def allows(self, now_s: float) -> bool:
        """While open: one call when the pause is over, and the next only after another pause."""
        if not self.is_open:
            return True
        if self.blocks(now_s):
            return False
        self._open_until_s = now_s + self._pause_s
        self._probing = True
        return True

    def blocks(self, now_s: float) -> bool:
        """Whether `allows` would say no; asking this changes nothing."""
        return self.is_open and now_s < self._open_until_s

    def succeeded(self) -> None:
        self._failures, self._pause_s, self._probing = 0, 0.0, False

    def trip(self, now_s: float) -> None:
        """Opens it at once: what was seen is worth all the failures."""
        while not self.is_open:
            self.failed(now_s)

    def failed(self, now_s: float) -> None:
        """Calls that were on their way when it opened tell nothing new."""
        if self.is_open and not self._probing:
            return
        self._failures += 1
        self._probing = False
        if not self.is_open:
            return
        if not self._pause_s:
            self.opened += 1
        self._pause_s = min(self._config.pause_limit_s, 2 * self._pause_s or self._config.pause_s)
        self._open_until_s = now_s + self._pause_s
