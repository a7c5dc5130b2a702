"""What moves between steps, over which line, and what that asks of it.

Two things can be full. Between zones there is one line each way, which all hand-offs share. Inside a zone every device
has an adapter of the zone's link: a replica sends and receives with those of its devices, whatever it sends and where.
"""

from collections.abc import Mapping
from dataclasses import replace

from weft.core.errors import FleetError
from weft.core.hardware import Fleet, Link
from weft.plan.options import Candidate
from weft.plan.requests import Flow, LeafTask, PlanRequest
from weft.plan.tails import tail_factor

Candidates = Mapping[str, Mapping[str, Candidate]]
"""Task → option name → candidate."""


def moved_bytes(flow: Flow, source: LeafTask, chosen: Candidate) -> float:
    """Bytes of one visit: the flow's own, and the KV cache of the prompt where it carries one."""
    if not flow.carries_kv or chosen.model is None or chosen.precision is None:
        return flow.bytes_per_visit
    return flow.bytes_per_visit + chosen.model.kv_bytes_per_token(chosen.precision) * source.isl


def link_or_none(fleet: Fleet, zone_a: str, zone_b: str) -> Link | None:
    """The link between two zones; None where nothing joins them."""
    try:
        return fleet.link_between(zone_a, zone_b)
    except FleetError:
        return None


def line(zone_a: str, zone_b: str) -> str:
    """The name of one direction between two zones."""
    return f"{zone_a} → {zone_b}"


def lines(fleet: Fleet) -> dict[str, float]:
    """Bytes a second of each direction between joined zones."""
    both = [(a, b, link) for ends, link in fleet.cross_links.items() for a, b in (ends, ends[::-1])]
    return {line(a, b): link.bytes_per_s for a, b, link in both}


def wired(request: PlanRequest, candidates: Candidates) -> Candidates:
    """The candidates with what they send and receive in a run, and the adapters of their pools."""
    tasks = {task.name: task for task in request.tasks}
    return {
        task: {name: _wired(request, tasks, task, each) for name, each in found.items()}
        for task, found in candidates.items()
    }


def _wired(request: PlanRequest, tasks: Mapping[str, LeafTask], task: str, candidate: Candidate) -> Candidate:
    option, pool = candidate.option, candidate.option.pool
    adapter = request.fleet.zone_link[candidate.group.zone]
    moves = [
        (flow, flow.visits * moved_bytes(flow, tasks[flow.source], candidate))
        for flow in request.flows
        if not (flow.carries_kv and option.tie)
    ]
    own = replace(
        option,
        pool=replace(pool, network_bytes_per_s=adapter.bytes_per_s * pool.devices_per_replica),
        sent_bytes=sum(moved for flow, moved in moves if flow.source == task),
        received_bytes=sum(moved for flow, moved in moves if flow.target == task),
        tail_s=option.latency_s * tail_factor(tasks[task]),
    )
    return replace(candidate, option=own)
