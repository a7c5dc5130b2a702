"""The calibration from files to files: measured operators and runs in, efficiency.toml and serving.toml out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weft import catalog
from weft.core.errors import CatalogError, WeftError
from weft.core.hardware import Device
from weft.core.units import Precision
from weft.cost.arrays import Floats
from weft.cost.bands import AKIN, METRICS, Bands, Known, fit_bands
from weft.cost.calibrate import Measured, Rows, fit, take
from weft.cost.efficiency import DEFAULT_EFFICIENCY, Efficiency, Residual
from weft.cost.habits import Habits, Labels, Runs, backing, predict
from weft.cost.operator_fit import fit_attention, fit_collective, fit_gemm
from weft.estimate.coefficients import FittedDevice
from weft.estimate.deployments import SeenDeployment
from weft.estimate.price import band_class
from weft.estimate.resolve import resolve
from weft.estimate.rows import Loaded, load, stack
from weft.study.disagg import told_deployments
from weft.study.measured import Run, hash_share
from weft.study.operator_data import (
    all_reduce_rows,
    context_rows,
    device_names,
    gemm_rows,
    generation_rows,
    mlp_rows,
    peak_shares,
)

Mask = NDArray[np.bool_]

FOLDS = 5
UNNAMED_WEIGHT = 0.3
UNTOLD_WEIGHT = 0.5
"""Of disaggregated runs whose replicas are filled from others."""
TWINS = {"gb300": "b300", "gh200": "h200", "h100-nvl": "h100-sxm", "h100-pcie": "h100-sxm"}
"""Devices without tables of their own that share the chip, and so the curves, of one that has them."""

SOURCE = "aiconfigurator operator tables ({name}), Apache-2.0"


def fit_operators(folder: Path) -> dict[str, FittedDevice]:
    """Every device of the folder of parquet tables, by catalogue id."""
    return {catalog.device(name).id: _fit_device(folder, name, catalog.device(name)) for name in device_names(folder)}


def fit_peaks(path: Path, known: Mapping[str, FittedDevice]) -> dict[str, FittedDevice]:
    """Devices without operator tables whose best GEMM was measured: the prior's curves at that peak."""
    found: dict[str, FittedDevice] = {}
    for name, shares in peak_shares(path).items():
        device = catalog.device(name)
        if device.id in known or device.id in TWINS:
            continue
        gemm = dict(DEFAULT_EFFICIENCY.gemm)
        residuals: dict[str, Residual] = {}
        for precision, share in shares.items():
            gemm[precision] = replace(gemm[precision], peak=share)
            residuals[f"{precision}"] = Residual(1, 0.0, 0.0)
        if Precision.FP8 not in shares and Precision.FP16 in shares:
            gemm[Precision.FP8] = replace(gemm[Precision.FP8], peak=shares[Precision.FP16])
            residuals["fp8"] = Residual(0, 0.0, 0.0)
        source = f"maximum achieved matmul of {name} (mamf.csv, stas00/ml-engineering); other coefficients: prior"
        found[device.id] = FittedDevice(Efficiency(gemm, provenance="fitted"), residuals, source)
    return found


def fit_mlp(path: Path, name: str) -> dict[str, FittedDevice]:
    """A device of which only the GEMMs of Llama layers were measured."""
    device = catalog.device(name)
    curve, residual = fit_gemm(mlp_rows(path, name), device, Precision.FP16, 2.0)
    gemm = {**DEFAULT_EFFICIENCY.gemm, Precision.FP16: curve}
    source = "GEMMs of Llama-2 layers (vidur_mlp.csv, microsoft/vidur, MIT); other coefficients: prior"
    return {device.id: FittedDevice(Efficiency(gemm, provenance="fitted"), {"fp16": residual}, source)}


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

    def some(self, keep: Mask) -> tuple[Runs, list[Labels]]:
        return take(self.stacked, keep), [each for each, kept in zip(self.labels, keep, strict=True) if kept]


