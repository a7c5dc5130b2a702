"""Several agents → one placement → one Deployment for each, over pools that they share."""

from collections.abc import Mapping, Sequence

from xdsl.dialects.builtin import ArrayAttr, ModuleOp

from weft.compiler.annotate import annotate
from weft.compiler.attributes import to_dictionary
from weft.compiler.control_flow import agent_graph
from weft.compiler.emit_deployment import emit_deployment
from weft.compiler.opt import run_passes
from weft.compiler.pipeline import AFTER_PLACING, place_pass, unplaced
from weft.compiler.placed import Answered, PlacedPools, other_model
from weft.compiler.request import CompileRequest
from weft.core.deployment import Deployment
from weft.core.errors import InputError
from weft.plan.build import build
from weft.plan.model_choice import other_models
from weft.plan.requests import PlanRequest
from weft.plan.solve import solve
from weft.plan.together import agent_of, own_part, together

Modules = Mapping[str, ModuleOp]
"""Agent → its module, not yet placed."""


def compile_together(requests: Sequence[CompileRequest]) -> tuple[Deployment, ...]:
    """In the order of the requests, which name one fleet, finance and catalogue."""
    modules = _by_name(requests)
    asked = {name: place_pass(each).request(modules[name]) for name, each in zip(modules, requests, strict=True)}
    whole = _answered(together(asked))
    own = {name: Answered(asked[name], *own_part(name, asked, whole.planned, whole.placement)) for name in asked}
    bills = ArrayAttr([to_dictionary(_bill(each, own[each])) for each in own])
    others = tuple(other_models(whole.request, whole.planned, whole.placement)) if requests[0].aim.compare else ()
    for name, module in modules.items():
        rivals = [other_model(each, whole) for each in others if agent_of(each.steps[0]) == name]
        annotate(module, PlacedPools(whole, name), own[name])
        module.attributes["fleet.bills"] = bills
        module.attributes["fleet.other_models"] = ArrayAttr([to_dictionary(each) for each in rivals])
        run_passes(module, AFTER_PLACING)
    return tuple(emit_deployment(module, each) for module, each in zip(modules.values(), requests, strict=True))


def _by_name(requests: Sequence[CompileRequest]) -> Modules:
    modules: dict[str, ModuleOp] = {}
    for request in requests:
        module = unplaced(request)
        name = agent_graph(module).sym_name.data
        if name in modules:
            raise InputError(
                subject=f"agent {name!r}",
                problem="is listed twice",
                way_out="list each agent once, with the sum of its rates, or name the copy differently in its program",
            )
        modules[name] = module
    return modules


def _answered(request: PlanRequest) -> Answered:
    planned = build(request)
    return Answered(request, planned, solve(planned.problem))


def _bill(name: str, own: Answered) -> Mapping[str, str | float]:
    """See core.deployment.AgentBill."""
    placement = own.placement
    return {
        "agent": name,
        "rate_per_s": own.request.rate_per_s,
        "usd_per_hour": placement.usd_per_hour,
        "alone_usd_per_hour": solve(build(own.request).problem).usd_per_hour,
        "e2e_s": placement.e2e_s,
    }
