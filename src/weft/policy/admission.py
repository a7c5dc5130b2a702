"""Take a request in, or refuse it at once: when its deadline would be missed, the time spent on it is lost for all.

    expected_s = predicted_s · correction,     admitted if expected_s ≤ (1 + tolerance) · bound, for TTFT and finish

The prediction is the router's, for the worker that suits the request best: if that one is late, so are the others. The
correction follows how predictions turned out: it is the `quantile` of actual / predicted, found by steps (in the
logarithm) that go up by rate · quantile after a late answer and down by rate · (1 − quantile) after any other. Who is
refused is told when to come back: after as long as it would have been late, when the queue is shorter by that much.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from weft.core.workload import Slo


@dataclass(frozen=True, slots=True)
class AdmissionConfig:
    tolerance: float = 0.0
    quantile: float = 0.9
    rate: float = 0.05
    correction_limit: float = 8.0


class Verdict(NamedTuple):
    admitted: bool
    reason: str
    retry_after_s: float = 0.0


_ADMITTED = Verdict(True, "meets every deadline")


class Admission:
    def __init__(self, slo: Slo, config: AdmissionConfig | None = None) -> None:
        self._slo = slo
        self._config = config or AdmissionConfig()
        self._log = 0.0
        self._log_limit = math.log(self._config.correction_limit)

    @property
    def correction(self) -> float:
        return math.exp(self._log)

    def decide(self, ttft_s: float, finish_s: float) -> Verdict:
        """From what the router predicts of its choice."""
        late = [
            (expected_s - bound_s, name, expected_s, bound_s)
            for name, predicted_s, bound_s in (
                ("TTFT", ttft_s, self._slo.ttft_s),
                ("finish", finish_s, self._slo.e2e_s),
            )
            if bound_s is not None
            and (expected_s := predicted_s * self.correction) > (1 + self._config.tolerance) * bound_s
        ]
        if not late:
            return _ADMITTED
        by_s, name, expected_s, bound_s = max(late)
        return Verdict(False, f"{name} {expected_s:.3g} s expected, bound is {bound_s:.3g} s", by_s)

    def observe(self, predicted_s: float, actual_s: float) -> None:
        """How a prediction of an admitted request turned out."""
        config = self._config
        up = actual_s > predicted_s * self.correction
        step = config.rate * (config.quantile if up else config.quantile - 1)
        self._log = min(max(self._log + step, -self._log_limit), self._log_limit)
