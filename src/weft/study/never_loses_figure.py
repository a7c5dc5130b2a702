# pyright: standard
"""How much the mix saves, as one curve a rival: the share of agents that save at least so much."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from weft.study.style import COLD, SERIES, WARM, plain, save, sheet


def draw(savings: Mapping[str, Sequence[float]], path: Path) -> str:
    """`savings`: what the plan is compared with → what it saves, sorted."""
    agents = max(len(found) for found in savings.values())
    subtitle = f"share of random agents for which the plan saves at least so much; up to {agents} agents a curve"
    figure = sheet("What a mix of accelerators saves", subtitle, (8.6, 4.8), (0.09, 0.98, 0.11, 0.83))
    axes = figure.subplots()
    for (name, found), colour in zip(savings.items(), (COLD, WARM, SERIES[2]), strict=False):
        shares = [1 - at / len(found) for at in range(len(found))]
        nothing = sum(saving < 0.005 for saving in found) / len(found)
        label = f"beside {name} (nothing for {nothing:.0%})"
        axes.step([0.0, *found], [1.0, *shares], where="pre", color=colour, linewidth=2, label=label, zorder=3)
    axes.set_xlim(0, 1.04 * max(found[-1] for found in savings.values()))
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("saved of the rival's $/h")
    axes.set_ylabel("agents that save at least that")
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    plain(axes)
    return save(figure, path)
