"""The ways that a run may take through the agent's blocks, with their probabilities and times; loops as one stage.

Blocks that jump to each other are one stage, with the visits that a run which enters it makes on average: what is left
has no cycles, so its paths can be listed, the likeliest first. Probabilities times times add up to the end-to-end time.
"""

import heapq
from collections.abc import Mapping
from graphlib import TopologicalSorter

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from weft.core.deployment import PathTime, Stage
from weft.core.program import Program

MOST = 12
"""Paths that are listed; the others are one row, without stages."""

UNLIKELY = 1e-9


def path_times(program: Program, visits: Mapping[str, float], seconds: Mapping[str, float]) -> tuple[PathTime, ...]:
    """`visits` of each block by a run, `seconds` of one visit."""
    graph = _Stages(program, visits, seconds)
    listed: list[PathTime] = []
    todo: list[tuple[float, int, tuple[int, ...]]] = [(-1.0, 0, (graph.of[program.entry.name],))]
    count = 0
    while todo and len(listed) < MOST:
        chance, _, path = heapq.heappop(todo)
        if path[-1] == _END:
            listed.append(graph.path(path[:-1], -chance))
            continue
        for to, share in graph.next[path[-1]].items():
            count += 1
            if -chance * share > UNLIKELY:
                heapq.heappush(todo, (chance * share, count, (*path, to)))
    rest = 1.0 - sum(each.probability for each in listed)
    if rest <= UNLIKELY * 10:
        return tuple(listed)
    listed_s = sum(each.probability * each.time_s for each in listed)
    whole_s = sum(times * seconds[name] for name, times in visits.items())
    return (*listed, PathTime((), rest, max(0.0, whole_s - listed_s) / rest))


_END = -1


class _Stages:
    """The program with each cycle as one stage. `next`: stage → stage or end → probability, given the first."""

    def __init__(self, program: Program, visits: Mapping[str, float], seconds: Mapping[str, float]) -> None:
        blocks = program.blocks
        self.jumps = {each.name: [(to.block, to.probability) for to in each.terminator.targets] for each in blocks}
        self.visits, self.seconds = visits, seconds
        self.members = _components({name: [to for to, _ in found] for name, found in self.jumps.items()})
        self.of = {name: at for at, members in enumerate(self.members) for name in members}
        self.next = [self._shares(at) for at in range(len(self.members))]
        self.reached = self._reached(self.of[program.entry.name])

    def _shares(self, at: int) -> dict[int, float]:
        leaving: dict[int, float] = {}
        for name in self.members[at]:
            for to, chance in self.jumps[name] or [("", 1.0)]:
                target = self.of[to] if to else _END
                if target != at:
                    leaving[target] = leaving.get(target, 0.0) + self.visits[name] * chance
        total = sum(leaving.values())
        return {to: flow / total for to, flow in leaving.items()} if total else {}

    def _reached(self, entry: int) -> list[float]:
        """Probability that a run comes to each stage."""
        reached = [0.0] * len(self.members)
        reached[entry] = 1.0
        for at in range(len(self.members)):
            for to, share in self.next[at].items():
                if to != _END:
                    reached[to] += reached[at] * share
        return reached

    def path(self, path: tuple[int, ...], probability: float) -> PathTime:
        stages = tuple(self._stage(at) for at in path if self._stage(at).blocks)
        return PathTime(stages, probability, sum(stage.time_s for stage in stages))

    def _stage(self, at: int) -> Stage:
        members = self.members[at]
        runs = {name: self.visits[name] / self.reached[at] for name in members} if self.reached[at] else {}
        time_s = sum(times * self.seconds[name] for name, times in runs.items())
        loop = any(to in members for name in members for to, _ in self.jumps[name])
        return Stage(tuple(runs), tuple(runs.values()), time_s, loop)


def _components(edges: Mapping[str, list[str]]) -> list[tuple[str, ...]]:
    """Blocks that can reach each other, a stage before those that it leads to."""
    index = {name: at for at, name in enumerate(edges)}
    pairs = [(index[name], index[to]) for name, targets in edges.items() for to in targets]
    rows, columns = [a for a, _ in pairs], [b for _, b in pairs]
    matrix = csr_array((np.ones(len(pairs)), (rows, columns)), shape=(len(edges), len(edges)))
    _, labels = connected_components(matrix, connection="strong")
    members: dict[int, list[str]] = {}
    for name, label in zip(edges, labels.tolist(), strict=True):
        members.setdefault(label, []).append(name)
    before: dict[int, set[int]] = {label: set() for label in members}
    for a, b in pairs:
        if labels[a] != labels[b]:
            before[int(labels[b])].add(int(labels[a]))
    return [tuple(members[label]) for label in TopologicalSorter(before).static_order()]
