"""`weft simulate`: a plan under load in virtual time: tails, queues, caches, failures."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from weft.catalog.plans import load_plan
from weft.cli.console import wide_console
from weft.cli.groups import grouped
from weft.cli.options import DEFAULTS, Fleet, Pace, Precisions, Serving, Slo
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import USUAL_SLO, CompileRequest, Needs, Rules, Supply, paces_of
from weft.core.deployment import Deployment
from weft.core.errors import InputError, OverloadError
from weft.policy.retention import Rule
from weft.policy.scaling import ScalingConfig
from weft.report.simulation_figures import write_figures
from weft.report.simulation_tables import headline, latency_table, notes, overload_sentence, pools_table
from weft.sim.faults import Trouble, parse_autoscaling, parse_failure, parse_slowdown
from weft.sim.pairing import PairKind
from weft.sim.routing import RouterKind
from weft.sim.simulate import Outcome, SimConfig
from weft.sim.simulate import simulate as run_simulation
from weft.sim.tiers import parse_tier
from weft.sim.urgency import PriorityKind
from weft.traces.arrivals import ArrivalKind, Arrivals
from weft.traces.load import DEFAULT_REQUESTS, Load, LoadStream, open_load

Plan = Annotated[str, typer.Argument(help="A plan (weft plan --json), or an agent to be planned first.")]
Trace = Annotated[Path | None, typer.Option(help="Requests: Mooncake, Azure, TraceLab, τ-bench or Weft's JSON lines.")]
Rate = Annotated[float | None, typer.Option(help="Runs per second; replaces a trace's times [default: the plan's].")]
Kind = Annotated[ArrivalKind, typer.Option("--arrivals", help="How requests come where --rate says how many.")]
Cv = Annotated[float, typer.Option(help="Coefficient of variation of the gaps of bursty arrivals.")]
Requests = Annotated[int | None, typer.Option(help=f"At most so many [default: {DEFAULT_REQUESTS}, or the trace].")]
Scale = Annotated[float, typer.Option(help="Times the load: 2 lets twice as much come.")]
Tools = Annotated[Path | None, typer.Option(help="A TraceLab file whose tool times a τ-bench trace takes.")]
Seed = Annotated[int, typer.Option(help="Equal seeds give equal results.")]
Router = Annotated[RouterKind, typer.Option(help="Who takes a model call: ours, or one to compare with.")]
Pairs = Annotated[PairKind, typer.Option(help="When who decodes is chosen: after the prompt, or with who prefills.")]
Priority = Annotated[
    PriorityKind | None, typer.Option(help="Whose prompt is first [default: slack where the objective has e2e_s].")
]
Admit = Annotated[bool, typer.Option("--admission", help="Refuse runs at once that would miss the objective.")]
Retention = Annotated[Rule, typer.Option(help="What becomes of an agent's KV cache while it waits for a tool.")]
TierText = Annotated[str | None, typer.Option("--tier", help="Where a replica's caches go: 256GB@50GB/s[+0.2ms].")]
Spread = Annotated[float, typer.Option(help="Coefficient of variation of CPU and tool steps that declare none.")]
Fail = Annotated[list[str] | None, typer.Option(help="Replicas that fail: h100:1@60s, with +30s if they come back.")]
Slow = Annotated[list[str] | None, typer.Option(help="Replicas that slow down: h100:1@60sx2.5.")]
Autoscale = Annotated[list[str] | None, typer.Option(help="Replicas added when queues grow: h100:8,queue=4,delay=60.")]
Control = Annotated[bool, typer.Option("--control", help="Replicas come and go by the control loop's policy.")]
StartS = Annotated[float, typer.Option("--start-delay", help="Seconds that a replica takes to start, with --control.")]
Exact = Annotated[bool, typer.Option("--exact", help="Every decode step an event of its own: slower, equal results.")]
Through = Annotated[bool, typer.Option("--through-overload", help="Go on when queues grow without bound.")]
Window = Annotated[str, typer.Option(help="Seconds FROM:TO that trace.json shows, with --out.")]
Json = Annotated[bool, typer.Option("--json", help="The summary as JSON on standard output, no tables.")]
Out = Annotated[Path | None, typer.Option(help="Folder for summary.json, figures and trace.json (Perfetto).")]


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What is simulated; the options of planning count where PLAN is an agent."""

    plan: Plan
    fleet: Fleet = DEFAULTS.supply.fleet
    slo: Slo = USUAL_SLO
    serving: Serving = DEFAULTS.rules.serving
    precision: Precisions = None

    def deployment(self, rate_per_s: float | None) -> Deployment:
        """A plan file as it is; an agent program is planned for this rate first."""
        if not re.search(r"\.(py|mlir)(:\w+)?$", self.plan):
            return load_plan(self.plan)
        asked = CompileRequest(
            self.plan,
            Needs(slo=self.slo, rate_per_s=DEFAULTS.needs.rate_per_s if rate_per_s is None else rate_per_s),
            Supply(fleet=self.fleet),
            Rules(precisions=tuple(self.precision or DEFAULTS.rules.precisions), serving=self.serving),
        )
        return compile_agent(asked)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What comes, and when."""

    trace: Trace = None
    rate: Rate = None
    arrivals: Kind = ArrivalKind.POISSON
    cv: Cv = 3.0
    requests: Requests = None
    scale: Scale = 1.0
    tools: Tools = None
    seed: Seed = 0

    def load(self, planned_per_s: float) -> Load:
        """Without a trace or a rate: the rate that the plan was made for."""
        rate_per_s = planned_per_s if self.trace is None and self.rate is None else self.rate
        process = Arrivals(self.arrivals, rate_per_s, self.cv) if rate_per_s is not None else None
        return Load(self.trace, process, self.scale, self.requests, self.tools, self.seed)

    @property
    def expected(self) -> int | None:
        """Runs, where they are known before the end."""
        return self.requests or (None if self.trace else DEFAULT_REQUESTS)


@dataclass(frozen=True, slots=True)
class DecisionOptions:
    """Who decides, and what goes wrong."""

    router: Router = RouterKind.WEFT
    pairs: Pairs = PairKind.LATE
    priority: Priority = None
    admission: Admit = False
    retention: Retention = Rule.WEFT
    tier: TierText = None
    spread: Spread = 0.0
    fail: Fail = None
    slow: Slow = None
    pace: Pace = None
    autoscale: Autoscale = None
    control: Control = False
    start_delay: StartS = 30.0
    exact: Exact = False
    through_overload: Through = False

    def config(self, seed: int, source: str, window_s: tuple[float, float] | None) -> SimConfig:
        return SimConfig(
            seed=seed,
            router=self.router,
            pairs=self.pairs,
            priority=self.priority,
            admission=self.admission,
            retention=self.retention,
            tier=parse_tier(self.tier) if self.tier else self._no_tier(),
            cv=self.spread,
            exact=self.exact,
            stop_overload=not self.through_overload,
            troubles=self._troubles(),
            window_s=window_s,
            source=source,
            control=ScalingConfig(start_s=self.start_delay) if self.control else None,
            paces=paces_of(self.pace or ()),
        )

    def _no_tier(self) -> None:
        if self.retention is Rule.OFFLOAD:
            raise InputError(
                subject="--retention offload",
                problem="there is no tier to offload to",
                way_out="say what it is: --tier 256GB@50GB/s, of each replica",
            )

    def _troubles(self) -> tuple[Trouble, ...]:
        return (
            *map(parse_failure, self.fail or ()),
            *map(parse_slowdown, self.slow or ()),
            *map(parse_autoscaling, self.autoscale or ()),
        )


@dataclass(frozen=True, slots=True)
class OutputOptions:
    window: Window = "0:10"
    json: Json = False
    out: Out = None

    @property
    def window_s(self) -> tuple[float, float] | None:
        return _window(self.window) if self.out is not None else None


def register(app: typer.Typer) -> None:
    app.command("simulate")(grouped(simulate))


def simulate(plan: PlanOptions, load: LoadOptions, decisions: DecisionOptions, output: OutputOptions) -> None:
    """Run a plan's agent under a load in virtual time: tails, queues, cache hits, failures, cost and energy."""
    deployment = plan.deployment(load.rate)
    stream = open_load(load.load(deployment.workload.rate_per_s))
    config = decisions.config(load.seed, stream.source, output.window_s)
    _Job(deployment, stream, config, load.expected, output.out).run(as_json=output.json)


