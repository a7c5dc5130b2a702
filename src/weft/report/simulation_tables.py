"""What a simulation came to, as rich tables legible at 100 columns."""

from rich import box
from rich.table import Table

from weft.core.summary import CallSummary, Overload, PoolSummary, RetentionSummary, Spread, Summary
from weft.core.units import pretty_seconds, pretty_si, pretty_usd


def headline(summary: Summary) -> str:
    kwh = "energy unknown" if summary.kwh_per_run is None else f"{summary.kwh_per_run * 1e6:,.0f} kWh a million"
    refused = f", {summary.refused:,} refused" if summary.refused else ""
    return (
        f"{summary.agent}, simulated ({summary.source}; seed {summary.seed})\n"
        f"{summary.completed:,} of {summary.arrived:,} runs in {pretty_seconds(summary.span_s)}{refused}; "
        f"within the objective {summary.in_time:.1%}, goodput {summary.goodput_per_s:.3g} runs/s\n"
        f"{pretty_usd(summary.usd_per_run * 1e6)} a million runs "
        f"({pretty_usd(summary.busy_usd_per_run * 1e6)} of it busy), {kwh}"
    )


def latency_table(summary: Summary) -> Table:
    """Model calls by TTFT, TPOT, longest gap and whole time; other steps and whole runs by time."""
    table = _table(f"Latency of {summary.agent}", ("what", "time"), ("count", "mean", "p50", "p90", "p99", "max"))
    for call in summary.calls:
        for name, spread in _times(call):
            table.add_row(call.call, name, *_numbers(spread))
    for step in summary.steps:
        table.add_row(step.step, "step", *_numbers(step.e2e_s))
    table.add_row("run", "e2e", *_numbers(summary.e2e_s))
    return table


def _times(call: CallSummary) -> tuple[tuple[str, Spread], ...]:
    return ("TTFT", call.ttft_s), ("TPOT", call.tpot_s), ("ITL max", call.itl_max_s), ("e2e", call.e2e_s)


def _numbers(spread: Spread) -> tuple[str, ...]:
    times = (spread.mean, spread.p50, spread.p90, spread.p99, spread.max)
    return f"{spread.count:,}", *(pretty_seconds(time) if spread.count else "–" for time in times)


def pools_table(summary: Summary) -> Table:
    table = _table("Pools", ("pool",), ("replicas", "busy", "running", "waiting", "most", "KV held", "$/h", "kWh"))
    for pool in summary.pools:
        table.add_row(pool.pool, *_pool_numbers(pool))
    return table


def _pool_numbers(pool: PoolSummary) -> tuple[str, ...]:
    return (
        str(pool.replicas),
        f"{pool.busy:.0%}",
        f"{pool.running:.1f}",
        f"{pool.waiting:.1f}",
        f"{pool.waiting_max:,}",
        f"{pool.kv_used:.0%}" if pool.kv_used else "–",
        pretty_usd(pool.usd_per_hour),
        "–" if pool.kwh is None else f"{pool.kwh:.3g}",
    )


def notes(summary: Summary) -> list[str]:
    """Caches, links, what was lost, what the numbers rest on."""
    said: list[str] = []
    for call in summary.calls:
        lost = (
            f", {call.preempted:,} preempted, {call.restarted:,} restarted" if call.preempted or call.restarted else ""
        )
        said.append(f"{call.call}: {call.hit_rate:.1%} of prompt tokens from a prefix cache{lost}")
    for link in summary.links:
        moved = pretty_si(link.bytes_moved, "B")
        mean = pretty_si(link.bytes_per_s, "B/s")
        said.append(
            f"{link.link}: {moved} in {link.transfers:,} transfers ({mean}), {pretty_seconds(link.waited_s)} queued"
        )
    if summary.retention is not None:
        said.append(_retention(summary.retention))
    said += [f"{name}: {text}" for name, text in summary.assumptions.items()]
    return said


def _retention(found: RetentionSummary) -> str:
    held = f"{found.held:,} held, {found.yielded:,} of them yielded, {found.dropped:,} let go"
    said = f"caches between calls ({found.rule}): {held}"
    if not found.copied:
        return said
    moved, back = pretty_si(found.bytes_in, "B"), pretty_si(found.bytes_out, "B")
    copied = f"{found.copied:,} copied to the tier ({moved}; {pretty_si(found.tier_bytes_most, 'B')} at once)"
    loaded = f"{found.reloads:,} loaded back ({pretty_seconds(found.reload_s)} each)"
    return f"{said}; {copied}, {loaded}, {found.prefetches:,} while queued ({back} in all)"


def overload_sentence(found: Overload) -> str:
    return (
        f"stopped at {found.at_s:.0f} s: in the last {found.window_s:.0f} s {found.arrived_per_s:.3g} runs/s came and "
        f"{found.ended_per_s:.3g} ended; {found.in_system:,} are in a fleet of {found.places:,} places, "
        f"{found.waiting:,} of them wait for {found.pool}"
    )


def _table(title: str, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for heading in left:
        table.add_column(heading, no_wrap=True)
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
