"""Answers to questions about a plan as tables and sentences."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table

from weft.core.units import pretty_seconds, pretty_usd
from weft.plan.build import Planned
from weft.plan.problem import Placement
from weft.plan.sensitivity import ERROR, Sensitivity
from weft.plan.shadow import ShadowPrice
from weft.plan.why_not import WhyNot


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


def scenario_table(report: Sensitivity, found: Placement) -> Table:
    """What happens to the plan when one accelerator is faster or slower than the cost model says."""
    title = f"If the cost model is off by {ERROR:.0%}"
    table = _table(title, ("accelerator", "verdict"), ("this plan", "best plan"))
    for each in report.scenarios:
        speed = f"{each.family} {'slower' if each.factor > 1 else 'faster'}"
        verdict = "another plan is better" if each.flips else "the plan stays" if each.best is not None else "no plan"
        kept = "breaks a limit" if each.kept is None else pretty_usd(each.kept)
        table.add_row(speed, verdict, kept, "-" if each.best is None else pretty_usd(each.best))
    return table


def robust_lines(report: Sensitivity, found: Placement) -> list[str]:
    flips = sum(each.flips for each in report.scenarios)
    lines = [f"{flips} of {len(report.scenarios)} scenarios would change the plan."]
    if report.robust is None or report.worst is None:
        return [*lines, "None of the plans compared keeps every limit in all of them: leave headroom."]
    worst = f"at most {pretty_usd(report.worst)} in every scenario"
    if report.robust.choice == found.choice:
        return [*lines, f"The plan is robust: {worst}."]
    price = f"{report.robust.objective / found.objective - 1:+.1%} if the cost model is right"
    pools = ", ".join(f"{count} × {name}" for name, count in report.robust.replicas.items())
    return [*lines, f"The robust plan costs {price}, {worst}: {pools}."]


def why_not_table(device: str, answers: Sequence[WhyNot]) -> Table:
    table = _table(f"Why not {device}?", ("step", "answer"), ("$/h more",))
    for each in answers:
        extra = each.extra_usd_per_hour
        table.add_row(each.step, each.answer, "-" if extra is None else pretty_usd(extra))
    return table


def pareto_table(front: Sequence[Placement], planned: Planned) -> Table:
    """One row a plan that no other beats in cost, time and energy at once."""
    table = _table("Cost, latency and energy: plans that no other beats", (), ("$/h", "run", "J/run"))
    table.add_column("pools", overflow="fold")
    for each in front:
        row = (pretty_usd(each.usd_per_hour), pretty_seconds(each.e2e_s), f"{each.joules_per_request:,.1f}")
        table.add_row(*row, pools_text(each, planned))
    return table


def pools_text(placed: Placement, planned: Planned) -> str:
    """`2 × prefill b200 tp2, 1 × serve h100-sxm`, for people."""
    labels: dict[str, str] = {}
    for candidates in planned.candidates.values():
        for each in candidates.values():
            work = each.option.pool.name.split(".")[-6] if each.precision else "cpu"
            size = f" tp{each.parallelism.tp}" if each.parallelism.tp > 1 else ""
            labels[each.option.pool.name] = f"{work} {each.group.device.id}{size}"
    return ", ".join(f"{count} × {labels[name]}" for name, count in placed.replicas.items())


def goodput_line(usd_per_hour: float, rate_per_s: float, placed: Placement) -> str:
    carried = f"{pretty_usd(usd_per_hour)}/h carry at most {rate_per_s:.4g} runs/s within the objective"
    return f"{carried} ({pretty_usd(placed.usd_per_hour)}/h used)."
