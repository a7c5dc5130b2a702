"""The cheapest options that agree on every hand-off: exact where the hand-offs form a forest, else a bound.

A slot is a task's options of one port and tie: hand-offs do not tell them apart. From the leaves of a spanning forest
of hand-offs to its roots each slot learns the least cost of all that hangs below it; back down, each task takes its
best. Hand-offs outside the forest are left out, which can only make the answer cheaper.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from weft.plan.decompose.tables import NO_TIE, Floats, Hop, Ints, Tables, Truths


@dataclass(frozen=True, slots=True)
class Level:
    """Hand-offs of one depth of the forest; rows are its edges, matrices (rows, child's ports, parent's ports).

    `below`: slots of the children, with the row of each and where each row begins; `above`: those of their parents."""

    child: Ints
    parent: Ints
    hop: Ints
    tied: Truths
    usd: Floats
    seconds: Floats
    forbidden: Floats
    below: Ints
    below_row: Ints
    begins: Ints
    above: Ints
    above_row: Ints


@dataclass(frozen=True, slots=True)
class Slots:
    """`order`: options by slot; `begins`: where each slot's options begin in it; `task_begins`: each task's slots;
    `levels`: deepest first; `hub`: the root with most hand-offs."""

    tables: Tables
    order: Ints
    begins: Ints
    task: Ints
    port: Ints
    tie: Ints
    task_begins: Ints
    roots: Ints
    hub: int
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Cheapest:
    """`option`: of each task; `hop_seconds`: of each hand-off in the forest, 0 for others."""

    cost: float
    option: Ints
    hop_seconds: Floats


def slots(of: Tables) -> Slots:
    order = np.lexsort((of.tie, of.port, of.task))
    keys = np.stack([of.task, of.port, of.tie])[:, order]
    is_new = np.append(True, np.any(keys[:, 1:] != keys[:, :-1], axis=0))
    begins = np.flatnonzero(is_new)
    task, port, tie = keys[:, begins]
    task_begins = np.searchsorted(task, np.arange(of.tasks + 1))
    parents, hub = _forest(of)
    depth = _depths(parents)
    shape = _Shape(of, port, tie, task_begins)
    levels = tuple(
        _level(shape, [task for task, at in enumerate(depth) if at == each], parents)
        for each in range(max(depth), 0, -1)
    )
    return Slots(of, order, begins, task, port, tie, task_begins, np.flatnonzero(np.array(depth) == 0), hub, levels)


def cheapest(of: Slots, cost: Floats, per_s: float, hop_weight: Floats, hub_port: int | None = None) -> Cheapest:
    """`cost`: of each option in slot order (options,), infinite where it is barred; `per_s`: of a second of hand-off,
    times the weight of each hand-off; `hub_port`: where the hub must be."""
    tables = of.tables
    least = np.minimum.reduceat(cost, of.begins)
    if hub_port is not None:
        least = np.where((of.task == of.hub) & (of.port != hub_port), np.inf, least)
    for level in of.levels:
        least = _passed_up(of, level, least, _edges(level, per_s, hop_weight))
    taken = np.full(tables.tasks, -1)
    firsts = _best_of_each(least, of.task_begins)
    taken[of.roots] = firsts[of.roots]
    hop_seconds = np.zeros(len(tables.hops))
    total = float(least[taken[of.roots]].sum())
    for level in reversed(of.levels):
        taken[level.child] = _taken(of, level, least, _edges(level, per_s, hop_weight), taken[level.parent])
        hop_seconds[level.hop] = _seconds(of, level, taken)
    return Cheapest(total, _options(of, cost, taken), hop_seconds)


def _edges(level: Level, per_s: float, hop_weight: Floats) -> Floats:
    return level.usd + (per_s * hop_weight[level.hop])[:, None, None] * level.seconds + level.forbidden


def _passed_up(of: Slots, level: Level, least: Floats, edges: Floats) -> Floats:
    rows, ports, _ = edges.shape
    by_port = np.full((rows, ports), np.inf)
    moving = ~(level.tied[level.below_row] & (of.tie[level.below] != NO_TIE))
    at = level.below[moving]
    np.minimum.at(by_port, (level.below_row[moving], of.port[at]), least[at])
    through = (by_port[:, :, None] + edges).min(axis=1)
    told = through[level.above_row, of.port[level.above]]
    if level.tied.any():
        is_tied = level.tied[level.above_row] & (of.tie[level.above] != NO_TIE)
        by_tie = np.full((rows, of.tables.ties + 1), np.inf)
        np.minimum.at(by_tie, (level.below_row, of.tie[level.below]), least[level.below])
        told = np.where(is_tied, by_tie[level.above_row, of.tie[level.above]], told)
    raised = least.copy()
    np.add.at(raised, level.above, told)
    return raised


def _taken(of: Slots, level: Level, least: Floats, edges: Floats, parent: Ints) -> Ints:
    """The best slot of each child, given its parent's."""
    rows, below = level.below_row, level.below
    moved = edges[rows, of.port[below], of.port[parent[rows]]]
    tied = level.tied[rows]
    if tied.any():
        both_tied = tied & (of.tie[parent[rows]] != NO_TIE) & (of.tie[below] == of.tie[parent[rows]])
        one_tied = tied & ((of.tie[parent[rows]] != NO_TIE) | (of.tie[below] != NO_TIE))
        moved = np.where(both_tied, 0.0, np.where(one_tied, np.inf, moved))
    best = _best_of_each(least[below] + moved, np.append(level.begins, len(below)))
    return below[best]


