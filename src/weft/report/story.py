"""All that is known of one run: what its outputs are made of."""

from collections.abc import Mapping
from dataclasses import dataclass

from weft.core.deployment import Deployment
from weft.core.metrics import RequestRecord
from weft.report.transcript import Transcript

Passes = tuple[tuple[str, str], ...]
"""(pass name, module text after it); the first is the imported program."""


@dataclass(frozen=True, slots=True)
class RunStory:
    """`hardware` is the sentence that says what really ran; every output carries it. `late_s`: see serve.RunOutcome."""

    deployment: Deployment
    passes: Passes
    question: str | None
    hardware: str
    record: RequestRecord
    transcript: Transcript
    answer_wav: bytes
    late_s: Mapping[str, float]
