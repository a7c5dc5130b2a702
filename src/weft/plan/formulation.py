"""Placement as a mixed-integer linear program.

Variables, all ≥ 0: x_io ∈ {0,1} task i takes option o · n_p ∈ ℤ replicas of pool p · y_hab hand-off h goes from port a
to port b · c_i completion of task i since its block began · T_k time of block k · s seconds late · w_d devices of
class d beyond the inventory (both 0 unless allowed).
Data: λ rate, ρ utilisation, v visits, b busy time, l latency, u inventory, L end-to-end limit.

    (1)  Σ_o x_io = 1                                               each task has one option
    (2)  n_p ≥ ⌈λ v_i b_io / ρ⌉ x_io         for o in p              whole replicas for each task alone
    (3)  n_p ≥ Σ_io λ v_i b_io / ρ x_io      for o in p              and for all tasks of a pool together
    (4)  Σ_p devices_p n_p − w_d ≤ u_d                              inventory
    (5)  Σ_b y_hab = Σ_o x_io                i = source, o at a      what leaves a port
    (6)  Σ_a y_hab = Σ_o x_jo                j = target, o at b      what enters one
    (7)  c_j ≥ c_i + Σ_ab l_hab y_hab + Σ_o l_jo x_jo                j starts when its inputs are there
    (8)  T_k ≥ c_i                           i in block k            longest path
    (9)  Σ_k v_k T_k + Σ_h v_h Σ_ab l_hab y_hab − s ≤ L              end to end; h between blocks

(2) follows from (3) for integers but not in the relaxation: with it, a pool of one option is bought whole already
there, and little is left to search. (5) and (6) sum over ports, not options: their number does not grow with options.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from weft.core.units import HOUR_S, MEGA
from weft.plan.evaluate import Choice, occupied_usd, penalty_weight
from weft.plan.lp import LinearModel, Solution
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

Terms = list[tuple[int, float]]
PortVariables = dict[tuple[str, str], int]


@dataclass(slots=True)
class Formulation:
    """The model of one problem. It is built when made; solving changes only bounds and rows."""

    problem: PlacementProblem
    model: LinearModel = field(default_factory=LinearModel)
    x: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    n: dict[PoolSpec, int] = field(default_factory=dict[PoolSpec, int])
    y: list[tuple[Handoff, PortVariables]] = field(default_factory=list[tuple[Handoff, PortVariables]])
    completion: dict[str, int] = field(default_factory=dict[str, int])
    block_time: dict[str, int] = field(default_factory=dict[str, int])
    excess: dict[str, int] = field(default_factory=dict[str, int])
    slack: int = -1

    def __post_init__(self) -> None:
        self._assignment()
        self._replicas()
        self._inventory()
        self._handoffs()
        self._paths()
        self._end_to_end()

    @property
    def scale(self) -> float:
        """$/request are solved per million requests: solvers compare with absolute tolerances near 1e-6."""
        return 1.0 if self.problem.objective is Objective.USD_PER_HOUR else MEGA

    def cost(self) -> Terms:
        """The objective, in its scaled unit."""
        hourly = self.problem.objective is Objective.USD_PER_HOUR
        requests = HOUR_S * self.problem.rate_per_s if hourly else self.scale
        moved = [
            (variable, requests * handoff.visits * handoff.usd_per_visit.get(ports, 0.0))
            for handoff, variables in self.y
            for ports, variable in variables.items()
        ]
        served = [
            (variable, requests * task.visits * option.usd_per_visit) for task, option, variable in self.assignments()
        ]
        late = [(self.slack, penalty_weight(self.problem) * self.scale)]
        return [*moved, *served, *late, *(self._fleet_usd() if hourly else self._occupied_usd())]

    def end_to_end(self) -> Terms:
        """The left side of (9), without slack."""
        blocks = [(self.block_time[block.name], block.visits) for block in self.problem.blocks]
        between = [term for handoff, ports in self.y if handoff.block is None for term in _visited(handoff, ports)]
        return [*blocks, *between]

    def assignments(self) -> Iterable[tuple[Task, Option, int]]:
        for task in self.problem.tasks:
            for option, variable in zip(task.options, self.x[task.name], strict=True):
                yield task, option, variable

    def choice(self, solution: Solution) -> Choice:
        chosen = {task.name: option for task, option, variable in self.assignments() if solution.values[variable] > 0.5}
        return {task.name: chosen[task.name] for task in self.problem.tasks}

    def allow_excess(self) -> None:
        for variable in self.excess.values():
            self.model.upper[variable] = math.inf

    def allow_lateness(self) -> None:
        self.model.upper[self.slack] = math.inf

    def _fleet_usd(self) -> Terms:
        return [(variable, pool.usd_per_hour) for pool, variable in self.n.items()]

    def _occupied_usd(self) -> Terms:
        return [
            (variable, self.scale * occupied_usd(self.problem, task.visits, option))
            for task, option, variable in self.assignments()
        ]

    def _assignment(self) -> None:
        for task in self.problem.tasks:
            self.x[task.name] = [self.model.variable(1.0, integer=True) for _ in task.options]
            self.model.row([(variable, 1.0) for variable in self.x[task.name]], lower=1.0, upper=1.0)  # (1)

    def _replicas(self) -> None:
        loads: defaultdict[PoolSpec, Terms] = defaultdict(list)
        for task, option, variable in self.assignments():
            loads[option.pool].append((variable, self.problem.load(task, option)))
        for pool, terms in loads.items():
            self.n[pool] = replicas = self.model.variable(integer=True)
            for variable, load in terms:
                self.model.row([(replicas, 1.0), (variable, -float(whole_replicas(load)))], lower=0.0)  # (2)
            if len(terms) > 1:
                self.model.row([(replicas, 1.0), *_negative(terms)], lower=0.0)  # (3)

    def _inventory(self) -> None:
        for device_class, count in self.problem.inventory.items():
            self.excess[device_class] = excess = self.model.variable(0.0)
            used = [
                (variable, float(pool.devices_per_replica))
                for pool, variable in self.n.items()
                if pool.device_class == device_class
            ]
            self.model.row([*used, (excess, -1.0)], upper=float(count))  # (4)

    def _handoffs(self) -> None:
        for handoff in self.problem.handoffs:
            leaving, entering = self._by_port(handoff.source), self._by_port(handoff.target)
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

    def _by_port(self, task: str) -> dict[str, list[int]]:
        ports: defaultdict[str, list[int]] = defaultdict(list)
        for option, variable in zip(self.problem.task(task).options, self.x[task], strict=True):
            ports[option.port].append(variable)
        return ports

    def _balance(self, moved: list[int], chosen: list[int]) -> None:
        terms = [*((variable, 1.0) for variable in moved), *((variable, -1.0) for variable in chosen)]
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
        return [(variable, option.latency_s) for task, option, variable in self.assignments() if task.name == name]

    def _end_to_end(self) -> None:
        self.slack = self.model.variable(0.0 if self.problem.hard_limit else math.inf)
        if self.problem.e2e_limit_s is not None:
            self.model.row([*self.end_to_end(), (self.slack, -1.0)], upper=self.problem.e2e_limit_s)  # (9)


def _seconds(handoff: Handoff, ports: PortVariables) -> Terms:
    """Σ_ab l_hab y_hab, without the forbidden pairs."""
    waits = [(variable, handoff.latency_s.get(pair, 0.0)) for pair, variable in ports.items()]
    return [(variable, seconds) for variable, seconds in waits if math.isfinite(seconds)]


def _visited(handoff: Handoff, ports: PortVariables) -> Terms:
    return [(variable, handoff.visits * seconds) for variable, seconds in _seconds(handoff, ports)]


def _negative(terms: Terms) -> Terms:
    return [(variable, -coefficient) for variable, coefficient in terms]
