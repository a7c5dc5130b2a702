# pyright: standard
"""Figures of the TCO study: benefit of named pairs (the paper's Figures 8 and 9), all pairs at a glance, tornado."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean

import numpy as np
from matplotlib.axes import Axes

from weft.cost.sensitivity import Swing
from weft.report.figures import GRID, INK, SOFT
from weft.study.pairs import Row
from weft.study.space import FINANCES, MODELS, PAPER_DEVICES, PRECISIONS, pair_name, short
from weft.study.style import COLD, SERIES, WARM, legend_below, plain, save, sheet, tick_labels

SHOWN = (
    "H100::H100",
    "B200::B200",
    "B200::H100",
    "B200::Gaudi 3",
    "H100::Gaudi 3",
    "Gaudi 3::Gaudi 3",
    "B200::MI300X",
    "MI300X::MI300X",
)
"""The five pairs that the paper's figures name, and the single devices and mixes that beat them here."""
TOP = 4.0
"""The end of the axis, as in the paper. A bar beyond it is cut and bears its number."""
OBJECTIVES = {"interactive": "interactive (TTFT ≤ 250 ms, TBT ≤ 20 ms)", "offline": "offline"}
_SERIES = [(model, precision) for model in MODELS for precision in PRECISIONS]


def draw_benefit(rows: Sequence[Row], catalogue: str, isl: int, osl: int, path: Path) -> str:
    """Bars of benefit over H100::H100, one panel an objective and finance."""
    chosen = [row for row in rows if (row.cell.catalogue, row.cell.isl, row.cell.osl) == (catalogue, isl, osl)]
    figure = sheet(
        f"ISL/OSL {isl}/{osl}: tokens per dollar of pairs (prefill::decode), H100::H100 = 1",
        f"Llama 3, best TP×PP×batch each; device figures: catalogue {catalogue!r}. A gap: the pair cannot meet the "
        "objective.",
        (13, 7),
        margins=(0.04, 0.995, 0.12, 0.87),
    )
    grid = figure.subplots(len(FINANCES), len(OBJECTIVES), sharey=True, sharex=True)
    for finance, line in zip(FINANCES, grid, strict=True):
        for objective, axes in zip(OBJECTIVES, line, strict=True):
            cells = [row for row in chosen if (row.cell.finance, row.cell.sla) == (finance, objective)]
            _bars(axes, cells)
            axes.set_title(f"{OBJECTIVES[objective]}, finance {finance}", loc="left", fontsize=10, color=INK)
    for axes in grid[:, 0]:
        axes.set_ylabel("benefit", fontsize=9)
    legend_below(figure, grid[0, 0], len(_SERIES))
    return save(figure, path)


def _bars(axes: Axes, cells: Sequence[Row]) -> None:
    width = 0.8 / len(_SERIES)
    for at, (model, precision) in enumerate(_SERIES):
        own = {row.pair: row.benefit for row in cells if (row.cell.model, row.cell.precision) == (model, precision)}
        heights = [own.get(pair) or 0.0 for pair in SHOWN]
        places = np.arange(len(SHOWN)) + (at - (len(_SERIES) - 1) / 2) * width
        label = f"{short(model)} {precision.upper()}"
        axes.bar(places, np.minimum(heights, TOP), width * 0.92, color=SERIES[at], label=label, zorder=2)
        for place, height in zip(places, heights, strict=True):
            if height > TOP:
                axes.text(place, TOP, f"{height:.2g}", ha="center", va="bottom", fontsize=7.5, color=INK)
    axes.axhline(1.0, color=INK, linestyle="--", linewidth=1, zorder=3)
    axes.set_xticks(range(len(SHOWN)), tick_labels(SHOWN))
    axes.set_ylim(0, max(axes.get_ylim()[1], 2.0))
    plain(axes)


