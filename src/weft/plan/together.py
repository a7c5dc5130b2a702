"""Several agents on one fleet as one request, and each agent's part of the answer.

All visits are counted per run of any agent, so that loads, pools and prices are those of one agent; each agent keeps
its own step objectives and its own promises of time. A pool's price is shared in proportion to the time that each agent
keeps it busy, spare capacity included; what moves is paid by the agent that moves it: the bills add up.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from weft.core.errors import PlanError
from weft.core.workload import Slo
from weft.plan.build import Planned, expectation
from weft.plan.evaluate import Proof, placement, whole
from weft.plan.options import Candidate
from weft.plan.problem import Block, Handoff, Placement, Task
from weft.plan.promises import Promise
from weft.plan.requests import Flow, LeafTask, PlanRequest

Requests = Mapping[str, PlanRequest]
"""Agent → what it asks; all of one fleet, finance and objective."""


def together(requests: Requests) -> PlanRequest:
    """One request for all of them."""
    first = next(iter(requests.values()))
    if first.split:
        raise PlanError(
            subject="traffic of several agents",
            problem="cannot be split: bills follow whole steps",
            way_out="plan them without --split, or one by one",
        )
    parts = _parts(requests)
    return replace(
        first,
        tasks=tuple(_task(agent, each, parts[agent], own.slo) for agent, own in requests.items() for each in own.tasks),
        flows=tuple(_flow(agent, each, parts[agent]) for agent, own in requests.items() for each in own.flows),
        blocks=tuple(_block(agent, each, parts[agent]) for agent, own in requests.items() for each in own.blocks),
        slo=Slo(", ".join(dict.fromkeys(own.slo.name for own in requests.values()))),
        rate_per_s=sum(own.rate_per_s for own in requests.values()),
        promises=tuple(each for agent, own in requests.items() for each in _promises(agent, own, parts[agent])),
    )


def _parts(requests: Requests) -> dict[str, float]:
    """Agent → its part of all runs."""
    total_per_s = sum(own.rate_per_s for own in requests.values())
    return {agent: own.rate_per_s / total_per_s for agent, own in requests.items()}


def within(agent: str, name: str) -> str:
    """The name of a step or block among those of several agents."""
    return f"{agent}/{name}"


def agent_of(name: str) -> str:
    return name.split("/")[0]


def _task(agent: str, task: LeafTask, part: float, slo: Slo) -> LeafTask:
    return replace(task, name=within(agent, task.name), visits=task.visits * part, slo=slo)


def _flow(agent: str, flow: Flow, part: float) -> Flow:
    source, target = within(agent, flow.source), within(agent, flow.target)
    block = None if flow.block is None else within(agent, flow.block)
    return replace(flow, source=source, target=target, block=block, visits=flow.visits * part)


def _block(agent: str, block: Block, part: float) -> Block:
    tasks = tuple(within(agent, task) for task in block.tasks)
    return Block(within(agent, block.name), block.visits * part, tasks)


def _promises(agent: str, own: PlanRequest, part: float) -> Iterator[Promise]:
    """What the agent's runs are promised; its expectation always, so that it is told."""
    for promise in (expectation(own), *own.promises):
        courses = tuple(
            replace(
                course,
                visits={within(agent, block): times for block, times in course.visits.items()},
                moves={(within(agent, a), within(agent, b)): times for (a, b), times in course.moves.items()},
            )
            for course in promise.courses
        )
        yield replace(promise, name=f"{agent} {promise.name}", courses=courses, runs=promise.runs * part)


def own_part(agent: str, requests: Requests, planned: Planned, found: Placement) -> tuple[Planned, Placement]:
    """The agent's own problem under its own names, and its part of the placement: replicas are those that all share,
    `usd_per_hour` and `objective` what the agent pays."""
    own = _own_planned(agent, requests, planned)
    options = {
        task.name: own.candidates[task.name][found.choice[within(agent, task.name)]].option
        for task in own.problem.tasks
    }
    alone = placement(own.problem, whole(own.problem, options), Proof(found.gap, found.solve_s))
    prices = {option.pool.name: option.pool.usd_per_hour for option in options.values()}
    shares = pool_shares(planned, found)
    fleet_usd = sum(shares[pool][agent] * found.replicas[pool] * usd for pool, usd in prices.items())
    moved_usd = alone.usd_per_hour - sum(alone.replicas[pool] * usd for pool, usd in prices.items())
    bill = {"usd_per_hour": fleet_usd + moved_usd, "objective": fleet_usd + moved_usd}
    return own, replace(alone, replicas={pool: found.replicas[pool] for pool in prices}, **bill)


def pool_shares(planned: Planned, found: Placement) -> dict[str, dict[str, float]]:
    """Pool → agent → its part of the busy time; equal parts where there is none."""
    busy: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for task in planned.problem.tasks:
        option = planned.candidates[task.name][found.choice[task.name]].option
        busy[option.pool.name][agent_of(task.name)] += planned.problem.load(task, option)
    return {pool: _in_parts(loads) for pool, loads in busy.items()}


def _in_parts(loads: Mapping[str, float]) -> dict[str, float]:
    total = sum(loads.values())
    return {agent: load / total if total else 1 / len(loads) for agent, load in loads.items()}


def _own_planned(agent: str, requests: Requests, planned: Planned) -> Planned:
    """What the solver saw of one agent, counted per run of its own."""
    own, runs = requests[agent], 1 / _parts(requests)[agent]
    candidates = {
        task.name: {
            name: _own_candidate(each, runs) for name, each in planned.candidates[within(agent, task.name)].items()
        }
        for task in own.tasks
    }
    shared = planned.problem
    problem = replace(
        shared,
        tasks=tuple(
            Task(
                task.name,
                task.visits,
                tuple(each.option for each in candidates[task.name].values()),
                task.max_utilisation,
            )
            for task in own.tasks
        ),
        handoffs=tuple(_own_handoff(agent, each, runs) for each in shared.handoffs if agent_of(each.source) == agent),
        blocks=own.blocks,
        rate_per_s=own.rate_per_s,
        e2e_limit_s=own.slo.e2e_s,
        penalty_usd_per_s=own.slo.penalty_usd_per_s,
        promises=own.promises,
    )
    rejections = {task.name: planned.rejections[within(agent, task.name)] for task in own.tasks}
    return Planned(problem, candidates, rejections)


def _own_candidate(candidate: Candidate, runs: float) -> Candidate:
    option = candidate.option
    per_run = replace(option, sent_bytes=option.sent_bytes * runs, received_bytes=option.received_bytes * runs)
    return replace(candidate, option=per_run)


def _own_handoff(agent: str, handoff: Handoff, runs: float) -> Handoff:
    source, target = (end.removeprefix(within(agent, "")) for end in (handoff.source, handoff.target))
    block = None if handoff.block is None else handoff.block.removeprefix(within(agent, ""))
    return replace(handoff, source=source, target=target, block=block, visits=handoff.visits * runs)
