"""What a live run tells while it goes."""

from typing import NamedTuple

from weft.core.metrics import StepRecord
from weft.runtime.messages import StepMetrics
from weft.runtime.values import Value


class StepStarted(NamedTuple):
    step: str
    visit: int
    node: str
    device: str
    started_s: float


class TokenPiece(NamedTuple):
    step: str
    visit: int
    token: int
    text: str


class AudioPiece(NamedTuple):
    """`wav` is a wav file of its own: one sentence."""

    step: str
    visit: int
    wav: bytes


class StepEnded(NamedTuple):
    record: StepRecord
    metrics: StepMetrics
    outputs: tuple[Value, ...]


RunEvent = StepStarted | TokenPiece | AudioPiece | StepEnded
