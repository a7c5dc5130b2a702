"""The calibration from files to files: measured operators and runs in, efficiency.toml and serving.toml out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weft import catalog
from weft.core.errors import CatalogError, WeftError
from weft.core.hardware import Device
from weft.core.units import Precision
from weft.cost.arrays import Floats
from weft.cost.bands import METRICS, Bands, Known, fit_bands
from weft.cost.calibrate import Measured, fit, take
from weft.cost.efficiency import DEFAULT_EFFICIENCY, Efficiency
from weft.cost.habits import Habits, Labels, Runs, predict
from weft.cost.operator_fit import Residual, fit_attention, fit_collective, fit_gemm
from weft.estimate.coefficients import FittedDevice
from weft.estimate.price import how_known_by
from weft.estimate.resolve import resolve
from weft.estimate.rows import Loaded, load, stack
from weft.study.measured import Run, hash_share
from weft.study.operator_data import all_reduce_rows, context_rows, device_names, gemm_rows, generation_rows

FOLDS = 5
TWINS = {"gb300": "b300", "gh200": "h200", "h100-nvl": "h100-sxm", "h100-pcie": "h100-sxm"}
"""Devices without tables of their own that share the chip, and so the curves, of one that has them."""

SOURCE = "aiconfigurator operator tables ({name}), Apache-2.0"


def fit_operators(folder: Path) -> dict[str, FittedDevice]:
    """Every device of the folder of parquet tables, by catalogue id."""
    return {catalog.device(name).id: _fit_device(folder, name, catalog.device(name)) for name in device_names(folder)}


def _fit_device(folder: Path, name: str, device: Device) -> FittedDevice:
    prior = DEFAULT_EFFICIENCY
    gemm, residuals = dict(prior.gemm), dict[str, Residual]()
    for precision, weight_bytes, rows in gemm_rows(folder, name):
        if precision in device.flops_per_s:
            gemm[precision], residuals[f"{precision}"] = fit_gemm(rows, device, precision, weight_bytes)
    if Precision.FP8 in residuals:
        gemm[Precision.INT8] = gemm[Precision.FP8]
    context, residuals["context"] = fit_attention(context_rows(folder, name), device)
    generation, residuals["generation"] = fit_attention(generation_rows(folder, name), device)
    collective = prior.collective
    if messages := all_reduce_rows(folder, name):
        collective, residuals["collective"] = fit_collective(messages, device)
    efficiency = Efficiency(gemm, context, generation, collective, provenance="fitted")
    return FittedDevice(efficiency, residuals, SOURCE.format(name=name))


@dataclass(frozen=True, slots=True)
class Prepared:
    """Runs that can be priced, with their profiles and what was measured; the others by reason."""

    runs: tuple[Run, ...]
    loaded: tuple[Loaded, ...]
    stacked: Runs
    labels: tuple[Labels, ...]
    values: Floats
    refused: tuple[tuple[Run, WeftError], ...]

    def some(self, keep: Floats) -> tuple[Runs, list[Labels]]:
        return take(self.stacked, keep), [each for each, kept in zip(self.labels, keep, strict=True) if kept]


def prepare(runs: Sequence[Run], efficiencies: Mapping[str, Efficiency]) -> Prepared:
    priced: list[tuple[Run, Loaded]] = []
    refused: list[tuple[Run, WeftError]] = []
    for run in runs:
        try:
            priced.append((run, load(resolve(run.point, efficiencies))))
        except WeftError as error:
            refused.append((run, error))
    if not priced:
        raise CatalogError(
            subject="measured runs", problem="none can be priced", way_out="see `weft estimate --points` for reasons"
        )
    loaded = tuple(found for _, found in priced)
    values = np.array([[run.ttft_s, run.tpot_s, run.tokens_per_s] for run, _ in priced], dtype=np.float64).T
    labels = tuple(found.resolved.labels for found in loaded)
    return Prepared(
        tuple(run for run, _ in priced),
        loaded,
        stack(loaded),
        labels,
        np.where(values > 0, values, np.nan),
        tuple(refused),
    )


def measured(prepared: Prepared, keep: Floats) -> Measured:
    """Repeats of one configuration at one load share a weight."""
    keys = [
        f"{run.configuration}|{found.concurrency}" for run, found in zip(prepared.runs, prepared.loaded, strict=True)
    ]
    repeats = Counter(keys)
    weights = np.array([repeats[key] ** -0.5 for key in keys])
    return Measured(prepared.values[:, keep], weights[keep])


def fit_habits(prepared: Prepared, keep: Floats | None = None) -> Habits:
    rows = np.ones(len(prepared.runs), dtype=bool) if keep is None else keep
    stacked, labels = prepared.some(rows)
    return fit(stacked, labels, measured(prepared, rows))


@dataclass(frozen=True, slots=True)
class KeptOut:
    """Predictions of runs by fits that did not see their configuration, shape (3, runs), and how well known each was."""

    predicted: Floats
    known: tuple[Known, ...]


def cross_validate(prepared: Prepared, efficiencies: Mapping[str, Efficiency], folds: int = FOLDS) -> KeptOut:
    """Folds by configuration; configurations that report the very same measurement count as one."""
    fold = np.array([int(hash_share(f"fold|{name}") * folds) for name in independent(prepared)])
    predicted = np.full(prepared.values.shape, np.nan)
    known: list[Known] = [Known.DATASHEET] * len(prepared.runs)
    for at in range(folds):
        out = fold == at
        if not out.any() or out.all():
            continue
        habits = fit_habits(prepared, ~out)
        stacked, labels = prepared.some(out)
        seen = predict(stacked, habits.logs(labels))
        predicted[:, out] = np.stack([seen.ttft_s, seen.tpot_s, seen.tokens_per_s])
        for row in np.flatnonzero(out):
            known[row] = how_known_by(prepared.labels[row], habits, efficiencies)
    return KeptOut(predicted, tuple(known))


def independent(prepared: Prepared) -> list[str]:
    """A name for each run's configuration; the same for configurations that share a measurement to the last digit."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    first: dict[tuple[float, ...], str] = {}
    for run, found in zip(prepared.runs, prepared.loaded, strict=True):
        if run.ttft_s and run.tpot_s:
            key = (
                run.point.isl or 0,
                run.point.osl or 0,
                found.concurrency,
                round(run.ttft_s, 4),
                round(run.tpot_s, 5),
            )
            leader[find(run.configuration)] = find(first.setdefault(key, run.configuration))
    return [find(run.configuration) for run in prepared.runs]


def bands_of(prepared: Prepared, kept: KeptOut) -> Bands:
    errors = np.log(prepared.values / kept.predicted)
    return fit_bands(errors, kept.known, [labels.device for labels in prepared.labels])


def scores(prepared: Prepared, kept: KeptOut) -> dict[str, dict[str, float]]:
    """Median and 80th percentile of |error| by metric."""
    found: dict[str, dict[str, float]] = {}
    for at, metric in enumerate(METRICS):
        off = np.abs(kept.predicted[at] / prepared.values[at] - 1)
        off = off[np.isfinite(off)]
        if off.size:
            median, p80 = np.median(off), np.quantile(off, 0.8)
            found[metric] = {"runs": float(off.size), "median": float(median), "p80": float(p80)}
    return found
