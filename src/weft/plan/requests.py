"""What is to be placed: the agent's leaf tasks and what flows between them, the fleet, the money, the objective."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from weft.core.hardware import Finance, Fleet
from weft.core.model import ModelSpec
from weft.core.units import Precision
from weft.core.workload import Slo
from weft.cost.efficiency import Efficiency
from weft.plan.problem import Block, Objective
from weft.plan.promises import Promise
from weft.plan.served import Software


class TaskKind(StrEnum):
    PREFILL = "prefill"
    DECODE = "decode"
    CPU = "cpu"


class Serving(StrEnum):
    """Who runs the two phases of a language-model call."""

    ANY = "any"
    """Whatever is cheaper, call by call."""

    AGGREGATED = "aggregated"
    """One pool runs both; no cache moves."""

    DISAGGREGATED = "disaggregated"
    """Prefill and decode have pools of their own."""


@dataclass(frozen=True, slots=True)
class LeafTask:
    """One step of the agent. LLM phases have a model, token counts and the precisions they may run in; CPU work has
    `core_s`, the seconds it takes one core. `slo` is its agent's where several share a fleet; None: the request's.
    `variation` is the standard deviation of a visit's time over its mean, `most` what it takes at most, in means.
    `pinned` is where it has to run: DEVICE, DEVICE@ZONE or @ZONE. A call may run `or_models` instead of its model: both
    of its phases the same. Of its prompts another task has prefilled the first `cached` tokens."""

    name: str
    kind: TaskKind
    visits: float
    model: ModelSpec | None = None
    isl: int = 0
    osl: int = 0
    core_s: float = 0.0
    precisions: tuple[Precision, ...] = (Precision.FP16,)
    slo: Slo | None = None
    variation: float = 0.0
    most: float = math.inf
    pinned: str = ""
    or_models: tuple[ModelSpec, ...] = ()
    cached: int = 0

    @property
    def all_models(self) -> tuple[ModelSpec, ...]:
        return () if self.model is None else (self.model, *self.or_models)

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        """Those whose context holds prompt and answer; the first one, to be refused, where it does in none."""
        able = tuple(model for model in self.all_models if self.isl + self.osl <= model.context)
        return able or self.all_models[:1]


@dataclass(frozen=True, slots=True)
class Flow:
    """`target` needs what `source` made: `bytes_per_visit`, or the prompt's KV cache if `carries_kv`.

    `block` names the block that both tasks stand in, in this order; None for a flow from one block to the next or back
    to the start of the same. It `extends` if it carries the cache of what the target's prompt begins with. In several
    `chunks` it streams: see plan.problem.Handoff.
    """

    source: str
    target: str
    visits: float
    block: str | None
    bytes_per_visit: float = 0.0
    carries_kv: bool = False
    chunks: float = 1.0
    extends: bool = False

    @property
    def moves_kv(self) -> bool:
        return self.carries_kv or self.extends


@dataclass(frozen=True)
class PlanRequest:
    """`weigh_energy`: energy matters, so devices whose power is not known are refused. `market`, `budget_usd` and
    `promises` (beyond those of the slo): see PlacementProblem. `robust`: step times are the high ends of their error
    bands instead of the values."""

    tasks: tuple[LeafTask, ...]
    flows: tuple[Flow, ...]
    blocks: tuple[Block, ...]
    fleet: Fleet
    finance: Finance
    slo: Slo
    rate_per_s: float
    max_utilisation: float = 0.8
    objective: Objective = Objective.USD_PER_HOUR
    efficiencies: Mapping[str, Efficiency] = field(default_factory=dict[str, Efficiency])
    software: Software = field(default_factory=Software)
    robust: bool = False
    serving: Serving = Serving.ANY
    split: bool = False
    weigh_energy: bool = False
    energy_limit_j: float | None = None
    market: Mapping[str, float] = field(default_factory=dict[str, float])
    budget_usd: float | None = None
    promises: tuple[Promise, ...] = ()

    def running(self, model: ModelSpec) -> "PlanRequest":
        """The request if every call that may run the model does."""
        tasks = [replace(task, model=model) if model in task.models else task for task in self.tasks]
        return replace(self, tasks=tuple(tasks))

    def slo_of(self, task: LeafTask) -> Slo:
        return task.slo or self.slo

    @property
    def needs_power(self) -> bool:
        by_energy = self.objective is Objective.JOULES_PER_REQUEST
        return self.weigh_energy or by_energy or self.energy_limit_j is not None

    def task(self, name: str) -> LeafTask:
        return self._tasks[name]

    @cached_property
    def _tasks(self) -> Mapping[str, LeafTask]:
        return {task.name: task for task in self.tasks}
