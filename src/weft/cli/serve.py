"""`weft serve`: agents behind OpenAI's API, on nodes of this machine."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from weft.catalog.plans import load_plan
from weft.cli.bundled import Bundle, Code, is_bundle, open_bundle, pool_models, told
from weft.cli.cache_options import CacheOptions
from weft.cli.console import wide_console
from weft.cli.groups import grouped
from weft.cli.keeping import KeepOptions, graphs_path, keep_s, kept_runs, log_address, stream_log, webhooks_of
from weft.cli.local import local_models
from weft.cli.options import DEFAULTS, Fleet, Rate, Slo
from weft.cli.run import Corpus, Emulate, Model, Ranks, Remote, Stt
from weft.cli.serve_nodes import Nodes, Start, started_by
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import USUAL_SLO, CompileRequest, Needs, Supply
from weft.control.backends.fleet import Fleet as NodeFleet
from weft.control.backends.keeper import CAN_KEEP, Keeper, kept_up
from weft.control.loop import Loop
from weft.control.moving import Crossing, Mover
from weft.control.replan import Planner, planned_load, request_of
from weft.control.replanning import Replans
from weft.core.deployment import Deployment
from weft.core.errors import InputError
from weft.plan.staffing import scaling_of
from weft.policy.replanning import Estimate, Replanning
from weft.policy.scaling import ScalingConfig
from weft.runtime.remote_spec import read_remotes
from weft.runtime.spec import NodeSpec
from weft.serve.admitting import Door
from weft.serve.agents import Agents, ServedAgent
from weft.serve.api.app import App
from weft.serve.api.audit import Audit
from weft.serve.api.guard import Guard
from weft.serve.api.keys import Keys, digest_of
from weft.serve.dispatch import Dispatcher, pool_of
from weft.serve.model_calls import with_models, without_own_steps
from weft.serve.placement import PoolModel
from weft.serve.programs.driver import drives_itself, driving
from weft.serve.runs.runs import RunLimits
from weft.serve.runs.webhooks import Webhooks
from weft.serve.server import Address, check_open, listening
from weft.serve.stream_log import StreamLog

if TYPE_CHECKING:
    from weft.serve.tracing import RunSpans

Served = Annotated[
    list[str] | None, typer.Argument(help="Agents (file.py, .mlir, langgraph:PROGRAM), plans (.json) or bundles.")
]
Host = Annotated[str, typer.Option(help="Address to listen at.")]
Port = Annotated[int, typer.Option(help="Port to listen at; 0 takes one that is free.")]
KeyFile = Annotated[Path | None, typer.Option("--keys", help="File of API keys' digests; needed off loopback.")]
NewKey = Annotated[str | None, typer.Option("--new-key", help="Make a key of this name, add it to --keys, and end.")]
Replicas = Annotated[int | None, typer.Option(help="Nodes here for each pool [default: the plan's, if cores allow].")]
Control = Annotated[int | None, typer.Option("--control", help="Scale each pool with the load, up to so many nodes.")]
Replan = Annotated[bool, typer.Option("--replan", help="With --control: ask the planner again when the load differs.")]
Otlp = Annotated[str | None, typer.Option(help="Send spans of runs and steps here: http://collector:4318/v1/traces.")]
Admit = Annotated[bool, typer.Option("--admission", help="Refuse runs at once (429) that would miss the objective.")]
Ray = Annotated[str | None, typer.Option(help="Start nodes on this Ray cluster: HOST:PORT, or auto.")]
AtOnce = Annotated[int, typer.Option(help="Runs under way at once; more are refused with 429.")]
RunLimit = Annotated[float, typer.Option("--run-limit", help="Seconds that one run may take.")]
Grace = Annotated[float, typer.Option(help="Seconds that runs have to end when the server is stopped.")]


LOCAL_START_S = 10.0  # of a node on this machine
REVIVAL_S = 60.0
"""A step waits so long for a node of its pool to come back."""


@dataclass(frozen=True, slots=True)
class WhatOptions:
    agents: Served = None
    fleet: Fleet = DEFAULTS.supply.fleet
    slo: Slo = USUAL_SLO
    rate: Rate = 1.0


@dataclass(frozen=True, slots=True)
class HereOptions:
    model: Model = None
    stt: Stt = None
    corpus: Corpus = None
    remote: Remote = None
    code: Code = None
    emulate: Emulate = False
    ranks: Ranks = False
    replicas: Replicas = None
    control: Control = None
    replan: Replan = False
    otlp: Otlp = None
    admission: Admit = False
    ray: Ray = None


@dataclass(frozen=True, slots=True)
class DoorOptions:
    host: Host = "127.0.0.1"
    port: Port = 8080
    keys: KeyFile = None
    new_key: NewKey = None
    at_once: AtOnce = 1024
    run_limit: RunLimit = 600.0
    grace: Grace = 30.0


def register(app: typer.Typer) -> None:
    app.command("serve")(grouped(serve))


def serve(what: WhatOptions, here: HereOptions, cache: CacheOptions, door: DoorOptions, keep: KeepOptions) -> None:
    """Serve agents over OpenAI's API: plan each, start its nodes here, answer until stopped (Ctrl-C, SIGTERM)."""
    if door.new_key is not None:
        _make_key(door.new_key, door.keys)
        return
    if not what.agents:
        raise InputError(subject="weft serve", problem="nothing to serve", way_out="name an agent or a plan")
    keys = Keys.read(door.keys) if door.keys else Keys({})
    wanted = Address(door.host, door.port)
    check_open(wanted, keys)
    if here.replan and here.control is None:
        raise InputError(subject="--replan", problem="is a part of --control", way_out="give --control N")
    bundles = [open_bundle(agent) for agent in what.agents if is_bundle(agent)]
    deployments = _distinct([_deployment(agent, what) for agent in what.agents])
    remotes = {each.model: each for each in read_remotes(here.remote)} if here.remote else {}
    local = local_models(here.model, here.stt, here.corpus)
    models = replace(local, cache=cache.tiers(), ranks=here.ranks, remotes=remotes)
    replicas = _replicas(deployments, here)
    keep_for_s = keep_s(keep)
    guard = Guard(keys, Audit.open(keep.audit) if keep.audit else None)
    nodes = Nodes(models, here.emulate, replicas, here.ray, _compiled(bundles, here), here.otlp)
    with stream_log() as streams:
        kept = Kept(guard, door, log_address(keep, door.port), webhooks_of(keep), keep_for_s, streams)
        place = Place(*wanted.opened())

        def run(keeper: Keeper | None) -> None:
            uvloop.run(_serve(deployments, replace(nodes, keeper=keeper), place, kept, here))

        if here.ray is not None or not CAN_KEEP:  # Ray's nodes are the cluster's
            run(None)
        elif code := kept_up(run):
            raise typer.Exit(code)


