"""What study `retention` writes."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from weft import catalog
from weft.core.units import pretty_seconds, pretty_si
from weft.study import retention, retention_figure
from weft.study.page import Published, markdown_table, write_csv, write_page
from weft.study.pairs import Progress
from weft.study.space import short

SAME = 0.02
"""Times that differ by less, relatively, are told as equal."""


def publish_retention(out: Path, progress: Progress | None = None, traces: Path = retention.TRACES) -> Published:
    rows = retention.run(traces, progress)
    pool = next(pool for pool in retention.fleet().pools if pool.model)
    assert pool.engine is not None and pool.model is not None
    lines = [*_lines(rows), _worst(rows)]
    verdict = _verdict(rows)
    values = {
        "replica": f"{short(pool.device)}, {pool.batch_limit} sequences, room for {pool.engine.kv_tokens:,} tokens",
        "model": f"{catalog.model(pool.model).name} in {pool.precision}",
        "loads": list(dict.fromkeys(row.load for row in rows)),
        "calls": f"{rows[0].calls:,}",
        "tiers": [f"{name} {text}" for name, text in retention.TIERS.items() if text],
        "verdict": verdict,
        "lines": lines,
        "table": markdown_table(
            (
                "sessions/s",
                "tier",
                "rule",
                "TTFT mean",
                "p50",
                "p99",
                "hits",
                "all done in",
                "into the tier",
                "out of it",
            ),
            _table(rows),
        ),
    }
    files = (
        retention_figure.draw(rows, out / "retention.png"),
        write_csv(out / "retention.csv", map(asdict, rows)),
        write_page("retention", out, values),
    )
    return Published(files, (verdict, *lines), {"rows": [asdict(row) for row in rows]})


def _table(rows: Sequence[retention.Row]) -> Iterator[tuple[object, ...]]:
    for row in rows:
        times = map(pretty_seconds, (row.ttft_mean_s, row.ttft_p50_s, row.ttft_p99_s))
        moved = (pretty_si(size, "B") if size else "–" for size in (row.bytes_in, row.bytes_out))
        rule = "**weft**" if row.rule == "weft" else row.rule
        yield f"{row.rate_per_s:g}", row.tier, rule, *times, f"{row.hit_rate:.0%}", pretty_seconds(row.span_s), *moved


def _lines(rows: Sequence[retention.Row]) -> Iterator[str]:
    for ours, best in retention.duels(rows):
        where = f"{ours.rate_per_s:g} sessions/s, {'no tier' if ours.tier == 'none' else ours.tier}"
        how = _beside(ours.ttft_mean_s, best.ttft_mean_s)
        yield f"{where}: mean TTFT of ours {how} the best other, {best.rule} ({pretty_seconds(best.ttft_mean_s)})."


def _worst(rows: Sequence[retention.Row]) -> str:
    """How far off each other rule can be, beside ours with the same tier."""
    ours = {(row.rate_per_s, row.tier): row.ttft_mean_s for row in rows if row.rule == "weft"}
    most: dict[str, float] = {}
    for row in rows:
        if row.rule != "weft":
            most[row.rule] = max(most.get(row.rule, 0.0), row.ttft_mean_s / ours[row.rate_per_s, row.tier])
    told = (f"{rule} {ratio:.3g}" for rule, ratio in most.items())
    return f"Worst mean TTFT of the other rules, ours with the same tier being 1: {', '.join(told)}."


def _verdict(rows: Sequence[retention.Row]) -> str:
    told = [_beside(ours.ttft_mean_s, best.ttft_mean_s) for ours, best in retention.duels(rows)]
    better, equal = (sum(word in each for each in told) for word in ("below", "equal"))
    return (
        f"Of {len(told)} comparisons with the best other rule, ours has a lower mean TTFT in {better}, "
        f"an equal one (within {SAME:.0%}) in {equal}, a higher one in {len(told) - better - equal}"
    )


def _beside(ours: float, theirs: float) -> str:
    share = ours / theirs - 1
    if abs(share) < SAME:
        return "equal to"
    return f"{abs(share):.0%} {'above' if share > 0 else 'below'}"
