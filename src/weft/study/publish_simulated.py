"""What the studies that simulate write: routing, mix, failure."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean

from weft.core.units import HOUR_S, pretty_seconds
from weft.study import failure, mix, routing, simulated_figures
from weft.study.page import Published, markdown_table, write_csv, write_page
from weft.study.pairs import Progress
from weft.study.space import short

TRACES = Path("../shared/data/traces")
"""Where study `routing` finds public traces; they do not ship."""

OURS = "weft"
SAME = 0.02
"""Times that differ by less, relatively, are told as equal."""


def publish_routing(
    out: Path,
    progress: Progress | None = None,
    traces: Path = TRACES,
    cases: tuple[routing.Case, ...] = routing.CASES,
) -> Published:
    plan = routing.fleet()
    pool = next(each for each in plan.pools if each.model)
    rows = routing.run(traces, progress, cases)
    wins = list(_duels(rows))
    values = {
        "replicas": routing.REPLICAS,
        "replica": f"{short(pool.device)}, TP{pool.parallelism.tp}, up to {pool.batch_limit} sequences each",
        "mooncake": routing.MOONCAKE_CALLS,
        "seeds": " and ".join(map(str, routing.SEEDS)),
        "verdict": _verdict(wins),
        "lines": wins,
        "table": markdown_table(
            ("load", "router", "TTFT p50", "p90", "p99", "TPOT p99", "hits", "imbalance"), _routing_table(rows)
        ),
    }
    files = (
        simulated_figures.draw_routing(rows, out / "routing.png"),
        write_csv(out / "routing.csv", map(asdict, rows)),
        write_page("routing", out, values),
    )
    return Published(files, (_verdict(wins), *wins), {"rows": [asdict(row) for row in rows]})


def _routing_table(rows: Sequence[routing.Row]) -> Iterator[tuple[object, ...]]:
    """Means over seeds."""
    for case, router in dict.fromkeys((row.case, row.router) for row in rows):
        here = [row for row in rows if (row.case, row.router) == (case, router)]
        fields = ("ttft_p50_s", "ttft_p90_s", "ttft_p99_s", "tpot_p99_s")
        times = (pretty_seconds(mean(getattr(row, field) for row in here)) for field in fields)
        name = f"{case}{'' if here[0].seen else ' (kept out)'}"
        hits, imbalance = mean(row.hit_rate for row in here), mean(row.imbalance for row in here)
        yield name, router, *times, f"{hits:.0%}", f"{imbalance:.2f}"


def _duels(rows: Sequence[routing.Row]) -> Iterator[str]:
    """Ours beside the best of the others, by load and percentile."""
    for case in dict.fromkeys(row.case for row in rows):
        told: list[str] = []
        for field, name in (("ttft_p50_s", "p50"), ("ttft_p90_s", "p90"), ("ttft_p99_s", "p99")):
            found = {
                router: mean(getattr(row, field) for row in rows if (row.case, row.router) == (case, router))
                for router in dict.fromkeys(row.router for row in rows)
            }
            ours = found.pop(OURS)
            best = min(found, key=lambda router: found[router])
            told.append(f"{name} {_beside(ours, found[best])} {best}")
        yield f"{case}: ours has a TTFT {', '.join(told)}."


def _beside(ours: float, theirs: float) -> str:
    share = ours / theirs - 1
    if abs(share) < SAME:
        return "equal to"
    return f"{abs(share):.0%} {'above' if share > 0 else 'below'}"


def _verdict(duels: Sequence[str]) -> str:
    """Counts what the duels say."""
    above, equal = sum(each.count(" above ") for each in duels), sum(each.count(" equal to ") for each in duels)
    total = 3 * len(duels)
    return (
        f"Of {total} comparisons with the best of the other three, ours is ahead in {total - above - equal}, "
        f"equal (within {SAME:.0%}) in {equal} and behind in {above}."
    )


def publish_mix(
    out: Path, progress: Progress | None = None, workloads: tuple[mix.Workload, ...] = mix.WORKLOADS
) -> Published:
    rows = mix.run(workloads, progress=progress)
    lines = [_of_workload([row for row in rows if row.workload == name]) for name in _workloads(rows)]
    values = {
        "budget": f"{mix.BUDGET_USD_PER_HOUR:g}",
        "devices": ", ".join(map(short, mix.DEVICES)),
        "span": f"{mix.SPAN_S:g}",
        "rows": len(rows),
        "lines": lines,
        "table": markdown_table(
            (
                "workload",
                "fleet",
                "$/h",
                "replicas",
                "planned, runs/s",
                "in time at 90 %",
                "at 100 %",
                "goodput",
                "per $",
            ),
            (line for name in _workloads(rows) for line in _mix_table([row for row in rows if row.workload == name])),
        ),
    }
    files = (
        simulated_figures.draw_mix(rows, out / "mix.png"),
        write_csv(out / "mix.csv", map(asdict, rows)),
        write_page("mix", out, values),
    )
    return Published(files, tuple(lines), {"rows": [asdict(row) for row in rows]})


def _workloads(rows: Sequence[mix.Row]) -> list[str]:
    return list(dict.fromkeys(row.workload for row in rows))


def _mix_table(rows: Sequence[mix.Row]) -> Iterator[tuple[object, ...]]:
    for name in dict.fromkeys(row.fleet for row in rows):
        here = [row for row in rows if row.fleet == name]
        near, at = here[mix.SHARES.index(1.0)], here[mix.SHARES.index(1.15)]
        best = max(row.goodput_per_s for row in here)
        numbers = (f"{here[0].usd_per_hour:.2f}", here[0].pools, f"{here[0].planned_per_s:.3g}")
        yield (
            here[0].workload,
            name,
            *numbers,
            f"{near.in_time:.0%}",
            f"{at.in_time:.0%}",
            f"{best:.3g}/s",
            f"{best * HOUR_S / here[0].usd_per_hour:,.0f}",
        )


def _of_workload(rows: Sequence[mix.Row]) -> str:
    """The best goodput of each fleet, ours beside the best of one accelerator."""
    best = {name: max(row.goodput_per_s for row in rows if row.fleet == name) for name in {row.fleet for row in rows}}
    ours = best.pop(mix.MIX)
    planned = {row.fleet: row.planned_per_s for row in rows}
    name = max(best, key=lambda each: best[each])
    promised = planned[mix.MIX] / max(rate for fleet, rate in planned.items() if fleet != mix.MIX) - 1
    usd = {row.fleet: row.usd_per_hour for row in rows}
    share, a_dollar = ours / best[name] - 1, ours / usd[mix.MIX] / (best[name] / usd[name]) - 1
    word = "equals" if abs(share) < SAME else "beats" if share > 0 else "loses to"
    return (
        f"{rows[0].workload}: the mix {word} the best single accelerator ({name}): {ours:.3g} against {best[name]:.3g} "
        f"runs/s in time ({share:+.0%}; {a_dollar:+.0%} a dollar spent); the planner promised {promised:+.0%}."
    )


def publish_failure(
    out: Path, progress: Progress | None = None, cases: tuple[failure.Case, ...] = failure.CASES
) -> Published:
    rows, courses = failure.run(progress, cases)
    lines = [_of_case([row for row in rows if row.case == name]) for name in dict.fromkeys(row.case for row in rows)]
    values = {
        "sizes": "4096 tokens in, 512 out",
        "rate": f"{failure.RATE_PER_S:g}",
        "span": f"{failure.SPAN_S:g}",
        "at": f"{failure.FAILS_AT_S:g}",
        "down": f"{failure.DOWN_S:g}",
        "delay": f"{failure.DELAY_S:g}",
        "bin": f"{failure.BIN_S:g}",
        "worse": f"{failure.WORSE:.0%}",
        "lines": lines,
        "table": markdown_table(
            ("fails", "of", "then", "runs", "lost", "restarted", "late", "late anyway", "dip", "recovered"),
            (_failure_row(row) for row in rows),
        ),
    }
    files = (
        simulated_figures.draw_failure(courses, out / "failure.png"),
        write_csv(out / "failure.csv", map(asdict, rows)),
        write_page("failure", out, values),
    )
    told = {"rows": [asdict(row) for row in rows], "courses": [asdict(each) for each in courses]}
    return Published(files, tuple(lines), told)


def _failure_row(row: failure.Row) -> tuple[object, ...]:
    recovered = "never" if row.recovered_s is None else f"{row.recovered_s:.0f} s"
    counts = (row.runs, row.lost, row.restarted, row.late, row.late_without)
    return row.case, f"{row.replicas} {row.pool}", row.reaction, *counts, f"{row.dip:.0%}", recovered


def _of_case(rows: Sequence[failure.Row]) -> str:
    told = ", ".join(f"{row.late / row.runs:.0%} late where it {_verb(row.reaction)}" for row in rows)
    restarted, lost = max(row.restarted for row in rows), sum(row.lost for row in rows)
    return f"{rows[0].case} of {rows[0].replicas}: {told}; {restarted} calls start again, {lost or 'none'} lost."


def _verb(reaction: str) -> str:
    return {failure.IS_REPLACED: "is replaced late"}.get(reaction, reaction)
