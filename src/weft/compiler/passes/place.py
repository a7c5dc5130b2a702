"""place: every step gets a pool: the cheapest placement on a fleet that meets an objective.

Module → placement problem → solver → attributes: `fleet.pool` ops, `pool` and `assumed` on each step, `handoff` on a
decode whose cache comes from another pool, and `fleet.answer` and `fleet.alternatives` on the module.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from xdsl.context import Context
from xdsl.dialects.builtin import ArrayAttr, ModuleOp
from xdsl.passes import ModulePass

from weft import catalog
from weft.catalog.changes import changed_fleet
from weft.compiler.annotate import annotate
from weft.compiler.attributes import to_dictionary
from weft.compiler.control_flow import agent_graph
from weft.compiler.frequency import block_visits
from weft.compiler.placed import Answered, PlacedPools, alternative, other_model
from weft.compiler.plan_request import flows, leaf_tasks, plan_blocks, promises, software
from weft.compiler.previous import previous_choice, read_previous
from weft.compiler.request import paces_of
from weft.compiler.tighten import tightened
from weft.core.errors import InputError
from weft.core.units import Precision
from weft.estimate.coefficients import efficiencies
from weft.plan.alike import alike
from weft.plan.build import Planned
from weft.plan.elastic import decide
from weft.plan.homogeneous import homogeneous
from weft.plan.model_choice import other_models
from weft.plan.problem import Objective, Placement
from weft.plan.replan import replan
from weft.plan.requests import PlanRequest, Serving

Named = TypeVar("Named", bound=StrEnum)


@dataclass(frozen=True)
class Place(ModulePass):
    """`compare` also plans each single-accelerator fleet, to show what the mix is worth. `previous` is a plan on disk
    to begin from."""

    name = "place"

    fleet: str = "default"
    slo: str = "interactive"
    finance: str = "owned"
    catalogue: str = "default"
    rate_per_s: float = 50.0
    precisions: tuple[str, ...] = ("fp16",)
    compare: bool = True
    serving: str = "any"
    split: bool = False
    objective: str = "usd_per_hour"
    settings: tuple[str, ...] = ()
    additions: tuple[str, ...] = ()
    engine: str = ""
    measured: tuple[str, ...] = ()
    robust: bool = False
    pins: tuple[str, ...] = ()
    energy_limit_j: float | None = None
    time_limit_s: float = 20.0
    previous: str = ""
    tighten: tuple[str, ...] = ()

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        request = self.request(op)
        kinds = alike(request)
        planned, placement = self._decided(op, kinds.small)
        answered = Answered(request, *kinds.spread(planned, placement))
        annotate(op, PlacedPools(answered), answered)
        if self.compare:
            rivals = homogeneous(planned.problem)
            others = other_models(kinds.small, planned, placement)
            op.attributes["fleet.other_models"] = ArrayAttr([to_dictionary(other_model(o, answered)) for o in others])
            op.attributes["fleet.alternatives"] = ArrayAttr([to_dictionary(alternative(rival)) for rival in rivals])

    def _decided(self, module: ModuleOp, request: PlanRequest) -> tuple[Planned, Placement]:
        limit_s = _positive("time_limit_s", self.time_limit_s, "give the solver some time")
        if not self.previous:
            return decide(request, limit_s)
        plan = read_previous(self.previous, agent_graph(module).sym_name.data)

        def again(found: Planned) -> Placement:
            return replan(found.problem, previous_choice(plan, request, found), exact_s=limit_s)

        return decide(request, limit_s, again)

    def request(self, module: ModuleOp) -> PlanRequest:
        graph = agent_graph(module)
        visits = block_visits(graph)
        slo = catalog.slo(self.slo)
        tasks = leaf_tasks(
            graph, visits, tuple(_member(Precision, "precision", name) for name in self.precisions), self.pins
        )
        request = PlanRequest(
            tasks=tasks,
            flows=flows(graph, visits),
            blocks=plan_blocks(graph, visits),
            fleet=changed_fleet(self.fleet, self.settings, self.additions, self.catalogue),
            finance=catalog.finance(self.finance),
            slo=slo,
            promises=promises(graph, slo),
            rate_per_s=_positive(
                "rate_per_s", self.rate_per_s, "give the agent runs per second that the fleet must carry"
            ),
            efficiencies=efficiencies(),
            software=software(self.engine, tasks, paces_of(self.measured)),
            robust=self.robust,
            serving=_member(Serving, "serving", self.serving),
            split=self.split,
            energy_limit_j=self.energy_limit_j,
            objective=_member(Objective, "objective", self.objective),
        )
        return tightened(request, self.tighten)


def _member(kind: type[Named], subject: str, name: str) -> Named:
    try:
        return kind(name)
    except ValueError as error:
        way_out = f"choose among {', '.join(kind)}"
        raise InputError(subject=f"{subject} {name!r}", problem="is not known", way_out=way_out) from error


def _positive(name: str, value: float, way_out: str) -> float:
    if not 0 < value < float("inf"):
        raise InputError(subject=name, problem=f"is {value}, must be above 0 and finite", way_out=way_out)
    return value
