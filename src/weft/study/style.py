# pyright: standard
"""How the studies' figures look: one page, colours that tell devices apart, nothing that is not data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from weft.report.figures import GRID, INK, PAPER, SOFT

DEVICE_COLOURS = {
    "a40": "#9aa5b1",
    "a100-sxm": "#6c757d",
    "gaudi3": "#0077b6",
    "mi300x": "#d1495b",
    "h100-sxm": "#66a61e",
    "b200": "#1b7837",
    "h200": "#a6d854",
    "mi355x": "#f4a6a0",
    "b300": "#00441b",
}
SERIES = ("#00798c", "#8fcdd4", "#d97b29", "#f3c9a0")
"""Two hues in two strengths: a model a hue, a precision a strength."""
COLD, WARM, BAND = "#00798c", "#edae49", "#f6d9a3"


Margins = tuple[float, float, float, float]
"""Left, right, bottom, top of the panels in shares of the sheet: several times faster than fitting them to the text."""


def sheet(title: str, subtitle: str, size: tuple[float, float], margins: Margins | None = None) -> Figure:
    figure = Figure(figsize=size, layout=None if margins else "constrained", facecolor=PAPER)
    if margins:
        left, right, bottom, top = margins
        figure.subplots_adjust(left, bottom, right, top, wspace=0.03, hspace=0.2)
    FigureCanvasAgg(figure)
    figure.suptitle(f"{title}\n\n", x=0.01, y=0.985, ha="left", va="top", fontsize=13, color=INK)
    figure.text(0.01, 1 - 0.42 / size[1], subtitle, ha="left", va="top", fontsize=9, color=SOFT)
    return figure


def plain(axes: Axes, grid: Literal["x", "y"] = "y") -> None:
    axes.grid(axis=grid, color=GRID, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0, labelsize=8.5)


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    place = "outside lower center" if figure.get_layout_engine() else "lower center"
    figure.legend(handles, labels, loc=place, ncols=columns, frameon=False, fontsize=9)


def save(figure: Figure, path: Path) -> str:
    figure.savefig(path, dpi=130)
    return path.name


def tick_labels(names: Sequence[str]) -> list[str]:
    """`B200::Gaudi 3` on two lines."""
    return [name.replace("::", "::\n") for name in names]
