"""The page of the study `fidelity`: what was reached, per device and engine, beside the targets and the peers."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from weft import catalog
from weft.core.errors import CatalogError
from weft.cost.bands import METRICS
from weft.study.calibration import given
from weft.study.fidelity import COVERED, PEERS, TARGETS, WORST_DEVICE, Fidelity, Score, overall, worst_device
from weft.study.measured import Run

TITLES = {"ttft_s": "TTFT", "tpot_s": "TPOT", "tokens_per_s": "tokens/s"}


def page(found: Fidelity) -> str:
    return "\n".join(_lines(found)) + "\n"


def findings(found: Fidelity) -> list[str]:
    """One sentence a metric, for the terminal and the top of the page."""
    return [_finding(found.scores, metric) for metric in METRICS]


def _finding(scores: Sequence[Score], metric: str) -> str:
    score, worst = overall(scores, metric), worst_device(scores, metric)
    met = "met" if score.median <= TARGETS[metric] else "missed"
    return (
        f"{TITLES[metric]}: median |error| {_percent(score.median)} (asked {_percent(TARGETS[metric])}: {met}), 80 % of"
        f" runs within {_percent(score.p80)}; worst device {worst.name} {_percent(worst.median)}"
        f" ({worst.runs} runs of {worst.configurations} configurations; asked {_percent(WORST_DEVICE)});"
        f" 80 % bands hold {_percent(score.covered)} (asked {_percent(COVERED)}), median width ×{score.width:.2f}"
    )


def _seen_in_others(scores: Sequence[Score]) -> str:
    """The worst device that has two configurations or more: the other is a device not seen in that kind of run."""
    cells: list[str] = []
    for metric in METRICS:
        slice_ = "device, aggregated" if metric == "ttft_s" else "device"
        worst = worst_device(scores, metric, 2, slice_)
        cells.append(f"{TITLES[metric]} {worst.name} {_percent(worst.median)}")
    return (
        f"- Of devices seen in other configurations the worst are: {'; '.join(cells)} (TTFT without disaggregated "
        "runs, which have a section of their own)."
    )


def _lines(found: Fidelity) -> Iterator[str]:
    yield "<!-- Made by `weft study fidelity`. Do not edit: change src/weft/study/ and run it again. -->"
    yield "# Predicted against measured\n"
    configurations = overall(found.scores, "tokens_per_s").configurations
    yield (
        f"{len(found.prepared.runs):,} measured serving runs of {configurations:,} configurations, each predicted by a "
        "fit that saw no run of its configuration, and none that reports the same measurement to the last digit under "
        "another name. The configurations of a device are dealt out over five folds, so a device with two or more is "
        "always seen in others; one with a single configuration of a kind is not seen in that kind. Bands are made "
        "from half of the kept-out configurations and judged on the other half.\n"
    )
    yield from (f"- {line}." for line in findings(found))
    yield _seen_in_others(found.scores)
    yield "\n![predicted against measured](fidelity.png)\n"
    yield from _peers(found)
    for name in ("device", "engine", "kind", "isl/osl"):
        yield f"\n## By {name}\n"
        yield from _table(found.scores, name)
    yield from _disaggregated(found)
    yield from _refused(found)
    yield "\nAll slices, also by model and source: [fidelity.csv](fidelity.csv)."


def _disaggregated(found: Fidelity) -> Iterator[str]:
    """What an estimate does not give, and why."""
    prepared, told = found.prepared, given(found.prepared)[0]
    off = np.abs(found.kept.predicted / prepared.values - 1)
    apart = np.array([loaded.resolved.prefill is not None for loaded in prepared.loaded])
    yield "\n## Disaggregated runs\n"
    yield (
        f"{int(apart.sum()):,} runs prefill and decode on replicas of their own; {int((apart & told).sum())} tell how "
        "many. The others are filled from the nearest deployment that is told, and counted half in the fit. Median "
        "|error| of kept-out runs:\n"
    )
    yield "| pools | runs | TTFT | TPOT | tokens/s |\n|---|---|---|---|---|"
    for name, rows in (("told", apart & told), ("not told", apart & ~told)):
        cells = [_percent(float(np.nanmedian(off[at][rows]))) for at in range(3)]
        yield f"| {name} | {int(rows.sum()):,} | {' | '.join(cells)} |"
    yield (
        "\nHow long prompts queue depends on how many replicas prefill, so an estimate gives no TTFT where that is not "
        "told; the TTFT of these runs is not in the tables above."
    )


def _peers(found: Fidelity) -> Iterator[str]:
    yield "## Beside others\n"
    yield "| planner | TTFT | TPOT |\n|---|---|---|"
    ours = [_percent(overall(found.scores, metric).median) for metric in ("ttft_s", "tpot_s")]
    yield f"| Weft, configurations kept out, median | {ours[0]} | {ours[1]} |"
    for name, ttft, tpot in PEERS:
        yield f"| {name} | {_percent(ttft)} | {_percent(tpot)} |"
    yield "\nThe peers' numbers were taken by others on other subsets of such rows: they tell the order, not a ranking."


def _table(scores: Sequence[Score], name: str) -> Iterator[str]:
    titles = [f"{TITLES[metric]} {what}" for metric in METRICS for what in ("", "bias", "band")]
    yield "| " + " | ".join((name, "runs", *titles)) + " |"
    yield "|---" * (len(titles) + 2) + "|"
    mine = [each for each in scores if each.slice == name]
    for value in dict.fromkeys(each.name for each in mine):
        by = {each.metric: each for each in mine if each.name == value}
        cells = [cell for metric in METRICS for cell in _cells(by.get(metric))]
        yield "| " + " | ".join((value, str(max(each.runs for each in by.values())), *cells)) + " |"
    yield "\nMedian |error|, median signed error, share of runs inside the 80 % band."


def _cells(score: Score | None) -> tuple[str, str, str]:
    if score is None:
        return "–", "–", "–"
    return _percent(score.median), f"{100 * score.bias:+.0f} %", f"{100 * score.covered:.0f} %"


def _refused(found: Fidelity) -> Iterator[str]:
    refused = found.prepared.refused
    reasons = Counter(error.problem.split(" (")[0][:90] for _, error in refused)
    yield f"\n## What cannot be priced\n\n{len(refused):,} runs of the file get a reason instead of a number:\n"
    for reason, count in reasons.most_common(6):
        yield f"- {count}: {reason}"
    yield "\nBy device, where any is refused:\n\n| device | runs | priced |\n|---|---|---|"
    priced = Counter(labels.device for labels in found.prepared.labels)
    missed = Counter(_device(run) for run, _ in refused)
    for name, count in sorted(missed.items(), key=lambda pair: -pair[1]):
        runs = priced[name] + count
        yield f"| {name} | {runs:,} | {100 * priced[name] / runs:.0f} % |"


def _device(run: Run) -> str:
    try:
        return catalog.device(run.point.device).id
    except CatalogError:
        return "not in the catalogue"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
