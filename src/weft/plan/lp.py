"""A mixed-integer linear model, row by row, on HiGHS. The only file that imports highspy.

Rows hold and integers are whole within 1e-6, HiGHS's default. Do not tighten it: at 1e-9 its presolve (1.15) cuts off
optimal points of small models.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import highspy
import numpy as np

from weft.core.errors import PlanError


class Status(StrEnum):
    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    """Stopped at the time limit with a solution in hand."""

    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"
    """Stopped at the time limit with none."""


@dataclass(frozen=True, slots=True)
class Solution:
    status: Status
    values: tuple[float, ...]
    gap: float


@dataclass(frozen=True, slots=True)
class Relaxed:
    """`duals`: what one more unit of each row's bound adds to the cost; `reduced`: what one more unit of each variable
    would."""

    objective: float
    duals: tuple[float, ...]
    reduced: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(slots=True)
class LinearModel:
    """Variables are numbered from 0 and are at least 0; a row bounds a sum of terms (variable, coefficient)."""

    upper: list[float] = field(default_factory=list[float])
    integer: list[bool] = field(default_factory=list[bool])
    row_lower: list[float] = field(default_factory=list[float])
    row_upper: list[float] = field(default_factory=list[float])
    starts: list[int] = field(default_factory=lambda: [0])
    columns: list[int] = field(default_factory=list[int])
    coefficients: list[float] = field(default_factory=list[float])

    @property
    def last_row(self) -> int:
        return len(self.row_lower) - 1

    def variable(self, upper: float = math.inf, *, integer: bool = False) -> int:
        self.upper.append(upper)
        self.integer.append(integer)
        return len(self.upper) - 1

    def free(self, variable: int) -> None:
        """Without an upper bound."""
        self.upper[variable] = math.inf

    def row(self, terms: Iterable[tuple[int, float]], *, lower: float = -math.inf, upper: float = math.inf) -> None:
        """lower ≤ Σ coefficient · variable ≤ upper. Terms of one variable add up."""
        merged = _merged(terms)
        self.columns.extend(merged.keys())
        self.coefficients.extend(merged.values())
        self.starts.append(len(self.columns))
        self.row_lower.append(lower)
        self.row_upper.append(upper)

    def minimise(
        self,
        cost: Iterable[tuple[int, float]],
        time_limit_s: float,
        relative_gap: float,
        start: Mapping[int, float] | None = None,
    ) -> Solution:
        """One thread and a fixed seed: the same model always gives the same answer. `start` gives some variables their
        values in a solution to begin with."""
        highs = _solver(time_limit_s, relative_gap)
        highs.passModel(self._lp(cost))
        if start:
            highs.setSolution(len(start), np.array(list(start), np.int32), np.array(list(start.values())))
        highs.run()
        return _solution(highs)

    def relaxed(self, cost: Iterable[tuple[int, float]], time_limit_s: float = math.inf) -> Relaxed | None:
        """The least cost with fractions in place of whole numbers; None where nothing is feasible, or found in time."""
        highs = _solver(time_limit_s, 0.0)
        lp = self._lp(cost)
        lp.integrality_ = [highspy.HighsVarType.kContinuous] * lp.num_col_
        highs.passModel(lp)
        highs.run()
        if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        found = highs.getSolution()
        cost_found = float(highs.getInfo().objective_function_value)
        return Relaxed(cost_found, tuple(found.row_dual), tuple(found.col_dual), tuple(found.col_value))

    def _lp(self, cost: Iterable[tuple[int, float]]) -> highspy.HighsLp:
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(self.upper), len(self.row_lower)
        merged = _merged(cost)
        lp.col_cost_ = np.array([merged.get(column, 0.0) for column in range(lp.num_col_)])
        lp.col_lower_, lp.col_upper_ = np.zeros(lp.num_col_), np.array(self.upper)
        lp.row_lower_, lp.row_upper_ = np.array(self.row_lower), np.array(self.row_upper)
        kinds = highspy.HighsVarType
        lp.integrality_ = [kinds.kInteger if whole else kinds.kContinuous for whole in self.integer]
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = np.array(self.starts)
        lp.a_matrix_.index_ = np.array(self.columns)
        lp.a_matrix_.value_ = np.array(self.coefficients)
        return lp


def _solver(time_limit_s: float, relative_gap: float) -> highspy.Highs:
    highs = highspy.Highs()
    options: dict[str, bool | int | float | str] = {
        "output_flag": False,
        "threads": 1,
        "random_seed": 0,
        "time_limit": time_limit_s,
        "mip_rel_gap": relative_gap,
    }
    for name, value in options.items():
        highs.setOptionValue(name, value)
    return highs


def _merged(terms: Iterable[tuple[int, float]]) -> dict[int, float]:
    merged: dict[int, float] = {}
    for variable, coefficient in terms:
        merged[variable] = merged.get(variable, 0.0) + coefficient
    return merged


def _solution(highs: highspy.Highs) -> Solution:
    outcome, info = highs.getModelStatus(), highs.getInfo()
    has_values = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    values = tuple(float(value) for value in highs.getSolution().col_value) if has_values else ()
    gap = float(info.mip_gap) if math.isfinite(info.mip_gap) else 0.0
    if outcome == highspy.HighsModelStatus.kOptimal:
        return Solution(Status.OPTIMAL, values, gap)
    if outcome == highspy.HighsModelStatus.kTimeLimit:
        return Solution(Status.FEASIBLE if has_values else Status.UNKNOWN, values, gap)
    if outcome in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible):
        return Solution(Status.INFEASIBLE, (), math.inf)
    raise PlanError(
        subject="solver",
        problem=f"HiGHS stopped with {outcome.name}",
        way_out="report the problem with the program, the fleet and the SLO: this is a fault in Weft",
    )
