"""Linear sums over the variables: objectives, and the left sides of rows that bound a whole run or fleet."""

import math

from weft.core.units import HOUR_S, KILO, MEGA
from weft.plan.evaluate import occupied_usd, penalty_weight
from weft.plan.formulation.variables import PortVariables, Variables
from weft.plan.problem import Handoff, Objective, Way
from weft.plan.promises import Course

Terms = list[tuple[int, float]]

SCALE = {
    Objective.USD_PER_HOUR: 1.0,
    Objective.USD_PER_REQUEST: MEGA,
    Objective.JOULES_PER_REQUEST: 1.0,
    Objective.E2E_S: 1.0,
    Objective.USD_TO_BUY: 1 / KILO,
}


def objective(of: Variables) -> Terms:
    """The problem's own, in its scaled unit, with the penalty for lateness."""
    scale = SCALE[of.problem.objective]
    promises = of.problem.all_promises
    late = [(of.slack[each.name], penalty_weight(of.problem, each) * scale) for each in promises]
    match of.problem.objective:
        case Objective.USD_PER_HOUR:
            return [*hourly_usd(of), *late]
        case Objective.USD_PER_REQUEST:
            return [*_visits_usd(of, scale), *_occupied_usd(of, scale), *late]
        case Objective.JOULES_PER_REQUEST:
            return [*joules(of), *late]
        case Objective.E2E_S:
            return [*end_to_end(of), *late]
        case Objective.USD_TO_BUY:
            return [*purchases(of, scale), *late]


def hourly_usd(of: Variables) -> Terms:
    """Whole replicas and what moves, in dollars an hour."""
    fleet = [(variable, pool.usd_per_hour) for pool, variable in of.n.items()]
    return [*fleet, *_visits_usd(of, HOUR_S * of.problem.rate_per_s)]


def end_to_end(of: Variables) -> Terms:
    """Expected time of a run."""
    blocks = [(of.block_time[block.name], block.visits) for block in of.problem.blocks]
    between = [
        (variable, handoff.visits * delay_s)
        for handoff, ports in of.y
        if handoff.block is None
        for variable, delay_s in seconds(handoff, ports)
    ]
    return [*blocks, *between]


def course_time(of: Variables, course: Course, *, with_tails: bool) -> Terms:
    blocks = [(of.block_time[name], times) for name, times in course.visits.items()]
    between = [
        (variable, course.moves.get((handoff.source, handoff.target), 0.0) * delay_s)
        for handoff, ports in of.y
        if handoff.block is None
        for variable, delay_s in seconds(handoff, ports)
    ]
    tails = [
        (variable, course.visits.get(block.name, 0.0) * option.tail_s)
        for block in of.problem.blocks
        if with_tails
        for task in block.tasks
        for option, variable in of.options(task)
    ]
    return [*blocks, *between, *tails]


def joules(of: Variables) -> Terms:
    return [(variable, task.visits * option.joules_per_visit) for task, option, variable in of.assignments()]


def purchases(of: Variables, scale: float) -> Terms:
    return [(of.excess[name], scale * price) for name, price in of.problem.market.items()]


def latency(of: Variables, task: str) -> Terms:
    return [(variable, option.latency_s) for option, variable in of.options(task)]


def way_time(of: Variables, way: Way) -> Terms:
    waits = [(v, times * o.wait_s) for task, times in way.waits.items() for o, v in of.options(task)]
    work = [(v, times * (o.latency_s - o.wait_s)) for task, times in way.work.items() for o, v in of.options(task)]
    moved = [
        (variable, way.moves[handoff.source, handoff.target] * delay_s)
        for handoff, ports in of.y
        if (handoff.source, handoff.target) in way.moves
        for variable, delay_s in seconds(handoff, ports)
    ]
    return [*waits, *work, *moved]


def chunk(of: Variables, task: str, chunks: float) -> Terms:
    """One of so many chunks of its work."""
    return [(variable, option.chunk_s(chunks)) for option, variable in of.options(task)]


def first_chunk(of: Variables, task: str, chunks: float) -> Terms:
    """Until the first one is made."""
    return [(variable, option.wait_s + option.chunk_s(chunks)) for option, variable in of.options(task)]


def seconds(handoff: Handoff, ports: PortVariables) -> Terms:
    """Σ_ab l_hab y_hab, without the forbidden pairs."""
    waits = [(variable, handoff.latency_s.get(pair, 0.0)) for pair, variable in ports.items()]
    return [(variable, delay_s) for variable, delay_s in waits if math.isfinite(delay_s)]


def negative(terms: Terms) -> Terms:
    return [(variable, -coefficient) for variable, coefficient in terms]


def _visits_usd(of: Variables, requests: float) -> Terms:
    """What so many requests pay by the visit."""
    moved = [
        (variable, requests * handoff.visits * handoff.usd_per_visit.get(pair, 0.0))
        for handoff, ports in of.y
        for pair, variable in ports.items()
    ]
    served = [(variable, requests * task.visits * option.usd_per_visit) for task, option, variable in of.assignments()]
    return [*moved, *served]


def _occupied_usd(of: Variables, scale: float) -> Terms:
    return [(variable, scale * occupied_usd(of.problem, task, option)) for task, option, variable in of.assignments()]
