"""From a request to the numbers that the solver sees, and back from its choice to devices and engines."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from weft.core.hardware import Fleet
from weft.core.model import ModelSpec
from weft.cost.transfer import transfer_s, transfer_usd
from weft.plan.aggregated import aggregated
from weft.plan.network import line, lines, link_or_none, moved_bytes, wired
from weft.plan.options import Candidate, Rejection, Verdict, device_class, verdicts
from weft.plan.problem import E2E, Handoff, PlacementProblem, Task
from weft.plan.promises import Course, Promise
from weft.plan.refuse import no_option
from weft.plan.requests import Flow, LeafTask, PlanRequest, Serving
from weft.plan.served import Asking, answered

Pair = tuple[str, str]
"""Ports of source and target."""


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
    offered = {
        task: {each.option.name: each for each in all_ if isinstance(each, Candidate)} for task, all_ in found.items()
    }
    for task in request.tasks:
        if not offered[task.name]:
            raise no_option(task, rejections[task.name])
    candidates = wired(request, offered)
    return Planned(problem_of(request, candidates), candidates, rejections)


def _all_verdicts(request: PlanRequest) -> Mapping[str, list[Candidate | Rejection]]:
    """Task name → what was found of it: for each of its models, pools of its own first, then pools that serve calls."""
    questions = [verdicts(task, request) for task in request.tasks if not task.models]
    for model in dict.fromkeys(model for task in request.tasks for model in task.models):
        questions += _of_model(model, request)
    found: dict[str, list[Candidate | Rejection]] = {task.name: [] for task in request.tasks}
    for verdict in answered(questions, request.software, request.efficiencies):
        for task, each in verdict:
            found[task].append(each)
    return found


def _of_model(model: ModelSpec, request: PlanRequest) -> Iterator[Asking[list[Verdict]]]:
    """All that may run the model, as if all of it did: that is how full its pools may get."""
    running = request.running(model)
    able = [task for task in running.tasks if task.model == model]
    in_calls = {name for flow in request.flows if flow.carries_kv for name in (flow.source, flow.target)}
    barred = in_calls if request.serving is Serving.AGGREGATED else set[str]()
    alone = (verdicts(task, running) for task in able if task.name not in barred)
    joint = aggregated(running) if request.serving is not Serving.DISAGGREGATED else ()
    names = {task.name for task in able}
    return (_named(each, names, model) for each in (*alone, *joint))


def _named(question: Asking[list[Verdict]], names: Collection[str], model: ModelSpec) -> Asking[list[Verdict]]:
    """Of these tasks only."""
    found = yield from question
    return [(name, _running(verdict, model)) for name, verdict in found if name in names]


def _running(verdict: Candidate | Rejection, model: ModelSpec) -> Candidate | Rejection:
    """Ports name the model too: a cache fits no other."""
    if isinstance(verdict, Rejection):
        return replace(verdict, model=model.id)
    return replace(verdict, model=model, option=replace(verdict.option, port=f"{verdict.option.port}.{model.id}"))


def problem_of(request: PlanRequest, candidates: Mapping[str, Mapping[str, Candidate]]) -> PlacementProblem:
    options = {task: tuple(candidate.option for candidate in found.values()) for task, found in candidates.items()}
    tasks = {task.name: task for task in request.tasks}
    return PlacementProblem(
        tasks=tuple(Task(task.name, task.visits, options[task.name], task.max_utilisation) for task in request.tasks),
        handoffs=tuple(_handoff(flow, tasks[flow.source], request.fleet, candidates) for flow in request.flows),
        blocks=request.blocks,
        rate_per_s=request.rate_per_s,
        inventory={device_class(group): group.count for group in request.fleet.groups},
        max_utilisation=request.max_utilisation,
        e2e_limit_s=request.slo.e2e_s,
        penalty_usd_per_s=request.slo.penalty_usd_per_s,
        objective=request.objective,
        split=request.split,
        energy_limit_j=request.energy_limit_j,
        market=request.market,
        budget_usd=request.budget_usd,
        link_bytes_per_s=lines(request.fleet),
        promises=request.promises,
        max_link_utilisation=request.max_link_utilisation,
    )


def expectation(request: PlanRequest) -> Promise:
    """What the slo promises of a run's expected time; without a limit where it asks for none."""
    visits = {block.name: block.visits for block in request.blocks}
    moves = {(flow.source, flow.target): flow.visits for flow in request.flows if flow.block is None}
    limit_s = math.inf if request.slo.e2e_s is None else request.slo.e2e_s
    return Promise(E2E, limit_s, (Course(1.0, visits, moves),), penalty_usd_per_s=request.slo.penalty_usd_per_s)


def _handoff(flow: Flow, source: LeafTask, fleet: Fleet, candidates: Mapping[str, Mapping[str, Candidate]]) -> Handoff:
    """One hop between each pair of ports. A KV cache keeps model and number format: other pairs are not joined."""
    latency_s: dict[Pair, float] = {}
    usd_per_visit: dict[Pair, float] = {}
    link_of: dict[Pair, str] = {}
    moved: dict[Pair, float] = {}
    for a, from_ in _by_port(candidates[flow.source]).items():
        for b, to in _by_port(candidates[flow.target]).items():
            link = link_or_none(fleet, from_.group.zone, to.group.zone)
            if link is None or (flow.moves_kv and not _same_cache(from_, to)):
                latency_s[a, b] = math.inf
                continue
            size_bytes = moved_bytes(flow, source, from_)
            latency_s[a, b] = transfer_s(size_bytes, link)
            usd_per_visit[a, b] = transfer_usd(size_bytes, link)
            if from_.group.zone != to.group.zone:
                link_of[a, b], moved[a, b] = line(from_.group.zone, to.group.zone), size_bytes
    return Handoff(
        source=flow.source,
        target=flow.target,
        visits=flow.visits,
        block=flow.block,
        latency_s=latency_s,
        usd_per_visit=usd_per_visit,
        tied=flow.carries_kv,
        link=link_of,
        bytes_per_visit=moved,
        chunks=flow.chunks,
    )


def _same_cache(source: Candidate, target: Candidate) -> bool:
    return source.precision == target.precision and source.model == target.model


def _by_port(candidates: Mapping[str, Candidate]) -> dict[str, Candidate]:
    """One candidate for each port: zone, precision and model, all that hand-offs depend on, are the others' too."""
    return {candidate.option.port: candidate for candidate in candidates.values()}
