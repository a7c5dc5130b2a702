"""Which step of which agent run goes first: the one with the least slack on its critical path, with a bound on waiting.

    remaining_s(step)  = longest path from the step through its block + Σ over jumps: probability · remaining_s(target)
    latest_start_s     = run's start + allowance_s − remaining_s(step)
    rank               = latest_start_s, held within ready_s ± patience_s

A step's slack is latest_start_s − now, and now is the same for all: so the rank never changes while the step waits, and
a heap will do. The two limits are the ageing: a step that is ready at t is never overtaken by one that becomes ready
after t + 2 · patience_s, however urgent that one is and however long the overload lasts. `allowance_s` is the e2e
objective of the agent, or `stretch` times its expected time where there is none.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from weft.core.deployment import Deployment
from weft.core.errors import CapacityError, ProgramError
from weft.core.program import Block, Program, Step

PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class PriorityConfig:
    patience_s: float = PATIENCE_S
    stretch: float = 2.0

    def __post_init__(self) -> None:
        if self.patience_s < 0 or self.stretch <= 0:
            raise CapacityError(
                subject="priority",
                problem=f"patience {self.patience_s} s, stretch {self.stretch}",
                way_out="take patience ≥ 0 and stretch > 0",
            )


_DEFAULT = PriorityConfig()


class CriticalPath:
    """Expected seconds from the start of each step to the end of the run (`after_s`: from its end); `step_s` names
    every step of the program."""

    def __init__(self, program: Program, step_s: Mapping[str, float]) -> None:
        missing = [step.name for step in program.steps if step.name not in step_s]
        if missing:
            raise ProgramError(
                subject=f"agent {program.name!r}", problem=f"no time for steps {missing}", way_out="give one for each"
            )
        paths = {block.name: _longest_paths(block, step_s) for block in program.blocks}
        entered = _expected_after(program, {name: max(path.values(), default=0.0) for name, path in paths.items()})
        self.total_s = entered[program.entry.name]
        self.remaining_s: dict[str, float] = {}
        for block in program.blocks:
            after = sum(chance * entered[name] for name, chance in _jumps(block).items())
            self.remaining_s |= {name: path + after for name, path in paths[block.name].items()}
        self.after_s = {name: remaining_s - step_s[name] for name, remaining_s in self.remaining_s.items()}


class Priority:
    """Ranks for `Sequence.rank`: the smallest goes first."""

    def __init__(self, path: CriticalPath, e2e_s: float | None = None, config: PriorityConfig = _DEFAULT) -> None:
        self._path = path
        self._patience_s = config.patience_s
        self._allowance_s = config.stretch * path.total_s if e2e_s is None else e2e_s

    def rank(self, step: str, run_started_s: float, ready_s: float) -> float:
        latest_start_s = run_started_s + self._allowance_s - self._path.remaining_s[step]
        return held(latest_start_s, ready_s, self._patience_s)


def held(wanted_s: float, ready_s: float, patience_s: float = PATIENCE_S) -> float:
    """A rank that starves nobody: what is ready at t goes before all that become ready after t + 2 · patience_s."""
    return min(max(wanted_s, ready_s - patience_s), ready_s + patience_s)


def critical_path(deployment: Deployment) -> CriticalPath:
    """With the times that the plan assumed; the declared one of a step of which the plan says none."""
    steps = deployment.program.steps
    times = {step.name: deployment.route(step.name).latency_s for step in steps}
    for step in steps:
        times[step.name] = times[step.name] or float(step.attributes.get("core_s", 0.0))
    return CriticalPath(deployment.program, times)


def _longest_paths(block: Block, step_s: Mapping[str, float]) -> dict[str, float]:
    """From the start of each step to the end of its block."""
    users: dict[str, list[str]] = {}
    for step in block.steps:
        for value in step.inputs:
            users.setdefault(value, []).append(step.name)
    longest: dict[str, float] = {}
    for step in reversed(_in_order(block)):
        after = (longest[user] for value in step.outputs for user in users.get(value, ()))
        longest[step.name] = step_s[step.name] + max(after, default=0.0)
    return longest


def _in_order(block: Block) -> list[Step]:
    """The steps such that each comes after those whose values it takes."""
    made = {value for step in block.steps for value in step.outputs}
    waiting, ordered = list(block.steps), list[Step]()
    while waiting:
        ready = [step for step in waiting if not made & set(step.inputs)]
        if not ready:
            raise ProgramError(
                subject=f"block {block.name!r}",
                problem=f"steps {[step.name for step in waiting]} wait for each other",
                way_out="a value that goes round a loop is a block parameter",
            )
        ordered += ready
        made -= {value for step in ready for value in step.outputs}
        waiting = [step for step in waiting if step not in ready]
    return ordered


def _jumps(block: Block) -> dict[str, float]:
    """Target → probability. A bounded loop stands as the memoryless loop with as many expected trips:
    Σ_{k=1..n} q^k trips of a loop with probability q and bound n are those of one with m / (1 + m)."""
    end = block.terminator
    chances = [target.probability for target in end.targets] if end.selector else [1.0] * len(end.targets)
    if end.at_most is not None:
        stay = sum(chances[1:])
        trips = sum(stay**k for k in range(1, end.at_most + 1))
        scale = trips / (1 + trips) / stay if stay else 0.0
        chances = [1 - stay * scale, *(chance * scale for chance in chances[1:])]
    jumps: dict[str, float] = {}
    for target, chance in zip(end.targets, chances, strict=True):
        jumps[target.block] = jumps.get(target.block, 0.0) + chance
    return jumps


def _expected_after(program: Program, block_s: Mapping[str, float]) -> dict[str, float]:
    """Expected seconds from entering each block to the end: (I − P) · r = t."""
    place = {block.name: index for index, block in enumerate(program.blocks)}
    matrix = np.eye(len(place))
    for block in program.blocks:
        for name, chance in _jumps(block).items():
            matrix[place[block.name], place[name]] -= chance
    try:
        solved = np.linalg.solve(matrix, np.array([block_s[name] for name in place]))
    except np.linalg.LinAlgError:
        solved = np.full(len(place), np.nan)
    if not np.all(np.isfinite(solved)) or np.any(solved < -1e-9):
        raise ProgramError(
            subject=f"agent {program.name!r}",
            problem="has a cycle that is never left",
            way_out="give each loop an exit with a probability above 0, or a bound",
        )
    return dict(zip(place, map(float, solved), strict=True))