def _seconds(of: Slots, level: Level, taken: Ints) -> Floats:
    child, parent = taken[level.child], taken[level.parent]
    seconds = level.seconds[np.arange(len(level.child)), of.port[child], of.port[parent]]
    return np.where(level.tied & (of.tie[child] != NO_TIE), 0.0, seconds)


def _options(of: Slots, cost: Floats, taken: Ints) -> Ints:
    """The cheapest option of each slot taken."""
    ends = np.append(of.begins[1:], len(of.order))
    counts = (ends - of.begins)[taken]
    begins = np.append(0, np.cumsum(counts))
    places: Ints = np.arange(int(begins[-1])) + np.repeat(of.begins[taken] - begins[:-1], counts)
    return of.order[places[_best_of_each(cost[places], begins)]]


def _best_of_each(values: Floats, begins: Ints) -> Ints:
    """Place of the first least value between each two neighbours of `begins`."""
    counts = np.diff(begins)
    least = np.repeat(np.minimum.reduceat(values, begins[:-1]), counts)
    hits = np.flatnonzero(values == least)
    return hits[np.searchsorted(hits, begins[:-1])]


@dataclass(frozen=True, slots=True)
class _Shape:
    tables: Tables
    port: Ints
    tie: Ints
    task_begins: Ints

    def of_task(self, task: int) -> range:
        return range(int(self.task_begins[task]), int(self.task_begins[task + 1]))


def _forest(of: Tables) -> tuple[list[tuple[int, int]], int]:
    """(parent, hop) of each task, (-1, -1) for roots, and the hub. Tied hand-offs first: they say most."""
    joined: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    group = list(range(of.tasks))
    for at in sorted(range(len(of.hops)), key=lambda at: not of.hops[at].tied):
        a, b = (_leader(group, end) for end in (of.hops[at].source, of.hops[at].target))
        if a != b:
            group[a] = b
            joined[of.hops[at].source].append((of.hops[at].target, at))
            joined[of.hops[at].target].append((of.hops[at].source, at))
    by_degree = sorted(range(of.tasks), key=lambda task: -len(joined[task]))
    parents: dict[int, tuple[int, int]] = {}
    for root in by_degree:
        if root not in parents:
            parents[root] = (-1, -1)
            _hang(root, joined, parents)
    return [parents[task] for task in range(of.tasks)], by_degree[0]


def _leader(group: list[int], task: int) -> int:
    while group[task] != task:
        task = group[task]
    return task


def _hang(root: int, joined: dict[int, list[tuple[int, int]]], parents: dict[int, tuple[int, int]]) -> None:
    waiting = [root]
    for task in waiting:
        for other, hop in joined[task]:
            if other not in parents:
                parents[other] = (task, hop)
                waiting.append(other)


def _depths(parents: list[tuple[int, int]]) -> list[int]:
    depth = [0 if parent < 0 else -1 for parent, _ in parents]
    for task in range(len(parents)):
        path = [task]
        while depth[path[-1]] < 0:
            path.append(parents[path[-1]][0])
        top = depth[path[-1]]
        for up, each in enumerate(reversed(path)):
            depth[each] = top + up
    return depth


def _level(shape: _Shape, child: list[int], parents: list[tuple[int, int]]) -> Level:
    parent: Ints = np.array([parents[task][0] for task in child])
    hop: Ints = np.array([parents[task][1] for task in child])
    hops = [shape.tables.hops[parents[task][1]] for task in child]
    seconds = np.array([_towards(each, each.seconds, task) for each, task in zip(hops, child, strict=True)])
    below = [slot for task in child for slot in shape.of_task(task)]
    below_row = [row for row, task in enumerate(child) for _ in shape.of_task(task)]
    above = [(row, slot) for row, task in enumerate(parent.tolist()) for slot in shape.of_task(task)]
    return Level(
        child=np.array(child),
        parent=parent,
        hop=hop,
        tied=np.array([each.tied for each in hops]),
        usd=np.array([_towards(each, each.usd, task) for each, task in zip(hops, child, strict=True)]),
        seconds=np.where(np.isinf(seconds), 0.0, seconds),
        forbidden=np.where(np.isinf(seconds), np.inf, 0.0),
        below=np.array(below),
        below_row=np.array(below_row),
        begins=np.searchsorted(below_row, np.arange(len(child))),
        above=np.array([slot for _, slot in above]),
        above_row=np.array([row for row, _ in above]),
    )


def _towards(hop: Hop, matrix: Floats, child: int) -> Floats:
    """With the child's ports first."""
    return matrix if hop.source == child else matrix.T
