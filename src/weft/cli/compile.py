"""`weft compile`: a plan → a bundle with code, launch specs and hashes of all that it runs; `--verify` checks one."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from weft.catalog.plans import load_plan
from weft.cli.compile_progress import Progress, silent
from weft.cli.compile_tables import show_bundle
from weft.cli.console import wide_console
from weft.cli.groups import grouped
from weft.cli.local import ASSETS
from weft.cli.options import AskOptions, PlaceOptions
from weft.cli.together import is_agents_file
from weft.compiler.codegen.bundle import BundleRequest, Tools, build_bundle
from weft.compiler.codegen.cache import DEFAULT_FOLDER, DEFAULT_LIMIT_BYTES, Cache
from weft.compiler.codegen.checkpoints import read_checkpoint
from weft.compiler.codegen.compilers import IreeCompile
from weft.compiler.codegen.guarded import Guard, Limits
from weft.compiler.codegen.jobs import Watch, workers_for
from weft.compiler.codegen.manifest import Manifest, differences, read_manifest
from weft.compiler.codegen.torch_export import TorchExport, direct_compilers
from weft.compiler.codegen.units import given_checkpoints, models_of
from weft.compiler.pipeline import compile_agent
from weft.compiler.request import CompileRequest
from weft.core.deployment import Deployment
from weft.core.errors import BundleError, InputError
from weft.core.units import GIB, GIGA

STAND_IN = ASSETS / "tiny-llama"
DIFFERENCES_TOLD = 5


@dataclass(frozen=True, slots=True)
class BundleOptions:
    """What is compiled, from which weights, and where it goes."""

    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle's folder.")] = Path("bundle")
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="MODEL=FOLDER in Hugging Face format; config.json alone is enough.")
    ] = None
    target: Annotated[
        list[str] | None, typer.Option(help="Compile every model for this, not for the plan's devices; repeatable.")
    ] = None
    launch_with: Annotated[str | None, typer.Option(help="sglang or tensorrt-llm in place of vllm, where it runs.")] = (
        None
    )
    launch_only: Annotated[
        bool, typer.Option("--launch-only", help="Compile nothing: launch specs for all that engines serve.")
    ] = False
    batch: Annotated[list[int] | None, typer.Option(help="Batch sizes to generate code for (default: 1).")] = None
    verify: Annotated[
        bool, typer.Option("--verify", help="The argument is a bundle: check that every file is as it was written.")
    ] = False


@dataclass(frozen=True, slots=True)
class CompilerOptions:
    """How the compilers are run."""

    cache: Annotated[Path, typer.Option(help="Where compiled files are kept.")] = DEFAULT_FOLDER
    cache_gib: Annotated[
        float,
        typer.Option(envvar="WEFT_CACHE_GIB", help="GiB that may be kept; what was used longest ago goes.", min=0),
    ] = DEFAULT_LIMIT_BYTES / GIB
    memory: Annotated[float, typer.Option(help="GB of memory that one compiler process may take.", min=0.5)] = 8.0
    timeout: Annotated[float, typer.Option(help="Seconds that one compiler process may take.", min=1)] = 600.0
    jobs: Annotated[int | None, typer.Option(help="Compilers at once (default: by cores and free memory).", min=1)] = (
        None
    )
    json: Annotated[bool, typer.Option("--json", help="Print the manifest and nothing else.")] = False

    def tools(self, count: int, watch: Watch) -> Tools:
        limits = Limits(self.memory * GIGA, self.timeout)
        exporter, compiler = Guard(replace(limits, address_space=False)), Guard(limits)
        workers = workers_for(count, limits, self.jobs)
        cache = Cache(self.cache.expanduser(), self.cache_gib * GIB)
        return Tools(TorchExport(exporter), IreeCompile(compiler), direct_compilers(limits), cache, workers, watch)


def register(app: typer.Typer) -> None:
    app.command("compile")(grouped(compile_))


def compile_(asked: AskOptions, placed: PlaceOptions, wanted: BundleOptions, how: CompilerOptions) -> None:
    """Compile an agent or a plan (.json) into a bundle: code for its devices, launch specs, a manifest with hashes."""
    if wanted.verify:
        verify(Path(asked.agent), how.json)
        return
    plan = plan_of(asked.agent, placed.applied(asked.request()))
    request = request_of(plan, asked.agent, wanted)
    manifest = compiled(request, how)
    if how.json:
        typer.echo(msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2))
    else:
        show_bundle(manifest, request, wide_console())
    if manifest.failures:
        raise typer.Exit(code=1)


def plan_of(name: str, request: CompileRequest) -> Deployment:
    """A plan from its file, as it was made; or the plan of an agent."""
    if is_agents_file(name):
        raise InputError(
            subject=name, problem="lists several agents", way_out="plan them with --json, and compile each plan"
        )
    if not name.endswith(".json"):
        return compile_agent(request.uncompared())
    if request != CompileRequest(name):
        raise InputError(
            subject=name,
            problem="is a plan already: options of planning would change nothing",
            way_out="leave them out",
        )
    return load_plan(name)


def request_of(plan: Deployment, name: str, wanted: BundleOptions) -> BundleRequest:
    given = {model: read_checkpoint(folder) for model, folder in given_checkpoints(wanted.checkpoint or ())}
    stand_in = None if given or wanted.launch_only else read_checkpoint(STAND_IN)
    if wanted.launch_only and wanted.target:
        raise InputError(
            subject="--launch-only", problem="compiles nothing, --target says for what", way_out="leave one out"
        )
    return BundleRequest(
        plan=plan,
        name=name,
        models=models_of(plan, given, stand_in),
        out=wanted.output,
        targets=tuple(wanted.target or ()),
        engine=wanted.launch_with,
        batches=tuple(sorted(set(wanted.batch or (1,)))),
        compiles=not wanted.launch_only,
    )


def compiled(request: BundleRequest, how: CompilerOptions) -> Manifest:
    count = max(1, len(request.targets) or len(request.plan.pools))
    with _stopped_by_sigterm():
        if how.json:
            return build_bundle(request, how.tools(count, silent))
        with Progress(Console(stderr=True)) as progress:
            return build_bundle(request, how.tools(count, progress.watch))


@contextmanager
def _stopped_by_sigterm() -> Generator[None]:
    """As by Ctrl-C: the compilers are ended too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def verify(bundle: Path, as_json: bool) -> None:
    manifest, found = read_manifest(bundle), tuple(differences(bundle))
    if as_json:
        typer.echo(msgspec.json.encode({"files": len(manifest.files), "differences": found}))
    elif not found:
        typer.echo(f"{bundle}: all {len(manifest.files)} files are as they were written")
    if found:
        more = f", and {len(found) - DIFFERENCES_TOLD} more" if len(found) > DIFFERENCES_TOLD else ""
        raise BundleError(
            subject=str(bundle),
            problem="; ".join(found[:DIFFERENCES_TOLD]) + more,
            way_out="make it again with `weft compile … -o`",
        )
