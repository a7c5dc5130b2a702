# pyright: standard
"""Figures of a simulation: how latencies are distributed, how the fleet filled, which replica was busy when."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from weft.core.units import pretty_seconds
from weft.core.workload import Slo
from weft.report.figures import GRID, INK, PAPER, SOFT
from weft.sim.columns import Column
from weft.sim.kernel import seconds
from weft.sim.simulate import Outcome

LINES = ("#00798c", "#d1495b", "#edae49", "#66a61e", "#6c757d", "#7b4fa3")
POINTS = 400


def write_figures(outcome: Outcome, slo: Slo, folder: Path) -> tuple[str, ...]:
    draw_latencies(outcome, slo, folder / "latency.png")
    draw_timeline(outcome, folder / "timeline.png")
    names = ["latency.png", "timeline.png"]
    if outcome.busy:
        draw_utilisation(outcome, folder / "utilisation.png")
        names.append("utilisation.png")
    return tuple(names)


def draw_latencies(outcome: Outcome, slo: Slo, path: Path) -> None:
    """Cumulative distributions of TTFT, TPOT and the whole run, with the objective's bounds."""
    calls = outcome.recorder.calls
    panels: list[tuple[str, list[tuple[str, Column]], float | None]] = [
        ("TTFT", [(name, columns.ttft) for name, columns in calls.items()], slo.ttft_s),
        ("TPOT", [(name, columns.tpot) for name, columns in calls.items()], slo.tpot_s),
        ("longest gap between tokens", [(name, columns.itl) for name, columns in calls.items()], None),
        ("whole run", [("run", outcome.recorder.e2e)], slo.e2e_s),
    ]
    panels = [panel for panel in panels if any(len(column) for _, column in panel[1])]
    figure = _sheet(outcome, "share of calls and runs within a time", (3.0 * len(panels) + 0.6, 3.7))
    for axes, (title, columns, bound_s) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for colour, (name, column) in zip(LINES * 9, columns, strict=False):
            _cumulative(axes, column, name, colour)
        if bound_s is not None:
            axes.axvline(bound_s, color=INK, lw=0.9, ls=(0, (4, 3)))
            axes.annotate("objective", (bound_s, 0.02), fontsize=7.5, color=SOFT, rotation=90, ha="right", va="bottom")
        _scale(axes, columns, bound_s)
        axes.set_ylim(0, 1.005)
        axes.set_title(title, loc="left", fontsize=9.5, color=INK)
        if len(columns) > 1:
            axes.legend(frameon=False, fontsize=7.5, loc="lower right")
        _plain(axes)
    figure.savefig(path, dpi=140)


def _scale(axes: Axes, columns: Sequence[tuple[str, Column]], bound_s: float | None) -> None:
    """Logarithmic where times differ by more than a factor of 20; ticks in words like 20 ms."""
    ends = [time for _, column in columns if len(column) for time in column.quantiles((0.0, 1.0))]
    if bound_s is not None:
        ends.append(bound_s)
    if max(ends) > 20 * max(min(ends), 1e-9):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda time_s, _: pretty_seconds(time_s)))


def _cumulative(axes: Axes, column: Column, name: str, colour: str) -> None:
    if len(column):
        shares = np.linspace(0, 1, POINTS)[1:]
        times = np.maximum(column.quantiles(shares.tolist()), 1e-6)
        axes.step(times, shares, where="post", color=colour, lw=1.6, label=name)


def draw_timeline(outcome: Outcome, path: Path) -> None:
    """Arrivals and ends a second, what is running, what waits, and the KV blocks held."""
    samples = outcome.samples.kept
    at_s = np.array([seconds(sample.at) for sample in samples])
    figure = _sheet(outcome, "the fleet over time", (9.5, 7.2))
    rates, running, waiting, held = figure.subplots(4, 1, sharex=True)
    if len(samples) > 2:
        middles = (at_s[1:] + at_s[:-1]) / 2
        for label, colour, counts in (
            ("arrive", LINES[4], [sample.arrived for sample in samples]),
            ("end", LINES[0], [sample.ended for sample in samples]),
        ):
            rates.plot(middles, _smooth(np.diff(counts) / np.diff(at_s)), color=colour, lw=1.2, label=label)
    for at, pool in enumerate(outcome.pools):
        colour = LINES[at % len(LINES)]
        running.plot(at_s, [sample.running[at] for sample in samples], color=colour, lw=1.2, label=pool)
        waiting.plot(at_s, [sample.waiting[at] for sample in samples], color=colour, lw=1.2, label=pool)
        if any(sample.kv_used[at] for sample in samples):
            held.plot(at_s, [100 * sample.kv_used[at] for sample in samples], color=colour, lw=1.2, label=pool)
    panels = ((rates, "runs/s"), (running, "running"), (waiting, "waiting"), (held, "KV blocks held, %"))
    for axes, label in panels:
        axes.set_ylabel(label, fontsize=8.5)
        axes.set_ylim(bottom=0)
        _plain(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    held.set_xlabel("seconds", fontsize=8.5)
    figure.savefig(path, dpi=140)


def draw_utilisation(outcome: Outcome, path: Path) -> None:
    """One row a replica, one cell a stretch of time: the share of it that the replica worked."""
    names = list(outcome.busy)
    cells = np.array([outcome.busy[name] for name in names])
    figure = _sheet(outcome, "how busy each replica was", (9.5, min(12.0, 1.7 + 0.2 * max(3, len(names)))))
    axes = figure.subplots()
    extent = (0.0, cells.shape[1] * outcome.bin_s, len(names) - 0.5, -0.5)
    image = axes.imshow(
        100 * cells, aspect="auto", extent=extent, cmap="YlGnBu", vmin=0, vmax=100, interpolation="none"
    )
    every = max(1, len(names) // 40)
    axes.set_yticks(range(0, len(names), every), names[::every], fontsize=7.5)
    axes.set_xlabel("seconds", fontsize=8.5)
    axes.tick_params(length=0, labelsize=7.5)
    figure.colorbar(image, ax=axes, label="busy, %", shrink=0.9, pad=0.01)
    figure.savefig(path, dpi=140)


def _sheet(outcome: Outcome, title: str, size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    summary = outcome.summary
    figure.suptitle(
        f"{summary.agent}: {title}\nsimulated; {summary.source}; seed {summary.seed}",
        x=0.01,
        ha="left",
        fontsize=9.5,
        color=INK,
    )
    return figure


def _smooth(values: np.ndarray, points: int = 5) -> np.ndarray:
    """A running mean: single bins of few runs say little."""
    weights = np.ones(min(points, len(values)))
    return np.convolve(values, weights, "same") / np.convolve(np.ones(len(values)), weights, "same")


def _plain(axes: Axes) -> None:
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0, labelsize=8)
