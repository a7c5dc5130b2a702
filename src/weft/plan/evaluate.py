"""What a choice of options costs and how long it takes: no decision, only arithmetic."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from weft.core.units import HOUR_S
from weft.plan.problem import (
    Block,
    Objective,
    Option,
    Placement,
    PlacementProblem,
    PoolSpec,
    Task,
    Way,
    whole_replicas,
)
from weft.plan.promises import Course, Promise

Choice = Mapping[str, Option]
"""Task name → chosen option."""

NOISE = 1e-5
"""What sums of shares may be off by: replicas of split traffic are rounded with it."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the solver says of its answer: the relative gap to the best bound, and the time it took."""

    gap: float
    solve_s: float


@dataclass(frozen=True, slots=True)
class Move:
    """What one hand-off takes in expectation, with its share of traffic over each pair of ports; `carried`: bytes of a
    visit by shared line."""

    latency_s: float
    usd_per_visit: float
    carried: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Decision:
    """`shares`: task → its options with their share of traffic (they add up to 1); `moves`: one for each hand-off."""

    shares: Mapping[str, tuple[tuple[Option, float], ...]]
    moves: tuple[Move, ...]

    def latency_s(self, task: str) -> float:
        return sum(share * option.latency_s for option, share in self.shares[task])

    def wait_s(self, task: str) -> float:
        return sum(share * option.wait_s for option, share in self.shares[task])

    def chunk_s(self, task: str, chunks: float) -> float:
        return sum(share * option.chunk_s(chunks) for option, share in self.shares[task])

    def first_s(self, task: str, chunks: float) -> float:
        """Until the first chunk is made."""
        return sum(share * (option.wait_s + option.chunk_s(chunks)) for option, share in self.shares[task])

    def tail_s(self, task: str) -> float:
        return sum(share * option.tail_s for option, share in self.shares[task])

    def main(self, task: str) -> Option:
        """The option with most traffic."""
        return max(self.shares[task], key=lambda pair: pair[1])[0]


def whole(problem: PlacementProblem, choice: Choice) -> Decision:
    """One option for each task."""
    ends = [(each, choice[each.source], choice[each.target]) for each in problem.handoffs]
    moves = tuple(Move(each.latency_of(a, b), each.usd_of(a, b), each.bytes_of(a, b)) for each, a, b in ends)
    return Decision({task: ((option, 1.0),) for task, option in choice.items()}, moves)


def placement(problem: PlacementProblem, decision: Decision, proof: Proof) -> Placement:
    replicas = replicas_of(problem, decision)
    blocks_s = {block.name: block_s(problem, block, decision) for block in problem.blocks}
    e2e_s = end_to_end_s(problem, decision, blocks_s)
    promised = {each.name: promised_s(problem, each, decision, blocks_s) for each in problem.all_promises}
    late_s = lateness_s(problem, promised)
    penalty = sum(penalty_weight(problem, each) * late_s[each.name] for each in problem.all_promises)
    moved_usd = _usd_per_visit(problem, decision)
    fleet_usd = sum(pool.usd_per_hour * count for pool, count in replicas.items())
    bought = _bought(problem, replicas)
    costs = {
        Objective.USD_PER_HOUR: fleet_usd + HOUR_S * problem.rate_per_s * moved_usd,
        Objective.USD_PER_REQUEST: _occupied_usd(problem, decision) + moved_usd,
        Objective.JOULES_PER_REQUEST: _joules(problem, decision),
        Objective.E2E_S: e2e_s,
        Objective.USD_TO_BUY: sum(problem.market.get(name, 0.0) * count for name, count in bought.items()),
    }
    return Placement(
        choice={task.name: decision.main(task.name).name for task in problem.tasks},
        replicas={pool.name: count for pool, count in replicas.items()},
        objective=costs[problem.objective] + penalty,
        usd_per_hour=costs[Objective.USD_PER_HOUR],
        usd_per_request=costs[Objective.USD_PER_REQUEST],
        e2e_s=e2e_s,
        slack_s=max(late_s.values(), default=0.0),
        gap=proof.gap,
        solve_s=proof.solve_s,
        joules_per_request=costs[Objective.JOULES_PER_REQUEST],
        usd_to_buy=costs[Objective.USD_TO_BUY],
        shares={task: {option.name: share for option, share in found} for task, found in decision.shares.items()},
        bought=bought,
        link_use=link_use(problem, decision),
        promised_s=promised,
    )


def lateness_s(problem: PlacementProblem, promised: Mapping[str, float]) -> dict[str, float]:
    """Seconds beyond each promise's limit."""
    return {each.name: max(0.0, promised[each.name] - each.limit_s) for each in problem.all_promises}


def penalty_weight(problem: PlacementProblem, promise: Promise) -> float:
    """What each second beyond the promise costs, in the unit of the objective."""
    per_request = (promise.penalty_usd_per_s or 0.0) * promise.runs
    hourly = problem.objective is Objective.USD_PER_HOUR
    return per_request * HOUR_S * problem.rate_per_s if hourly else per_request


