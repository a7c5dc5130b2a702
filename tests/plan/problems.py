"""Random small placement problems for property tests. Numbers lie on grids, so that no verdict hangs on rounding."""

import math
from dataclasses import replace
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from weft.plan.problem import Block, Handoff, Objective, Option, PlacementProblem, PoolSpec, Task
from weft.plan.promises import Course, Promise

PORTS = ("a", "b")
CLASSES = ("fast", "cheap", "cpu")
LINKS = ("east → west", "west → east")
FAMILIES = {"fast": "fast", "cheap": "cheap", "cpu": None}


def grid(highest: int, step: float = 0.1) -> st.SearchStrategy[float]:
    return st.integers(0, highest).map(lambda value: round(value * step, 6))


@st.composite
def times(draw: DrawFn) -> dict[str, float]:
    """Of a visit, with what passes before anything is made."""
    wait_s = draw(st.one_of(st.just(0.0), grid(5)))
    return {"latency_s": round(draw(grid(20)) + wait_s, 6), "wait_s": wait_s}


@st.composite
def pool_specs(draw: DrawFn) -> list[PoolSpec]:
    classes = draw(st.lists(st.sampled_from(CLASSES), min_size=2, max_size=6))
    return [
        PoolSpec(
            name=f"pool{index}",
            device_class=name,
            devices_per_replica=draw(st.integers(1, 4)),
            usd_per_hour=draw(grid(50)) + 0.1,
            family=FAMILIES[name],
            network_bytes_per_s=draw(st.one_of(st.just(math.inf), grid(30).map(lambda value: value + 0.1))),
        )
        for index, name in enumerate(classes)
    ]


@st.composite
def aligned_tasks(draw: DrawFn, name: str, visits: float, pools: list[PoolSpec]) -> Task:
    """One option for each of some pools, at the pool's port: what several calls of one model look like."""
    chosen = draw(st.lists(st.sampled_from(range(len(pools))), min_size=2, max_size=4, unique=True))
    options = tuple(
        Option(
            name=f"{name}.{index}",
            pool=pools[index],
            **draw(times()),
            busy_s=draw(grid(15)),
            port=PORTS[index % 2],
            joules_per_visit=draw(grid(30)),
            tie=pools[index].name if index % 3 == 2 else "",
            sent_bytes=draw(grid(10)),
            received_bytes=draw(grid(10)),
            tail_s=draw(grid(10)),
        )
        for index in chosen
    )
    return Task(name, visits, options)


@st.composite
def tasks(draw: DrawFn, name: str, visits: float, pools: list[PoolSpec]) -> Task:
    """Any options; several may share a pool, with each other and with other tasks."""
    options = tuple(
        Option(
            name=f"{name}.{index}",
            pool=draw(st.sampled_from(pools)),
            **draw(times()),
            busy_s=draw(grid(15)),
            usd_per_visit=draw(grid(5, 0.001)),
            port=draw(st.sampled_from(PORTS)),
            joules_per_visit=draw(grid(30)),
            sent_bytes=draw(grid(10)),
            tail_s=draw(grid(10)),
        )
        for index in range(draw(st.integers(2, 4)))
    )
    return Task(name, visits, options)


@st.composite
def handoffs(draw: DrawFn, source: str, target: str, visits: float, block: str | None) -> Handoff:
    pairs = [(a, b) for a in PORTS for b in PORTS]
    latency = st.one_of(grid(5), grid(5), grid(5), st.just(math.inf))
    return Handoff(
        source,
        target,
        visits,
        block,
        latency_s={pair: draw(latency) for pair in draw(st.sets(st.sampled_from(pairs)))},
        usd_per_visit={pair: draw(grid(5, 0.001)) for pair in draw(st.sets(st.sampled_from(pairs)))},
        tied=draw(st.booleans()),
        link={pair: draw(st.sampled_from(LINKS)) for pair in draw(st.sets(st.sampled_from(pairs)))},
        bytes_per_visit={pair: draw(grid(10)) for pair in pairs},
        chunks=draw(st.sampled_from((1.0, 1.0, 2.0, 3.5))) if block else 1.0,
    )


@st.composite
def problems(draw: DrawFn, **fixed: Any) -> PlacementProblem:
    """2-5 tasks in 1-3 blocks with loops; hand-offs inside blocks (acyclic) and between any two tasks."""
    names = [f"t{index}" for index in range(draw(st.integers(2, 5)))]
    homes = {name: draw(st.integers(0, 2)) for name in names}
    visits = {home: draw(st.sampled_from((0.4, 1.0, 2.5))) for home in range(3)}
    pools = draw(pool_specs())
    task = draw(st.sampled_from((tasks, aligned_tasks)))
    pairs = [(a, b) for a in names for b in names]
    moved = draw(st.lists(st.sampled_from(pairs), max_size=5))
    links = [draw(handoffs(a, b, *_where(a, b, homes, visits))) for a, b in moved]
    blocks = tuple(
        Block(f"b{home}", visits[home], tuple(name for name in names if homes[name] == home))
        for home in sorted(set(homes.values()))
    )
    joints = [(each.source, each.target) for each in links if each.block is None]
    return PlacementProblem(
        promises=tuple(draw(promises(f"promise{at}", blocks, joints)) for at in range(draw(st.integers(0, 2)))),
        tasks=tuple(draw(task(name, visits[homes[name]], pools)) for name in names),
        handoffs=tuple(links),
        blocks=blocks,
        **{**_terms(draw), **fixed},
    )


