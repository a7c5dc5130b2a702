"""What an agent did lately: runs in time, tokens, and what control decided. /metrics and /status read it."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from weft.core.deployment import Deployment
from weft.core.metrics import RequestRecord, StepRecord
from weft.core.program import StepKind
from weft.core.workload import CHANCE
from weft.serve.sla import in_time, kinds_of

LATELY = 200
"""Runs of which the share in time is told."""

AT_ONCE = 64
"""Runs that are looked through together, at the latest."""

RATE_S = 60.0
SEEN = 20
"""Visits after which their mean sizes are believed."""

DECLARED = (StepKind.TRANSCRIBE, StepKind.SYNTHESIZE, StepKind.EMBED, StepKind.SEARCH, StepKind.TOOL)
"""Their times are their author's word until they are measured."""

LEAST_S = 0.02
"""A shorter visit's time is the way to the node and back."""


@dataclass(frozen=True, slots=True)
class Decided:
    """An action of control, so many seconds after the beginning."""

    at_s: float
    pool: str
    change: str
    count: int
    why: str


@dataclass(slots=True)
class Mean:
    """Of the last values, about so many as LATELY; at first of all."""

    value: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.count += 1
        self.value += (value - self.value) / min(self.count, LATELY)


@dataclass(slots=True)
class Totals:
    """Of all runs that ended."""

    in_time: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


@dataclass(slots=True)
class History:
    """Runs are looked through some at a time, or when somebody asks: not each while its caller waits."""

    clock: Callable[[], float] = time.monotonic
    actions: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """By pool and change, replicas."""
    decisions: deque[Decided] = field(default_factory=lambda: deque[Decided](maxlen=20))
    _unread: list[tuple[Deployment, RequestRecord]] = field(default_factory=list[tuple[Deployment, RequestRecord]])
    _totals: Totals = field(default_factory=Totals)
    _lately: deque[bool] = field(default_factory=lambda: deque[bool](maxlen=LATELY))
    _began: deque[float] = field(default_factory=deque[float])
    _since_s: float = 0.0
    _seen: dict[tuple[str, str], Mean] = field(default_factory=dict[tuple[str, str], Mean])
    """By step and attribute, as a Workload has them."""
    _plan: Deployment | None = None
    _kinds: Mapping[str, StepKind] = field(default_factory=dict[str, StepKind])
    _labels: Mapping[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        self._since_s = self.clock()

    def began(self) -> None:
        now = self.clock()
        self._began.append(now)
        self._forget(now)

    def ended(self, plan: Deployment, record: RequestRecord) -> None:
        self._unread.append((plan, record))
        if len(self._unread) >= AT_ONCE:
            self._read()

    @property
    def totals(self) -> Totals:
        self._read()
        return self._totals

    def _read(self) -> None:
        unread, self._unread = self._unread, []
        for plan, record in unread:
            self._read_one(plan, record)

    def _read_one(self, plan: Deployment, record: RequestRecord) -> None:
        if plan is not self._plan:
            self._plan, self._kinds, self._labels = plan, kinds_of(plan), _ways(plan)
        good, totals = in_time(record, self._kinds, plan.slo), self._totals
        totals.in_time += good
        self._lately.append(good)
        for step in record.steps:
            totals.input_tokens += step.input_tokens
            totals.cached_tokens += step.cached_tokens
            totals.output_tokens += step.output_tokens
            self._size(step)

    def _size(self, step: StepRecord) -> None:
        """Of a decode its first token came with the prefill."""
        kind, call = self._kinds.get(step.step), step.step.rpartition(".")[0]
        if kind is StepKind.PREFILL:
            self._mean(call, "isl").add(step.input_tokens)
        elif kind is StepKind.DECODE:
            self._mean(call, "osl").add(step.output_tokens + 1)
        elif kind in DECLARED:
            self._mean(step.step, "core_s").add(step.duration_s)
        elif step.label is not None:
            for label in range(self._labels.get(step.step, 0)):
                self._mean(step.step, f"{CHANCE}{label}").add(float(label == step.label))

    def _mean(self, step: str, attribute: str) -> Mean:
        mean = self._seen.get((step, attribute))
        if mean is None:
            mean = self._seen[step, attribute] = Mean()
        return mean

    @property
    def sizes(self) -> Mapping[str, Mapping[str, float]]:
        """Mean sizes of steps, as a Workload has them: of model calls tokens, of choices the chance of each label, of
        tools and speech the time of a visit. Of what was seen often enough."""
        self._read()
        known: dict[str, dict[str, float]] = {}
        for (step, attribute), mean in self._seen.items():
            if mean.count >= SEEN and not (attribute == "core_s" and mean.value < LEAST_S):
                known.setdefault(step, {})[attribute] = mean.value
        return known

    def decided(self, pool: str, change: str, count: int, why: str) -> None:
        self.actions[pool, change] += count
        self.decisions.append(Decided(self.clock() - self._since_s, pool, change, count, why))

    @property
    def attainment(self) -> float | None:
        """Of the last runs that ended; None: none has."""
        self._read()
        return sum(self._lately) / len(self._lately) if self._lately else None

    @property
    def runs_per_s(self) -> float:
        """That came within the last minute."""
        now = self.clock()
        self._forget(now)
        return len(self._began) / max(1.0, min(RATE_S, now - self._since_s))

    def _forget(self, now: float) -> None:
        while self._began and self._began[0] < now - RATE_S:
            self._began.popleft()


def _ways(plan: Deployment) -> Mapping[str, int]:
    """Between how many ways each choice decides."""
    return {
        step.name: len(block.terminator.targets)
        for block in plan.program.blocks
        for step in block.steps
        if step.kind is StepKind.CHOOSE
    }
