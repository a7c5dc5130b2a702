"""What re-planning changed, and why: both plans side by side, and what keeping the old one would cost."""

from collections import Counter
from collections.abc import Iterator

from rich.console import Console

from weft.compiler.previous import previous_choice, read_previous
from weft.core.deployment import Deployment
from weft.core.units import pretty_usd
from weft.plan.alike import Alike, alike
from weft.plan.build import build
from weft.plan.replan import Kept, kept
from weft.plan.requests import PlanRequest
from weft.report.comparison import comparison_tables


def show_changes(previous: str, asked: PlanRequest, new: Deployment, console: Console) -> None:
    """`previous` is the old plan's file; `asked` is what the new one answers."""
    old = read_previous(previous, new.agent)
    kinds = alike(asked)
    asked = kinds.small if _is_uniform(old, kinds) else kinds.request
    planned = build(asked)
    for table in comparison_tables(old, new):
        console.print(table)
    before = kept(planned.problem, previous_choice(old, asked, planned))
    stands_for = Counter(kinds.kind_of.values()) if asked is kinds.small else Counter[str]()
    for line in _reasons(before, stands_for, new):
        console.print(line, highlight=False)
    console.print(f"Planned again in {new.answer.solve_s:.2f} s, within {new.answer.gap:.2%} of the optimum.")


def _is_uniform(old: Deployment, kinds: Alike) -> bool:
    """Whether alike steps shared their pools, so that each kind stands for its steps."""
    pools = {route.step: route.pool for route in old.routes}
    return all(pools.get(step) == pools.get(kind) for step, kind in kinds.kind_of.items())


def _reasons(before: Kept, stands_for: Counter[str], new: Deployment) -> Iterator[str]:
    """Why not all is as it was."""
    for step in before.gone:
        others = stands_for[step] - 1
        like = f" and {others} like it" if others > 0 else ""
        yield f"{step}{like}: what it ran on is no more, or no longer meets the objective."
    if before.placement is not None:
        was, is_ = before.placement.usd_per_hour, new.answer.usd_per_hour
        same = f"With every step where it was, the fleet would cost {pretty_usd(was)} an hour"
        yield f"{same}: {pretty_usd(was - is_)} more." if was > is_ else f"{same}."
    elif not before.gone:
        yield "With every step where it was, the fleet would no longer suffice, or the objective no longer hold."
