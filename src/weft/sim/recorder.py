"""Hears what ends in a simulation and keeps distributions of it: memory does not grow with the trace."""

from collections.abc import Callable
from dataclasses import dataclass, field

from weft.core.metrics import RequestRecord, StepRecord
from weft.core.workload import Slo
from weft.policy.agent_run import Ready
from weft.sim.calls import LlmCall
from weft.sim.columns import Column
from weft.sim.kernel import seconds, ticks
from weft.sim.walk import Run

OnRecord = Callable[[int, RequestRecord], None]


class CallColumns:
    """One model call of the agent."""

    __slots__ = ("cached", "e2e", "good", "inputs", "itl", "outputs", "preempted", "restarted", "tpot", "ttft")

    def __init__(self) -> None:
        self.ttft, self.tpot, self.itl, self.e2e = Column(), Column(), Column(), Column()
        self.good = self.inputs = self.outputs = self.cached = self.preempted = self.restarted = 0


@dataclass(slots=True)
class Bounds:
    """An objective in ticks."""

    ttft: float
    tpot: float
    e2e: float


def bounds_of(slo: Slo) -> Bounds:
    return Bounds(*(float("inf") if limit is None else ticks(limit) for limit in (slo.ttft_s, slo.tpot_s, slo.e2e_s)))


@dataclass
class Recorder:
    """`on_record` hears each run as it ends, with its number and its steps in the order they ended; None: faster."""

    agent: str
    bounds: Bounds
    on_record: OnRecord | None = None
    devices: dict[str, str] = field(default_factory=dict[str, str])
    calls: dict[str, CallColumns] = field(default_factory=dict[str, CallColumns])
    steps: dict[str, Column] = field(default_factory=dict[str, Column])
    e2e: Column = field(default_factory=Column)
    good: int = 0
    ended_at: int = 0
    _open: dict[int, list[StepRecord]] = field(default_factory=dict[int, list[StepRecord]])

    def step_ended(self, run: Run, ready: Ready, place: str, began: int, now: int) -> None:
        column = self.steps.get(ready.step.name)
        if column is None:
            column = self.steps[ready.step.name] = Column()
        column.append(now - began)
        if self.on_record is not None:
            self._note(run, ready, place, began, now)

    def call_ended(self, call: LlmCall) -> None:
        columns = self.calls.get(call.name)
        if columns is None:
            columns = self.calls[call.name] = CallColumns()
        submitted, first, ended, gaps, bounds = (
            call.submitted_at,
            call.first_at,
            call.ended_at,
            call.osl - 1,
            self.bounds,
        )
        ttft = first - submitted
        tpot = (ended - first) // gaps if gaps else 0
        columns.ttft.append(ttft)
        columns.e2e.append(ended - submitted)
        if gaps:
            columns.tpot.append(tpot)
            columns.itl.append(call.gap)
        columns.inputs += call.isl
        columns.outputs += call.osl
        columns.cached += call.cached
        if call.restarts:
            columns.restarted += 1
        if call.preemptions:
            columns.preempted += 1
        if ttft <= bounds.ttft and tpot <= bounds.tpot:
            columns.good += 1
        else:
            call.run.good = False
        if self.on_record is not None:
            self._note_call(call)

    def run_ended(self, run: Run, now: int) -> None:
        took, self.ended_at = now - run.began, now
        self.e2e.append(took)
        if run.good and took <= self.bounds.e2e:
            self.good += 1
        if self.on_record is not None:
            record = RequestRecord(self.agent, tuple(self._open.pop(run.number, ())), seconds(took))
            self.on_record(run.number, record)

    def run_refused(self, run: Run, now: int) -> None:
        self.ended_at = now
        if self.on_record is not None:
            steps = tuple(self._open.pop(run.number, ()))
            self.on_record(run.number, RequestRecord(self.agent, steps, seconds(now - run.began), refused=True))

    def fold(self) -> None:
        """Called now and then."""
        for columns in self.calls.values():
            for column in (columns.ttft, columns.tpot, columns.itl, columns.e2e):
                column.fold()
        for column in (*self.steps.values(), self.e2e):
            column.fold()

    def _note_call(self, call: LlmCall) -> None:
        assert call.decode is not None
        self._note(call.run, call.prefill, call.first_on, call.submitted_at, call.first_at, call.first_at, call.isl, 1)
        where = call.replica.name
        self._note(call.run, call.decode, where, call.decode_at, call.ended_at, call.first_at, 0, call.osl - 1)

    def _note(
        self,
        run: Run,
        ready: Ready,
        place: str,
        began: int,
        ended: int,
        first: int | None = None,
        inputs: int = 0,
        outputs: int = 0,
    ) -> None:
        device = self.devices[place.partition("#")[0]]
        first_s = None if first is None else seconds(first - run.began)
        start_s, end_s = seconds(began - run.began), seconds(ended - run.began)
        record = StepRecord(ready.step.name, ready.visit, place, device, start_s, end_s, first_s, inputs, outputs)
        self._open.setdefault(run.number, []).append(record)