def _replicas(deployments: list[Deployment], here: HereOptions) -> Mapping[str, int]:
    """By pool. Where nobody asks: as planned; on this machine, while there is a core for each node, at least one."""
    asked = here.replicas
    if asked is not None and asked < 1:
        raise InputError(subject="--replicas", problem=f"is {asked}", way_out="give at least 1")
    pools = [pool for each in deployments for pool in each.pools]
    most = max(1, (os.cpu_count() or 1) // len(pools))
    return {pool.name: asked or (pool.replicas if here.ray else min(pool.replicas, most)) for pool in pools}


def _compiled(bundles: Sequence[Bundle], here: HereOptions) -> Mapping[str, Mapping[str, PoolModel]]:
    if bundles and here.ray is not None:
        problem, way_out = "holds code that was looked for on this machine", "serve its plan.json on Ray"
        raise InputError(subject=str(bundles[0].folder), problem=problem, way_out=way_out)
    if here.code and len(bundles) != 1:
        problem = f"chooses among the code of a bundle; there are {len(bundles)}"
        raise InputError(subject="--code", problem=problem, way_out="serve one bundle")
    return {each.plan.program.name: pool_models(each, here.code or (), here.model) for each in bundles}


def _deployment(agent: str, what: WhatOptions) -> Deployment:
    if is_bundle(agent):
        return open_bundle(agent).plan
    if agent.endswith(".json"):
        return load_plan(Path(agent))
    return compile_agent(CompileRequest(agent, Needs(slo=what.slo, rate_per_s=what.rate), Supply(fleet=what.fleet)))


def _distinct(deployments: list[Deployment]) -> list[Deployment]:
    names = [each.program.name for each in deployments]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            subject=f"agent {twice[0]!r}", problem="is served twice", way_out="give each a name of its own"
        )
    return deployments


