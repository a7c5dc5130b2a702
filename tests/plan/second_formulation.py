"""Split traffic once more, from the definition: pairs of options instead of ports, every path instead of completions.

Solved by SciPy's own copy of HiGHS. Shares no code with `plan.formulation`.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from weft.plan.problem import Handoff, Objective, Option, PlacementProblem
from weft.plan.promises import Promise

Row = dict[int, float]
MANY_S = 200.0
"""More than any course of the random problems takes."""


@dataclass
class Second:
    problem: PlacementProblem
    integer: list[int] = field(default_factory=list[int])
    upper: list[float] = field(default_factory=list[float])
    longest: dict[str, int] = field(default_factory=dict[str, int])
    rows: list[tuple[Row, float, float]] = field(default_factory=list[tuple[Row, float, float]])

    def variable(self, upper: float = math.inf, integer: bool = False) -> int:
        self.upper.append(upper)
        self.integer.append(int(integer))
        return len(self.upper) - 1

    def solve(self) -> float | None:
        """The least cost; None where nothing is feasible."""
        problem = self.problem
        x = {(task.name, o.name): self.variable(1.0) for task in problem.tasks for o in task.options}
        for task in problem.tasks:
            self.rows.append(({x[task.name, o.name]: 1.0 for o in task.options}, 1.0, 1.0))
        pools = {o.pool for task in problem.tasks for o in task.options}
        n = {pool: self.variable(integer=True) for pool in pools}
        for pool in pools:
            here = [(task, o) for task in problem.tasks for o in task.options if o.pool == pool]
            for task, o in here:
                self.rows.append(({x[task.name, o.name]: 1.0, n[pool]: -1.0}, -math.inf, 0.0))
            most = problem.link_utilisation / problem.rate_per_s
            works = {x[t.name, o.name]: t.visits * o.busy_s / problem.utilisation_of(t) for t, o in here}
            needs: list[Row] = [
                works | {n[pool]: -1 / problem.rate_per_s},
                {x[task.name, o.name]: o.sent_bytes for task, o in here} | {n[pool]: -most * pool.network_bytes_per_s},
                {x[task.name, o.name]: o.received_bytes for task, o in here}
                | {n[pool]: -most * pool.network_bytes_per_s},
            ]
            self.rows += [(row, -math.inf, 0.0) for row in needs if math.isfinite(row[n[pool]])]
        bought = self._stock(n)
        y = [self._pairs(handoff, x) for handoff in problem.handoffs]
        self._lines(y)
        total_s, late = self._time(x, y), self.variable(0.0 if problem.penalty_usd_per_s is None else math.inf)
        if problem.e2e_limit_s is not None:
            self.rows.append(({**total_s, late: -1.0}, -math.inf, problem.e2e_limit_s))
        penalties = {late: problem.penalty_usd_per_s or 0.0}
        penalties |= {self._promise(p, x, y): (p.penalty_usd_per_s or 0.0) * p.runs for p in problem.promises}
        joules = {x[t.name, o.name]: t.visits * o.joules_per_visit for t in problem.tasks for o in t.options}
        if problem.energy_limit_j is not None:
            self.rows.append((joules, -math.inf, problem.energy_limit_j))
        return self._minimise(self._cost(x, n, y, bought, joules, total_s, penalties))

    def _stock(self, n: dict) -> Row:
        bought: Row = {}
        for name, count in self.problem.inventory.items():
            used: Row = {variable: float(p.devices_per_replica) for p, variable in n.items() if p.device_class == name}
            if name in self.problem.market:
                bought[self.variable()] = self.problem.market[name]
                used[len(self.upper) - 1] = -1.0
            self.rows.append((used, -math.inf, float(count)))
        if self.problem.budget_usd is not None:
            self.rows.append((dict(bought), -math.inf, self.problem.budget_usd))
        return bought

    def _lines(self, y: list) -> None:
        for link, capacity in self.problem.link_bytes_per_s.items():
            row: Row = {}
            for handoff, pairs in zip(self.problem.handoffs, y, strict=True):
                for a, b, variable in pairs:
                    row[variable] = handoff.visits * handoff.bytes_of(a, b).get(link, 0.0) / max(capacity, 1.0)
            per_run = self.problem.link_utilisation / self.problem.rate_per_s
            self.rows.append((row, -math.inf, capacity / max(capacity, 1.0) * per_run))

    def _pairs(self, handoff: Handoff, x: dict) -> list[tuple[Option, Option, int]]:
        """One variable for each pair of options that may be joined, a coupling of the two distributions."""
        source, target = self.problem.task(handoff.source), self.problem.task(handoff.target)
        y = [
            (a, b, self.variable())
            for a in source.options
            for b in target.options
            if math.isfinite(handoff.latency_of(a, b))
        ]
        for a in source.options:
            row: Row = {variable: 1.0 for from_, _, variable in y if from_ == a}
            self.rows.append(({**row, x[source.name, a.name]: -1.0}, 0.0, 0.0))
        for b in target.options:
            row = {variable: 1.0 for _, to, variable in y if to == b}
            self.rows.append(({**row, x[target.name, b.name]: -1.0}, 0.0, 0.0))
        return y

    def _time(self, x: dict, y: list) -> Row:
        total: Row = {}
        for block in self.problem.blocks:
            longest = self.longest[block.name] = self.variable()
            total[longest] = block.visits
            for first in block.tasks:
                self._extend(block.name, (first, False), {}, longest, x, y)
        for handoff, pairs in zip(self.problem.handoffs, y, strict=True):
            if handoff.block is None:
                for a, b, variable in pairs:
                    total[variable] = handoff.visits * handoff.latency_of(a, b)
        return total

    def _promise(self, promise: Promise, x: dict, y: list) -> int:
        """Whether each course is on time is a choice of its own; gives the variable of its lateness."""
        late = self.variable(0.0 if promise.penalty_usd_per_s is None else math.inf)
        chosen: Row = {}
        for course in promise.courses:
            row: Row = {late: -1.0}
            for block in self.problem.blocks:
                times = course.visits[block.name]
                row[self.longest[block.name]] = times
                for task in block.tasks if promise.with_tails else ():
                    row |= {x[task, o.name]: times * o.tail_s for o in self.problem.task(task).options}
            for handoff, pairs in zip(self.problem.handoffs, y, strict=True):
                if handoff.block is None:
                    times = course.moves[handoff.source, handoff.target]
                    row |= {variable: times * handoff.latency_of(a, b) for a, b, variable in pairs}
            on_time = self.variable(1.0, integer=True)
            chosen[on_time] = course.probability
            self.rows.append(({**row, on_time: MANY_S}, -math.inf, promise.limit_s + MANY_S))
        self.rows.append((chosen, promise.share - 1e-9, math.inf))
        return late

    def _task_s(self, name: str, x: dict) -> Row:
        return {x[name, o.name]: o.latency_s for o in self.problem.task(name).options}

    def _extend(self, block: str, event: tuple[str, bool], path: Row, longest: int, x: dict, y: list) -> None:
        """One row for each path through the events of a block: a task begins (False) and ends (True)."""
        self.rows.append(({**path, longest: -1.0}, -math.inf, 0.0))
        task, ends = event
        if not ends:
            self._extend(block, (task, True), _sum(path, self._task_s(task, x)), longest, x, y)
        for handoff, pairs in zip(self.problem.handoffs, y, strict=True):
            if handoff.block != block or handoff.source != task:
                continue
            moved = {variable: handoff.latency_of(a, b) for a, b, variable in pairs}
            if handoff.chunks == 1.0:
                if ends:
                    self._extend(block, (handoff.target, False), _sum(path, moved), longest, x, y)
                continue
            source, target = self.problem.task(task), self.problem.task(handoff.target)
            first = {x[task, o.name]: o.wait_s + (o.latency_s - o.wait_s) / handoff.chunks for o in source.options}
            last = {x[target.name, o.name]: (o.latency_s - o.wait_s) / handoff.chunks for o in target.options}
            longer = _sum(_sum(path, moved), last if ends else first)
            self._extend(block, (handoff.target, ends), longer, longest, x, y)

    def _cost(self, x: dict, n: dict, y: list, bought: Row, joules: Row, total_s: Row, penalties: Row) -> Row:
        problem = self.problem
        paid: Row = {x[t.name, o.name]: t.visits * o.usd_per_visit for t in problem.tasks for o in t.options}
        for handoff, pairs in zip(problem.handoffs, y, strict=True):
            paid |= {variable: handoff.visits * handoff.usd_of(a, b) for a, b, variable in pairs}
        hour = 3600 * problem.rate_per_s
        match problem.objective:
            case Objective.USD_PER_HOUR:
                fleet = {variable: pool.usd_per_hour for pool, variable in n.items()}
                return (
                    fleet
                    | {variable: usd * hour for variable, usd in paid.items()}
                    | {late: usd * hour for late, usd in penalties.items()}
                )
            case Objective.USD_PER_REQUEST:
                for task in problem.tasks:
                    for o in task.options:
                        busy_s = task.visits * o.busy_s / problem.utilisation_of(task)
                        paid[x[task.name, o.name]] += busy_s * o.pool.usd_per_hour / 3600
                return paid | penalties
            case Objective.JOULES_PER_REQUEST:
                return joules | penalties
            case Objective.E2E_S:
                return total_s | penalties
            case Objective.USD_TO_BUY:
                return bought | penalties

    def _minimise(self, cost: Row) -> float | None:
        count = len(self.upper)
        matrix = np.zeros((len(self.rows), count))
        for at, (row, _, _) in enumerate(self.rows):
            matrix[at, list(row)] = list(row.values())
        bounds = LinearConstraint(matrix, [lower for _, lower, _ in self.rows], [upper for _, _, upper in self.rows])
        weights = np.zeros(count)
        weights[list(cost)] = list(cost.values())
        scale = 1e6 if self.problem.objective is Objective.USD_PER_REQUEST else 1.0
        found = milp(weights * scale, integrality=self.integer, bounds=Bounds(0, self.upper), constraints=bounds)
        return None if found.x is None else float(found.fun) / scale


def _sum(one: Row, other: Row) -> Row:
    return {key: one.get(key, 0.0) + other.get(key, 0.0) for key in (*one, *other)}