def prepare(
    runs: Sequence[Run], efficiencies: Mapping[str, Efficiency], seen: Sequence[SeenDeployment] | None = None
) -> Prepared:
    """`seen` fills disaggregated runs that are told in part; by default what the runs themselves tell."""
    seen = told_deployments(runs, efficiencies) if seen is None else seen
    priced: list[tuple[Run, Loaded]] = []
    refused: list[tuple[Run, WeftError]] = []
    for run in runs:
        try:
            priced.append((run, load(resolve(run.point, efficiencies, seen))))
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


def refill(prepared: Prepared, efficiencies: Mapping[str, Efficiency], keep: Mask) -> Prepared:
    """Disaggregated runs that are told in part, filled from the deployments that only the runs of `keep` tell."""
    seen = told_deployments((run for run, kept in zip(prepared.runs, keep, strict=True) if kept), efficiencies)
    loaded = tuple(
        found if found.resolved.told else _loaded(run, found, efficiencies, seen)
        for run, found in zip(prepared.runs, prepared.loaded, strict=True)
    )
    labels = tuple(found.resolved.labels for found in loaded)
    return replace(prepared, loaded=loaded, stacked=stack(loaded), labels=labels)


def _loaded(
    run: Run, otherwise: Loaded, efficiencies: Mapping[str, Efficiency], seen: Sequence[SeenDeployment]
) -> Loaded:
    try:
        return load(resolve(run.point, efficiencies, seen))
    except WeftError:
        return otherwise


def measured(prepared: Prepared, keep: Mask) -> Measured:
    """Repeats of one configuration at one load share a weight. What an estimate does not give is not fitted."""
    keys = [
        f"{run.configuration}|{found.concurrency}" for run, found in zip(prepared.runs, prepared.loaded, strict=True)
    ]
    repeats = Counter(keys)
    told = np.array([found.resolved.told for found in prepared.loaded])
    weights = np.array([repeats[key] ** -0.5 for key in keys]) * np.where(told, 1.0, UNTOLD_WEIGHT)
    values = np.where(given(prepared), prepared.values, np.nan)
    return Measured(values[:, keep], weights[keep])


def fit_habits(prepared: Prepared, keep: Mask | None = None) -> Habits:
    """Every run counts twice: as itself, and with `UNNAMED_WEIGHT` as a run of software that was not named, so that a
    point with a blank engine gets what engines do on the average."""
    rows = np.ones(len(prepared.runs), dtype=np.bool_) if keep is None else keep
    kept = np.flatnonzero(rows)
    both = np.concatenate([kept, kept])
    labels = [prepared.labels[at] for at in kept]
    unnamed = [unnamed_labels(each) for each in labels]
    seen = measured(prepared, rows)
    weights = np.concatenate([seen.weights, UNNAMED_WEIGHT * seen.weights])
    doubled = Measured(np.concatenate([seen.values, seen.values], axis=1), weights)
    habits = fit(take(prepared.stacked, both), [*labels, *unnamed], doubled)
    return replace(habits, configurations=_configurations(prepared, kept))


def _configurations(prepared: Prepared, kept: Rows) -> Mapping[str, int]:
    """Aggregated ones, by what they back; disaggregated runs stand for themselves."""
    found: dict[str, set[str]] = {}
    rows = set(kept.tolist())
    for at, (run, loaded) in enumerate(zip(prepared.runs, prepared.loaded, strict=True)):
        if at in rows and loaded.resolved.prefill is None:
            found.setdefault(backing(loaded.resolved.labels), set()).add(run.configuration)
    return {name: len(names) for name, names in sorted(found.items())}


@dataclass(frozen=True, slots=True)
class KeptOut:
    """Predictions (3, runs) by fits that did not see the run's configuration, and how well known each run was;
    `unnamed`: the same as if the software had not been named."""

    predicted: Floats
    unnamed: Floats
    known: tuple[str, ...]


def given(prepared: Prepared) -> Mask:
    """(3, runs): which numbers an estimate of the run gives; no TTFT where the replicas that prefill are not told."""
    told = np.array([found.resolved.told for found in prepared.loaded])
    return np.stack([told, np.ones_like(told), np.ones_like(told)])


