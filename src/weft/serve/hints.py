"""What a caller says of one run beside its inputs: which conversation it is, by when it must end, how urgent it is."""

from dataclasses import dataclass

from weft.serve.stream_log import LoggedChoice


@dataclass(frozen=True, slots=True)
class RunHints:
    """`within_s`: nobody waits for the run longer than that: nodes then refuse its steps. Smaller `rank`s go first."""

    session: str | None = None
    within_s: float | None = None
    rank: float = 0.0
    told: LoggedChoice | None = None
    """What its caller has of its replies, and where more of it is written down."""


NO_HINTS = RunHints()
