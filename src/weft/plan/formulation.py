"""Placement as a mixed-integer linear program.

Variables, all ≥ 0: x_io ∈ {0,1} (split traffic: [0,1]) task i takes option o · n_p ∈ ℤ replicas of pool p · y_hab
hand-off h goes from port a to port b · c_i completion of task i since its block began · T_k time of block k · s
seconds late · w_d devices of class d beyond the inventory (s and w are 0 unless allowed; w also where d can be bought).
Data: λ rate, ρ utilisation, v visits, b busy time, l latency, u inventory, L end-to-end limit, e energy, m price.

    (1)  Σ_o x_io = 1                                               each task has one option
    (2)  n_p ≥ ⌈λ v_i b_io / ρ⌉ x_io         for o in p              whole replicas for each task alone
    (2s) n_p ≥ x_io                          instead, if split      a pool in use has a replica
    (3)  n_p ≥ Σ_io λ v_i b_io / ρ x_io      for o in p              and for all tasks of a pool together
    (4)  Σ_p devices_p n_p − w_d ≤ u_d                              inventory
    (5)  Σ_b y_hab = Σ_o x_io                i = source, o at a      what leaves a port; untied options only
    (6)  Σ_a y_hab = Σ_o x_jo                j = target, o at b      what enters one
    (6t) Σ_o x_io = Σ_o x_jo                 o of one tie            one replica serves both ends
    (7)  c_j ≥ c_i + Σ_ab l_hab y_hab + Σ_o l_jo x_jo                j starts when its inputs are there
    (8)  T_k ≥ c_i                           i in block k            longest path
    (9)  Σ_k v_k T_k + Σ_h v_h Σ_ab l_hab y_hab − s ≤ L              end to end; h between blocks
    (10) Σ_io v_i e_io x_io ≤ E                                     energy of a request
    (11) Σ_d m_d w_d ≤ B                                            purchases

(2) follows from (3) for integers but not in the relaxation: with it, a pool of one option is bought whole already
there, and little is left to search. (5) and (6) sum over ports, not options: their number does not grow with options.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from weft.core.units import HOUR_S, KILO, MEGA
from weft.plan.evaluate import Decision, Move, occupied_usd, penalty_weight, whole
from weft.plan.lp import LinearModel
from weft.plan.problem import (
    Block,
    Handoff,
    Objective,
    Option,
    PlacementProblem,
    PoolSpec,
    Task,
    whole_replicas,
)

NOTHING = 1e-6
"""A share below this is what the solver leaves of none."""

E2E = "e2e_s"

SCALE = {
    Objective.USD_PER_HOUR: 1.0,
    Objective.USD_PER_REQUEST: MEGA,
    Objective.JOULES_PER_REQUEST: 1.0,
    Objective.E2E_S: 1.0,
    Objective.USD_TO_BUY: 1 / KILO,
}

Terms = list[tuple[int, float]]
PortVariables = dict[tuple[str, str], int]


@dataclass(slots=True)
class Formulation:
    """The model of one problem. It is built when made; solving changes only bounds and rows."""

    problem: PlacementProblem
    tight: bool = True
    """Without (2), a weaker relaxation that is much faster to solve: for bounds of large problems only."""

    model: LinearModel = field(default_factory=LinearModel)
    x: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    n: dict[PoolSpec, int] = field(default_factory=dict[PoolSpec, int])
    y: list[tuple[Handoff, PortVariables]] = field(default_factory=list[tuple[Handoff, PortVariables]])
    completion: dict[str, int] = field(default_factory=dict[str, int])
    block_time: dict[str, int] = field(default_factory=dict[str, int])
    excess: dict[str, int] = field(default_factory=dict[str, int])
    slack: int = -1
    row_of: dict[str, int] = field(default_factory=dict[str, int])
    """Rows of (4) by device class, and of (9) as `E2E`."""

    def __post_init__(self) -> None:
        self._assignment()
        self._replicas()
        self._inventory()
        self._handoffs()
        self._paths()
        self._end_to_end()
        self._budgets()

    @property
    def scale(self) -> float:
        """$/request are solved per million, purchases in thousands: solvers' tolerances are absolute, near 1e-6."""
        return SCALE[self.problem.objective]

    def cost(self) -> Terms:
        """The objective, in its scaled unit."""
        late = [(self.slack, penalty_weight(self.problem) * self.scale)]
        match self.problem.objective:
            case Objective.USD_PER_HOUR:
                return [*self.hourly_usd(), *late]
            case Objective.USD_PER_REQUEST:
                return [*self._visits_usd(self.scale), *self._occupied_usd(), *late]
            case Objective.JOULES_PER_REQUEST:
                return [*self._joules(), *late]
            case Objective.E2E_S:
                return [*self.end_to_end(), *late]
            case Objective.USD_TO_BUY:
                return [*self._purchases(self.scale), *late]

    def hourly_usd(self) -> Terms:
        """Whole replicas and what moves, in dollars an hour."""
        fleet = [(variable, pool.usd_per_hour) for pool, variable in self.n.items()]
        return [*fleet, *self._visits_usd(HOUR_S * self.problem.rate_per_s)]

    def end_to_end(self) -> Terms:
        """The left side of (9), without slack."""
        blocks = [(self.block_time[block.name], block.visits) for block in self.problem.blocks]
        between = [term for handoff, ports in self.y if handoff.block is None for term in _visited(handoff, ports)]
        return [*blocks, *between]

    def assignments(self) -> Iterable[tuple[Task, Option, int]]:
        for task in self.problem.tasks:
            for option, variable in zip(task.options, self.x[task.name], strict=True):
                yield task, option, variable

    def decision(self, values: Sequence[float]) -> Decision:
        """What the values of the variables say: whole options, or shares with the pairs of ports that they took."""
        shares = {task.name: _shares(task, [values[each] for each in self.x[task.name]]) for task in self.problem.tasks}
        if not self.problem.split:
            return whole(self.problem, {name: max(used, key=_share)[0] for name, used in shares.items()})
        return Decision(shares, tuple(_move(handoff, ports, values) for handoff, ports in self.y))

    def allow_excess(self) -> None:
        for variable in self.excess.values():
            self.model.upper[variable] = math.inf

    def allow_lateness(self) -> None:
        self.model.upper[self.slack] = math.inf

    def _visits_usd(self, requests: float) -> Terms:
        """What so many requests pay by the visit."""
        moved = [
            (variable, requests * handoff.visits * handoff.usd_per_visit.get(ports, 0.0))
            for handoff, variables in self.y
            for ports, variable in variables.items()
        ]
        served = [
            (variable, requests * task.visits * option.usd_per_visit) for task, option, variable in self.assignments()
        ]
        return [*moved, *served]

    def _joules(self) -> Terms:
        return [(variable, task.visits * option.joules_per_visit) for task, option, variable in self.assignments()]

    def _purchases(self, scale: float = 1.0) -> Terms:
        return [(self.excess[name], scale * price) for name, price in self.problem.market.items()]

    def _occupied_usd(self) -> Terms:
        return [
            (variable, self.scale * occupied_usd(self.problem, task.visits, option))
            for task, option, variable in self.assignments()
        ]

    def _assignment(self) -> None:
        for task in self.problem.tasks:
            self.x[task.name] = [self.model.variable(1.0, integer=not self.problem.split) for _ in task.options]
            self.model.row([(variable, 1.0) for variable in self.x[task.name]], lower=1.0, upper=1.0)  # (1)

    def _replicas(self) -> None:
        loads: defaultdict[PoolSpec, Terms] = defaultdict(list)
        for task, option, variable in self.assignments():
            loads[option.pool].append((variable, self.problem.load(task, option)))
        for pool, terms in loads.items():
            self.n[pool] = replicas = self.model.variable(integer=True)
            for variable, load in terms if self.tight else ():
                self.model.row([(replicas, 1.0), (variable, -self._whole(load))], lower=0.0)  # (2)
            if len(terms) > 1 or self.problem.split or not self.tight:
                self.model.row([(replicas, 1.0), *_negative(terms)], lower=0.0)  # (3)

    def _whole(self, load: float) -> float:
        return 1.0 if self.problem.split else float(whole_replicas(load))

    def _inventory(self) -> None:
        used: defaultdict[str, Terms] = defaultdict(list)
        for pool, variable in self.n.items():
            used[pool.device_class].append((variable, float(pool.devices_per_replica)))
        for device_class, count in self.problem.inventory.items():
            can_buy = device_class in self.problem.market
            self.excess[device_class] = excess = self.model.variable(math.inf if can_buy else 0.0)
            self.model.row([*used[device_class], (excess, -1.0)], upper=float(count))  # (4)
            self.row_of[device_class] = self.model.last_row

    def _handoffs(self) -> None:
        for handoff in self.problem.handoffs:
            leaving, entering = self._by_port(handoff, handoff.source), self._by_port(handoff, handoff.target)
            ports = {
                (a, b): self.model.variable(0.0 if math.isinf(handoff.latency_s.get((a, b), 0.0)) else 1.0)
                for a in leaving
                for b in entering
            }
            for a, chosen in leaving.items():
                self._balance([ports[a, b] for b in entering], chosen)  # (5)
            for b, chosen in entering.items():
                self._balance([ports[a, b] for a in leaving], chosen)  # (6)
            self.y.append((handoff, ports))
            if handoff.tied:
                self._ties(handoff)

    def _ties(self, handoff: Handoff) -> None:
        ends = [self._by_tie(handoff.source), self._by_tie(handoff.target)]
        for tie in dict.fromkeys([*ends[0], *ends[1]]):
            self._balance(*(end.get(tie, []) for end in ends))  # (6t)

    def _by_port(self, handoff: Handoff, task: str) -> dict[str, list[int]]:
        """Variables of the task's options whose traffic moves over this hand-off."""
        ports: defaultdict[str, list[int]] = defaultdict(list)
        for option, variable in self._options(task):
            if not (handoff.tied and option.tie):
                ports[option.port].append(variable)
        return ports

    def _by_tie(self, task: str) -> dict[str, list[int]]:
        ties: defaultdict[str, list[int]] = defaultdict(list)
        for option, variable in self._options(task):
            if option.tie:
                ties[option.tie].append(variable)
        return ties

    def _options(self, task: str) -> Iterable[tuple[Option, int]]:
        return zip(self.problem.task(task).options, self.x[task], strict=True)

    def _balance(self, left: list[int], right: list[int]) -> None:
        terms = [*((variable, 1.0) for variable in left), *((variable, -1.0) for variable in right)]
        self.model.row(terms, lower=0.0, upper=0.0)

    def _paths(self) -> None:
        for block in self.problem.blocks:
            self.block_time[block.name] = total = self.model.variable()
            for task in block.tasks:
                self.completion[task] = done = self.model.variable()
                self.model.row([(done, 1.0), *_negative(self._latency(task))], lower=0.0)  # (7), nothing to wait for
                self.model.row([(total, 1.0), (done, -1.0)], lower=0.0)  # (8)
            self._waits(block)

    def _waits(self, block: Block) -> None:
        for handoff, ports in self.y:
            if handoff.block == block.name:
                done, ready = self.completion[handoff.target], self.completion[handoff.source]
                delays = [*_seconds(handoff, ports), *self._latency(handoff.target)]
                self.model.row([(done, 1.0), (ready, -1.0), *_negative(delays)], lower=0.0)  # (7)

    def _latency(self, name: str) -> Terms:
        return [(variable, option.latency_s) for option, variable in self._options(name)]

    def _end_to_end(self) -> None:
        self.slack = self.model.variable(0.0 if self.problem.hard_limit else math.inf)
        if self.problem.e2e_limit_s is not None:
            self.model.row([*self.end_to_end(), (self.slack, -1.0)], upper=self.problem.e2e_limit_s)  # (9)
            self.row_of[E2E] = self.model.last_row

    def _budgets(self) -> None:
        if self.problem.energy_limit_j is not None:
            self.model.row(self._joules(), upper=self.problem.energy_limit_j)  # (10)
        if self.problem.budget_usd is not None:
            self.model.row(self._purchases(1e-3), upper=self.problem.budget_usd * 1e-3)  # (11)


