"""The ways that a run may take through the agent's control flow, each with its probability: the Markov chain unrolled.

Runs that take each jump equally often are one course. The mass of all runs is pushed jump by jump; what becomes too
unlikely to follow, or never ends, is left out: a promise counts it as late.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weft.compiler.frequency import allowed

Edge = tuple[int, int]
"""Block index and label of the jump."""

Taken = frozenset[tuple[Edge, int]]
"""Jumps with how often each was taken, above 0."""

LEAST = 1e-7
"""Mass of a part of the runs that is not followed further."""

MOST_PARTS = 20_000
MOST_COURSES = 200


@dataclass(frozen=True, slots=True)
class Walk:
    probability: float
    taken: Mapping[Edge, int]


def walks(edges: Sequence[Sequence[tuple[int, float]]], bounds: Sequence[int | None]) -> tuple[Walk, ...]:
    """The likeliest courses from node 0 to a node without edges, likeliest first. Arguments as in `expected_visits`."""
    ended: defaultdict[Taken, float] = defaultdict(float)
    running: dict[tuple[int, Taken], float] = {(0, frozenset()): 1.0}
    while running:
        after: defaultdict[tuple[int, Taken], float] = defaultdict(float)
        for (block, taken), mass in running.items():
            if not edges[block]:
                ended[taken] += mass
                continue
            for label, (target, probability) in enumerate(allowed(edges[block], _used(taken, block), bounds[block])):
                after[target, _and(taken, (block, label))] += mass * probability
        kept = sorted(after.items(), key=lambda part: -part[1])[:MOST_PARTS]
        running = {part: mass for part, mass in kept if mass > LEAST}
    likeliest = sorted(ended.items(), key=lambda part: -part[1])[:MOST_COURSES]
    return tuple(Walk(mass, dict(taken)) for taken, mass in likeliest)


def _used(taken: Taken, block: int) -> int:
    """How often the block's bound was used: jumps other than the first."""
    return sum(times for (origin, label), times in taken if origin == block and label)


def _and(taken: Taken, edge: Edge) -> Taken:
    times = dict(taken)
    times[edge] = times.get(edge, 0) + 1
    return frozenset(times.items())
