# pyright: standard
"""The figure of the study `fidelity`: predicted over measured by device, one panel a metric."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from weft.cost.bands import METRICS
from weft.report.figures import GRID, INK, PAPER, SOFT
from weft.study.calibration import given
from weft.study.fidelity import TARGETS, Fidelity, overall
from weft.study.fidelity_page import TITLES

LEAST_RUNS = 3
DOT, BOX = "#00798c", "#edae49"


def draw(found: Fidelity, path: Path) -> None:
    devices = np.array([labels.device for labels in found.prepared.labels])
    names = [str(name) for name in np.unique(devices) if (devices == name).sum() >= LEAST_RUNS]
    names.sort(key=lambda name: -int((devices == name).sum()))
    figure = Figure(figsize=(12, 1.6 + 0.42 * len(names)), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, sharey=True)
    gives = given(found.prepared)
    for at, (metric, axes) in enumerate(zip(METRICS, panels, strict=True)):
        ratio = np.where(gives[at], found.kept.predicted[at] / found.prepared.values[at], np.nan)
        for row, name in enumerate(names):
            _row(axes, row, ratio[(devices == name) & np.isfinite(ratio)])
        score = overall(found.scores, metric)
        title = f"{TITLES[metric]}: median |error| {100 * score.median:.1f} %, asked {100 * TARGETS[metric]:.0f} %"
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        _frame(axes)
    panels[0].set_yticks(range(len(names)), [f"{name} ({(devices == name).sum()})" for name in names], fontsize=9)
    panels[0].invert_yaxis()
    figure.suptitle(
        "Predicted ÷ measured, configurations kept out of the fit", x=0.01, ha="left", fontsize=12, color=INK
    )
    figure.savefig(path, dpi=130)


def _row(axes, row: int, ratio) -> None:
    if not ratio.size:
        return
    low, q1, middle, q3, high = np.quantile(ratio, [0.1, 0.25, 0.5, 0.75, 0.9])
    axes.plot([low, high], [row, row], color=SOFT, linewidth=1.2, zorder=2)
    axes.plot([q1, q3], [row, row], color=BOX, linewidth=8, solid_capstyle="butt", zorder=3)
    axes.plot(middle, row, "o", color=DOT, markersize=6, zorder=4)


def _frame(axes) -> None:
    axes.set_xscale("log")
    axes.set_xlim(0.3, 3.3)
    axes.set_xticks([0.33, 0.5, 0.8, 1, 1.25, 2, 3], ["⅓", "½", "0.8", "1", "1.25", "2", "3"], fontsize=9)
    axes.minorticks_off()
    axes.axvspan(1 / 1.2, 1.2, color=GRID, alpha=0.5, zorder=0)
    axes.axvline(1, color=INK, linewidth=0.8, zorder=1)
    axes.set_xlabel("dot: median; bar: half of the runs; line: 80 %; grey: ±20 %", fontsize=8.5, color=SOFT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
