"""What was heard, thought, looked up and said in one run: a reading of its step outputs."""

from dataclasses import dataclass, field

from weft.core.metrics import StepRecord
from weft.core.program import Program, StepKind
from weft.runtime.values import as_text
from weft.serve.events import StepEnded


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that a person can follow. `kind` is the step's; `text` is what came out of it."""

    kind: StepKind
    step: str
    text: str
    record: StepRecord


@dataclass(slots=True)
class Transcript:
    """Collects the lines of a run from its events, in the order in which steps ended."""

    program: Program
    lines: list[Line] = field(default_factory=list[Line])

    def add(self, event: StepEnded) -> Line | None:
        """The line that the event gives; None for steps that nobody needs to see."""
        kind = next(step.kind for step in self.program.steps if step.name == event.record.step)
        text = _telling(kind, event)
        if text is None:
            return None
        line = Line(kind, event.record.step, text, event.record)
        self.lines.append(line)
        return line

    @property
    def heard(self) -> str | None:
        return next((line.text for line in self.lines if line.kind is StepKind.TRANSCRIBE), None)

    @property
    def answer(self) -> str | None:
        """The last thing that a model wrote."""
        return next((line.text for line in reversed(self.lines) if line.kind is StepKind.DECODE), None)


def _telling(kind: StepKind, event: StepEnded) -> str | None:
    output = event.outputs[0]
    match kind:
        case StepKind.TRANSCRIBE | StepKind.DECODE | StepKind.SEARCH | StepKind.TOOL | StepKind.MEMORY_SEARCH:
            return as_text(output) or str(output)
        case StepKind.PREFILL:
            return f"{event.record.input_tokens} prompt tokens"
        case StepKind.KV_TRANSFER:
            return f"{event.record.bytes_moved:,} bytes of KV cache"
        case StepKind.SYNTHESIZE:
            return f"{len(output) if isinstance(output, bytes) else 0:,} bytes of speech"
        case _:
            return None
