# pyright: standard
"""Figures of a plan and a run, drawn with matplotlib's object interface (no global state, no display)."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from weft.core.deployment import Deployment
from weft.core.metrics import RequestRecord, StepRecord

INK, SOFT, PAPER, GRID = "#1c2430", "#5b6675", "#ffffff", "#d9dee5"
COLOURS = {"prefill": "#d1495b", "kv": "#edae49", "decode": "#00798c", "cpu": "#6c757d"}
LABEL_SHARE = 0.07
"""A narrower bar has no room for its name."""

MINIMUM_BAR_SHARE = 0.004
"""A step shorter than this share of the run is drawn this wide, so that it can be seen."""


def draw_timeline(record: RequestRecord, path: Path, hardware: str) -> None:
    """A Gantt chart: one row a node, one bar a visit of a step, coloured by what the step leans on.

    `hardware` is the sentence that says what really ran; it stands under the title.
    """
    nodes = _in_order_of_use(record.steps)
    figure = Figure(figsize=(11, 2.1 + 0.62 * len(nodes)), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for step in record.steps:
        _draw_step(axes, step, nodes.index(step.node), record.ended_s)
    labels = [f"{node}\n{_device_of(record.steps, node)}" for node in nodes]
    axes.set_yticks(range(len(nodes)), labels, fontsize=8.5)
    axes.invert_yaxis()
    axes.set_xlim(0, record.ended_s)
    axes.set_xlabel("seconds since the request arrived")
    figure.suptitle(f"{record.agent}: one run, node by node", x=0.01, ha="left", fontsize=12, color=INK)
    axes.set_title("\n".join(textwrap.wrap(hardware, 120)), loc="left", fontsize=8.5, color=SOFT)
    _legend(axes)
    _plain(axes)
    figure.savefig(path, dpi=150)


def _draw_step(axes: Axes, step: StepRecord, row: int, total_s: float) -> None:
    width = max(step.duration_s, MINIMUM_BAR_SHARE * total_s)
    axes.barh(row, width, left=step.started_s, height=0.56, color=COLOURS[_kind(step)], zorder=2)
    if step.duration_s > LABEL_SHARE * total_s:
        label = f"{step.step}\n{step.duration_s * 1e3:.0f} ms"
        middle = step.started_s + step.duration_s / 2
        axes.text(middle, row, label, ha="center", va="center", fontsize=7.5, color="white", zorder=3)


def _kind(step: StepRecord) -> str:
    suffix = step.step.rpartition(".")[2]
    return suffix if suffix in COLOURS else "cpu"


def _in_order_of_use(steps: Sequence[StepRecord]) -> list[str]:
    return list(dict.fromkeys(step.node for step in sorted(steps, key=lambda step: step.started_s)))


def _device_of(steps: Sequence[StepRecord], node: str) -> str:
    return next(step.device for step in steps if step.node == node)


def _legend(axes: Axes) -> None:
    names = {"prefill": "LLM prefill", "kv": "KV cache moves", "decode": "LLM decode", "cpu": "CPU steps"}
    handles = [axes.barh(0, 0, color=COLOURS[key], label=label) for key, label in names.items()]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=4, frameon=False, fontsize=8.5)


def draw_alternatives(deployment: Deployment, path: Path) -> None:
    """$/h of the plan beside the best fleet of each single accelerator that meets the same objective."""
    rows = [(each.device, each.usd_per_hour) for each in deployment.alternatives if each.usd_per_hour is not None]
    rows = [("Weft's plan", deployment.answer.usd_per_hour), *sorted(rows, key=lambda row: row[1])]
    figure = Figure(figsize=(8, 1.2 + 0.36 * len(rows)), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colours = [COLOURS["decode"], *[COLOURS["cpu"]] * (len(rows) - 1)]
    bars = axes.barh([name for name, _ in rows], [usd for _, usd in rows], color=colours, height=0.6, zorder=2)
    axes.bar_label(bars, labels=[f"${usd:,.2f}/h" for _, usd in rows], padding=4, fontsize=8.5)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel(f"$/h of the fleet, finance {deployment.finance!r}, objective {deployment.slo.name!r}")
    axes.set_title(f"{deployment.agent}: the mix beside one-accelerator fleets", loc="left", fontsize=11, color=INK)
    _plain(axes)
    figure.savefig(path, dpi=150)


def _plain(axes: Axes) -> None:
    axes.grid(axis="x", color=GRID, zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
