"""How every benchmark reports: a table for people, `--json` for machines, and a goal that is met or not.

A benchmark is a file `benchmarks/NAME.py` that ends with

    if __name__ == "__main__":
        sys.exit(main([Measurement(...), ...]))
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

Better = Literal["lower", "higher"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number with its goal. `against` says what it is compared with (a peer, a closed form, a budget)."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    better: Better = "lower"
    against: str = ""

    @property
    def ok(self) -> bool:
        if self.goal is None:
            return True
        return self.value <= self.goal if self.better == "lower" else self.value >= self.goal

    @property
    def goal_text(self) -> str:
        if self.goal is None:
            return "–"
        return f"{'≤' if self.better == 'lower' else '≥'} {self.goal:.4g} {self.unit}"


def main(measurements: Sequence[Measurement]) -> int:
    """Reads `--json` from the command line, reports, and returns the exit code."""
    parser = argparse.ArgumentParser(description="Weft benchmark")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    return report(measurements, json_output=parser.parse_args().json)


def report(measurements: Sequence[Measurement], *, json_output: bool) -> int:
    """Prints the measurements; 0 when every goal is met, else 1."""
    if json_output:
        print(json.dumps([_row(measurement) for measurement in measurements], indent=2, ensure_ascii=False))
    else:
        console = Console()
        Console(width=console.width if console.is_terminal else 110).print(_table(measurements))
    return 0 if all(measurement.ok for measurement in measurements) else 1


def _row(measurement: Measurement) -> dict[str, object]:
    return {**asdict(measurement), "ok": measurement.ok}


def _table(measurements: Sequence[Measurement]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("measured")
    for heading in ("value", "goal", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("against")
    for item in measurements:
        verdict = "" if item.goal is None else "ok" if item.ok else "MISSED"
        table.add_row(item.name, f"{item.value:.4g} {item.unit}", item.goal_text, verdict, item.against)
    return table