@st.composite
def promises(draw: DrawFn, name: str, blocks: tuple[Block, ...], joints: list[tuple[str, str]]) -> Promise:
    """To all runs of one course (an agent's expectation), or to a share of runs of several."""
    visits, moves = st.integers(0, 3), st.integers(0, 2)
    count = draw(st.integers(1, 6))
    parts = [draw(st.integers(1, 4)) for _ in range(count)]
    courses = tuple(
        Course(
            probability=round(part / sum(parts), 12),
            visits={block.name: float(draw(visits)) for block in blocks},
            moves={ends: float(draw(moves)) for ends in joints},
        )
        for part in parts
    )
    return Promise(
        name=name,
        limit_s=draw(grid(200)),
        courses=courses,
        share=1.0 if count == 1 else draw(st.sampled_from((0.33, 0.5, 0.71, 0.95))),
        with_tails=draw(st.booleans()),
        penalty_usd_per_s=draw(st.one_of(st.none(), grid(10, 0.01))),
        runs=draw(st.sampled_from((0.3, 1.0))),
    )


def _where(source: str, target: str, homes: dict[str, int], visits: dict[int, float]) -> tuple[float, str | None]:
    inside = homes[source] == homes[target] and source < target
    return visits[homes[target]], f"b{homes[target]}" if inside else None


def _terms(draw: DrawFn) -> dict[str, Any]:
    inventory = draw(st.dictionaries(st.sampled_from(CLASSES), st.integers(0, 40)))
    sold = draw(st.sets(st.sampled_from(sorted(inventory)))) if inventory else set[str]()
    return {
        "rate_per_s": draw(st.sampled_from((0.1, 1.0, 7.0))),
        "inventory": inventory,
        "max_utilisation": draw(st.sampled_from((0.5, 0.8, 1.0))),
        "e2e_limit_s": draw(st.one_of(st.none(), grid(100))),
        "penalty_usd_per_s": draw(st.one_of(st.none(), st.none(), grid(10, 0.01))),
        "objective": draw(st.sampled_from(list(Objective))),
        "energy_limit_j": draw(st.one_of(st.none(), st.none(), grid(200))),
        "market": {name: draw(grid(40, 1000.0)) for name in sorted(sold)},
        "budget_usd": draw(st.one_of(st.none(), grid(400, 1000.0))),
        "link_bytes_per_s": {link: draw(st.one_of(st.just(1e12), grid(60))) for link in LINKS},
    }


@st.composite
def full_problems(draw: DrawFn) -> PlacementProblem:
    """Each with a loop, pools that steps share, two zones, full lines between them, an inventory and several limits: on
    the expected time, on the time of a share of runs, on energy."""
    names = [f"t{index}" for index in range(draw(st.integers(3, 4)))]
    homes = {name: int(name != "t0") if draw(st.booleans()) else 1 for name in names}
    visits = {0: 1.0, 1: 2.5}
    pools = draw(pool_specs().filter(lambda found: len(found) >= 2))[:3]
    pairs = [(a, b) for a in names for b in names if a < b and draw(st.booleans())]
    loop = (names[-1], next(name for name in names if homes[name] == 1))
    moved = [draw(handoffs(a, b, *_where(a, b, homes, visits))) for a, b in (*pairs, loop)]
    crossing = {("a", "b"): LINKS[0], ("b", "a"): LINKS[1]}
    blocks = tuple(
        Block(f"b{home}", visits[home], tuple(name for name in names if homes[name] == home))
        for home in sorted(set(homes.values()))
    )
    joints = [(each.source, each.target) for each in moved if each.block is None]
    promised = [draw(promises(name, blocks, joints)) for name in ("share of runs", "some runs")]
    placed = tuple(draw(aligned_tasks(name, visits[homes[name]], pools)) for name in names)
    assume(len({option.port for task in placed for option in task.options}) == len(PORTS))
    return PlacementProblem(
        tasks=placed,
        handoffs=tuple(replace(each, link=crossing) for each in moved),
        blocks=blocks,
        rate_per_s=draw(st.sampled_from((0.5, 1.0, 3.0))),
        inventory={name: draw(st.integers(4, 60)) for name in CLASSES},
        max_utilisation=0.8,
        e2e_limit_s=draw(grid(150)) + 1.0,
        penalty_usd_per_s=draw(st.one_of(st.none(), grid(10, 0.01))),
        objective=draw(st.sampled_from(list(Objective))),
        energy_limit_j=draw(grid(200)) + 10.0,
        link_bytes_per_s={link: draw(grid(120)) + 1.0 for link in LINKS},
        promises=tuple(replace(each, limit_s=each.limit_s + 3.0) for each in promised),
    )
