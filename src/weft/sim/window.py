"""Everything that happens between two moments, for a trace viewer (Chrome's format, read by Perfetto)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weft.policy.agent_run import Ready
from weft.policy.sequence import Iteration
from weft.sim.calls import LlmCall
from weft.sim.kernel import TICKS_PER_S
from weft.sim.recorder import Recorder
from weft.sim.replica import Replica
from weft.sim.walk import Run

MOST = 200_000
"""Events kept: a viewer takes no more with pleasure. `left_out` counts the others."""

_PER_US = TICKS_PER_S // 10**6

Event = dict[str, Any]


class Window:
    """A Sink that hands on to the recorder and keeps what touches the window."""

    def __init__(self, recorder: Recorder, begins: int, ends: int) -> None:
        self._recorder = recorder
        self._begins = begins
        self._ends = ends
        self._events: list[Event] = []
        self.left_out = 0

    def step_ended(self, run: Run, ready: Ready, place: str, began: int, now: int) -> None:
        self._recorder.step_ended(run, ready, place, began, now)
        self._span(run.number, ready.step.name, place, began, now)

    def call_ended(self, call: LlmCall) -> None:
        self._recorder.call_ended(call)
        self._span(call.run.number, f"{call.name}: to first token", call.first_on, call.submitted_at, call.first_at)
        self._span(call.run.number, f"{call.name}: decode", call.replica.name, call.decode_at, call.ended_at)

    def run_ended(self, run: Run, now: int) -> None:
        self._recorder.run_ended(run, now)
        self._span(run.number, "run", "", run.began, now)

    def run_refused(self, run: Run, now: int) -> None:
        self._recorder.run_refused(run, now)
        self._span(run.number, "refused", "", run.began, now)

    def iterations(self, replica: Replica, iteration: Iteration, begins: int, ends: int, steps: int) -> None:
        """A run of equal iterations on a replica."""
        if ends < self._begins or begins > self._ends or not self._room(1):
            return
        tokens = sum(chunk.tokens for chunk in iteration.chunks)
        work = f"prefill {tokens} + " if tokens else f"{steps} × "
        name = f"{work}decode {iteration.decodes}"
        pool, _, number = replica.name.partition("#")
        arguments = {"sequences": iteration.decodes, "context": iteration.context_tokens, "prompt tokens": tokens}
        times = {"ts": begins / _PER_US, "dur": (ends - begins) / _PER_US}
        self._events.append({"name": name, "ph": "X", "pid": pool, "tid": int(number), **times, "args": arguments})

    def write(self, path: Path) -> None:
        """One JSON object; pools are processes, replicas their threads, runs asynchronous tracks."""
        path.write_text(json.dumps({"traceEvents": list(self._named()), "displayTimeUnit": "ms"}))

    def _named(self) -> Iterator[Event]:
        """Processes by number, with their names."""
        numbers: dict[str, int] = {}
        for event in self._events:
            number = numbers.setdefault(event["pid"], len(numbers) + 1)
            yield event | {"pid": number}
        for name, number in numbers.items():
            yield {"name": "process_name", "ph": "M", "pid": number, "args": {"name": name}}

    def _span(self, run: int, name: str, place: str, begins: int, ends: int) -> None:
        if ends < self._begins or begins > self._ends or not self._room(2):
            return
        common: Event = {"name": name, "cat": "run", "id": run, "pid": "agent runs", "tid": 0}
        self._events.append(common | {"ph": "b", "ts": begins / _PER_US, "args": {"on": place}})
        self._events.append(common | {"ph": "e", "ts": ends / _PER_US})

    def _room(self, events: int) -> bool:
        if len(self._events) + events <= MOST:
            return True
        self.left_out += events
        return False
