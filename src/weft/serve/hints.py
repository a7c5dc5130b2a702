"""What a caller says of one run beside its inputs: which conversation it is, by when it must end, how urgent it is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunHints:
    """`within_s`: nobody waits for the run longer than that: nodes then refuse its steps. Smaller `rank`s go first.
    `trace`: the W3C traceparent of what it is a part of."""

    session: str | None = None
    within_s: float | None = None
    rank: float = 0.0
    trace: str = ""


NO_HINTS = RunHints()
