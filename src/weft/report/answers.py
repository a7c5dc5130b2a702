"""Answers to questions about a plan: as data that goes into one document with it, as tables and as sentences."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from weft.control.validate import Round
from weft.core.units import pretty_seconds, pretty_usd
from weft.plan.build import Planned
from weft.plan.problem import Placement
from weft.plan.sensitivity import ERROR, Scenario
from weft.plan.shadow import ShadowPrice
from weft.plan.why_not import WhyNot


@dataclass(frozen=True, slots=True)
class UsedPool:
    """So many replicas of `devices` devices each; `work` is prefill, decode, serve (both) or cpu."""

    work: str
    device: str
    devices: int
    replicas: int


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A plan that no other beats in cost, time and energy at once."""

    usd_per_hour: float
    e2e_s: float
    joules_per_run: float
    pools: tuple[UsedPool, ...]


@dataclass(frozen=True, slots=True)
class Robust:
    """The plan whose dearest scenario is cheapest. `is_the_plan`: it is the one at hand; `extra`: what it costs more
    than that, relatively, if the cost model is right."""

    is_the_plan: bool
    extra: float
    worst: float
    pools: tuple[UsedPool, ...]


@dataclass(frozen=True, slots=True)
class Goodput:
    """The most runs a second for a budget."""

    budget_usd_per_hour: float
    rate_per_s: float
    usd_per_hour: float


@dataclass(frozen=True, slots=True)
class Answers:
    """None: not asked. Scenarios: see plan.sensitivity; what a plan costs there is in the unit of the objective.
    Rounds: how validation came to the plan, see control.validate."""

    shadow_prices: tuple[ShadowPrice, ...] | None = None
    scenarios: tuple[Scenario, ...] | None = None
    robust: Robust | None = None
    why_not: Mapping[str, tuple[WhyNot, ...]] | None = None
    pareto: tuple[FrontPoint, ...] | None = None
    goodput: Goodput | None = None
    rounds: tuple[Round, ...] | None = None


def used_pools(placed: Placement, planned: Planned) -> tuple[UsedPool, ...]:
    found: dict[str, UsedPool] = {}
    for candidates in planned.candidates.values():
        for each in candidates.values():
            name, pool = each.option.pool.name, each.option.pool
            if name in placed.replicas:
                work = name.split(".")[-6] if each.precision else "cpu"
                found[name] = UsedPool(work, each.group.device.id, pool.devices_per_replica, placed.replicas[name])
    return tuple(found[name] for name in placed.replicas)


def _table(title: str, headings: Iterable[str], numbers: Iterable[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def shadow_table(prices: Sequence[ShadowPrice]) -> Table:
    """Changes that save or cost something; the others in one row."""
    table = _table("What one more is worth (each planned again)", ("change",), ("$/h",))
    for price in prices:
        if price.saves_usd_per_hour is None:
            table.add_row(price.change, "no plan is left")
        elif price.saves_usd_per_hour:
            verb = "saves" if price.saves_usd_per_hour > 0 else "costs"
            table.add_row(price.change, f"{verb} {pretty_usd(abs(price.saves_usd_per_hour))}")
    nothing = [price.change for price in prices if price.saves_usd_per_hour == 0]
    if nothing:
        table.add_row(", ".join(nothing), "change nothing")
    return table


def scenario_table(scenarios: Sequence[Scenario]) -> Table:
    """What happens to the plan when one accelerator is faster or slower than the cost model says."""
    title = f"If the cost model is off by {ERROR:.0%}"
    table = _table(title, ("accelerator", "verdict"), ("this plan", "best plan"))
    for each in scenarios:
        speed = f"{each.family} {'slower' if each.factor > 1 else 'faster'}"
        verdict = "another plan is better" if each.flips else "the plan stays" if each.best is not None else "no plan"
        kept = "breaks a limit" if each.kept is None else pretty_usd(each.kept)
        table.add_row(speed, verdict, kept, "-" if each.best is None else pretty_usd(each.best))
    return table


def robust_lines(scenarios: Sequence[Scenario], robust: Robust | None) -> list[str]:
    flips = sum(each.flips for each in scenarios)
    lines = [f"{flips} of {len(scenarios)} scenarios would change the plan."]
    if robust is None:
        return [*lines, "None of the plans compared keeps every limit in all of them: leave headroom."]
    worst = f"at most {pretty_usd(robust.worst)} in every scenario"
    if robust.is_the_plan:
        return [*lines, f"The plan is robust: {worst}."]
    price = f"{robust.extra:+.1%} if the cost model is right"
    return [*lines, f"The robust plan costs {price}, {worst}: {pools_text(robust.pools)}."]


def why_not_table(device: str, answers: Sequence[WhyNot]) -> Table:
    table = _table(f"Why not {device}?", ("step", "answer"), ("$/h more",))
    for each in answers:
        extra = each.extra_usd_per_hour
        table.add_row(each.step, each.answer, "-" if extra is None else pretty_usd(extra))
    return table


def pareto_table(front: Sequence[FrontPoint]) -> Table:
    """One row a plan that no other beats in cost, time and energy at once."""
    table = _table("Cost, latency and energy: plans that no other beats", (), ("$/h", "run", "J/run"))
    table.add_column("pools", overflow="fold")
    for each in front:
        row = (pretty_usd(each.usd_per_hour), pretty_seconds(each.e2e_s), f"{each.joules_per_run:,.1f}")
        table.add_row(*row, pools_text(each.pools))
    return table


def pools_text(pools: Sequence[UsedPool]) -> str:
    """`2 × prefill b200 tp2, 1 × serve h100-sxm`, for people."""
    sizes = [f" tp{each.devices}" if each.devices > 1 else "" for each in pools]
    return ", ".join(f"{p.replicas} × {p.work} {p.device}{size}" for p, size in zip(pools, sizes, strict=True))


def goodput_line(found: Goodput) -> str:
    carried = f"{pretty_usd(found.budget_usd_per_hour)}/h carry at most {found.rate_per_s:.4g} runs/s"
    return f"{carried} within the objective ({pretty_usd(found.usd_per_hour)}/h used)."
