# pyright: standard
"""Figures of the studies that simulate: routers, mixed fleets, a failure."""

from collections.abc import Sequence
from pathlib import Path

from weft.study import failure, mix, routing
from weft.study.style import COLD, SERIES, WARM, legend_below, plain, save, sheet

ROUTERS = {"round-robin": "#9aa5b1", "least-load": WARM, "prefix": SERIES[1], "weft": COLD}
FLEETS = (COLD, "#1b7837", "#66a61e", "#0077b6", "#d1495b")
REACTIONS = {
    failure.NOTHING: "#c4cbd4",
    failure.STAYS_DOWN: "#d1495b",
    failure.COMES_BACK: WARM,
    failure.IS_REPLACED: COLD,
}
PANELS = (0.055, 0.99, 0.23, 0.77)
PERCENTILES = (("p50", "ttft_p50_s"), ("p90", "ttft_p90_s"), ("p99", "ttft_p99_s"))


def draw_routing(rows: Sequence[routing.Row], path: Path) -> str:
    """TTFT of each router as a multiple of round robin's, at three percentiles; seeds of one case side by side."""
    cases = list(dict.fromkeys((row.case, row.seed) for row in rows))
    names = list(dict.fromkeys(case for case, _ in cases))
    subtitle = (
        "time to the first token, round robin's is 1; a mark is a run of the simulator (several seeds: several marks)"
    )
    figure = sheet("Who should take a model call?", subtitle, (10.4, 4.8), (0.05, 0.99, 0.2, 0.78))
    panels = figure.subplots(1, len(PERCENTILES), sharey=True)
    for axes, (title, field) in zip(panels, PERCENTILES, strict=True):
        for number, (router, colour) in enumerate(ROUTERS.items()):
            found = [row for row in rows if row.router == router]
            base = {(row.case, row.seed): getattr(row, field) for row in rows if row.router == "round-robin"}
            x = [names.index(row.case) + 0.18 * (number - 1.5) for row in found]
            y = [getattr(row, field) / base[row.case, row.seed] for row in found]
            axes.vlines(x, 0, y, color=colour, linewidth=5, alpha=0.35, zorder=2)
            axes.plot(x, y, "o", color=colour, markersize=6, label=router, zorder=3)
        axes.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names], fontsize=8.5)
        axes.set_title(f"TTFT {title}", loc="left", fontsize=10)
        axes.set_ylim(bottom=0)
        plain(axes)
    legend_below(figure, panels[0], len(ROUTERS))
    return save(figure, path)


def draw_mix(rows: Sequence[mix.Row], path: Path) -> str:
    """Goodput against what is offered."""
    workloads = list(dict.fromkeys(row.workload for row in rows))
    subtitle = (
        f"runs that end within the objective against runs that come; fleets of at most ${mix.BUDGET_USD_PER_HOUR:g}/h"
    )
    figure = sheet("A mixed fleet beside fleets of one accelerator", subtitle, (11.0, 4.6), PANELS)
    names = list(dict.fromkeys(row.fleet for row in rows))
    figure.subplots_adjust(wspace=0.14)
    panels = figure.subplots(1, len(workloads), squeeze=False)[0]
    for axes, workload in zip(panels, workloads, strict=True):
        here = [row for row in rows if row.workload == workload]
        most = max(row.offered_per_s for row in here)
        axes.plot([0, most], [0, most], color="#9aa5b1", lw=0.9, ls=(0, (4, 3)), label="all in time", zorder=2)
        for name, colour in zip(names, FLEETS, strict=False):
            found = [row for row in here if row.fleet == name]
            width = 2.6 if name == mix.MIX else 1.6
            x, y = [row.offered_per_s for row in found], [row.goodput_per_s for row in found]
            axes.plot(x, y, "o-", color=colour, lw=width, markersize=4, label=name, zorder=3)
        axes.set_title(workload, loc="left", fontsize=10)
        axes.set_xlabel("offered, runs/s")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        plain(axes)
    panels[0].set_ylabel("in time, runs/s")
    legend_below(figure, panels[0], len(names) + 1)
    return save(figure, path)


def draw_failure(courses: Sequence[failure.Course], path: Path) -> str:
    """The share of runs in time, by when they came."""
    cases = list(dict.fromkeys(course.case for course in courses))
    when = f"({failure.BIN_S:g} s a step); one replica fails at {failure.FAILS_AT_S:g} s"
    subtitle = f"share of runs in time, by when they came {when}"
    figure = sheet("One replica fails", subtitle, (11.0, 4.4), PANELS)
    panels = figure.subplots(1, len(cases), sharey=True, squeeze=False)[0]
    for axes, case in zip(panels, cases, strict=True):
        for number, course in enumerate(each for each in courses if each.case == case):
            times_s = [at * failure.BIN_S for at in range(len(course.in_time) + 1)]
            label, colour = course.reaction, REACTIONS[course.reaction]
            axes.stairs(
                course.in_time, times_s, color=colour, linewidth=4 - number, label=label, baseline=None, zorder=3
            )
        axes.axvline(failure.FAILS_AT_S, color="#1c2430", lw=0.9, ls=(0, (4, 3)), zorder=2)
        axes.set_title(f"fails: {case}", loc="left", fontsize=10)
        axes.set_xlabel("seconds")
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        plain(axes)
    legend_below(figure, panels[0], len(REACTIONS))
    return save(figure, path)
