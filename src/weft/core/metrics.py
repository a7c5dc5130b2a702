"""What happened in a run, simulated or live. Times are seconds since the run began.

Structs, not dataclasses: thousands are made each second, in a tenth of the time.
"""

from msgspec import Struct


class StepRecord(Struct, frozen=True):
    """One visit of one step. `first_output_s` is when the first token or audio left; None where it does not stream.
    The first token of a reply counts as the prefill's output, the rest as the decode's. `label`: what a choice gave."""

    step: str
    visit: int
    node: str
    device: str
    started_s: float
    ended_s: float
    first_output_s: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    bytes_moved: int = 0
    emulated: bool = False
    cached_tokens: int = 0
    label: int | None = None

    @property
    def duration_s(self) -> float:
        return self.ended_s - self.started_s


class RequestRecord(Struct, frozen=True):
    """One agent run; `refused`: at the door, at `ended_s`."""

    agent: str
    steps: tuple[StepRecord, ...]
    ended_s: float
    refused: bool = False

    @property
    def emulated_devices(self) -> tuple[str, ...]:
        return tuple(sorted({step.device for step in self.steps if step.emulated}))