@dataclass(frozen=True, slots=True)
class Kept:
    """Who may call, what they may ask for, and where runs (None: nowhere) and named streams are kept."""

    guard: Guard
    door: DoorOptions
    log: str | None
    webhooks: Webhooks | None
    keep_s: float
    streams: StreamLog


@dataclass(frozen=True, slots=True)
class Place:
    """Where it listens."""

    address: Address
    sockets: Sequence[socket.socket]


async def _serve(deployments: list[Deployment], nodes: Nodes, place: Place, kept: Kept, here: HereOptions) -> None:
    console, stop, door = wide_console(), _stopped_by_signals(), kept.door
    async with contextlib.AsyncExitStack() as stack:
        with console.status("starting node processes"):
            start = await stack.enter_async_context(started_by(nodes))
            graphs = graphs_path(kept.log, place.address.port)
            served = [await _served(each, start, nodes, door.run_limit, here, stack, graphs) for each in deployments]
        if nodes.keeper is not None:
            nodes.keeper.settle()
        if here.otlp is not None:
            spans = _spans(here.otlp)
            stack.callback(spans.close)
            for agent in served:
                agent.spans = spans
        agents = Agents(with_models(served))
        limits = RunLimits(at_once=door.at_once, run_s=door.run_limit, keep_s=kept.keep_s)
        keeping = kept_runs(agents, kept.guard, kept.log, kept.webhooks, limits)
        runs, responses = await stack.enter_async_context(keeping)
        app = App(agents, kept.guard, at_once=door.at_once, runs=runs, responses=responses, streams=kept.streams)
        async with listening(app, place.sockets, door.grace):
            _banner(console, app, [agent.name for agent in served], place.address, nodes)
            await stop.wait()
            console.print(f"stopping: {agents.running} runs have {door.grace:g} s to end")


def _spans(otlp: str) -> "RunSpans":
    from weft.runtime.telemetry import otlp_exporter

    exporter = otlp_exporter(otlp)  # says which extra is missing
    from weft.serve.tracing import RunSpans

    return RunSpans(exporter)


async def _served(
    deployment: Deployment,
    start: Start,
    nodes: Nodes,
    run_s: float,
    here: HereOptions,
    stack: contextlib.AsyncExitStack,
    graphs: Path | None,
) -> ServedAgent:
    """Its nodes are kept up: what dies starts again, and what it was at goes on elsewhere, or there. `graphs`: the
    file that programs which drive themselves keep their state in."""
    planned = deployment
    if drives_itself(planned):
        deployment = without_own_steps(planned)
    dispatcher = Dispatcher(deployment, revival_s=REVIVAL_S)
    crossing = Crossing([dispatcher])
    fleet = await stack.enter_async_context(start(deployment, crossing.join))
    agent = ServedAgent(deployment, dispatcher, run_s)
    if drives_itself(planned):
        anew = nodes.keeper is None or not nodes.keeper.again
        driver = await stack.enter_async_context(driving(planned, dispatcher, graphs, wait=anew))
        agent.driver = driver
        agent.followers.append(driver)
    agent.door = Door(planned, dispatcher) if here.admission else None
    if here.control is not None:
        agent.controlled = True
        looping = asyncio.create_task(_control(agent, fleet, crossing, nodes, here, here.control).run())
        stack.callback(looping.cancel)
    return agent


