"""Synthetic agents of any size for the planner's benchmark: a supervisor with workers, in several zones."""

import math
import random
from itertools import pairwise

from weft.plan.problem import Block, Handoff, Option, PlacementProblem, PoolSpec, Task

MODELS = 4
"""Steps share the pools of a few models, as agents' calls do."""


def supervisor(steps: int, options: int, zones: int, seed: int = 0) -> PlacementProblem:
    """A supervisor that calls workers of a few steps each, again and again; each step has `options` in each zone.

    Pools of one model are shared by all steps that call it; zones are joined by slower, dearer links, and one pair of
    zones by none.
    """
    draw = random.Random(seed)
    pools = [_pools(draw, model, options, zones) for model in range(MODELS)]
    names = [f"step{index}" for index in range(steps)]
    visits = [draw.choice((0.5, 1.0, 1.5, 2.0)) for _ in range((steps + 3) // 4)]
    tasks = tuple(_task(draw, name, visits[at // 4], pools[at % MODELS]) for at, name in enumerate(names))
    blocks = tuple(Block(f"b{at}", visits[at], tuple(names[4 * at : 4 * at + 4])) for at in range(len(visits)))
    inside = [_handoff(a, b, visits[at // 4], f"b{at // 4}", zones) for at, (a, b) in _chained(names) if at % 4 != 3]
    between = [_handoff(block.tasks[-1], names[0], block.visits, None, zones) for block in blocks[1:]]
    classes = {pool.device_class for each in pools for pool, _, _ in each}
    inventory = {name: draw.randint(20, 200) for name in sorted(classes)}
    return PlacementProblem(tasks, (*inside, *between), blocks, 20.0, inventory, e2e_limit_s=0.9 * steps)


def _chained(names: list[str]) -> list[tuple[int, tuple[str, str]]]:
    return list(enumerate(pairwise(names)))


def _pools(draw: random.Random, model: int, options: int, zones: int) -> list[tuple[PoolSpec, float, float]]:
    """A pool with its speed (seconds of a unit of work) and its batch, for each option and zone: classes × batches."""
    found: list[tuple[PoolSpec, float, float]] = []
    for zone in range(zones):
        for index in range(options):
            kind, batch = index % 10, 2.0 ** (index // 10)
            devices = (1, 2, 4)[kind % 3]
            price = (0.4 + 0.35 * kind) * devices * draw.uniform(0.95, 1.05)
            name = f"m{model}.z{zone}.k{kind}.b{batch:g}"
            slow_s = 2.0 / (1 + kind) / devices**0.7 * (0.6 + 0.4 * batch) * draw.uniform(0.9, 1.1)
            found.append((PoolSpec(name, f"k{kind}@z{zone}", devices, price), slow_s, batch))
    return found


def _task(draw: random.Random, name: str, visits: float, pools: list[tuple[PoolSpec, float, float]]) -> Task:
    work = draw.uniform(0.3, 1.5)
    found = [
        Option(pool.name, pool, work * slow_s, work * slow_s / batch, port=pool.name.split(".")[1])
        for pool, slow_s, batch in pools
    ]
    return Task(name, visits, tuple(found))


def _handoff(source: str, target: str, visits: float, block: str | None, zones: int) -> Handoff:
    pairs = [(f"z{a}", f"z{b}") for a in range(zones) for b in range(zones)]
    cut = {("z0", f"z{zones - 1}"), (f"z{zones - 1}", "z0")} if zones > 2 else set[tuple[str, str]]()
    latency_s = {(a, b): math.inf if (a, b) in cut else 0.001 if a == b else 0.03 for a, b in pairs}
    return Handoff(source, target, visits, block, latency_s, {(a, b): 0.0 if a == b else 2e-6 for a, b in pairs})
