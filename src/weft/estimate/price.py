"""Points become estimates: value, error band and where it comes from; or the reason why not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from weft.core.errors import WeftError
from weft.cost.bands import AKIN, APART, SCARCE, UNSEEN, Known
from weft.cost.efficiency import Efficiency
from weft.cost.habits import Habits, Labels, predict
from weft.cost.points import Point
from weft.estimate.coefficients import Coefficients, coefficients
from weft.estimate.resolve import Resolved, resolve
from weft.estimate.rows import Loaded, load, stack

FEW = 4
"""Configurations of a device and kind below which its estimates count as scarcely known."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 80 % band."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Priced:
    """What a point comes to. `tokens_per_s` counts output tokens of the whole deployment; None where the point's kind
    has no such number or the point does not tell what it takes (`note`). `running` sequences are decoded at once on
    one replica, of which memory holds `fits`."""

    ttft_s: Estimate | None
    tpot_s: Estimate | None
    tokens_per_s: Estimate | None
    provenance: Known
    devices: int
    running: float
    fits: float
    note: str = ""


UNTOLD = "no TTFT: the point does not tell how many replicas prefill (weft estimate --disagg does)"


def price(points: Sequence[Point], using: Coefficients | None = None) -> list[Priced | WeftError]:
    """All points at once; a refusal stands in its place."""
    using = using or coefficients()
    answers: list[Priced | WeftError] = []
    ready: list[tuple[int, Loaded]] = []
    for at, point in enumerate(points):
        try:
            found = load(resolve(point, using.efficiencies, using.deployments))
        except WeftError as refusal:
            answers.append(refusal)
            continue
        answers.append(WeftError(subject="", problem="", way_out=""))
        ready.append((at, found))
    for (at, _), priced in zip(ready, _priced([found for _, found in ready], using), strict=True):
        answers[at] = priced
    return answers


def price_resolved(resolved: Resolved, using: Coefficients) -> Priced:
    """A point whose names are resolved already."""
    return _priced([load(resolved)], using)[0]


def _priced(loaded: Sequence[Loaded], using: Coefficients) -> list[Priced]:
    if not loaded:
        return []
    labels = [each.resolved.labels for each in loaded]
    seen = predict(stack(loaded), using.habits.logs(labels))
    rows = np.stack([seen.ttft_s, seen.tpot_s, seen.tokens_per_s]).T
    return [_one(each, values, using) for each, values in zip(loaded, rows.tolist(), strict=True)]


def _one(loaded: Loaded, values: Sequence[float], using: Coefficients) -> Priced:
    labels, profile = loaded.resolved.labels, loaded.profile
    known = how_known_by(labels, using.habits, using.efficiencies)
    band = band_class(labels, using.habits, using.efficiencies)
    ttft_s, tpot_s, tokens_per_s = (
        _banded(value, metric, band, labels.device, using)
        for value, metric in zip(values, ("ttft_s", "tpot_s", "tokens_per_s"), strict=True)
    )
    prefill, decode = labels.kind == "prefill", labels.kind == "decode"
    case, apart = loaded.resolved.case, loaded.resolved.prefill
    devices = case.engine.parallelism.devices * case.replicas
    devices += apart.engine.parallelism.devices * apart.replicas if apart else 0
    return Priced(
        None if decode or labels.kind == "offline" or not loaded.resolved.told else ttft_s,
        None if prefill else tpot_s,
        None if prefill else tokens_per_s,
        known,
        devices,
        float(profile.running[0]),
        float(profile.fits[0]),
        "" if loaded.resolved.told else UNTOLD,
    )


def how_known_by(labels: Labels, habits: Habits, efficiencies: Mapping[str, Efficiency]) -> Known:
    if labels.version and habits.knows("stack", labels):
        return Known.MEASURED
    if labels.device in efficiencies or habits.knows("device", labels):
        return Known.FITTED
    return Known.DATASHEET


def band_class(labels: Labels, habits: Habits, efficiencies: Mapping[str, Efficiency]) -> str:
    """Which kept-out runs say how sure an estimate is."""
    known = how_known_by(labels, habits, efficiencies)
    if labels.parallel.startswith(APART):
        return APART
    if known is not Known.DATASHEET and habits.backed_by(labels) < FEW:
        return SCARCE if habits.backed_by(labels) else UNSEEN
    return AKIN if known is Known.FITTED and habits.knows("pair", labels) else f"{known}"


def _banded(value: float, metric: str, known: str, device: str, using: Coefficients) -> Estimate:
    low, high = using.bands.of(metric, known, device)
    return Estimate(value, value * float(np.exp(low)), value * float(np.exp(high)))