def _control(
    agent: ServedAgent, fleet: NodeFleet[Any], crossing: Crossing, nodes: Nodes, here: HereOptions, most: int
) -> Loop:
    plan, terms = agent.deployment, ScalingConfig(most=most, start_s=LOCAL_START_S)
    first = {spec.name: spec for spec in fleet.specs if pool_of(spec.name) == spec.name}
    loop = Loop(agent, fleet, first, scaling_of(plan, terms))
    if here.replan:

        def specs_of(target: Deployment) -> Sequence[NodeSpec]:
            replicas = {pool.name: min(pool.replicas, most) for pool in target.pools}
            return replace(nodes, replicas=replicas).specs(target)

        mover = Mover(agent, fleet, crossing, specs_of, fleet.specs[0].secret)
        planner = Planner(request_of(plan))

        def planned(seen: Estimate) -> Deployment:
            offered = planner.plan(seen)
            return without_own_steps(offered) if drives_itself(offered) else offered

        loop.replans = Replans(Replanning(planned_load(plan)), planned, mover, terms)
    return loop


def _stopped_by_signals() -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    return stop


def _banner(console: Console, app: App, names: Sequence[str], address: Address, nodes: Nodes) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("model", "takes", "nodes here (planned)", "planned devices", "planned $/h"):
        table.add_column(name)
    for name in names:
        agent = app.agents.by_name[name]
        deployment = agent.deployment
        devices = ", ".join(sorted({f"{pool.replicas} × {pool.device}" for pool in deployment.pools}))
        takes = ", ".join(deployment.program.input_types)
        planned = sum(pool.replicas for pool in deployment.pools)
        table.add_row(
            name, takes, f"{len(agent.dispatcher.nodes)} ({planned})", devices, f"{deployment.answer.usd_per_hour:.2f}"
        )
    pace = "emulated, at the planned pace" if nodes.emulate else "not emulated: times are this machine's"
    who = "API keys" if app.guard.keys.callers else "no key, loopback only"
    console.print(f"[bold]Weft serves {address.url}/v1[/] ({who}); planned devices are {pace}")
    console.print(table)
    if by_name := ", ".join(sorted(app.agents.by_name.keys() - set(names))):
        console.print(f"their models by name: {by_name}", style="dim")
    for models in nodes.compiled.values():
        console.print(told(models), style="dim")
    if app.runs is not None:
        console.print(f"runs, sessions and responses are kept; {len(app.runs.live)} runs go on", style="dim")
    else:
        console.print("no runs are kept, and responses in memory alone: give --runs FILE to keep them", style="dim")
    if asked := _first_request(app, names, address):
        console.print(asked, style="dim", markup=False, highlight=False, soft_wrap=True)
    console.print(f"OpenAPI {address.url}/openapi.json, metrics {address.url}/metrics; stop with Ctrl-C", style="dim")


def _first_request(app: App, names: Sequence[str], address: Address) -> str:
    """To be pasted; nothing where all agents listen."""
    reads = (("text",), ("messages",))
    name = next((each for each in names if app.agents.by_name[each].deployment.program.input_types in reads), None)
    if name is None:
        return ""
    key = "-H 'Authorization: Bearer KEY' " if app.guard.keys.callers else ""
    return f"try: curl {address.url}/v1/responses {key}-d '{json.dumps({'model': name, 'input': 'hello'})}'"


def _make_key(name: str, path: Path | None) -> None:
    """Prints the key once; the file gets its digest."""
    if path is None:
        raise InputError(subject="--new-key", problem="no file to add it to", way_out="give --keys FILE")
    key = f"weft-{secrets.token_urlsafe(32)}"
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{digest_of(key)} {name}\n")
    typer.echo(key)
