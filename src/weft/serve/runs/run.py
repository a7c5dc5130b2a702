"""A durable run and its events, in the words of OpenAI's asynchronous runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from weft.core.message import Message
from weft.core.metrics import StepRecord
from weft.runtime.messages import Ending
from weft.runtime.values import Value
from weft.serve.replies import Terms


class Status(StrEnum):
    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    REQUIRES_ACTION = "requires_action"
    """A step waits for a person."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNSURE = "unsure"
    """A step that may run once only was cut off: nobody knows whether it acted."""


ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.UNSURE})


@dataclass(frozen=True, slots=True)
class Run:
    """`fingerprint` of the program that it runs. `key`: the caller's idempotency key; `asked` the digest of what was
    asked with it. `session`: the conversation that its answer is added to, after `said`. `trace`: the W3C traceparent
    of what it is a part of."""

    id: str
    tenant: str
    agent: str
    fingerprint: str
    inputs: Mapping[str, Value]
    created_s: float
    status: Status = Status.QUEUED
    terms: Terms = field(default_factory=dict[str, str | int | float])
    key: str = ""
    asked: str = ""
    session: str = ""
    said: tuple[Message, ...] = ()
    webhook: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    trace: str = ""
    ended_s: float | None = None
    values: tuple[Value, ...] = ()
    error: str = ""


class Kind(StrEnum):
    STEP_STARTED = "step.started"
    STEP_ENDED = "step.completed"
    ASKED = "run.requires_action"
    RESUMED = "run.resumed"
    COMPLETED = "run.completed"
    FAILED = "run.failed"
    CANCELLED = "run.cancelled"
    UNSURE = "run.unsure"


ENDS = {
    Kind.COMPLETED: Status.COMPLETED,
    Kind.FAILED: Status.FAILED,
    Kind.CANCELLED: Status.CANCELLED,
    Kind.UNSURE: Status.UNSURE,
}
"""Events after which nothing happens, and what the run is then."""


@dataclass(frozen=True, slots=True)
class LogEvent:
    """`number` counts a run's events from 0. `values`: what a step gave, what a person is shown, what the run came to.
    `record` and `usd` of a step that ended, `ending` of the reply that it wrote; `text` says why a run ended badly."""

    number: int
    kind: Kind
    at_s: float
    step: str = ""
    visit: int = 0
    values: tuple[Value, ...] = ()
    record: StepRecord | None = None
    usd: float = 0.0
    text: str = ""
    ending: Ending | None = None
