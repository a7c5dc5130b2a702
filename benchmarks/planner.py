"""How long `weft plan` takes from a cold start, and how much of that is the solver."""

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from harness import Measurement, main

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


def measure() -> list[Measurement]:
    wall_s, cpu_s, solve_s = (statistics.median(each) for each in zip(*(cold_plan() for _ in range(RUNS)), strict=True))
    against = f"voice agent, default fleet; median of {RUNS} processes"
    return [
        Measurement("weft plan, cold, wall", wall_s, "s", 3.0, against=against),
        Measurement("weft plan, cold, CPU", cpu_s, "s", against=against),
        Measurement("solver alone", solve_s, "s", 0.3, against=against),
    ]


if __name__ == "__main__":
    sys.exit(main(measure()))
