# pyright: standard
"""The Pareto front as a figure: time against cost, energy as colour."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from weft.report.answers import FrontPoint


def pareto_figure(front: Sequence[FrontPoint], path: Path) -> None:
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    seconds = [each.e2e_s for each in front]
    dollars = [each.usd_per_hour for each in front]
    joules = [each.joules_per_run for each in front]
    dots = axes.scatter(
        seconds, dollars, c=joules, cmap="viridis_r", s=60, edgecolors="black", linewidths=0.6, zorder=3
    )
    stairs = _lower_envelope(list(zip(seconds, dollars, strict=True)))
    axes.step(*zip(*stairs, strict=True), where="post", color="0.6", linewidth=1, zorder=2)
    axes.set_xlabel("expected time of a run (s)")
    axes.set_ylabel("fleet ($/h)")
    axes.set_ylim(bottom=0)
    axes.set_title("Plans that no other beats in cost, time and energy", loc="left", fontsize=11)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.colorbar(dots, ax=axes, label="energy of a run (J)")
    figure.savefig(path, dpi=150)


def _lower_envelope(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The front of time and cost alone, from the fastest plan on."""
    kept: list[tuple[float, float]] = []
    for point in sorted(points):
        if not kept or point[1] < kept[-1][1]:
            kept.append(point)
    return kept