def replicas_of(problem: PlacementProblem, decision: Decision) -> dict[PoolSpec, int]:
    """Of each pool in use, as many as its work, what it sends and what it receives take."""
    loads: defaultdict[PoolSpec, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for task in problem.tasks:
        for option, share in decision.shares[task.name]:
            each = problem.loads(task, option)
            loads[option.pool] = [sum_ + share * load for sum_, load in zip(loads[option.pool], each, strict=True)]
    noise = NOISE if problem.split else 0.0
    return {pool: whole_replicas(max(load) - noise) for pool, load in loads.items()}


def link_use(problem: PlacementProblem, decision: Decision) -> dict[str, float]:
    """Bytes a second on each shared line."""
    used = dict.fromkeys(problem.link_bytes_per_s, 0.0)
    for handoff, move in zip(problem.handoffs, decision.moves, strict=True):
        for link, size_bytes in move.carried.items():
            used[link] += problem.rate_per_s * handoff.visits * size_bytes
    return used


def end_to_end_s(problem: PlacementProblem, decision: Decision, blocks_s: Mapping[str, float]) -> float:
    """Expected time of a run."""
    inside_s = sum(block.visits * blocks_s[block.name] for block in problem.blocks)
    between = zip(problem.handoffs, decision.moves, strict=True)
    return inside_s + sum(each.visits * move.latency_s for each, move in between if each.block is None)


def promised_s(problem: PlacementProblem, promise: Promise, decision: Decision, blocks_s: Mapping[str, float]) -> float:
    """The time that the promise bounds."""
    tails_s = {block.name: sum(map(decision.tail_s, block.tasks)) for block in problem.blocks if promise.with_tails}
    visit_s = {name: time_s + tails_s.get(name, 0.0) for name, time_s in blocks_s.items()}
    pairs = zip(problem.handoffs, decision.moves, strict=True)
    moves = [((each.source, each.target), move.latency_s) for each, move in pairs if each.block is None]

    def course_s(course: Course) -> float:
        inside_s = sum(times * visit_s[block] for block, times in course.visits.items())
        return inside_s + sum(course.moves.get(ends, 0.0) * latency_s for ends, latency_s in moves)

    return promise.quantile_s([course_s(course) for course in promise.courses])


def block_s(problem: PlacementProblem, block: Block, decision: Decision) -> float:
    """The block's longest path or way, hand-offs included. Along a stream a task starts on the first chunk, and ends no
    sooner than its work on the last."""
    if block.ways:
        moved_s = {
            (each.source, each.target): m.latency_s for each, m in zip(problem.handoffs, decision.moves, strict=True)
        }
        return max(_way_s(way, decision, moved_s) for way in block.ways)
    moves = [(problem.handoffs[at], decision.moves[at]) for at in problem.places_inside(block)]
    begun_s: dict[str, float] = {}
    done_s: dict[str, float] = {}
    for task in problem.order(block):
        inputs = [(handoff, move.latency_s) for handoff, move in moves if handoff.target == task]
        ready = [
            begun_s[each.source] + decision.first_s(each.source, each.chunks) + moved_s
            if each.streams
            else done_s[each.source] + moved_s
            for each, moved_s in inputs
        ]
        begun_s[task] = max(ready, default=0.0)
        last = [
            done_s[each.source] + moved_s + decision.chunk_s(task, each.chunks)
            for each, moved_s in inputs
            if each.streams
        ]
        done_s[task] = max([begun_s[task] + decision.latency_s(task), *last])
    return max(done_s.values(), default=0.0)


def _way_s(way: Way, decision: Decision, moved_s: Mapping[tuple[str, str], float]) -> float:
    waits_s = sum(times * decision.wait_s(task) for task, times in way.waits.items())
    work_s = sum(times * (decision.latency_s(task) - decision.wait_s(task)) for task, times in way.work.items())
    return waits_s + work_s + sum(times * moved_s[ends] for ends, times in way.moves.items())


def occupied_usd(problem: PlacementProblem, task: Task, option: Option) -> float:
    """Replica time that a request occupies in this option, at the allowed utilisation."""
    return task.visits * option.busy_s / problem.utilisation_of(task) * option.pool.usd_per_hour / HOUR_S


def _occupied_usd(problem: PlacementProblem, decision: Decision) -> float:
    return sum(
        share * occupied_usd(problem, task, option)
        for task in problem.tasks
        for option, share in decision.shares[task.name]
    )


def _joules(problem: PlacementProblem, decision: Decision) -> float:
    return sum(
        share * task.visits * option.joules_per_visit
        for task in problem.tasks
        for option, share in decision.shares[task.name]
    )


def _usd_per_visit(problem: PlacementProblem, decision: Decision) -> float:
    """What a request pays by the visit: options with such a price, and bytes moved."""
    served_usd = sum(
        share * task.visits * option.usd_per_visit
        for task in problem.tasks
        for option, share in decision.shares[task.name]
    )
    between = zip(problem.handoffs, decision.moves, strict=True)
    return served_usd + sum(each.visits * move.usd_per_visit for each, move in between)


def _bought(problem: PlacementProblem, replicas: Mapping[PoolSpec, int]) -> dict[str, int]:
    used: defaultdict[str, int] = defaultdict(int)
    for pool, count in replicas.items():
        used[pool.device_class] += count * pool.devices_per_replica
    beyond = {name: used[name] - problem.inventory.get(name, used[name]) for name in problem.market}
    return {name: count for name, count in beyond.items() if count > 0}
