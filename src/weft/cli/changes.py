"""What re-planning changed, and why: both plans side by side, and what keeping the old one would cost."""

from collections.abc import Iterator

from rich.console import Console

from weft.compiler.pipeline import plan_request_of
from weft.compiler.previous import previous_choice, read_previous
from weft.compiler.request import CompileRequest
from weft.core.deployment import Deployment
from weft.core.units import pretty_usd
from weft.plan.build import build
from weft.plan.replan import Kept, kept
from weft.report.comparison import comparison_tables


def show_changes(request: CompileRequest, new: Deployment, console: Console) -> None:
    old = read_previous(request.aim.previous, new.agent)
    asked = plan_request_of(request)
    planned = build(asked)
    for table in comparison_tables(old, new):
        console.print(table)
    for line in _reasons(kept(planned.problem, previous_choice(old, asked, planned)), new):
        console.print(line, highlight=False)
    console.print(f"Planned again in {new.answer.solve_s:.2f} s, within {new.answer.gap:.2%} of the optimum.")


def _reasons(before: Kept, new: Deployment) -> Iterator[str]:
    """Why not all is as it was."""
    for step in before.gone:
        yield f"{step}: what it ran on is no more, or no longer meets the objective."
    if before.placement is not None:
        was, is_ = before.placement.usd_per_hour, new.answer.usd_per_hour
        same = f"With every step where it was, the fleet would cost {pretty_usd(was)} an hour"
        yield f"{same}: {pretty_usd(was - is_)} more." if was > is_ else f"{same}."
    elif not before.gone:
        yield "With every step where it was, the fleet would no longer suffice, or the objective no longer hold."
