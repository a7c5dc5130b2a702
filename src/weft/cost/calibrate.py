"""Fits the habits of engines to measured runs: few bases, many small effects, each shrunk to zero by its spread.

Residuals are logarithms of predicted over measured, with a loss that is quadratic near zero and linear far out, so that
odd rows do not bend the fit. Gauss-Newton with damping; the Jacobian by differences, since a prediction of all rows
costs a millisecond. Pure: rows in, coefficients out, the same every time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weft.cost.arrays import Floats
from weft.cost.habits import GROUPS, OVERALL, START, Habits, Labels, Runs, predict

Rows = NDArray[np.intp]

SCALE = 0.12
"""Log error beyond which a row pulls linearly."""

BASE_SPREAD = 0.7
METRIC_WEIGHTS = (0.8, 1.2, 0.8)  # TTFT, TPOT, tokens/s
_DELTA, _ROUNDS, _GOOD_ENOUGH = 1e-4, 10, 3e-4


@dataclass(frozen=True, slots=True)
class Measured:
    """What came out of the runs, (3, runs): TTFT s, TPOT s, tokens/s; NaN where not reported. `weights` (runs,)."""

    values: Floats
    weights: Floats


@dataclass(frozen=True, slots=True)
class _Unknown:
    """One unknown: its coefficient, the rows it moves, its spread, and what to call it."""

    coefficient: str
    rows: Rows
    spread: float
    group: str
    key: str


def fit(runs: Runs, labels: Sequence[Labels], measured: Measured) -> Habits:
    unknowns = _unknowns(labels)
    problem = _Problem(runs, measured, unknowns, len(labels))
    return _habits(unknowns, problem.solve())


def take(runs: Runs, keep: Rows | NDArray[np.bool_]) -> Runs:
    """Some of the runs."""
    wide = {name: getattr(runs, name)[:, keep] for name in ("decode_s", "alone_s", "packed_s")}
    flat = ("running", "waiting", "replicas", "osl", "offline", "static")
    return Runs(**wide, **{name: getattr(runs, name)[keep] for name in flat})


def _unknowns(labels: Sequence[Labels]) -> tuple[_Unknown, ...]:
    everyone = np.arange(len(labels))
    found = [_Unknown(name, everyone, BASE_SPREAD, "", "") for name in START if name not in OVERALL]
    for group in GROUPS:
        keys = np.array([group.key(each) for each in labels])
        for key in np.unique(keys):
            rows = np.flatnonzero(keys == key)
            found += [_Unknown(name, rows, group.spread, group.name, str(key)) for name in group.coefficients]
    return tuple(found)


def _habits(unknowns: Sequence[_Unknown], solution: Floats) -> Habits:
    base = {name: float(np.log(value)) for name, value in START.items()}
    effects: dict[str, dict[str, dict[str, float]]] = {}
    for each, value in zip(unknowns, solution, strict=True):
        if each.group:
            effects.setdefault(each.group, {}).setdefault(each.key, {})[each.coefficient] = float(value)
        else:
            base[each.coefficient] += float(value)
    return Habits(base, effects)


@dataclass(frozen=True, slots=True)
class _Problem:
    runs: Runs
    measured: Measured
    unknowns: tuple[_Unknown, ...]
    count: int

    def solve(self) -> Floats:
        at = np.zeros(len(self.unknowns))
        errors, damping = self.errors(at), 1.0
        for _ in range(_ROUNDS):
            slopes = self.slopes(at, errors)
            normal, gradient = slopes.T @ slopes, slopes.T @ errors
            moved = self._move(at, errors, normal, gradient, damping)
            if moved is None:
                break
            gain = 1.0 - (moved[1] @ moved[1]) / (errors @ errors)
            at, errors, damping = moved
            if gain < _GOOD_ENOUGH:
                break
        return at

    def _move(
        self, at: Floats, errors: Floats, normal: Floats, gradient: Floats, damping: float
    ) -> tuple[Floats, Floats, float] | None:
        """The first damped step that helps; None where none does."""
        for _ in range(6):
            ridge = damping * 0.01 * (np.diag(normal) + 1e-3)
            change = np.clip(-np.linalg.solve(normal + np.diag(ridge), gradient), -1.0, 1.0)
            after = self.errors(at + change)
            if after @ after < errors @ errors:
                return at + change, after, max(damping / 5, 1e-3)
            damping *= 8
        return None

    def errors(self, at: Floats) -> Floats:
        """Shrunken residuals of all rows and metrics (0 where not reported), then the unknowns over their spreads."""
        return np.concatenate([self._rows(self._logs(at)).ravel(), at / self._spreads()])

    def slopes(self, at: Floats, errors: Floats) -> Floats:
        """Each unknown moves only its own rows, so only these are predicted again."""
        logs, size = self._logs(at), 3 * self.count
        before = errors[:size].reshape(3, self.count)
        slopes = np.zeros((errors.size, at.size))
        for column, each in enumerate(self.unknowns):
            some = {name: values[each.rows] for name, values in logs.items()}
            some[each.coefficient] = some[each.coefficient] + _DELTA
            after = self._rows(some, each.rows)
            moved = np.zeros((3, self.count))
            moved[:, each.rows] = (after - before[:, each.rows]) / _DELTA
            slopes[:size, column] = moved.ravel()
        slopes[size:] = np.diag(1.0 / self._spreads())
        return slopes

    def _spreads(self) -> Floats:
        return np.array([each.spread for each in self.unknowns])

    def _logs(self, at: Floats) -> Mapping[str, Floats]:
        logs = {name: np.full(self.count, np.log(value)) for name, value in START.items()}
        for each, value in zip(self.unknowns, at, strict=True):
            logs[each.coefficient][each.rows] += value
        return logs

    def _rows(self, logs: Mapping[str, Floats], some: Rows | None = None) -> Floats:
        runs = self.runs if some is None else take(self.runs, some)
        values = self.measured.values if some is None else self.measured.values[:, some]
        weights = self.measured.weights if some is None else self.measured.weights[some]
        seen = predict(runs, logs)
        predicted = np.stack([seen.ttft_s, seen.tpot_s, seen.tokens_per_s])
        reported = np.isfinite(values)
        off = np.log(np.where(reported, predicted / np.where(reported, values, 1.0), 1.0))
        off = off * np.array(METRIC_WEIGHTS)[:, None] * weights / SCALE
        return np.sign(off) * np.sqrt(2 * (np.sqrt(1 + off**2) - 1))
