"""Error bands: how far measured runs that a fit did not see lay from it, by what is known of a run.

Split-conformal in logarithms: a band's ends are quantiles of log(measured / predicted) over kept-out runs of the same
class (how well known the run is) and device; a device with few runs borrows from its class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from weft.cost.arrays import Floats

METRICS = ("ttft_s", "tpot_s", "tokens_per_s")
COVERAGE = 0.88
"""Share of kept-out runs that a band is made to hold; above the promised 80 %, since the next runs are not these."""

ENOUGH = 30
"""Kept-out runs from which a device's own quantiles count in full."""


class Known(StrEnum):
    """How well a run is known, best first; also what an estimate says of where it comes from."""

    MEASURED = "measured"  # the same device, model, software and format were measured, at other sizes or loads
    FITTED = "fitted"  # the device was measured with other models or software
    DATASHEET = "datasheet"  # nothing was measured on the device


AKIN = "akin"
"""Class of runs whose device, model and format were measured with other software: fitted, but surer than the rest."""
APART = "apart"
"""Class of disaggregated runs, whose pools are often not told."""
SCARCE, UNSEEN = "scarce", "unseen"
"""Classes of runs on devices of which few configurations of the run's kind were measured, or none of it but others."""

PRIOR: Mapping[str, tuple[float, float]] = {
    "measured": (-0.4, 0.4),
    "akin": (-0.5, 0.5),
    "fitted": (-0.7, 0.7),
    "apart": (-1.0, 1.0),
    "scarce": (-0.9, 0.9),
    "unseen": (-1.6, 1.6),
    "datasheet": (-1.2, 1.2),
}


@dataclass(frozen=True, slots=True)
class Bands:
    """Ends as log(measured / predicted), by metric, then class or "class|device"."""

    ends: Mapping[str, Mapping[str, tuple[float, float]]]

    def of(self, metric: str, known: str, device: str) -> tuple[float, float]:
        by_class = self.ends.get(metric, {})
        return by_class.get(f"{known}|{device}") or by_class.get(known) or PRIOR[known]


def fit_bands(errors: Floats, known: Sequence[str], devices: Sequence[str]) -> Bands:
    """`errors` (3, runs): log(measured / predicted) of kept-out runs, NaN where not reported."""
    classes, names = np.array([str(each) for each in known]), np.array(devices)
    return Bands({metric: _metric_ends(errors[at], classes, names) for at, metric in enumerate(METRICS)})


def _metric_ends(errors: Floats, classes: Floats, names: Floats) -> Mapping[str, tuple[float, float]]:
    ends: dict[str, tuple[float, float]] = {}
    reported = np.isfinite(errors)
    for known in PRIOR:
        mine = reported & (classes == known)
        if mine.sum() < ENOUGH:
            ends[known] = _widest(PRIOR[known], errors[mine])
            continue
        ends[known] = _ends(errors[mine])
        for device in np.unique(names[mine]):
            own = errors[mine & (names == device)]
            ends[f"{known}|{device}"] = _blend(_ends(own), ends[known], own.size)
    widest = [ends[Known.FITTED], ends[Known.DATASHEET]]
    ends[Known.DATASHEET] = min(low for low, _ in widest), max(high for _, high in widest)
    return ends


def _ends(errors: Floats) -> tuple[float, float]:
    """Quantiles around the middle, widened as split-conformal does for a finite number of runs."""
    tail = (1 - COVERAGE) / 2
    level = max(tail - 1.0 / (errors.size + 1), 0.0)
    low, high = np.quantile(errors, [level, 1 - level])
    return float(min(low, -0.02)), float(max(high, 0.02))


def _blend(own: tuple[float, float], pooled: tuple[float, float], runs: int) -> tuple[float, float]:
    """Few runs: the wider of own and pooled; many: own."""
    if runs >= ENOUGH:
        return own
    return min(own[0], pooled[0]), max(own[1], pooled[1])


def _widest(prior: tuple[float, float], errors: Floats) -> tuple[float, float]:
    if not errors.size:
        return prior
    low, high = _ends(errors)
    return min(prior[0], low), max(prior[1], high)
