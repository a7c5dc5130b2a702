"""How long `weft plan` takes from a cold start, and how much of that is the solver."""

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from harness import Measurement, main
from planner_problems import supervisor
from weft.core.units import GIGA, KIB
from weft.plan.solve import solve

ROOT = Path(__file__).parents[1]
COMMAND = [
    str(ROOT / ".venv/bin/weft"),
    "plan",
    "examples/voice_agent.py",
    "--fleet",
    "default",
    "--slo",
    "interactive",
]
RUNS = 5


def cold_plan() -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and the solver's own seconds of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    printed = subprocess.run([*COMMAND, "--json", "-"], cwd=ROOT, check=True, capture_output=True).stdout
    wall_s = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s, json.loads(printed)["answer"]["solve_s"]


def scale() -> list[Measurement]:
    """Synthetic supervisors: the goals of issue 4."""
    forty, large = supervisor(40, 40, 1), supervisor(200, 60, 6)
    plan = solve(forty, relative_gap=1e-2)
    size = "40 steps x 40 options, shared pools, to 1 % gap"
    wide = "200 steps x 60 options x 6 zones"
    rows = [Measurement("supervisor", plan.solve_s, "s", 3.0, against=size)]
    found = solve(large, time_limit_s=28.0, relative_gap=1e-2)
    memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB / GIGA
    return [
        *rows,
        Measurement("large supervisor, time", found.solve_s, "s", 30.0, against=wide),
        Measurement("large supervisor, gap", found.gap * 100, "%", 1.0, against=f"{wide}, bound of the relaxation"),
        Measurement("memory", memory_gb, "GB", 2.0, against=wide),
    ]


def measure() -> list[Measurement]:
    wall_s, cpu_s, solve_s = (statistics.median(each) for each in zip(*(cold_plan() for _ in range(RUNS)), strict=True))
    against = f"voice agent, default fleet; median of {RUNS} processes"
    return [
        Measurement("weft plan, cold, wall", wall_s, "s", 3.0, against=against),
        Measurement("weft plan, cold, CPU", cpu_s, "s", against=against),
        Measurement("solver alone", solve_s, "s", 0.3, against=against),
        *scale(),
    ]


if __name__ == "__main__":
    sys.exit(main(measure()))
