"""What the values of the variables say: whole options, or shares with the pairs of ports that they took."""

from collections import defaultdict
from collections.abc import Sequence

from weft.plan.evaluate import Decision, Move, whole
from weft.plan.formulation.variables import PortVariables, Variables
from weft.plan.problem import Handoff, Option, Task

NOTHING = 1e-6
"""A share below this is what the solver leaves of none."""


def decision(of: Variables, values: Sequence[float]) -> Decision:
    problem = of.problem
    shares = {task.name: _shares(task, [values[each] for each in of.x[task.name]]) for task in problem.tasks}
    if not problem.split:
        return whole(problem, {name: max(used, key=_share)[0] for name, used in shares.items()})
    return Decision(shares, tuple(_move(handoff, ports, values) for handoff, ports in of.y))


def _share(used: tuple[Option, float]) -> float:
    return used[1]


def _shares(task: Task, values: Sequence[float]) -> tuple[tuple[Option, float], ...]:
    """The options in use; what is below the solver's tolerance is nothing."""
    used = [(option, value) for option, value in zip(task.options, values, strict=True) if value > NOTHING]
    total = sum(value for _, value in used)
    return tuple((option, value / total) for option, value in used)


def _move(handoff: Handoff, ports: PortVariables, values: Sequence[float]) -> Move:
    taken = {pair: values[variable] for pair, variable in ports.items() if values[variable] > NOTHING}
    carried: defaultdict[str, float] = defaultdict(float)
    for pair, share in taken.items():
        if pair in handoff.link:
            carried[handoff.link[pair]] += share * handoff.bytes_per_visit.get(pair, 0.0)
    return Move(
        latency_s=sum(share * handoff.latency_s.get(pair, 0.0) for pair, share in taken.items()),
        usd_per_visit=sum(share * handoff.usd_per_visit.get(pair, 0.0) for pair, share in taken.items()),
        carried=carried,
    )
