"""Options that several commands share, so that they read and mean the same everywhere."""

from typing import Annotated

import typer

from weft.compiler.request import CompileRequest

Agent = Annotated[
    str, typer.Argument(help="An agent program: file.py, file.py:name, an .mlir module, or a .toml that lists several.")
]
Fleet = Annotated[str, typer.Option(help="A fleet of the catalogue, or a TOML file.")]
Slo = Annotated[
    str, typer.Option(help="An objective of the catalogue (interactive, relaxed, offline), or a TOML file.")
]
Workload = Annotated[str | None, typer.Option(help="A TOML file with rate_per_s and sizes of steps.")]
Rate = Annotated[float, typer.Option(help="Agent runs per second that the fleet must carry.")]
Finance = Annotated[str, typer.Option(help="How device-hours are priced: owned, paper, cloud.")]
Catalogue = Annotated[str, typer.Option(help="Device figures: default, or paper (its Table 5 verbatim).")]
Precisions = Annotated[list[str] | None, typer.Option("--precision", help="Allowed number formats [default: fp16].")]
Serving = Annotated[
    str, typer.Option(help="Prefill and decode of a call: any (whatever is cheaper), aggregated, disaggregated.")
]
Split = Annotated[bool, typer.Option("--split", help="A step's traffic may be shared out among several pools.")]
Objective = Annotated[str, typer.Option(help="Minimise usd_per_hour, usd_per_request, joules_per_request or e2e_s.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="What if: h100.count=16, gaudi3.price=10000, h100.cloud=2.5.")
]
Additions = Annotated[list[str] | None, typer.Option("--add", help="What if there were more: mi355x:8, h100@west:4.")]

DEFAULTS = CompileRequest("")


def compile_request(
    agent: str,
    fleet: str,
    slo: str,
    workload: str | None,
    rate: float,
    finance: str,
    catalogue: str,
    precisions: list[str] | None,
    serving: str = DEFAULTS.serving,
    split: bool = False,
) -> CompileRequest:
    formats = tuple(precisions or DEFAULTS.precisions)
    return CompileRequest(agent, fleet, slo, finance, catalogue, rate, workload, formats, serving=serving, split=split)
