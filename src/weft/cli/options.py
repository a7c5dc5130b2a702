"""Options that several commands share, so that they read and mean the same everywhere."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from weft.compiler.request import USUAL_SLO, Aim, CompileRequest, Needs, Rules, Supply

Agent = Annotated[
    str, typer.Argument(help="An agent program: file.py, file.py:name, an .mlir module, or a .toml that lists several.")
]
Fleet = Annotated[str, typer.Option(help="A fleet of the catalogue, or a TOML file.")]
Slo = Annotated[
    str, typer.Option(help="An objective of the catalogue (interactive, relaxed, offline), or a TOML file.")
]
Workload = Annotated[str | None, typer.Option(help="A TOML file with rate_per_s and sizes of steps.")]
Rate = Annotated[float, typer.Option(help="Agent runs per second that the fleet must carry.")]
OwnRate = Annotated[
    float | None, typer.Option(help="Agent runs per second that the fleet must carry [default: 50, or a trace's].")
]
Finance = Annotated[str, typer.Option(help="How device-hours are priced: owned, paper, cloud.")]
Catalogue = Annotated[str, typer.Option(help="Device figures: default, or paper (its Table 5 verbatim).")]
Precisions = Annotated[list[str] | None, typer.Option("--precision", help="Allowed number formats (default: fp16).")]
Serving = Annotated[
    str, typer.Option(help="Prefill and decode of a call: any (whatever is cheaper), aggregated, disaggregated.")
]
Split = Annotated[bool, typer.Option("--split", help="A step's traffic may be shared out among several pools.")]
Objective = Annotated[str, typer.Option(help="Minimise usd_per_hour, usd_per_request, joules_per_request or e2e_s.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="What if: h100.count=16, gaudi3.price=10000, h100.cloud=2.5.")
]
Additions = Annotated[list[str] | None, typer.Option("--add", help="What if there were more: mi355x:8, h100@west:4.")]
Engine = Annotated[str, typer.Option(help='The serving software ("vllm 0.19"); blank: the average one.')]
Pace = Annotated[
    list[str] | None,
    typer.Option(help="Times the cost model's time that a phase takes: llama-3-8b@h100-sxm.decode=1.3."),
]
Robust = Annotated[bool, typer.Option("--robust", help="Plan for the high ends of the 80 % error bands.")]
Pins = Annotated[list[str] | None, typer.Option("--pin", help="Where a step must run: think=h100-sxm, hear=@west.")]
Energy = Annotated[float | None, typer.Option("--energy", help="At most so many joules a run.")]
TimeLimit = Annotated[float, typer.Option("--time-limit", help="Seconds for the solver; the plan tells its gap.")]
Tighten = Annotated[
    list[str] | None,
    typer.Option(help="Limits beyond the objective, as --validate finds them: think.decode.utilisation=0.5."),
]
From = Annotated[Path | None, typer.Option("--from", help="A plan to begin from (quick), and to tell the changes of.")]
Passes = Annotated[
    str, typer.Option(help="Opt-in passes before placing: speculate, stream-edges, share-prefixes, as in weft opt.")
]

DEFAULTS = CompileRequest("")


@dataclass(frozen=True, slots=True)
class AskOptions:
    """What every command that plans is asked."""

    agent: Agent
    fleet: Fleet = DEFAULTS.supply.fleet
    slo: Slo = USUAL_SLO
    workload: Workload = None
    rate: OwnRate = None
    finance: Finance = DEFAULTS.supply.finance
    catalogue: Catalogue = DEFAULTS.supply.catalogue
    precision: Precisions = None
    engine: Engine = DEFAULTS.supply.engine
    robust: Robust = False
    set_: Settings = None
    add: Additions = None
    pace: Pace = None

    def request(self) -> CompileRequest:
        rate_per_s = DEFAULTS.needs.rate_per_s if self.rate is None else self.rate
        changes = tuple(self.set_ or ()), tuple(self.add or ())
        return CompileRequest(
            self.agent,
            Needs(self.slo, rate_per_s, self.workload),
            Supply(self.fleet, *changes, self.catalogue, self.finance, self.engine, tuple(self.pace or ())),
            Rules(tuple(self.precision or DEFAULTS.rules.precisions), robust=self.robust),
        )


@dataclass(frozen=True, slots=True)
class PlaceOptions:
    """How steps may be placed, and what is best."""

    serving: Serving = DEFAULTS.rules.serving
    split: Split = False
    objective: Objective = DEFAULTS.aim.objective
    pin: Pins = None
    energy: Energy = None
    time_limit: TimeLimit = DEFAULTS.aim.time_limit_s
    from_: From = None
    tighten: Tighten = None
    passes: Passes = ""

    def applied(self, request: CompileRequest) -> CompileRequest:
        rules = replace(
            request.rules,
            serving=self.serving,
            split=self.split,
            pins=tuple(self.pin or ()),
            energy_limit_j=self.energy,
            tighten=tuple(self.tighten or ()),
        )
        aim = Aim(self.objective, self.time_limit, str(self.from_ or ""))
        return replace(request, rules=rules, aim=aim, passes=self.passes)