def draw_all_pairs(rows: Sequence[Row], path: Path) -> str:
    """36 pairs as heat maps: mean benefit over models, precisions and workloads of the default catalogue."""
    figure = sheet(
        "All pairs at a glance: mean benefit over H100::H100",
        "Geometric mean over Llama 3 8B and 70B, FP16 and FP8, both workloads; default catalogue. ★ best of the panel. "
        "No colour: a pair that serves only some (A40 and A100 run FP16 only).",
        (12, 11),
        margins=(0.075, 0.985, 0.05, 0.9),
    )
    figure.subplots_adjust(wspace=0.2, hspace=0.24)
    grid = figure.subplots(len(FINANCES), len(OBJECTIVES))
    for finance, line in zip(FINANCES, grid, strict=True):
        for objective, axes in zip(OBJECTIVES, line, strict=True):
            wanted = ("default", finance, objective)
            _heat(axes, [r for r in rows if (r.cell.catalogue, r.cell.finance, r.cell.sla) == wanted])
            axes.set_title(f"{OBJECTIVES[objective]}, finance {finance}", loc="left", fontsize=10, color=INK)
    return save(figure, path)


def _heat(axes: Axes, cells: Sequence[Row]) -> None:
    found: dict[str, list[float]] = {}
    for row in cells:
        if row.benefit is not None:
            found.setdefault(row.pair, []).append(row.benefit)
    served = [[found.get(pair_name(first, second), []) for second in PAPER_DEVICES] for first in PAPER_DEVICES]
    means = np.array([[_mean(values) for values in line] for line in served])
    counts = np.array([[len(values) for values in line] for line in served])
    best = np.max(means[counts == counts.max()])
    axes.imshow(
        np.log2(np.where(counts == counts.max(), means, np.nan)), cmap="RdBu", vmin=-1.3, vmax=1.3, aspect="auto"
    )
    for (line, column), value in np.ndenumerate(means):
        count = counts[line, column]
        text = f"{value:.2f}" + (" ★" if value == best else "") if count else "–"
        partial = count < counts.max()
        text += f"\nin {count} of {counts.max()}" if partial and count else ""
        ink = SOFT if partial else "white" if abs(np.log2(value)) > 0.9 else INK
        axes.text(column, line, text, ha="center", va="center", fontsize=8 if partial else 10, color=ink)
    names = [short(device) for device in PAPER_DEVICES]
    axes.set_xticks(range(len(names)), names, fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_xlabel("decode on", fontsize=9, color=SOFT)
    axes.set_ylabel("prefill on", fontsize=9, color=SOFT)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _mean(values: Sequence[float]) -> float:
    return geometric_mean(values) if values else float("nan")


def draw_tornado(swings: Mapping[str, Sequence[Swing]], bases: Mapping[str, float], title: str, path: Path) -> str:
    """One panel a comparison; bars from the result at an input's low end to that at its high end."""
    told = "Each input alone from its low to its high end (written at the bar); the line is the base."
    figure = sheet(title, told, (13, 6.4), margins=(0.125, 0.985, 0.06, 0.85))
    figure.subplots_adjust(wspace=0.34)
    for axes, (name, found) in zip(np.atleast_1d(figure.subplots(1, len(swings))), swings.items(), strict=True):
        _tornado(axes, found, bases[name])
        axes.set_title(f"B200::Gaudi 3 over {pair_name(name, name)}", loc="left", fontsize=10, color=INK)
    return save(figure, path)


def _tornado(axes: Axes, found: Sequence[Swing], base: float) -> None:
    for line, swing in enumerate(found):
        for value, end, colour in ((swing.at_low, swing.input.low, COLD), (swing.at_high, swing.input.high, WARM)):
            if value is None:
                continue
            axes.barh(line, value - base, left=base, color=colour, height=0.62, zorder=2)
            right = value > base or (value == base and colour == WARM)
            axes.annotate(
                f"{end:,g}",
                (value, line),
                (3 if right else -3, 0),
                textcoords="offset points",
                ha="left" if right else "right",
                va="center",
                fontsize=7.5,
                color=SOFT,
            )
    axes.axvline(base, color=INK, linewidth=1, zorder=3)
    axes.axvline(1.0, color=GRID, linestyle="--", linewidth=1.5, zorder=1)
    axes.set_yticks(range(len(found)), [swing.input.name for swing in found])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    plain(axes, "x")
