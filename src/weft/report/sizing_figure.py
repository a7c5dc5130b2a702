# pyright: standard
"""Cost against attainment of all fleets that `weft size` simulated."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from weft.control.size import Sized
from weft.core.units import pretty_usd
from weft.report.figures import GRID, INK, PAPER, SOFT
from weft.report.sizing import validation

COLOURS = (
    *("#00798c", "#d97b29", "#7b4fa3", "#66a61e", "#d1495b", "#6c757d", "#edae49", "#1c2430"),
    *("#0077b6", "#a6d854", "#f4a6a0", "#8fcdd4", "#b08968", "#c77dff", "#606c38", "#ef476f"),
)


def sizing_figure(found: Sized, path: Path) -> None:
    """A dot is a fleet simulated to the end, a triangle one that was given up: at most so many runs were in time."""
    seen, usd = validation(found), found.deployment.answer.usd_per_hour
    figure = Figure(figsize=(9.0, 4.8), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for design in sorted({point.design for point in found.points}):
        here = [point for point in found.points if point.design == design]
        colour, label = COLOURS[design % len(COLOURS)], found.designs[design]
        for cut, marker in ((False, "o"), (True, "v")):
            points = [point for point in here if point.cut is cut]
            usd_per_hour, in_time = [each.usd_per_hour for each in points], [each.attainment for each in points]
            face = colour if not cut else PAPER
            axes.scatter(usd_per_hour, in_time, s=34, marker=marker, facecolor=face, edgecolor=colour, zorder=3)
        axes.scatter([], [], s=34, color=colour, label=label)
    axes.scatter([usd], [seen.attainment], s=190, facecolor="none", edgecolor=INK, linewidth=1.4, zorder=4)
    axes.axhline(seen.target, color=INK, lw=0.9, ls=(0, (4, 3)), zorder=2)
    axes.annotate(
        "wanted",
        (1.0, seen.target),
        xycoords=("axes fraction", "data"),
        fontsize=8,
        color=SOFT,
        va="bottom",
        ha="right",
    )
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
    axes.xaxis.set_major_formatter(lambda value, _: f"${value:,.6g}")
    axes.set_xlim(left=0)
    axes.set_xlabel("$/h of the fleet")
    axes.set_ylabel("runs in time")
    axes.grid(color=GRID, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0, labelsize=8.5)
    axes.legend(frameon=False, fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    figure.suptitle(f"{found.deployment.agent}: what runs in time cost", x=0.01, ha="left", fontsize=12, color=INK)
    marks = f"ring: the answer, {pretty_usd(usd)}/h; triangles: given up, at most so many in time"
    subtitle = f"simulated; {seen.load}; seed {seen.seed}\n{marks}"
    axes.set_title(subtitle, loc="left", fontsize=8.5, color=SOFT)
    figure.savefig(path, dpi=140)
