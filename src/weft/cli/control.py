"""`weft control`: what the control loop would do, and why. `weft serve --control` does it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from weft.catalog.plans import load_plan
from weft.cli.console import wide_console
from weft.cli.groups import grouped
from weft.cli.options import Pace
from weft.compiler.request import paces_of
from weft.control.dry_run import Watched, decide_at, learned, replanned_at, watch
from weft.core.deployment import Deployment
from weft.core.errors import InputError
from weft.policy.scaling import Decision, ScalingConfig


@dataclass(frozen=True, slots=True)
class WhereOptions:
    plan: Annotated[Path, typer.Argument(help="A plan (weft plan --json).")]
    url: Annotated[str | None, typer.Option(help="A server that runs it: its rate and its nodes are looked at.")] = None
    rate: Annotated[float | None, typer.Option(help="Runs per second, without a server [default: the plan's].")] = None
    pace: Pace = None
    over: Annotated[float, typer.Option(help="Seconds that the server is watched.")] = 5.0


@dataclass(frozen=True, slots=True)
class TermOptions:
    utilisation: Annotated[float, typer.Option(help="How full a replica may be.")] = ScalingConfig().utilisation
    most: Annotated[int, typer.Option(help="Replicas of a pool, at most.")] = ScalingConfig().most
    most_usd: Annotated[float | None, typer.Option(help="$ an hour of the whole fleet, at most.")] = None
    most_w: Annotated[float | None, typer.Option(help="Watts of the whole fleet, at most.")] = None
    replan: Annotated[
        bool, typer.Option("--replan", help="Also what the planner would have instead, and if it pays.")
    ] = False
    explain: Annotated[bool, typer.Option("--explain", help="Also the pools that stay as they are.")] = False
    json: Annotated[bool, typer.Option("--json", help="As JSON on standard output.")] = False


def register(app: typer.Typer) -> None:
    app.command("control")(grouped(control))


def control(where: WhereOptions, terms: TermOptions) -> None:
    """A dry run of the control loop: which replicas it would start and drain, and why. Nothing is changed."""
    if where.url is not None and where.rate is not None:
        raise InputError(subject="--rate", problem="the server at --url has its own", way_out="leave one of them out")
    deployment = load_plan(where.plan)
    config = ScalingConfig(
        utilisation=terms.utilisation, most=terms.most, most_usd_per_hour=terms.most_usd, most_w=terms.most_w
    )
    rate, seen = where.rate, Watched(0.0, {})
    if where.url is not None:
        rate, seen = watch(where.url, deployment.program.name, where.over)
    rate = deployment.workload.rate_per_s if rate is None else rate
    calibration = learned({**deployment.measured, **paces_of(where.pace or ())}, seen.passes)
    decision = decide_at(deployment, config, rate, seen.nodes, calibration.factors)
    move = replanned_at(deployment, config, rate, calibration.factors) if terms.replan else None
    known = calibration.known
    if terms.json:
        told = {**asdict(decision), "paces": {key: asdict(each) for key, each in known.items()}}
        told |= {"replan": asdict(move)} if move else {}
        typer.echo(msgspec.json.format(msgspec.json.encode(told), indent=2))
        return
    console = wide_console()
    console.print(_table(deployment, decision, everything=terms.explain))
    for key, each in known.items():
        if terms.explain or each.factor != 1.0:
            console.print(each.told(key), highlight=False, markup=False)
    if move is not None:
        console.print(f"planned anew: {'move' if move.move else 'stay'}: {move.why}", highlight=False)
        for line in move.differences:
            console.print(f"  {line}", highlight=False, markup=False)


def _table(deployment: Deployment, decision: Decision, *, everything: bool) -> Table:
    table = Table("pool", "has", "needs", "would", "why", "$/h of it", box=None, pad_edge=False)
    actions = {action.pool: action for action in decision.actions}
    for finding in decision.findings:
        action = actions.get(finding.pool)
        if action is None and not everything and not finding.held:
            continue
        does = f"{action.change} {action.count}" if action else "stay"
        why = "; ".join(part for part in (finding.why, finding.held) if part)
        usd = deployment.pool(finding.pool).usd_per_hour * finding.needed
        table.add_row(finding.pool, str(finding.have), str(finding.needed), does, why, f"{usd:.2f}")
    if not table.rows:
        table.add_row("all", "", "", "stay", f"{decision.rate_per_s:.3g} runs/s", "")
    return table
