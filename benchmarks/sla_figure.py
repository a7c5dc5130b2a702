# pyright: standard
"""The figure of benchmarks/sla.py: load, nodes, runs in time and price over the time of the run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from weft.core.deployment import Deployment
from weft.study.style import COLD, SERIES, WARM, plain, save, sheet

if TYPE_CHECKING:
    from sla import Results, Shape

BIN_S = 10.0


def draw(results: "Results", shape: "Shape", plan: Deployment, good: Sequence[bool], path: Path) -> None:
    figure = sheet(
        "Control under a load that triples and halves, a node killed between",
        f"{plan.agent}: {', '.join(sorted({pool.device for pool in plan.pools}))}; all emulated on this machine",
        (9.0, 8.5),
        (0.08, 0.98, 0.06, 0.91),
    )
    axes: Sequence[Axes] = figure.subplots(4, 1, sharex=True)
    seen = results.live
    assert seen is not None
    _load(axes[0], [run.at_s for run in seen.runs], shape)
    for number, name in enumerate(seen.looks[0].nodes):
        at = [look.at_s for look in seen.looks]
        colour = SERIES[number % len(SERIES)]
        axes[1].step(at, [look.nodes[name] for look in seen.looks], where="post", color=colour, label=name)
    axes[1].set_ylabel("nodes paid for", fontsize=9)
    axes[1].legend(frameon=False, fontsize=8, loc="upper right")
    _kept(axes[2], [run.at_s for run in seen.runs], good, results.simulated)
    usd = [sum(results.pools[name] * count for name, count in look.nodes.items()) for look in seen.looks]
    axes[3].step([look.at_s for look in seen.looks], usd, where="post", color=COLD, label="control")
    ends = [begin for begin, _, _ in shape.spans] + [shape.whole_s]
    axes[3].step(ends, [*results.plans, results.plans[-1]], where="post", color=WARM, label="clairvoyant")
    axes[3].set_ylabel("$/h", fontsize=9)
    axes[3].set_ylim(bottom=0)
    axes[3].legend(frameon=False, fontsize=8, loc="lower left")
    axes[3].set_xlabel("seconds", fontsize=9)
    for each in axes:
        plain(each)
        for shock in shape.shocks:
            each.axvspan(shock, shock + BIN_S, color="#00000012", zorder=0)
    save(figure, path)


def _load(axes: Axes, arrivals: Sequence[float], shape: "Shape") -> None:
    bins = range(round(shape.whole_s / BIN_S))
    counts = [sum(BIN_S * at <= each < BIN_S * (at + 1) for each in arrivals) / BIN_S for at in bins]
    axes.bar([BIN_S * (at + 0.5) for at in bins], counts, width=0.8 * BIN_S, color="#c9d4dc", label="came")
    ends = [begin for begin, _, _ in shape.spans] + [shape.whole_s]
    rates = [rate for _, _, rate in shape.spans]
    axes.step(ends, [*rates, rates[-1]], where="post", color=COLD, label="true rate")
    axes.set_ylabel("runs/s", fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _kept(axes: Axes, arrivals: Sequence[float], live: Sequence[bool], simulated: Sequence[bool]) -> None:
    for good, colour, label in ((live, COLD, "live"), (simulated, WARM, "simulated")):
        bins = sorted({int(at // BIN_S) for at in arrivals})
        shares = [[kept for at, kept in zip(arrivals, good, strict=True) if at // BIN_S == each] for each in bins]
        at = [BIN_S * (each + 0.5) for each in bins]
        axes.plot(at, [100 * sum(each) / len(each) for each in shares], "o-", ms=3, lw=1, color=colour, label=label)
    axes.axhline(95, color="#999999", lw=0.8, ls="--")
    axes.set_ylim(-5, 105)
    axes.set_ylabel("runs in time, %", fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc="lower left")
