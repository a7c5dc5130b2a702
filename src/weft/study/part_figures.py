# pyright: standard
"""Figures of the studies kv-bandwidth, catalogue and scaling."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from weft import catalog
from weft.core.units import Precision
from weft.report.figures import GRID, INK
from weft.study import catalogue, kv_bandwidth, resources, scaling
from weft.study.space import short
from weft.study.style import BAND, COLD, DEVICE_COLOURS, WARM, legend_below, plain, save, sheet
from weft.study.sweep import Phase

KV_MODELS = {
    "llama-3.1-8b": "#00798c",
    "llama-3.1-70b": "#d1495b",
    "llama-3.1-405b": "#8f2d56",
    "deepseek-v3": "#6c757d",
}
"""Llama 3.1 has the caches of Llama 3 and a context of 128K."""


def draw_kv(rows: Sequence[kv_bandwidth.Row], path: Path) -> str:
    figure = sheet(
        "What one prompt's KV cache asks of a link",
        "Left: it leaves during a TTFT of 250 ms (equation 1). Right: it arrives within one 20 ms token gap (equation "
        "2). One "
        "device on each side; solid FP16, dashed FP8 cache.",
        (13, 6),
    )
    panels = figure.subplots(1, 2, sharey=True)
    for axes, column, title in zip(panels, ("egress_gbps", "ingress_gbps"), ("egress", "ingress"), strict=True):
        axes.axhspan(200, 400, color=BAND, alpha=0.7, zorder=0)
        axes.text(520, 283, "200-400 Gbps", va="center", fontsize=9, color=INK)
        axes.axhline(8 * 400, color=INK, linestyle=":", linewidth=1)
        axes.text(520, 3400, "eight links of 400 Gbps", fontsize=8.5, color=INK)
        axes.axvline(kv_bandwidth.CLAIMED_TOKENS, color=INK, linewidth=0.8, linestyle="--")
        for model, colour in KV_MODELS.items():
            for precision, dash in ((Precision.FP16, "-"), (Precision.FP8, "--")):
                own = [row for row in rows if (row.model, row.precision) == (model, precision)]
                label = catalog.model(model).name if precision is Precision.FP16 else None
                axes.plot([r.isl for r in own], [getattr(r, column) for r in own], dash, color=colour, label=label)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(kv_bandwidth.LENGTHS, [_tokens(tokens) for tokens in kv_bandwidth.LENGTHS])
        axes.set_xlabel("prompt tokens (dashed line: the paper's 32K)")
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        plain(axes)
    panels[0].set_ylabel("Gbps per device")
    legend_below(figure, panels[0], len(KV_MODELS))
    return save(figure, path)


def draw_catalogue(rows: Sequence[catalogue.Row], name: str, path: Path) -> str:
    prices = {"price": "purchase price", "paper": "device-hour, finance paper", "owned": "device-hour, finance owned"}
    figure = sheet(
        f"What a unit of each resource costs (the paper's Figure 4), catalogue {name!r}",
        "Cheapest first. Top: USD per unit. Below: USD per hour and thousand units.",
        (14, 8),
    )
    grid = figure.subplots(len(prices), len(catalogue.RESOURCES))
    for price, line in zip(prices, grid, strict=True):
        for resource, axes in zip(catalogue.RESOURCES, line, strict=True):
            found = catalogue.ranked(rows, name, resource, price)
            values = [(row.usd_per_unit or 0) * (1 if price == "price" else 1e3) for row in found]
            colours = [DEVICE_COLOURS[row.device] for row in found]
            bars = axes.barh([short(row.device) for row in found], values, color=colours, height=0.66, zorder=2)
            axes.bar_label(bars, [f"{value:.3g}" for value in values], padding=3, fontsize=8)
            axes.invert_yaxis()
            axes.margins(x=0.2)
            axes.set_xticks([])
            axes.set_title(f"per {resource}\n{prices[price]}", loc="left", fontsize=9, color=INK)
            plain(axes, "x")
    return save(figure, path)


def draw_scaling(rows: Sequence[scaling.Row], path: Path) -> str:
    figure = sheet(
        "Latency against tensor parallelism, Llama 3 70B",
        f"Prefill of {scaling.TOKENS:,} tokens and a decode step of {scaling.DECODE_BATCH} sequences. Up to the "
        "scale-up domain "
        "(8 devices; A40: 2) inside the box, beyond it over 400 Gbps. Hollow: the weights do not fit.",
        (13, 8),
    )
    grid = figure.subplots(2, 2, sharex=True, sharey="row")
    for phase, line in zip(Phase, grid, strict=True):
        for precision, axes in zip((Precision.FP16, Precision.FP8), line, strict=True):
            for device, colour in DEVICE_COLOURS.items():
                _line(axes, _curve(rows, device, "llama-3-70b", precision, phase), short(device), colour)
            _tp_axis(axes)
            axes.set_yscale("log")
            axes.set_title(f"{phase}, {precision.upper()}", loc="left", fontsize=10, color=INK)
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} ms")
            axes.yaxis.set_minor_formatter(lambda value, _: "")
    legend_below(figure, grid[0, 0], len(DEVICE_COLOURS))
    return save(figure, path)


def draw_talk(rows: Sequence[scaling.Row], devices: Sequence[str], path: Path) -> str:
    """Work and communication of a step as stacked bars."""
    figure = sheet(
        "Where the time goes as tensor parallelism grows, Llama 3 70B FP8",
        "The step time on one device is 1. Work shrinks with every device added; communication grows and wins beyond "
        "the box.",
        (13, 6.4),
    )
    grid = figure.subplots(2, len(devices), sharey="row", sharex=True)
    for phase, line in zip(Phase, grid, strict=True):
        for device, axes in zip(devices, line, strict=True):
            found = _curve(rows, device, "llama-3-70b", Precision.FP8, phase)
            whole = found[0].latency_s
            talk = np.array([row.communication_s for row in found]) / whole
            work = np.array([row.latency_s for row in found]) / whole - talk
            places = np.arange(len(found))
            axes.bar(places, work, 0.7, color=COLD, label="work", zorder=2)
            axes.bar(places, talk, 0.7, bottom=work, color=WARM, label="communication", zorder=2)
            axes.axvline(3.5, color=INK, linestyle="--", linewidth=0.8)
            axes.set_xticks(places, [str(row.tp) for row in found])
            axes.set_title(f"{short(device)}, {phase}", loc="left", fontsize=10, color=INK)
            plain(axes)
    for axes in grid[-1]:
        axes.set_xlabel("TP (dashed: end of the box)")
    legend_below(figure, grid[0, 0], 2)
    return save(figure, path)


def _line(axes: Axes, found: Sequence[scaling.Row], label: str, colour: str) -> None:
    if not found:
        return
    tp, milliseconds = [row.tp for row in found], [1e3 * row.latency_s for row in found]
    axes.plot(tp, milliseconds, color=colour, label=label, linewidth=1.8, zorder=2)
    faces = [colour if row.fits else "white" for row in found]
    axes.scatter(tp, milliseconds, c=faces, edgecolors=colour, s=26, zorder=3)


def _tp_axis(axes: Axes) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(scaling.TENSOR_PARALLEL, [f"TP{tp}" for tp in scaling.TENSOR_PARALLEL])
    axes.axvline(11.3, color=INK, linestyle="--", linewidth=0.8)
    plain(axes)


def _curve(
    rows: Sequence[scaling.Row], device: str, model: str, precision: Precision, phase: Phase
) -> list[scaling.Row]:
    wanted = (device, model, precision, phase, 1)
    return [row for row in rows if (row.device, row.model, row.precision, row.phase, row.pp) == wanted]


def _tokens(count: int) -> str:
    return str(count) if count < 1024 else f"{count // 1024}K"


def draw_radar(rows: Sequence[resources.Row], path: Path) -> str:
    """One radar a workload, 0 to 10 in six dimensions."""
    figure = sheet(
        "What eight workloads lean on (the paper's Figure 3)",
        "10: all that one eighth of an H100 server has. Teal: from the model's operators; orange: measured on a CPU.",
        (14, 8.4),
        margins=(0.03, 0.97, 0.06, 0.8),
    )
    figure.subplots_adjust(wspace=0.35, hspace=0.65)
    grid = figure.subplots(2, 4, subplot_kw={"projection": "polar"}).flatten()
    angles = np.linspace(0, 2 * np.pi, len(resources.DIMENSIONS), endpoint=False)
    around = np.append(angles, angles[0])
    for axes, row in zip(grid, rows, strict=False):
        colour = COLD if row.basis == "modelled" else WARM
        scores = np.append(row.scores, row.scores[0])
        axes.plot(around, scores, color=colour, linewidth=1.8)
        axes.fill(around, scores, color=colour, alpha=0.35)
        axes.set_theta_zero_location("N")
        axes.set_ylim(0, 10)
        axes.set_yticks((5, 10), ("", ""))
        names = [
            f"{name.replace(' ', chr(10))}\n{score:.1f}"
            for name, score in zip(resources.DIMENSIONS, row.scores, strict=True)
        ]
        axes.set_xticks(angles, names, fontsize=7.5)
        axes.spines["polar"].set_color(GRID)
        axes.grid(color=GRID)
        axes.set_title(row.workload, fontsize=10, color=INK, pad=16, fontweight="bold")
    for axes in grid[len(rows) :]:
        axes.set_visible(False)
    return save(figure, path)
