"""Which pools a hand-off joins, and how long blocks take with what moves between them: a reading of a placement."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from weft.plan.evaluate import Decision, block_s, whole
from weft.plan.lp import LinearModel
from weft.plan.problem import Handoff, Option, Placement, PlacementProblem

NOTHING = 1e-6


@dataclass(frozen=True, slots=True)
class Pair:
    """So much of a hand-off's traffic goes from one option to another."""

    source: Option
    target: Option
    share: float


def pairs(problem: PlacementProblem, placement: Placement, handoff: Handoff) -> tuple[Pair, ...]:
    """One, unless traffic is split: then the way to join the shares of both ends that takes least time."""
    leaving, entering = (_used(problem, placement, end) for end in (handoff.source, handoff.target))
    if len(leaving) == 1 or len(entering) == 1:
        return tuple(Pair(a, b, share * other) for a, share in leaving for b, other in entering)
    model = LinearModel()
    joined = {
        (at, to): model.variable()
        for at, (a, _) in enumerate(leaving)
        for to, (b, _) in enumerate(entering)
        if math.isfinite(handoff.latency_of(a, b))
    }
    for at, (_, share) in enumerate(leaving):
        model.row([(each, 1.0) for (a, _), each in joined.items() if a == at], lower=share - NOTHING, upper=share)
    for to, (_, share) in enumerate(entering):
        model.row([(each, 1.0) for (_, b), each in joined.items() if b == to], lower=share - NOTHING, upper=share)
    cost = [(each, handoff.latency_of(leaving[a][0], entering[b][0])) for (a, b), each in joined.items()]
    found = model.relaxed(cost)
    assert found is not None, "the solver joined these shares"
    return tuple(
        Pair(leaving[a][0], entering[b][0], found.values[each])
        for (a, b), each in joined.items()
        if found.values[each] > 2 * NOTHING
    )


def _used(problem: PlacementProblem, placement: Placement, task: str) -> list[tuple[Option, float]]:
    options = {option.name: option for option in problem.task(task).options}
    return [(options[name], share) for name, share in placement.shares[task].items()]


def decided(problem: PlacementProblem, placement: Placement) -> Decision:
    """The decision behind a placement."""
    main = {name: _option(problem, name, chosen) for name, chosen in placement.choice.items()}
    shares = {task.name: tuple(_used(problem, placement, task.name)) for task in problem.tasks}
    base = whole(problem, main)
    moves = tuple(
        replace(move, latency_s=_mean_s(handoff, pairs(problem, placement, handoff)))
        for handoff, move in zip(problem.handoffs, base.moves, strict=True)
    )
    return replace(base, shares=shares, moves=moves)


def _option(problem: PlacementProblem, task: str, name: str) -> Option:
    return next(option for option in problem.task(task).options if option.name == name)


def _mean_s(handoff: Handoff, found: tuple[Pair, ...]) -> float:
    return sum(each.share * handoff.latency_of(each.source, each.target) for each in found)


def block_times(problem: PlacementProblem, placement: Placement) -> Mapping[str, float]:
    """Seconds of one visit of each block, what comes into it from other blocks included: Σ visits · seconds is the
    end-to-end time."""
    return dict(_block_times(problem, decided(problem, placement)))


def _block_times(problem: PlacementProblem, decision: Decision) -> Iterator[tuple[str, float]]:
    homes = {task: block.name for block in problem.blocks for task in block.tasks}
    arriving_s = dict.fromkeys(homes.values(), 0.0)
    for handoff, move in zip(problem.handoffs, decision.moves, strict=True):
        if handoff.block is None:
            arriving_s[homes[handoff.target]] += handoff.visits * move.latency_s
    for block in problem.blocks:
        inside_s = block_s(problem, block, decision) if block.tasks else 0.0
        before_s = arriving_s.get(block.name, 0.0)
        yield block.name, inside_s + (before_s / block.visits if block.visits else 0.0)
