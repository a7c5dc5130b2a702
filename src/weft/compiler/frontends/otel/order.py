"""What followed what in the runs of one agent: the order of intervals, reduced to its direct steps.

y follows x where y starts after x ends and nothing lies between. Two nodes that ran at the same time in any run are
never taken to follow each other without a step between: there the clock alone made the order.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

from weft.compiler.frontends.graphs.graph import END, START


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit of a node in a run."""

    node: str
    start_ns: int
    end_ns: int


Bag = tuple[tuple[str, int], ...]  # nodes with how often each, sorted


@dataclass
class Followed:
    """For each node how often it was followed by which nodes, and preceded by which; START and END take part."""

    after: dict[str, Counter[Bag]] = field(default_factory=dict[str, Counter[Bag]])
    before: dict[str, Counter[Bag]] = field(default_factory=dict[str, Counter[Bag]])


def followed(runs: Sequence[Sequence[Visit]]) -> Followed:
    result = Followed()
    together = _concurrent(runs)
    for run in runs:
        visits = sorted(run, key=lambda each: (each.start_ns, each.end_ns))
        direct = _direct(visits, together)
        _count(result.after, START, [visits[y].node for y in range(len(visits)) if not any(y in row for row in direct)])
        for x, visit in enumerate(visits):
            _count(result.after, visit.node, [visits[y].node for y in direct[x]] or [END])
            _count(result.before, visit.node, [visits[w].node for w in range(x) if x in direct[w]] or [START])
    return result


def _concurrent(runs: Sequence[Sequence[Visit]]) -> set[tuple[str, str]]:
    pairs: set[tuple[str, str]] = set()
    for run in runs:
        for x, y in combinations(run, 2):
            if x.start_ns < y.end_ns and y.start_ns < x.end_ns:
                pairs |= {(x.node, y.node), (y.node, x.node)}
    return pairs


def _direct(visits: Sequence[Visit], together: set[tuple[str, str]]) -> list[list[int]]:
    """For each visit those that follow it directly."""
    later: list[set[int]] = []
    for x, visit in enumerate(visits):
        after = (y for y in range(x + 1, len(visits)) if visits[y].start_ns >= visit.end_ns)
        later.append({y for y in after if (visit.node, visits[y].node) not in together})
    for x in range(len(visits) - 1, -1, -1):  # an order of its own once pairs are left out: close it again
        later[x] |= {z for y in later[x] for z in later[y]}
    return [sorted(after - {z for y in after for z in later[y]}) for after in later]


def _count(table: dict[str, Counter[Bag]], node: str, others: list[str]) -> None:
    table.setdefault(node, Counter())[tuple(sorted(Counter(others).items()))] += 1
