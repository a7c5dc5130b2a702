"""Measured runs that bear on the paper's claims, and what they say of prefill and decode apart.

evidence.csv ships with the package; tools/derive_evidence.py picked its rows. The runs are aggregated (prefill and
decode on one device). Runs of several sizes on one device tell the phases apart: device-seconds per request =
a · isl + b · osl + c · osl · (isl + osl/2), least squares of the relative error, no coefficient below 0.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from scipy.optimize import nnls

from weft import catalog
from weft.core.hardware import Finance
from weft.core.units import HOUR_S
from weft.cost.arrays import Floats
from weft.cost.tco import usd_per_hour
from weft.study.space import BASELINE, pair_name

FEWEST_RUNS = 3
"""Runs of different sizes that a device needs before its phases are told apart."""


@dataclass(frozen=True, slots=True)
class Run:
    """One measured configuration. None where the source does not say (or, for an objective, nothing met it)."""

    kind: str
    device: str
    model: str
    precision: str
    isl: int
    osl: int
    tp: int | None
    concurrency: str
    ttft_s: float | None
    tpot_s: float | None
    tokens_per_s_per_device: float | None
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Phases:
    """Device-seconds of the phases, fitted; `worst_error` is the largest relative misfit of its runs."""

    device: str
    runs: int
    per_input_token: float
    per_output_token: float
    per_output_token_and_context: float
    worst_error: float

    def prefill_s(self, isl: int) -> float:
        return self.per_input_token * isl

    def decode_s(self, isl: int, osl: int) -> float:
        return osl * (self.per_output_token + self.per_output_token_and_context * (isl + osl / 2))


@cache
def runs() -> tuple[Run, ...]:
    with (files("weft.study") / "evidence.csv").open(encoding="utf-8") as file:
        return tuple(_run(row) for row in csv.DictReader(file))


def of_kind(kind: str) -> tuple[Run, ...]:
    return tuple(run for run in runs() if run.kind == kind)


def phases(model: str, measured: Sequence[Run] | None = None) -> Mapping[str, Phases]:
    """By device, for devices with enough saturated runs of the model."""
    saturated = of_kind("saturated") if measured is None else measured
    by_device: dict[str, list[Run]] = {}
    for run in saturated:
        if run.model == model:
            by_device.setdefault(run.device, []).append(run)
    return {device: _fit(device, found) for device, found in by_device.items() if len(found) >= FEWEST_RUNS}


def measured_benefit(model: str, isl: int, osl: int, finance: Finance, catalogue: str) -> Mapping[str, float]:
    """Tokens per dollar of pairs put together from measured phases, over those of H100::H100."""
    split = phases(model)
    priced = {
        device: usd_per_hour(row, finance) / HOUR_S
        for device in split
        if (row := catalog.devices(catalogue).get(device)) and row.price_usd is not None
    }
    usd = {
        pair_name(first, second): priced[first] * split[first].prefill_s(isl)
        + priced[second] * split[second].decode_s(isl, osl)
        for first in priced
        for second in priced
    }
    base = usd[pair_name(BASELINE, BASELINE)]
    return {pair: base / cost for pair, cost in usd.items()}


def _fit(device: str, found: Sequence[Run]) -> Phases:
    isl = np.array([run.isl for run in found], dtype=np.float64)
    osl = np.array([run.osl for run in found], dtype=np.float64)
    rates = np.array([run.tokens_per_s_per_device or np.nan for run in found])
    device_s: Floats = osl / rates
    work = np.stack([isl, osl, osl * (isl + osl / 2)], axis=1) / device_s[:, None]
    found_s, _ = nnls(work, np.ones_like(device_s))
    worst = float(np.max(np.abs(work @ found_s - 1.0)))
    per_input, per_output, per_context = (float(value) for value in found_s)
    return Phases(device, len(found), per_input, per_output, per_context, worst)


def _run(row: Mapping[str, str]) -> Run:
    return Run(
        kind=row["kind"],
        device=row["device"],
        model=row["model"],
        precision=row["precision"],
        isl=int(row["isl"]),
        osl=int(row["osl"]),
        tp=int(row["tp"]) if row["tp"] else None,
        concurrency=row["concurrency"],
        ttft_s=_number(row["ttft_s"]),
        tpot_s=_number(row["tpot_s"]),
        tokens_per_s_per_device=_number(row["tokens_per_s_per_device"]),
        source=row["source"],
        date=row["date"],
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
