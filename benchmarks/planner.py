"""How long planning takes: `weft plan` from a cold start, agents of all sizes, planning again after a change, and one
language-model call beside a peer.

Times of the solver are CPU seconds (one thread), because the machine may be shared; wall seconds stand beside them.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from harness import Measurement, main
from planner_peer import beside
from planner_problems import supervisor
from weft.compiler.pipeline import plan_request_of
from weft.compiler.request import CompileRequest
from weft.core.units import GIGA, KIB
from weft.plan.build import build
from weft.plan.problem import Option, Placement, PlacementProblem
from weft.plan.replan import replan
from weft.plan.solve import solve

ROOT = Path(__file__).parents[1]
AGENT = "examples/voice_agent.py"
WEFT = "import sys; from weft.cli import main; main()"
RUNS = 5
LARGE = "200 steps x 60 options x 6 zones"
REPLAN_GAP = 3.0


@dataclass(frozen=True, slots=True)
class Solved:
    placement: Placement
    cpu_s: float
    wall_s: float


def cold_plan() -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and the solver's own seconds of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, "-c", WEFT, "plan", AGENT, "--fleet", "default", "--slo", "interactive", "--json", "-"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    wall_s = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s, json.loads(printed)["answer"]["solve_s"]


def timed(work: Callable[[], Placement]) -> Solved:
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    found = work()
    return Solved(found, time.process_time() - cpu_s, time.perf_counter() - wall_s)


def changes(problem: PlacementProblem, before: Placement) -> Iterator[tuple[str, PlacementProblem]]:
    """A tenth more runs; a fifth of the most used devices lost; the most used devices a fifth dearer."""
    pools = {option.pool.name: option.pool for task in problem.tasks for option in task.options}
    used: defaultdict[str, int] = defaultdict(int)
    for name, count in before.replicas.items():
        used[pools[name].device_class] += count * pools[name].devices_per_replica
    most = max(used, key=lambda name: used[name])

    def dearer(option: Option) -> Option:
        if option.pool.device_class != most:
            return option
        return replace(option, pool=replace(option.pool, usd_per_hour=1.2 * option.pool.usd_per_hour))

    yield "a tenth more runs", replace(problem, rate_per_s=1.1 * problem.rate_per_s)
    yield "devices lost", replace(problem, inventory={**problem.inventory, most: int(0.8 * used[most])})
    tasks = tuple(replace(task, options=tuple(map(dearer, task.options))) for task in problem.tasks)
    yield "a device dearer", replace(problem, tasks=tasks)


def again(size: str, problem: PlacementProblem, before: Placement) -> list[Measurement]:
    """The slowest and the widest gap over all changes."""
    found = {name: timed(lambda p=changed: replan(p, before.choice)) for name, changed in changes(problem, before)}
    slowest = max(found, key=lambda name: found[name].cpu_s)
    widest = max(found, key=lambda name: found[name].placement.gap)
    told = f"{size}: {slowest}; wall {found[slowest].wall_s:.2f} s"
    gap = found[widest].placement.gap * 100
    return [
        Measurement("plan again, CPU", found[slowest].cpu_s, "s", 1.0, against=told),
        Measurement("plan again, gap", gap, "%", REPLAN_GAP, against=f"{size}: {widest}"),
    ]


def voice() -> list[Measurement]:
    problem = build(plan_request_of(CompileRequest(str(ROOT / AGENT)))).problem
    return again("voice agent", problem, solve(problem))


def forty() -> list[Measurement]:
    problem, size = supervisor(40, 40, 1), "40 steps x 40 options"
    plan = timed(lambda: solve(problem, relative_gap=1e-2))
    against = f"{size}, shared pools, to 1 % gap; wall {plan.wall_s:.2f} s"
    return [
        Measurement("supervisor, CPU", plan.cpu_s, "s", 3.0, against=against),
        *again(size, problem, plan.placement),
    ]


def large() -> list[Measurement]:
    problem = supervisor(200, 60, 6)
    plan = timed(lambda: solve(problem, time_limit_s=30.0, relative_gap=1e-2))
    found = [
        Measurement("large supervisor, CPU", plan.cpu_s, "s", 30.0, against=f"{LARGE}; wall {plan.wall_s:.2f} s"),
        Measurement("large supervisor, gap", plan.placement.gap * 100, "%", 1.0, against=f"{LARGE}, proven"),
        *again(LARGE, problem, plan.placement),
    ]
    memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB / GIGA
    return [*found, Measurement("memory", memory_gb, "GB", 2.0, against=LARGE)]


def measure() -> list[Measurement]:
    wall_s, cpu_s, solve_s = (statistics.median(each) for each in zip(*(cold_plan() for _ in range(RUNS)), strict=True))
    against = f"voice agent, default fleet; median of {RUNS} processes"
    return [
        Measurement("weft plan, cold, wall", wall_s, "s", 2.0, against=against),
        Measurement("weft plan, cold, CPU", cpu_s, "s", against=against),
        Measurement("solver alone", solve_s, "s", 0.3, against=against),
        *voice(),
        *forty(),
        *large(),
        *beside(),
    ]


if __name__ == "__main__":
    sys.exit(main(measure()))