def cross_validate(prepared: Prepared, efficiencies: Mapping[str, Efficiency], folds: int = FOLDS) -> KeptOut:
    """Folds by configuration; runs of other configurations that report the same measurement are left out too."""
    fold = np.array(dealt(prepared, folds))
    predicted, unnamed = np.full((2, *prepared.values.shape), np.nan)
    known: list[str] = [Known.DATASHEET] * len(prepared.runs)
    for at in range(folds):
        out = fold == at
        if not out.any() or out.all():
            continue
        known_runs = others(prepared, out)
        filled = refill(prepared, efficiencies, known_runs)
        habits = fit_habits(filled, known_runs)
        stacked, labels = filled.some(out)
        predicted[:, out] = _predicted(stacked, labels, habits)
        unnamed[:, out] = _predicted(stacked, [unnamed_labels(each) for each in labels], habits)
        for row in np.flatnonzero(out):
            known[row] = band_class(prepared.labels[row], habits, efficiencies)
    return KeptOut(predicted, unnamed, tuple(known))


def _predicted(stacked: Runs, labels: Sequence[Labels], habits: Habits) -> Floats:
    seen = predict(stacked, habits.logs(labels))
    return np.stack([seen.ttft_s, seen.tpot_s, seen.tokens_per_s])


def unnamed_labels(labels: Labels) -> Labels:
    return replace(labels, engine="", version="")


def dealt(prepared: Prepared, folds: int) -> list[int]:
    """A fold for each run: the configurations of a device are dealt out one by one, in the order of a hash, so that no
    fold takes a device whole that has two."""
    devices: dict[str, dict[str, int]] = {}
    for run, labels in sorted(zip(prepared.runs, prepared.labels, strict=True), key=lambda pair: _order(pair[0])):
        dealt_to = devices.setdefault(labels.device, {})
        dealt_to.setdefault(run.configuration, len(dealt_to) % folds)
    return [
        devices[labels.device][run.configuration] for run, labels in zip(prepared.runs, prepared.labels, strict=True)
    ]


def _order(run: Run) -> float:
    return hash_share(f"fold|{run.configuration}")


def others(prepared: Prepared, out: Mask) -> Mask:
    """Runs that may tell of the runs of `out`: of other configurations, and not the same measurement to the last digit
    under another name."""
    keys = np.array(measurements(prepared))
    return ~out & ~np.isin(keys, keys[out])


def measurements(prepared: Prepared) -> list[int]:
    """A number for each run; the same for runs that report the same sizes, load and latencies."""
    numbers: dict[tuple[float, ...], int] = {}
    found: list[int] = []
    for at, (run, loaded) in enumerate(zip(prepared.runs, prepared.loaded, strict=True)):
        sizes = (run.point.isl or 0, run.point.osl or 0, loaded.concurrency)
        seen = (round(run.ttft_s, 4), round(run.tpot_s, 5)) if run.ttft_s and run.tpot_s else (-1.0 - at,)
        found.append(numbers.setdefault((*sizes, *seen), at))
    return found


def bands_of(prepared: Prepared, kept: KeptOut) -> Bands:
    predicted = np.concatenate([kept.predicted, kept.unnamed], axis=1)
    errors = np.log(np.concatenate([prepared.values, prepared.values], axis=1) / predicted)
    unnamed = [AKIN if each == Known.MEASURED else "" for each in kept.known]
    return fit_bands(errors, [*kept.known, *unnamed], 2 * [labels.device for labels in prepared.labels])


def scores(prepared: Prepared, kept: KeptOut) -> dict[str, dict[str, float]]:
    """Median and 80th percentile of |error| by metric."""
    found: dict[str, dict[str, float]] = {}
    gives = given(prepared)
    for at, metric in enumerate(METRICS):
        off = np.abs(kept.predicted[at] / prepared.values[at] - 1)
        off = off[np.isfinite(off) & gives[at]]
        if off.size:
            median, p80 = np.median(off), np.quantile(off, 0.8)
            found[metric] = {"runs": float(off.size), "median": float(median), "p80": float(p80)}
    return found
