"""Alike steps of large agents are planned as one: a thousand steps have few kinds of work, a kind few good pools.

Calls of the same models, limits and pins, and of sizes within a ratio, become one call that is visited as often as all
of them, at their mean sizes; CPU steps likewise. The plan of the few is that of the many: each step takes the option of
its kind, with the times of its own size. Work is linear in size between neighbours, so loads and prices add up exactly.

The time of a run is that of the steps' own paths, told in kinds (`plan.ways`).

What is lost: alike steps cannot be told apart, so a plan that would treat them differently is not found (the gap told
is that among plans which do not); and streams count as if each step waited for the whole.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from weft.plan.build import Planned, problem_of
from weft.plan.evaluate import Proof, placement, whole
from weft.plan.network import wired
from weft.plan.options import Candidate
from weft.plan.problem import Placement
from weft.plan.requests import Flow, LeafTask, PlanRequest, TaskKind
from weft.plan.ways import SEQUENCE, Ways

MOST_CALLS, MOST_CPU_KINDS = 6, 12
"""What is planned one by one; of more, alike ones are planned as one."""

RATIOS = (1.0, 1.1, 1.25, 1.5, 2.0, 4.0, math.inf)
"""Sizes within the ratio are alike: the smallest that leaves few enough kinds is taken."""

Group = tuple[LeafTask, ...]
"""A CPU step, or the prefill and decode of a call."""


Flows = Mapping[tuple[str, str], Flow]
"""By source and target."""


@dataclass(frozen=True)
class Alike:
    """`small` is planned instead of `request`; `kind_of`: task → the task of `small` that stands for it."""

    request: PlanRequest
    small: PlanRequest
    kind_of: Mapping[str, str]

    def spread(self, planned: Planned, found: Placement) -> tuple[Planned, Placement]:
        """The answer for every step."""
        if self.small is self.request:
            return planned, found
        own = {task.name: self._own(task, planned, found) for task in self.request.tasks}
        chosen = wired(self.request, {name: {each.option.name: each} for name, each in own.items()})
        problem = problem_of(self.request, chosen)
        decision = whole(problem, {task.name: task.options[0] for task in problem.tasks})
        rivals = {kind: _cheapest(options.values()) for kind, options in planned.candidates.items()}
        scaled: dict[tuple[str, float], dict[str, Candidate]] = {}
        for task in self.request.tasks:
            same = self.kind_of[task.name], self.share(task)
            if same not in scaled:
                scaled[same] = {each.option.name: _scaled(each, task, same[1]) for each in rivals[same[0]]}
        offered = {
            task.name: {**scaled[self.kind_of[task.name], self.share(task)], **chosen[task.name]}
            for task in self.request.tasks
        }
        rejections = {name: planned.rejections[self.kind_of[name]] for name in own}
        return Planned(problem, offered, rejections), placement(problem, decision, Proof(found.gap, found.solve_s))

    def _own(self, task: LeafTask, planned: Planned, found: Placement) -> Candidate:
        kind = self.kind_of[task.name]
        return _scaled(planned.candidates[kind][found.choice[kind]], task, self.share(task))

    def share(self, task: LeafTask) -> float:
        """Of the work of its kind's visit."""
        return _size(task) / _size(self.small.task(self.kind_of[task.name]))

    def moved(self, flow: Flow, between: Flows) -> float:
        """How many of the hand-offs of its kinds it is, at most: to carry more takes longer, no more than in
        proportion."""
        kinds = self.kind_of[flow.source], self.kind_of[flow.target]
        if flow.moves_kv:
            return max(1.0, self.share(self.request.task(flow.source)))
        mean_bytes = between[kinds].bytes_per_visit
        return max(1.0, flow.bytes_per_visit / mean_bytes) if mean_bytes else 1.0


def alike(request: PlanRequest) -> Alike:
    """The request itself where it is small, or asks what only single steps can answer (split traffic, promises to a
    share of runs)."""
    calls, rest = _groups(request)
    is_small = len(calls) <= MOST_CALLS and len(rest) <= 4 * MOST_CPU_KINDS
    if is_small or request.split or request.promises:
        return Alike(request, request, {task.name: task.name for task in request.tasks})
    kinds = [*_kinds(calls, MOST_CALLS), *_kinds(rest, MOST_CPU_KINDS)]
    kind_of = {task.name: kind[0][at].name for kind in kinds for group in kind for at, task in enumerate(group)}
    tasks = [_mean(tuple(group[at] for group in kind)) for kind in kinds for at in range(len(kind[0]))]
    flows = _flows(request, kind_of)
    small = replace(request, tasks=tuple(tasks), flows=tuple(flows.values()))
    found = Alike(request, small, kind_of)
    ways = Ways(request, kind_of, lambda task: found.share(request.task(task)), lambda flow: found.moved(flow, flows))
    return replace(found, small=replace(small, blocks=ways.blocks([task.name for task in tasks])))


