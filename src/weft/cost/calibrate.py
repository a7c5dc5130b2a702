"""Fits the habits of engines to measured runs: few bases, many small effects, each shrunk to zero by its spread.

Residuals are logarithms of predicted over measured, with a loss that is quadratic near zero and linear far out, so that
odd rows do not bend the fit. Gauss-Newton with damping; the Jacobian by differences, since a prediction of all rows
costs a millisecond. Pure: rows in, coefficients out, the same every time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from weft.cost.arrays import Floats
from weft.cost.habits import GROUPS, OVERALL, START, Apart, Habits, Labels, Runs, predict

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
    spreads = np.array([each.spread for each in unknowns])
    problem = _Problem(runs, measured, spreads, _design(unknowns, len(labels)))
    return _habits(unknowns, problem.solve())


def take(runs: Runs, keep: Rows | NDArray[np.bool_]) -> Runs:
    """Some of the runs."""
    wide = {name: getattr(runs, name)[:, keep] for name in ("decode_s", "alone_s", "packed_s")}
    flat = {name: getattr(runs, name)[keep] for name in Runs.__slots__ if name not in wide and name != "apart"}
    apart = runs.apart and Apart(**{name: getattr(runs.apart, name)[keep] for name in Apart.__slots__})
    return Runs(**wide, **flat, apart=apart)


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
    """`design` (coefficients · runs, unknowns): which unknowns add up to the logarithm of each coefficient of each run.
    One difference a coefficient gives the slopes of all unknowns, since those of one coefficient move it alike."""

    runs: Runs
    measured: Measured
    spreads: Floats
    design: csr_array

    def solve(self) -> Floats:
        at = np.zeros(self.spreads.size)
        errors, damping = self.errors(at), 1.0
        for _ in range(_ROUNDS):
            slopes = self.slopes(at)
            normal = (slopes.T @ slopes).toarray() + np.diag(self.spreads**-2.0)
            gradient = slopes.T @ errors[: slopes.shape[0]] + at / self.spreads**2
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
        return np.concatenate([self._rows(self._logs(at)).ravel(), at / self.spreads])

    def slopes(self, at: Floats) -> csr_array:
        """Of the rows' residuals, (3 · runs, unknowns)."""
        logs = self._logs(at)
        before, count = self._rows(logs), self.runs.osl.size
        by = np.stack([(self._rows(_raised(logs, name)) - before) / _DELTA for name in START])
        cells = np.arange(len(START) * count)
        picks = [csr_array((by[:, metric].ravel(), (cells % count, cells))) for metric in range(3)]
        return csr_array(vstack([pick @ self.design for pick in picks]))

    def _logs(self, at: Floats) -> Mapping[str, Floats]:
        effects = (self.design @ at).reshape(len(START), -1)
        return {name: np.log(value) + effect for (name, value), effect in zip(START.items(), effects, strict=True)}

    def _rows(self, logs: Mapping[str, Floats]) -> Floats:
        values = self.measured.values
        seen = predict(self.runs, logs)
        predicted = np.stack([seen.ttft_s, seen.tpot_s, seen.tokens_per_s])
        reported = np.isfinite(values)
        off = np.log(np.where(reported, predicted / np.where(reported, values, 1.0), 1.0))
        off = off * np.array(METRIC_WEIGHTS)[:, None] * self.measured.weights / SCALE
        return np.sign(off) * np.sqrt(2 * (np.sqrt(1 + off**2) - 1))


def _raised(logs: Mapping[str, Floats], name: str) -> Mapping[str, Floats]:
    return {**logs, name: logs[name] + _DELTA}


def _design(unknowns: Sequence[_Unknown], count: int) -> csr_array:
    order = {name: at for at, name in enumerate(START)}
    cells: Rows = np.concatenate([order[each.coefficient] * count + each.rows for each in unknowns])
    columns = np.repeat(np.arange(len(unknowns)), [each.rows.size for each in unknowns])
    return csr_array((np.ones(cells.size), (cells, columns)), shape=(len(order) * count, len(unknowns)))
