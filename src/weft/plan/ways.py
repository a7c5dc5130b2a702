"""The longest ways through an agent whose steps are planned by kinds: blocks of paths, told in kinds.

A path is counted, not listed: how often it waits for each kind, how much of the kind's work lies on it, how often it
moves between two. What another path contains is never the longest. Blocks with one path left follow each other, so all
of them are one way, with hand-offs between blocks. Where a block keeps more than `MOST_WAYS`, one way that contains all
of them stands for them: never faster than the block is.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from graphlib import TopologicalSorter

from weft.plan.problem import Block, Way
from weft.plan.requests import Flow, PlanRequest

SEQUENCE = "in sequence"
"""The block of all that runs one after the other."""

MOST_WAYS = 16

Path = Mapping[tuple[str, ...], float]
"""(WAIT, kind), (WORK, kind) or (MOVE, source's kind, target's kind) → times."""

WAIT, WORK, MOVE = "wait", "work", "move"


class Ways:
    """`kind_of` each task; `work_of` a task in its kind's visits; `move_of` a flow in those between its kinds."""

    def __init__(
        self,
        request: PlanRequest,
        kind_of: Mapping[str, str],
        work_of: Callable[[str], float],
        move_of: Callable[[Flow], float],
    ) -> None:
        self.request, self.kind_of, self.work_of, self.move_of = request, kind_of, work_of, move_of
        self.inside: defaultdict[str, list[Flow]] = defaultdict(list)
        for flow in request.flows:
            if flow.block is not None:
                self.inside[flow.block].append(flow)

    def blocks(self, kinds: Sequence[str]) -> tuple[Block, ...]:
        """The first is the sequence, home of all kinds."""
        sequence: Counter[tuple[str, ...]] = Counter()
        apart: dict[tuple[frozenset[tuple[tuple[str, ...], float]], ...], float] = {}
        for block in self.request.blocks:
            paths = self._paths(block)
            if len(paths) == 1:
                sequence.update({key: block.visits * times for key, times in paths[0].items()})
            elif paths:
                same = tuple(frozenset(path.items()) for path in paths)
                apart[same] = apart.get(same, 0.0) + block.visits
        for flow in self.request.flows:
            if flow.block is None:
                sequence.update({key: flow.visits * times for key, times in self._moved(flow).items()})
        first = Block(SEQUENCE, 1.0, tuple(kinds), (_way(sequence),))
        others = (
            Block(f"apart {at}", visits, (), tuple(_way(dict(path)) for path in same))
            for at, (same, visits) in enumerate(apart.items())
        )
        return first, *others

    def _paths(self, block: Block) -> list[Path]:
        """The longest ones, as far as they can be told without times."""
        entering: defaultdict[str, list[Flow]] = defaultdict(list)
        for flow in self.inside[block.name]:
            entering[flow.target].append(flow)
        order = TopologicalSorter({task: [flow.source for flow in entering[task]] for task in block.tasks})
        ending: dict[str, list[Path]] = {}
        for task in order.static_order():
            before = [_sum(path, self._moved(flow)) for flow in entering[task] for path in ending[flow.source]]
            own = {(WAIT, self.kind_of[task]): 1.0, (WORK, self.kind_of[task]): self.work_of(task)}
            ending[task] = [_sum(path, own) for path in _longest(before)] or [own]
        return _longest(path for paths in ending.values() for path in paths)

    def _moved(self, flow: Flow) -> Path:
        """What flows within a kind stays in its pool."""
        ends = self.kind_of[flow.source], self.kind_of[flow.target]
        return {} if ends[0] == ends[1] else {(MOVE, *ends): self.move_of(flow)}


def _sum(path: Path, more: Path) -> Path:
    return {**path, **{key: path.get(key, 0.0) + times for key, times in more.items()}}


def _longest(paths: Iterable[Path]) -> list[Path]:
    kept: list[Path] = []
    for path in paths:
        if not any(_within(path, other) for other in kept):
            kept = [*(other for other in kept if not _within(other, path)), path]
    if len(kept) <= MOST_WAYS:
        return kept
    return [{key: max(path.get(key, 0.0) for path in kept) for path in kept for key in path}]


def _within(path: Path, other: Path) -> bool:
    return all(times <= other.get(key, 0.0) for key, times in path.items())


def _way(path: Path) -> Way:
    waits, work = ({key[1]: times for key, times in path.items() if key[0] == what} for what in (WAIT, WORK))
    return Way(waits, work, {(key[1], key[2]): times for key, times in path.items() if key[0] == MOVE})
