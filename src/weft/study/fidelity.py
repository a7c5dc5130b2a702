"""Study `fidelity`: predicted against measured serving runs, each by a fit that did not see its configuration.

Configurations that report the same measurement to the last digit (the same run under two names) count as one, so that
none of them can tell the answer of another.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weft.cost.arrays import Floats
from weft.cost.bands import APART, METRICS, Bands, fit_bands
from weft.cost.habits import Labels
from weft.estimate.coefficients import efficiencies
from weft.study.calibration import FOLDS, KeptOut, Prepared, cross_validate, dealt, given, others, prepare
from weft.study.measured import Run, read_runs

TARGETS: Mapping[str, float] = {"ttft_s": 0.20, "tpot_s": 0.12, "tokens_per_s": 0.15}
WORST_DEVICE, COVERED = 0.35, 0.80
PEERS = (
    ("aiconfigurator 0.12, own silicon rows, mean", 0.40, 0.28),
    ("best public planner on rows kept aside, median", 0.44, 0.22),
)
"""Name, |error| of TTFT, of TPOT; ../shared/field-notes.md §2 and ../shared/data/README.md."""

Key = Callable[[Labels, Run], str]


@dataclass(frozen=True, slots=True)
class Score:
    """Of one metric in one slice of the runs: median and 80th percentile of |error|, median log error (bias), share of
    runs inside their 80 % band, and the band's median width (high / low)."""

    slice: str
    name: str
    metric: str
    runs: int
    configurations: int
    median: float
    p80: float
    bias: float
    covered: float
    width: float


@dataclass(frozen=True, slots=True)
class Fidelity:
    prepared: Prepared
    kept: KeptOut
    covered: Floats
    width: Floats
    scores: tuple[Score, ...]


SLICES: Mapping[str, Key] = {
    "all": lambda labels, run: "all",
    "device": lambda labels, run: labels.device,
    "device, aggregated": lambda labels, run: "disaggregated" if labels.parallel.startswith(APART) else labels.device,
    "engine": lambda labels, run: labels.engine or "other",
    "kind": lambda labels, run: f"{labels.kind}{', disaggregated' if labels.parallel.startswith(APART) else ''}",
    "isl/osl": lambda labels, run: f"{run.point.isl:g}/{run.point.osl:g}",
    "model": lambda labels, run: labels.model,
    "source": lambda labels, run: run.source,
}


def run(data: Path, parts: Sequence[int] = range(FOLDS)) -> Fidelity:
    """`data`: the folder that holds measured.csv. `parts`: the folds whose runs are predicted; fewer are quicker, and
    judge only their own runs. The curves of operators are the shipped ones: no serving run is in them."""
    curves = efficiencies()
    prepared = prepare(read_runs(data / "measured.csv"), curves)
    return judged(prepared, cross_validate(prepared, curves, parts))


def judged(prepared: Prepared, kept: KeptOut) -> Fidelity:
    """The scores of predictions by fits that did not see what they predict."""
    covered, width = _band_check(prepared, kept)
    scores = tuple(_scores(prepared, kept, covered, width))
    return Fidelity(prepared, kept, covered, width, scores)


def _band_check(prepared: Prepared, kept: KeptOut) -> tuple[Floats, Floats]:
    """Bands made from one half of the kept-out configurations, judged on the other, and the other way round."""
    errors = np.log(prepared.values / kept.predicted)
    half = np.array(dealt(prepared, 2)) == 0
    devices = [labels.device for labels in prepared.labels]
    covered, width = np.full(errors.shape, np.nan), np.full(errors.shape, np.nan)
    for judged in (half, ~half):
        bands = fit_bands(np.where(others(prepared, judged), errors, np.nan), kept.known, devices)
        ends = _ends(bands, kept, devices)
        inside = (errors >= ends[0]) & (errors <= ends[1])
        covered = np.where(judged & np.isfinite(errors), inside, covered)
        width = np.where(judged, np.exp(ends[1] - ends[0]), width)
    return covered, width


def _ends(bands: Bands, kept: KeptOut, devices: Sequence[str]) -> Floats:
    """(2, 3, runs): low and high."""
    rows = [
        [bands.of(metric, known, device) for known, device in zip(kept.known, devices, strict=True)]
        for metric in METRICS
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def _scores(prepared: Prepared, kept: KeptOut, covered: Floats, width: Floats) -> Iterator[Score]:
    configurations = np.array([run.configuration for run in prepared.runs])
    off = np.where(given(prepared), kept.predicted / prepared.values, np.nan)
    for name, key in SLICES.items():
        keys = np.array([key(labels, each) for labels, each in zip(prepared.labels, prepared.runs, strict=True)])
        for value in np.unique(keys):
            for at, metric in enumerate(METRICS):
                rows = (keys == value) & np.isfinite(off[at])
                if rows.any():
                    count = len(set(configurations[rows].tolist()))
                    part = (off[at][rows], covered[at][rows], width[at][rows])
                    yield _score(name, str(value), metric, count, part)


def _score(slice_: str, name: str, metric: str, configurations: int, part: tuple[Floats, Floats, Floats]) -> Score:
    off, covered, width = part
    error = np.abs(off - 1)
    return Score(
        slice_,
        name,
        metric,
        off.size,
        configurations,
        float(np.median(error)),
        float(np.quantile(error, 0.8)),
        float(np.median(np.log(off))),
        float(np.mean(covered)),
        float(np.median(width)),
    )


def worst_device(scores: Sequence[Score], metric: str, least_configurations: int = 1, slice_: str = "device") -> Score:
    mine = [each for each in scores if (each.slice, each.metric) == (slice_, metric) and each.name != "disaggregated"]
    devices = [each for each in mine if each.configurations >= least_configurations]
    return max(devices, key=lambda each: each.median)


def overall(scores: Sequence[Score], metric: str) -> Score:
    return next(each for each in scores if (each.slice, each.metric) == ("all", metric))


def write_csv(found: Fidelity, path: Path) -> None:
    """The scores; the runs themselves stay where they are."""
    names = list(Score.__slots__)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for score in found.scores:
            cells = [getattr(score, name) for name in names]
            writer.writerow([f"{cell:.4g}" if isinstance(cell, float) else cell for cell in cells])
