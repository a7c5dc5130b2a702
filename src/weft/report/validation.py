"""How validation came to a plan: a table of rounds, and sentences."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table

from weft.control.trial import Timing
from weft.control.validate import Round, Validated
from weft.core.units import pretty_seconds, pretty_usd


def rounds_table(validated: Validated) -> Table:
    """One row a round: what the plan cost, how many runs were in time, and the worst time beside its promise."""
    found = validated.deployment.validation
    assert found is not None
    title = f"Validated by simulation ({found.load}; seed {found.seed}): {found.target:.4g} of the runs must be in time"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    table.add_column("round", justify="right")
    for heading in ("$/h", "in time"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("worst time")
    for heading in (f"p{100 * found.target:g}", "asked", "planned"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("pools", overflow="fold")
    for each in validated.rounds:
        row = (str(each.number), pretty_usd(each.usd_per_hour), attained(each.attainment, cut=each.cut))
        table.add_row(*row, *_worst(each.timings), _pools(each))
    return table


def attained(attainment: float, *, cut: bool) -> str:
    return f"{'under ' if cut else ''}{attainment:.1%}"


def _worst(timings: Sequence[Timing]) -> tuple[str, ...]:
    if not timings:
        return "–", "–", "–", "–"
    worst = max(timings, key=lambda each: each.tail_s / each.bound_s)
    times = (worst.target_s, worst.bound_s, worst.promised_s)
    return f"{worst.subject} {time_name(worst.kind)}", *map(pretty_seconds, times)


def time_name(kind: str) -> str:
    """A field of an objective, for people."""
    return {"ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "e2e", "e2e_p95_s": "e2e"}[kind]


def _pools(each: Round) -> str:
    return ", ".join(f"{count} {name}" for name, count in each.pools.items())


def round_lines(validated: Validated) -> Iterator[str]:
    """What was tightened in each round, and why; or what is in the way."""
    before: tuple[str, ...] = validated.rounds[0].tighten
    for each in validated.rounds[1:]:
        for why in each.why:
            yield f"round {each.number}: {why}"
        changed = [change for change in each.tighten if change not in before]
        yield f"  planned again with {' '.join(f'--tighten {change}' for change in changed)}"
        before = each.tighten
    for obstacle in validated.obstacles:
        yield f"in the way: {obstacle}"


def verdict(validated: Validated) -> str:
    found = validated.deployment.validation
    assert found is not None
    share = attained(found.attainment, cut=validated.rounds[-1].cut)
    if not validated.holds:
        return f"{share} of runs are in time, {found.target:.4g} are wanted"
    times = ", ".join(f"{name} {pretty_seconds(seconds)}" for name, seconds in found.p95_s.items())
    return f"{share} of {found.runs:,} runs are in time; p95: {times or 'nothing is asked of time'}"
