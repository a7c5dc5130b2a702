"""Which steps of a Program are ready, what a completion enables, where a run resumes: a fold over its events.

One block is active at a time. Inside it every step whose inputs are known is ready at once; when all steps of the
block are complete the terminator returns or jumps. The state is a function of (program, inputs, events) alone, so the
event list is the durable form of a run: `AgentRun.resume` folds it again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self

from weft.core.errors import ProgramError
from weft.core.program import Block, Program, Step, Target


class Ready:
    """A step to start now. `visit` counts the runs of this step from 0."""

    __slots__ = ("inputs", "step", "visit")

    def __init__(self, step: Step, visit: int, inputs: tuple[object, ...]) -> None:
        self.step = step
        self.visit = visit
        self.inputs = inputs


class Completed(NamedTuple):
    """The one kind of event: a visit of a step produced its outputs."""

    step: str
    visit: int
    outputs: tuple[object, ...]


class AgentRun:
    """One run of an agent. Call `start`, start what it returns, and report each end with `complete`."""

    __slots__ = (
        "_block",
        "_program",
        "_running",
        "_taken",
        "_values",
        "_visits",
        "_waiting",
        "events",
        "result",
    )

    def __init__(self, program: Program, inputs: Mapping[str, object]) -> None:
        _check_inputs(program, inputs)
        self._program = program
        self._values: dict[str, object] = dict(inputs)
        self._visits: dict[str, int] = {}
        self._taken: dict[str, int] = {}
        self._waiting: Sequence[Step] = ()
        self._running: dict[str, Ready] = {}
        self._block: Block | None = None
        self.events: list[Completed] = []
        self.result: tuple[object, ...] | None = None

    @classmethod
    def resume(
        cls, program: Program, inputs: Mapping[str, object], events: Iterable[Completed]
    ) -> tuple[Self, list[Ready]]:
        """The run as it was after `events`, and the steps that were under way."""
        run = cls(program, inputs)
        run.start()
        for event in events:
            run.complete(event)
        return run, list(run._running.values())

    def start(self) -> list[Ready]:
        return self._enter(self._program.entry)

    def complete(self, event: Completed) -> list[Ready]:
        """Take in one completion; returns the steps it enabled (none when the run has ended)."""
        step, visit, values = event
        running = self._running
        ready = running.get(step)
        if ready is None or ready.visit != visit:
            raise _not_running(event)
        names = ready.step.outputs
        if len(values) != len(names):
            raise _wrong_outputs(ready.step, event)
        del running[step]
        self.events.append(event)
        if len(names) == 1:
            self._values[names[0]] = values[0]
        else:
            self._values.update(zip(names, values, strict=True))
        enabled = self._start_ready_steps() if self._waiting else []
        return enabled if running else self._leave()

    def _enter(self, block: Block) -> list[Ready]:
        self._block = block
        self._waiting = block.steps
        if self._visits:  # a revisit must not see the values of the visit before
            for step in block.steps:
                for output in step.outputs:
                    self._values.pop(output, None)
        enabled = self._start_ready_steps()
        return enabled or self._leave()

    def _start_ready_steps(self) -> list[Ready]:
        values, visits, running = self._values, self._visits, self._running
        enabled: list[Ready] = []
        waiting: list[Step] = []
        for step in self._waiting:
            inputs: list[object] = []
            for value in step.inputs:
                if value not in values:
                    waiting.append(step)
                    break
                inputs.append(values[value])
            else:
                name = step.name
                visit = visits.get(name, 0)
                visits[name] = visit + 1
                running[name] = ready = Ready(step, visit, tuple(inputs))
                enabled.append(ready)
        self._waiting = waiting
        return enabled

    def _leave(self) -> list[Ready]:
        block = self._block
        assert block is not None
        assert not self._waiting, f"{block.name}: {[step.name for step in self._waiting]} wait for values no step makes"
        if not block.terminator.targets:
            self.result = tuple([self._values[name] for name in block.terminator.returns])
            return []
        target = self._choose_target(block)
        arguments = [self._values[name] for name in target.arguments]
        next_block = self._program.block(target.block)
        self._values.update(zip(next_block.parameters, arguments, strict=True))
        return self._enter(next_block)

    def _choose_target(self, block: Block) -> Target:
        terminator = block.terminator
        if terminator.selector is None:
            return terminator.targets[0]
        label = self._values[terminator.selector]
        if not isinstance(label, int) or not 0 <= label < len(terminator.targets):
            raise _bad_label(block, label)
        if label and terminator.at_most is not None and self._taken.get(block.name, 0) >= terminator.at_most:
            label = 0
        if label:
            self._taken[block.name] = self._taken.get(block.name, 0) + 1
        return terminator.targets[label]


def _check_inputs(program: Program, inputs: Mapping[str, object]) -> None:
    wanted = program.blocks[0].parameters
    if len(inputs) == len(wanted):
        for name in wanted:
            if name not in inputs:
                break
        else:
            return
    raise ProgramError(
        subject=f"agent {program.name!r}",
        problem=f"takes inputs {sorted(wanted)}, got {sorted(inputs)}",
        way_out="give exactly these inputs",
    )


def _not_running(event: Completed) -> ProgramError:
    return ProgramError(
        subject=f"step {event.step!r}",
        problem=f"completion of visit {event.visit}, which is not running",
        way_out="report each visit once, in the run that started it",
    )


def _wrong_outputs(step: Step, event: Completed) -> ProgramError:
    return ProgramError(
        subject=f"step {step.name!r}",
        problem=f"gave {len(event.outputs)} outputs, {len(step.outputs)} are declared",
        way_out=f"return one value for each of {list(step.outputs)}",
    )


def _bad_label(block: Block, label: object) -> ProgramError:
    return ProgramError(
        subject=f"block {block.name!r}",
        problem=f"the choice gave {label!r}, there are {len(block.terminator.targets)} targets",
        way_out=f"return an integer from 0 to {len(block.terminator.targets) - 1}",
    )
