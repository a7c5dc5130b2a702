"""The highest rate within an objective, as estimated, beside what MLPerf's server runs reached.

    python benchmarks/open_loop.py --data ../shared/data

MLPerf sends Poisson arrivals as fast as the 99th percentiles of TTFT and TPOT allow (Llama 2 70B: 2 s and 200 ms, or
450 ms and 40 ms when interactive). Its rows tell mean answers, not prompts: 200 tokens, and variations of 0.9 and 0.75,
are our assumption. Habits are fitted to the same runs' means (in a closed loop): this checks the queue, not the steps.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from harness import Measurement, report
from weft.core.errors import WeftError
from weft.core.workload import Slo
from weft.cost.points import Point
from weft.cost.tails import lognormal
from weft.estimate.coefficients import coefficients
from weft.estimate.limits import most_within
from weft.estimate.resolve import resolve
from weft.estimate.tails import deployment

SERVER, INTERACTIVE = Slo("server", 2.0, 0.2), Slo("interactive", 0.45, 0.04)
ISL, ISL_CV, OSL_CV = 200.0, 0.9, 0.75

Row = Mapping[str, str]


def runs(data: Path) -> Iterator[tuple[str, Slo, Row]]:
    """The first run of each system and objective."""
    seen: set[tuple[str, str]] = set()
    with (data / "measured.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if "MLPerf" not in row["source"] or row["kind"] != "server" or "llama2-70b" not in row["model"]:
                continue
            slo = INTERACTIVE if "Interactive" in row["note"] else SERVER
            system = row["system"].split("|")[0].strip()
            if row["gpus"] and (system, slo.name) not in seen:
                seen.add((system, slo.name))
                yield system, slo, row


def predicted(system: str, slo: Slo, row: Row) -> float:
    """Output tokens per second of the whole system, within the objective."""
    using, osl = coefficients(), float(row["osl"])
    engine = "vllm" if "AMD" in system else "trtllm"
    gpus, precision = int(row["gpus"]), row["precision"] or "fp8"
    point = Point("", "llama-2-70b", precision, system, engine, gpus, None, 1, 1, ISL, osl, 1.0, "server")
    asked = deployment(resolve(point, using.efficiencies), lognormal(ISL, ISL_CV, osl, OSL_CV), using)
    return most_within(asked, slo, "p99", using).at_rate.tokens_per_s


def measure(data: Path) -> list[Measurement]:
    found: list[Measurement] = []
    for system, slo, row in runs(data):
        measured = float(row["throughput_tok_s_total"])
        try:
            ratio = predicted(system, slo, row) / measured
        except WeftError as refused:
            print(f"{system}: left out: {refused.problem}", file=sys.stderr)
            continue
        found.append(
            Measurement(f"{system} x {row['gpus']}, {slo.name}", ratio, "×", against=f"{measured:,.0f} tokens/s")
        )
    ratios = [each.value for each in found]
    far = median(max(each, 1 / each) for each in ratios)
    return [*found, Measurement("median, estimated over measured", median(ratios), "×"),
            Measurement("median distance, either way", far, "×", 1.5)]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Open loops beside MLPerf")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    return report(measure(asked.data), json_output=asked.json)


if __name__ == "__main__":
    sys.exit(main())
