"""What `weft estimate` prints for people."""

from collections.abc import Callable, Sequence

from rich.table import Table

from weft.cli.console import wide_console
from weft.core.units import pretty_seconds
from weft.estimate.limits import Within
from weft.estimate.price import Estimate, Priced
from weft.estimate.tails import Banded, Percentiles, Tail


def show(priced: Priced | None, seen: Percentiles | None, within: Within | None) -> None:
    console = wide_console()
    if seen:
        console.print(_percentiles(seen))
        console.print(_state(seen), style="dim")
    elif priced:
        console.print(_means(priced))
        console.print(_deployment(priced), style="dim")
    if within:
        console.print()
        console.print(_most(within))


def _percentiles(seen: Percentiles) -> Table:
    table = _table("", "mean", "80 % band", "p50", "p95", "80 % band of p95", "p99")
    for name, tail in (("TTFT", seen.ttft_s), ("TPOT", seen.tpot_s), ("end to end", seen.e2e_s)):
        if tail:
            table.add_row(name, *_tail_cells(tail))
    table.add_row("tokens/s", f"{seen.tokens_per_s:,.0f}", *[""] * 5)
    return table


def _tail_cells(tail: Tail) -> Sequence[str]:
    mean, p50, p95, p99 = (pretty_seconds(each.value) for each in (tail.mean, tail.p50, tail.p95, tail.p99))
    return mean, _banded(tail.mean), p50, p95, _banded(tail.p95), p99


def _banded(found: Banded) -> str:
    high = "unstable" if found.high is None else pretty_seconds(found.high)
    return f"{pretty_seconds(found.low)} to {high}"


def _state(seen: Percentiles) -> str:
    stable = seen.stable_rate_per_s
    waiting = f"{seen.waiting:.1%} of requests wait for one of {seen.slots} places; " if seen.waiting > 5e-4 else ""
    return (
        f"{_devices(seen.devices)}; {seen.rate_per_s:.4g} requests/s, {seen.running:.0f} at once on a replica; "
        f"{waiting}sustains {stable.value:.4g} requests/s ({stable.low:.4g} to {stable.high or stable.value:.4g}); "
        f"{seen.provenance}"
    )


def _means(answer: Priced) -> Table:
    table = _table("", "value", "80 % band")
    for name, found in (("TTFT", answer.ttft_s), ("TPOT", answer.tpot_s)):
        if found:
            table.add_row(name, pretty_seconds(found.value), _band(found, pretty_seconds))
    if answer.tokens_per_s:
        table.add_row("tokens/s", f"{answer.tokens_per_s.value:,.0f}", _band(answer.tokens_per_s, "{:,.0f}".format))
    return table


def _deployment(answer: Priced) -> str:
    fit = f"{answer.running:.0f} sequences at once on a replica, {answer.fits:.0f} fit"
    note = f"; {answer.note}" if answer.note else ""
    return f"{_devices(answer.devices)}; {fit}; {answer.provenance}{note}"


def _most(within: Within) -> Table:
    table = _table(f"within the objective, {within.rank}", "most", "TTFT", "TPOT", "tokens/s", "one more breaks")
    for name, most, seen, binds in (
        ("requests in flight", f"{within.concurrency:,}", within.in_flight, within.concurrency_binds),
        ("requests/s", f"{within.rate_per_s:.4g}", within.at_rate, within.rate_binds),
    ):
        tails = (seen.ttft_s, seen.tpot_s)
        cells = (pretty_seconds(getattr(tail, within.rank).value) if tail else "none" for tail in tails)
        table.add_row(name, most, *cells, f"{seen.tokens_per_s:,.0f}", binds)
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="right" if at else "left")
    return table


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"


def _band(found: Estimate, pretty: Callable[[float], str]) -> str:
    return f"{pretty(found.low)} to {pretty(found.high)}"
