"""What moves between steps, over which line, and what that asks of it.

Two things can be full. Between zones there is one line each way, which all hand-offs share. Inside a zone every device
has an adapter of the zone's link: a replica sends and receives with those of its devices, whatever it sends and where.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from weft.core.errors import FleetError
from weft.core.hardware import Fleet, Link
from weft.plan.options import Candidate
from weft.plan.problem import PoolSpec
from weft.plan.requests import Flow, LeafTask, PlanRequest
from weft.plan.tails import tail_factor

Candidates = Mapping[str, Mapping[str, Candidate]]
"""Task → option name → candidate."""


def moved_bytes(flow: Flow, source: LeafTask, chosen: Candidate) -> float:
    """Bytes of one visit: the flow's own, and the KV cache of the prompt where it carries one."""
    if not flow.moves_kv or chosen.model is None or chosen.precision is None:
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
    """The candidates with what they send and receive in a run, the adapters of their pools, and their tails."""
    wires = {task.name: _Wires(task, [], []) for task in request.tasks}
    for flow in request.flows:
        source = wires[flow.source].task
        wires[flow.source].leaving.append((flow, source))
        wires[flow.target].entering.append((flow, source))
    pools: dict[int, PoolSpec] = {}  # alike steps share theirs: by identity, since equality would compare every field
    return {
        task: {name: _wired(request.fleet, wires[task], each, pools) for name, each in found.items()}
        for task, found in candidates.items()
    }


@dataclass(frozen=True, slots=True)
class _Wires:
    """A task with its flows, each with the task that it comes from."""

    task: LeafTask
    leaving: list[tuple[Flow, LeafTask]]
    entering: list[tuple[Flow, LeafTask]]


def _wired(fleet: Fleet, wires: _Wires, candidate: Candidate, pools: dict[int, PoolSpec]) -> Candidate:
    option, pool = candidate.option, candidate.option.pool
    adapted = pools.get(id(pool))
    if adapted is None:
        adapter = fleet.zone_link[candidate.group.zone]
        adapted = replace(pool, network_bytes_per_s=adapter.bytes_per_s * pool.devices_per_replica)
        pools[id(pool)] = adapted
    own = replace(
        option,
        pool=adapted,
        sent_bytes=_moved_in_a_run(wires.leaving, candidate),
        received_bytes=_moved_in_a_run(wires.entering, candidate),
        tail_s=option.latency_s * tail_factor(wires.task),
        wait_s=candidate.wait_s,
    )
    return replace(candidate, option=own)


def _moved_in_a_run(flows: Iterable[tuple[Flow, LeafTask]], candidate: Candidate) -> float:
    """A cache that stays in one replica does not move."""
    stays = bool(candidate.option.tie)
    return sum(
        flow.visits * moved_bytes(flow, source, candidate) for flow, source in flows if not (flow.carries_kv and stays)
    )
