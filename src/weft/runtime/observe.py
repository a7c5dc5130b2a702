"""What a node tells of the steps it runs; telemetry.py tells it to Prometheus and OpenTelemetry, Quiet to nobody."""

import contextlib
from collections.abc import Generator
from typing import Protocol

from weft.runtime.messages import Call, StepMetrics


class Seen:
    """One visit under way; its handler's metrics, once there are any."""

    def __init__(self) -> None:
        self.metrics = StepMetrics()


class Observer(Protocol):
    def step(self, call: Call) -> contextlib.AbstractContextManager[Seen]:
        """Around one visit; what is raised inside is how it failed."""
        ...


class Quiet:
    @contextlib.contextmanager
    def step(self, call: Call) -> Generator[Seen, None, None]:
        yield Seen()