@dataclass(frozen=True)
class _Job:
    deployment: Deployment
    stream: LoadStream
    config: SimConfig
    total: int | None
    out: Path | None

    def run(self, *, as_json: bool) -> None:
        outcome = self._watched()
        if self.out is not None:
            self._write(outcome, self.out)
        if as_json:
            typer.echo(_json(outcome), nl=False)
        else:
            self._show(outcome, wide_console())
        if (found := outcome.summary.overload) is not None:
            raise OverloadError(
                subject=f"{self.deployment.agent}: overload",
                problem=overload_sentence(found),
                way_out="lower the rate, add replicas to that pool, or see it through with --through-overload",
            )

    def _watched(self) -> Outcome:
        """A bar on standard error, so that JSON on standard output stays clean."""
        columns = (TextColumn("simulating"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=self.total)

            def progress(ended: int, now_s: float) -> None:
                bar.update(task, completed=ended, description=f"{ended:,} runs, {now_s:,.0f} s of virtual time")

            return run_simulation(self.deployment, self.stream.requests, self.config, on_progress=progress)

    def _show(self, outcome: Outcome, console: Console) -> None:
        summary = outcome.summary
        console.print(headline(summary), highlight=False)
        console.print(latency_table(summary))
        console.print(pools_table(summary))
        for line in notes(summary):
            console.print(line, style="dim", highlight=False)
        for moment in outcome.control:
            for action in moment.decision.actions:
                console.print(f"at {moment.at_s:.0f} s {action}", style="dim", highlight=False)
        for key, known in outcome.paces.items():
            if known.factor != 1.0:
                console.print(known.told(key), style="dim", highlight=False)
        if self.out is not None:
            console.print(f"\n{self.out}/: {', '.join(sorted(path.name for path in self.out.iterdir()))}")

    def _write(self, outcome: Outcome, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "summary.json").write_bytes(_json(outcome))
        write_figures(outcome, self.deployment.slo, out)
        if outcome.window is not None:
            outcome.window.write(out / "trace.json")


def _json(outcome: Outcome) -> bytes:
    return msgspec.json.format(msgspec.json.encode(outcome.summary, order="deterministic"), indent=2) + b"\n"


def _window(text: str) -> tuple[float, float]:
    try:
        first, last = map(float, text.split(":"))
    except ValueError as error:
        raise InputError(
            subject=f"--window {text!r}", problem="cannot be read", way_out="write FROM:TO, like 0:10"
        ) from error
    return first, last