def _share(used: tuple[Option, float]) -> float:
    return used[1]


def _shares(task: Task, values: Sequence[float]) -> tuple[tuple[Option, float], ...]:
    """The options in use; what is below the solver's tolerance is nothing."""
    used = [(option, value) for option, value in zip(task.options, values, strict=True) if value > NOTHING]
    total = sum(value for _, value in used)
    return tuple((option, value / total) for option, value in used)


def _move(handoff: Handoff, ports: PortVariables, values: Sequence[float]) -> Move:
    taken = {pair: values[variable] for pair, variable in ports.items() if values[variable] > NOTHING}
    return Move(
        latency_s=sum(share * handoff.latency_s.get(pair, 0.0) for pair, share in taken.items()),
        usd_per_visit=sum(share * handoff.usd_per_visit.get(pair, 0.0) for pair, share in taken.items()),
    )


def _seconds(handoff: Handoff, ports: PortVariables) -> Terms:
    """Σ_ab l_hab y_hab, without the forbidden pairs."""
    waits = [(variable, handoff.latency_s.get(pair, 0.0)) for pair, variable in ports.items()]
    return [(variable, seconds) for variable, seconds in waits if math.isfinite(seconds)]


def _visited(handoff: Handoff, ports: PortVariables) -> Terms:
    return [(variable, handoff.visits * seconds) for variable, seconds in _seconds(handoff, ports)]


def _negative(terms: Terms) -> Terms:
    return [(variable, -coefficient) for variable, coefficient in terms]