def _groups(request: PlanRequest) -> tuple[list[Group], list[Group]]:
    """Calls, and steps by themselves."""
    pairs = [(flow.source, flow.target) for flow in request.flows if flow.carries_kv]
    in_calls = {name for pair in pairs for name in pair}
    calls = [(request.task(source), request.task(target)) for source, target in pairs]
    return list(calls), [(task,) for task in request.tasks if task.name not in in_calls]


def _kinds(groups: Sequence[Group], most: int) -> list[list[Group]]:
    found: defaultdict[object, list[Group]] = defaultdict(list)
    for ratio in RATIOS:
        found = defaultdict(list)
        for group in groups:
            found[tuple(_key(task, ratio) for task in group)].append(group)
        if len(found) <= most:
            break
    return list(found.values())


def _key(task: LeafTask, ratio: float) -> object:
    """What must be equal. Sizes fall into steps of the ratio."""
    sizes = tuple(_step(size, ratio) for size in (task.isl, task.osl, task.core_s))
    models = tuple(model.id for model in task.all_models)
    return task.kind, models, task.precisions, task.slo, task.pinned, task.variation, sizes


def _step(size: float, ratio: float) -> float:
    if ratio == 1.0 or size <= 0:
        return size
    return 0.0 if math.isinf(ratio) else round(math.log(size) / math.log(ratio))


def _mean(tasks: Sequence[LeafTask]) -> LeafTask:
    """One task for all of them, under the name of the first; tasks that never run count alike."""
    visits = sum(task.visits for task in tasks)
    shares = [task.visits / visits if visits else 1 / len(tasks) for task in tasks]

    def mean(sizes: Iterable[float]) -> float:
        return sum(share * size for share, size in zip(shares, sizes, strict=True))

    return replace(
        tasks[0],
        visits=visits,
        isl=round(mean(task.isl for task in tasks)),
        osl=round(mean(task.osl for task in tasks)),
        core_s=mean(task.core_s for task in tasks),
        most=max(task.most for task in tasks),
    )


def _flows(request: PlanRequest, kind_of: Mapping[str, str]) -> Flows:
    """Between kinds: all visits, the mean bytes. What flows within a kind stays in its pool."""
    found: dict[tuple[str, str], Flow] = {}
    for flow in request.flows:
        source, target = kind_of[flow.source], kind_of[flow.target]
        if source == target:
            continue
        before = found.get((source, target))
        visits = flow.visits + (before.visits if before else 0.0)
        moved = flow.visits * flow.bytes_per_visit + (before.visits * before.bytes_per_visit if before else 0.0)
        carries = flow.carries_kv or bool(before and before.carries_kv)
        found[source, target] = Flow(source, target, visits, SEQUENCE, moved / visits if visits else 0.0, carries)
    return found


def _size(task: LeafTask) -> float:
    return {TaskKind.PREFILL: float(task.isl), TaskKind.DECODE: float(task.osl), TaskKind.CPU: task.core_s}[task.kind]


def _cheapest(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Of each device."""
    best: dict[str, Candidate] = {}
    for each in candidates:
        other = best.setdefault(each.group.device.id, each)
        if _usd(each) < _usd(other):
            best[each.group.device.id] = each
    return tuple(best.values())


def _usd(candidate: Candidate) -> float:
    return candidate.option.busy_s * candidate.option.pool.usd_per_hour


def _scaled(kind: Candidate, task: LeafTask, by: float) -> Candidate:
    """The option at the task's own size; it waits as long as its kind."""
    option = kind.option
    own = replace(
        option,
        latency_s=option.wait_s + by * (option.latency_s - option.wait_s),
        busy_s=by * option.busy_s,
        joules_per_visit=by * option.joules_per_visit,
    )
    step_s = by * kind.step_s if task.kind is TaskKind.PREFILL else kind.step_s
    return replace(kind, option=own, step_s=step_s, low_s=by * kind.low_s, high_s=by * kind.high_s)
