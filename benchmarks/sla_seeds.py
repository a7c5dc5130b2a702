"""Was the seed of sla.py lucky? The simulator runs other arrivals of the same load, with the sizes that sla.py saw.

    python benchmarks/sla_seeds.py [--seeds 20] [--results build/sla.json] [--json]

Each seed draws its own arrivals, and the calls of each run from those seen live; plan, control, start-up time and the
killed node are sla.py's.
"""

import argparse
import statistics
import sys
from pathlib import Path
from random import Random

import msgspec
from rich.console import Console
from rich.progress import track

from harness import Measurement, report
from sla import (
    GOAL_COST,
    GOAL_KEPT,
    ROOT,
    Bench,
    Results,
    choice_of,
    clairvoyant_usd,
    request_of,
    share,
    simulated,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "sla.json", help="what sla.py left")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if not given.results.exists():
        parser.error(f"{given.results} is not there: run benchmarks/sla.py first")
    results = msgspec.json.decode(given.results.read_bytes(), type=Results)
    return report(measured(Bench(Console(stderr=True), given.results, results), given.seeds), json_output=given.json)


def measured(bench: Bench, seeds: int) -> list[Measurement]:
    shape, seen = bench.shape, bench.results.live
    assert seen is not None, "sla.py has not run to its end"
    plan = bench.plan(bench.results.rate)
    calls, choice = [run.calls for run in seen.runs if run.calls], choice_of(plan)
    kept, usd = list[float](), list[float]()
    for seed in track(range(seeds), "seeds", console=bench.console):
        draw, arrivals = Random(seed), shape.arrivals(seed)
        requests = [request_of(at_s, draw.choice(calls), choice) for at_s in arrivals]
        good, price = simulated(plan, requests, seen, shape.kill_s)
        calm = [each for each, at_s in zip(good, arrivals, strict=True) if not shape.shocked(at_s)]
        kept.append(100 * share(calm))
        usd.append(price)
    most = GOAL_COST * clairvoyant_usd(bench.results, shape)
    missed = sum(each < 100 * GOAL_KEPT or price > most for each, price in zip(kept, usd, strict=True))
    return [
        Measurement("runs in the SLA, outside shocks, median", statistics.median(kept), "%", 100 * GOAL_KEPT, "higher"),
        Measurement("the worst seed", min(kept), "%", 100 * GOAL_KEPT, "higher"),
        Measurement("mean price, median", statistics.median(usd), "$/h", most, "lower"),
        Measurement("the dearest seed", max(usd), "$/h"),
        Measurement("seeds that miss either goal", missed, "", against=f"of {seeds}"),
    ]


if __name__ == "__main__":
    sys.exit(main())
