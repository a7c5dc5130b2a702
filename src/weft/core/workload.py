"""What is asked of a fleet: the load, the sizes of its requests, and the objective to be met."""

from collections.abc import Mapping
from dataclasses import dataclass, field

CHANCE = "chance_"
"""`chance_1` among the attributes of a choice: how probable its label 1 is."""


@dataclass(frozen=True, slots=True)
class Slo:
    """A service-level objective. None means not asked.

    `ttft_s` and `tpot_s` bind each LLM step; `e2e_s` binds the expected time of the whole agent run,
    and `e2e_p95_s` what 95 % of the runs take at most. With a `penalty_usd_per_s` both may be missed, and a run pays so
    much for each second.
    """

    name: str
    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None
    penalty_usd_per_s: float | None = None
    e2e_p95_s: float | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """Agent runs per second, and per step the attributes (isl, osl, core_s, chance_1, …) that are not the program's."""

    name: str
    rate_per_s: float
    steps: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
