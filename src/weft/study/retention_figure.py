# pyright: standard
"""Mean TTFT of each rule, one panel a rate, logarithmic: keeping come what may is off any other scale."""

from collections.abc import Sequence
from pathlib import Path

from weft.core.units import pretty_seconds
from weft.study.retention import Row
from weft.study.style import COLD, WARM, plain, save, sheet

COLOURS = {"drop": "#9aa5b1", "keep": "#d1495b", "offload": WARM, "weft": COLD}


def draw(rows: Sequence[Row], path: Path) -> str:
    rates = list(dict.fromkeys(row.rate_per_s for row in rows))
    subtitle = (
        "mean time to the first token of a call, simulated; composed load: τ-bench's structure, TraceLab's tool times"
    )
    figure = sheet("What to do with a KV cache during a tool call", subtitle, (10.0, 4.4), (0.115, 0.98, 0.09, 0.78))
    panels = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
    least, most = min(row.ttft_mean_s for row in rows), max(row.ttft_mean_s for row in rows)
    for axes, rate in zip(panels, rates, strict=True):
        here = [row for row in rows if row.rate_per_s == rate]
        for at, row in enumerate(here):
            axes.barh(at, row.ttft_mean_s, left=0, color=COLOURS[row.rule], height=0.66, zorder=3)
            axes.text(row.ttft_mean_s * 1.06, at, pretty_seconds(row.ttft_mean_s), va="center", fontsize=8.5)
        axes.set_xscale("log")
        axes.set_xlim(least / 3, most * 3)
        axes.set_yticks(range(len(here)), [_name(row) for row in here], fontsize=9)
        axes.set_title(f"{rate:g} sessions/s", loc="left", fontsize=10)
        axes.xaxis.set_major_formatter(lambda value, _: pretty_seconds(value))
        plain(axes, "x")
    panels[0].invert_yaxis()
    return save(figure, path)


def _name(row: Row) -> str:
    rule = "ours" if row.rule == "weft" else row.rule
    return rule if row.tier == "none" else f"{rule}, {row.tier}"
