"""Longest paths of blocks for a choice of options, in seconds of a whole run: all visits together."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from weft.plan.decompose.tables import NO_TIE, Tables

FORBIDDEN = float("inf")


@dataclass(frozen=True)
class Paths:
    tables: Tables

    @cached_property
    def latency_s(self) -> list[float]:
        return self.tables.latency_s.tolist()

    @cached_property
    def port(self) -> list[int]:
        return self.tables.port.tolist()

    @cached_property
    def tie(self) -> list[int]:
        return self.tables.tie.tolist()

    @cached_property
    def hop_seconds(self) -> list[list[list[float]]]:
        return [hop.seconds.tolist() for hop in self.tables.hops]

    @cached_property
    def arriving(self) -> list[list[int]]:
        """Hand-offs within a block, by target."""
        found: defaultdict[int, list[int]] = defaultdict(list)
        for at, hop in enumerate(self.tables.hops):
            if hop.block >= 0:
                found[hop.target].append(at)
        return [found[task] for task in range(self.tables.tasks)]

    def moved_s(self, hop: int, option: Sequence[int]) -> float:
        """Of one hand-off; infinite where it is forbidden."""
        each = self.tables.hops[hop]
        source, target = option[each.source], option[each.target]
        if each.tied and (self.tie[source] != NO_TIE or self.tie[target] != NO_TIE):
            return 0.0 if self.tie[source] == self.tie[target] else FORBIDDEN
        return self.hop_seconds[hop][self.port[source]][self.port[target]]

    def block_s(self, block: int, option: Sequence[int]) -> float:
        """Forbidden hand-offs take no time here: they are not counted by it."""
        return max((seconds for seconds, _ in self._arrivals(block, option).values()), default=0.0)

    def longest(self, block: int, option: Sequence[int]) -> tuple[list[int], list[int]]:
        """Tasks and hand-offs on it."""
        arrivals = self._arrivals(block, option)
        tasks: list[int] = []
        hops: list[int] = []
        task = max(arrivals, key=lambda each: arrivals[each][0], default=-1)
        while task >= 0:
            tasks.append(task)
            via = arrivals[task][1]
            if via < 0:
                break
            hops.append(via)
            task = self.tables.hops[via].source
        return tasks, hops

    def _arrivals(self, block: int, option: Sequence[int]) -> dict[int, tuple[float, int]]:
        """Task → when it is done, and the hand-off that it waited for last (-1: none)."""
        web, done = self.tables.webs[block], dict[int, tuple[float, int]]()
        for task in web.tasks:
            waits = [(self._arrival_s(done, hop, option), hop) for hop in self.arriving[task]]
            ready_s, via = max(waits, default=(0.0, -1))
            done[task] = ready_s + web.visits * self.latency_s[option[task]], via
        return done

    def _arrival_s(self, done: dict[int, tuple[float, int]], hop: int, option: Sequence[int]) -> float:
        moved_s = self.moved_s(hop, option)
        return done[self.tables.hops[hop].source][0] + (0.0 if moved_s == FORBIDDEN else moved_s)
