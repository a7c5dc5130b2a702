"""What a live run tells while it goes."""

from msgspec import Struct

from weft.core.metrics import StepRecord
from weft.runtime.messages import Ending, StepMetrics, TokenLogprob
from weft.runtime.values import Value


class StepStarted(Struct, frozen=True):
    step: str
    visit: int
    node: str
    device: str
    started_s: float


class TokenPiece(Struct, frozen=True, gc=False):
    step: str
    visit: int
    token: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


class AudioPiece(Struct, frozen=True):
    """`wav` is a wav file of its own: one sentence."""

    step: str
    visit: int
    wav: bytes


class ReplyPiece(Struct, frozen=True):
    """Of the answer of a program that drives itself: no one step's reply, but what the program makes of it."""

    text: str


class StepEnded(Struct, frozen=True):
    record: StepRecord
    metrics: StepMetrics
    outputs: tuple[Value, ...]
    ending: Ending | None = None


RunEvent = StepStarted | TokenPiece | AudioPiece | ReplyPiece | StepEnded
