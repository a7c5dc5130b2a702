"""From a request to the numbers that the solver sees, and back from its choice to devices and engines."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from weft.core.errors import FleetError
from weft.core.hardware import Fleet, Link
from weft.core.units import Precision
from weft.cost.transfer import transfer_s, transfer_usd
from weft.plan.aggregated import aggregated
from weft.plan.options import Candidate, Rejection, checked_model, device_class, verdicts
from weft.plan.problem import Handoff, PlacementProblem, Task
from weft.plan.refuse import no_option
from weft.plan.requests import Flow, LeafTask, PlanRequest, Serving


@dataclass(frozen=True, slots=True)
class Planned:
    """A problem with what its option names stand for: task → option name → candidate; task → what was refused."""

    problem: PlacementProblem
    candidates: Mapping[str, Mapping[str, Candidate]]
    rejections: Mapping[str, tuple[Rejection, ...]]


def build(request: PlanRequest) -> Planned:
    """Enumerate the options of all tasks; PlanError where a task has none."""
    found = _all_verdicts(request)
    rejections = {task: tuple(each for each in all_ if isinstance(each, Rejection)) for task, all_ in found.items()}
    candidates = {
        task: {each.option.name: each for each in all_ if isinstance(each, Candidate)} for task, all_ in found.items()
    }
    for task in request.tasks:
        if not candidates[task.name]:
            raise no_option(task, rejections[task.name])
    return Planned(_problem(request, candidates), candidates, rejections)


def _all_verdicts(request: PlanRequest) -> Mapping[str, list[Candidate | Rejection]]:
    """Task name → what was found of it: pools of its own first, then pools that serve whole calls."""
    in_calls = {name for flow in request.flows if flow.carries_kv for name in (flow.source, flow.target)}
    barred = in_calls if request.serving is Serving.AGGREGATED else set[str]()
    found: dict[str, list[Candidate | Rejection]] = {
        task.name: [] if task.name in barred else list(verdicts(task, request)) for task in request.tasks
    }
    if request.serving is not Serving.DISAGGREGATED:
        for task, verdict in aggregated(request):
            found[task].append(verdict)
    return found


def _problem(request: PlanRequest, candidates: Mapping[str, Mapping[str, Candidate]]) -> PlacementProblem:
    options = {task: tuple(candidate.option for candidate in found.values()) for task, found in candidates.items()}
    tasks = {task.name: task for task in request.tasks}
    return PlacementProblem(
        tasks=tuple(Task(task.name, task.visits, options[task.name]) for task in request.tasks),
        handoffs=tuple(_handoff(flow, tasks[flow.source], request.fleet, candidates) for flow in request.flows),
        blocks=request.blocks,
        rate_per_s=request.rate_per_s,
        inventory={device_class(group): group.count for group in request.fleet.groups},
        max_utilisation=request.max_utilisation,
        e2e_limit_s=request.slo.e2e_s,
        penalty_usd_per_s=request.penalty_usd_per_s,
        objective=request.objective,
        split=request.split,
        energy_limit_j=request.energy_limit_j,
        market=request.market,
        budget_usd=request.budget_usd,
    )


def _handoff(flow: Flow, source: LeafTask, fleet: Fleet, candidates: Mapping[str, Mapping[str, Candidate]]) -> Handoff:
    """One hop between each pair of ports. KV keeps its number format: pairs of two precisions cannot be joined."""
    latency_s: dict[tuple[str, str], float] = {}
    usd_per_visit: dict[tuple[str, str], float] = {}
    for port_a, from_ in _by_port(candidates[flow.source]).items():
        for port_b, to in _by_port(candidates[flow.target]).items():
            link = link_or_none(fleet, from_.group.zone, to.group.zone)
            if link is None or (flow.carries_kv and from_.precision != to.precision):
                latency_s[port_a, port_b] = math.inf
                continue
            size_bytes = moved_bytes(flow, source, from_.precision)
            latency_s[port_a, port_b] = transfer_s(size_bytes, link)
            usd_per_visit[port_a, port_b] = transfer_usd(size_bytes, link)
    return Handoff(flow.source, flow.target, flow.visits, flow.block, latency_s, usd_per_visit, tied=flow.carries_kv)


def moved_bytes(flow: Flow, source: LeafTask, precision: Precision | None) -> float:
    """Bytes of one visit: the flow's own, and the KV cache of the prompt where it carries one."""
    if not flow.carries_kv or precision is None:
        return flow.bytes_per_visit
    return flow.bytes_per_visit + checked_model(source).kv_bytes_per_token(precision) * source.isl


def link_or_none(fleet: Fleet, zone_a: str, zone_b: str) -> Link | None:
    """The link between two zones; None where nothing joins them."""
    try:
        return fleet.link_between(zone_a, zone_b)
    except FleetError:
        return None


def _by_port(candidates: Mapping[str, Candidate]) -> dict[str, Candidate]:
    """One candidate for each port: zone and precision, all that a hand-off depends on, are the same for the others."""
    return {candidate.option.port: candidate for candidate in candidates.values()}
