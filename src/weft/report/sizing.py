"""The fleet that `weft size` found, as tables and sentences."""

from collections.abc import Iterator

from rich import box
from rich.table import Table

from weft.control.size import Sized
from weft.core.deployment import Validation
from weft.core.units import pretty_seconds, pretty_usd
from weft.report.validation import time_name


def fleet_table(found: Sized) -> Table:
    plan, seen = found.deployment, validation(found)
    title = (
        f"{plan.agent} on fleet {plan.fleet!r}: {seen.target:.4g} of the runs within {plan.slo.name}\n"
        f"{seen.load}; seed {seen.seed}"
    )
    table = _table(title, ("pool", "device"), ("replicas", "tp", "batch", "$/h"))
    for pool in plan.pools:
        size = str(pool.parallelism.tp) if pool.model else "–"
        batch = str(pool.batch_limit) if pool.model else "–"
        usd = pretty_usd(pool.replicas * pool.usd_per_hour)
        table.add_row(pool.name, f"{pool.device} {pool.precision or ''}".strip(), str(pool.replicas), size, batch, usd)
    table.add_section()
    table.add_row("fleet", f"{seen.attainment:.1%} in time", "", "", "", pretty_usd(plan.answer.usd_per_hour))
    return table


def fewer_table(found: Sized) -> Table:
    """What the next cheaper fleets would miss."""
    table = _table("With one replica less", ("of",), ("saves $/h", "in time"))
    table.add_column("worst time")
    for heading in ("p95", "asked"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in found.fewer:
        worst = each.worst
        times = ("–", "–", "–")
        if worst is not None:
            times = (f"{worst.subject} {time_name(worst.kind)}", *map(pretty_seconds, (worst.p95_s, worst.bound_s)))
        table.add_row(each.pool, pretty_usd(each.saves_usd_per_hour), f"{each.attainment:.1%}", *times)
    if not found.fewer:
        table.add_row("no pool has more than one", *[""] * 5)
    return table


def sizing_lines(found: Sized) -> Iterator[str]:
    seen, usd = validation(found), found.deployment.answer.usd_per_hour
    times = ", ".join(f"{name} {pretty_seconds(seconds)}" for name, seconds in seen.p95_s.items())
    yield f"{seen.attainment:.1%} of {seen.runs:,} runs are in time; p95: {times}"
    first = pretty_usd(found.planned_usd_per_hour)
    yield f"The planner's first plan, which goes by means, costs {first}/h; this fleet {pretty_usd(usd)}/h."
    tried = f"{len(found.points)} fleets of {len(found.designs)} designs were simulated"
    if found.proven:
        yield f"{tried}: of these designs no cheaper fleet is enough, if more replicas never hurt."
    else:
        yield f"{tried}: cheaper fleets were left untried (--most allows more)."


def validation(found: Sized) -> Validation:
    assert found.deployment.validation is not None
    return found.deployment.validation


def _table(title: str, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for heading in left:
        table.add_column(heading, no_wrap=True)
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
