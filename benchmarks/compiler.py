"""How long the compiler takes for agents of 1,000 and 10,000 steps, without codegen: text to Deployment.

CPU seconds, because the machine may be shared. The ratio of the two sizes says how near to linear it is (10).
"""

import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from compiler_modules import agent_of
from harness import Measurement, main
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import Aim, CompileRequest, Needs
from weft.core.deployment_json import encode

SMALL, LARGE = 1_000, 10_000
GOALS = {SMALL: 3.0, LARGE: 30.0}
SEARCHED = "place"
"""Its search takes as long for few kinds of work as for many steps."""

RUNS_PER_S = 1_000.0
"""Divided by the steps: both sizes ask the fleet for the same work."""


def parts_s(steps: int, folder: Path, again: bool = False) -> Mapping[str, float]:
    """CPU seconds of each pass with its verification, of reading ("import") and of the rest ("emit"). `again`: from the
    plan that was made last, for a tenth more runs."""
    path = folder / f"{steps}.mlir"
    plan = folder / f"{steps}.json"
    path.write_text(agent_of(steps))
    needs = Needs("offline", RUNS_PER_S / steps * (1.1 if again else 1.0))
    request = CompileRequest(str(path), needs, aim=Aim(previous=str(plan) if again else "", compare=False))
    found: defaultdict[str, float] = defaultdict(float)
    last_s = time.process_time()

    def note(name: str) -> None:
        nonlocal last_s
        now_s = time.process_time()
        found[name] += now_s - last_s
        last_s = now_s

    deployment = compile_agent(request, lambda name, _: note(name))
    note("emit")
    plan.write_bytes(encode(deployment))
    return found


def measure() -> list[Measurement]:
    with TemporaryDirectory() as folder:
        parts_s(100, Path(folder))  # imports, caches of the catalogue
        found = {steps: parts_s(steps, Path(folder)) for steps in (SMALL, LARGE)}
        again = parts_s(SMALL, Path(folder), again=True)
    totals = [
        Measurement(f"{steps:,} steps", sum(each.values()), "s", GOALS[steps], against="CPU, whole pipeline")
        for steps, each in found.items()
    ]
    grown = {name: found[LARGE][name] / max(found[SMALL][name], 1e-3) for name in found[SMALL]}
    rest = [sum(s for name, s in found[steps].items() if name != SEARCHED) for steps in (SMALL, LARGE)]
    return [
        *totals,
        Measurement(
            f"place, {SMALL:,} steps, from a plan", again[SEARCHED], "s", against=f"{found[SMALL][SEARCHED]:.2f} anew"
        ),
        Measurement("all but place, 10 x the steps", rest[1] / rest[0], "x", 12.0, against="10: linear"),
        *(
            Measurement(name, found[LARGE][name], "s", against=f"{LARGE:,} steps; {grown[name]:.1f} x of {SMALL:,}")
            for name in sorted(grown, key=lambda name: -found[LARGE][name])
        ),
    ]


if __name__ == "__main__":
    sys.exit(main(measure()))
