"""What a live run tells while it goes."""

from dataclasses import dataclass

from weft.core.metrics import StepRecord
from weft.runtime.messages import Ending, StepMetrics, TokenLogprob
from weft.runtime.values import Value


@dataclass(frozen=True, slots=True)
class StepStarted:
    step: str
    visit: int
    node: str
    device: str
    started_s: float


@dataclass(frozen=True, slots=True)
class TokenPiece:
    step: str
    visit: int
    token: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class AudioPiece:
    """`wav` is a wav file of its own: one sentence."""

    step: str
    visit: int
    wav: bytes


@dataclass(frozen=True, slots=True)
class StepEnded:
    record: StepRecord
    metrics: StepMetrics
    outputs: tuple[Value, ...]
    ending: Ending | None = None


RunEvent = StepStarted | TokenPiece | AudioPiece | StepEnded
