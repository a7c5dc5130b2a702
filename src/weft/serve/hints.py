"""What is known of one run beside its inputs: whose it is, which conversation, its deadline, how urgent it is."""

from collections.abc import Mapping
from dataclasses import dataclass

from weft.runtime.reply_terms import RANK, TENANT
from weft.serve.stream_log import LoggedChoice

EVERYBODY = "anyone"
"""The tenant of all who need no key: their caches are one."""


@dataclass(frozen=True, slots=True)
class RunHints:
    """`within_s`: nobody waits for the run longer than that: nodes then refuse its steps. In a node's queue its model
    calls go `rank` seconds behind others that came when they did (or, negative, before them). Prefixes are shared, and
    counted, within a `tenant`. `trace`: the W3C traceparent of what it is a part of."""

    session: str | None = None
    within_s: float | None = None
    rank: float = 0.0
    trace: str = ""
    tenant: str = EVERYBODY
    told: LoggedChoice | None = None
    """What its caller has of its replies, and where more of it is written down."""

    @property
    def attributes(self) -> Mapping[str, str | float]:
        """What of it nodes are told with each model call."""
        told: dict[str, str | float] = {} if self.tenant == EVERYBODY else {TENANT: self.tenant}
        return {**told, RANK: self.rank} if self.rank else told


NO_HINTS = RunHints()
