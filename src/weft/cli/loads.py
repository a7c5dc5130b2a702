"""Options of commands that plan for a load and simulate under it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from weft.cli.options import AskOptions
from weft.compiler.request import CompileRequest
from weft.control.demand import Demand, demand_of, planned_for
from weft.control.trial import Trial
from weft.core.errors import InputError
from weft.sim.simulate import SimConfig
from weft.traces.arrivals import ArrivalKind, Arrivals
from weft.traces.load import DEFAULT_REQUESTS, Load

KINDS = ", ".join(ArrivalKind)

Attainment = Annotated[float, typer.Option(help="Share of runs that must end within the objective.")]
Kind = Annotated[
    ArrivalKind | None, typer.Option("--arrivals", help="How runs come at --rate instead of at a trace's times.")
]
Cv = Annotated[float, typer.Option(help="Coefficient of variation of the gaps of bursty arrivals.")]
Requests = Annotated[int | None, typer.Option(help=f"At most so many [default: {DEFAULT_REQUESTS}, or the trace].")]
Scale = Annotated[float, typer.Option(help="Times the load: 2 lets twice as much come.")]
Tools = Annotated[Path | None, typer.Option(help="A TraceLab file whose tool times a τ-bench trace takes.")]
Seed = Annotated[int, typer.Option(help="Equal seeds give equal results.")]
Spread = Annotated[float, typer.Option(help="Coefficient of variation of CPU and tool steps that declare none.")]


@dataclass(frozen=True, slots=True)
class TrialOptions:
    """What a plan must hold on, besides the trace."""

    attainment: Attainment = 0.95
    arrivals: Kind = None
    cv: Cv = 3.0
    requests: Requests = None
    scale: Scale = 1.0
    tools: Tools = None
    seed: Seed = 0
    spread: Spread = 0.0

    def trial(self, trace: str, asked: AskOptions, request: CompileRequest) -> tuple[CompileRequest, Trial, Demand]:
        """With the request as the load asks it: its rate, and sizes where a trace tells them. `trace` is a file, or how
        runs come at the rate of the request."""
        if not 0 < self.attainment <= 1:
            problem = f"is {self.attainment:g}, must be above 0 and at most 1"
            raise InputError(subject="--attainment", problem=problem, way_out="give a share of runs, like 0.95")
        load = self._load(trace, asked, request)
        demand = demand_of(load, request)
        config = SimConfig(seed=self.seed, cv=self.spread)
        return planned_for(request, demand), Trial(load, demand.runs, self.attainment, config), demand

    def _load(self, trace: str, asked: AskOptions, request: CompileRequest) -> Load:
        if trace in list(ArrivalKind):
            process = Arrivals(ArrivalKind(trace), request.needs.workload_terms().rate_per_s, self.cv)
            return Load(None, process, self.scale, self.requests, None, self.seed)
        if not Path(trace).exists():
            way_out = f"give a trace (docs/traces.md), or one of {KINDS} for such arrivals at --rate"
            raise InputError(subject=f"trace {trace!r}", problem="is no file", way_out=way_out)
        if self.arrivals is not None and asked.rate is None:
            way_out = "say how many: --rate"
            raise InputError(subject=f"--arrivals {self.arrivals}", problem="replaces a trace's times", way_out=way_out)
        process = (
            Arrivals(self.arrivals or ArrivalKind.POISSON, asked.rate, self.cv) if asked.rate is not None else None
        )
        return Load(Path(trace), process, self.scale, self.requests, self.tools, self.seed)
