"""A plan → a bundle on disk: placed MLIR, a module and an artifact per unit, launch specs, and a manifest of it all.

manifest.json            what runs where, from what each file was made, the hash of every file (manifest.py)
plan.json  agent.mlir    the Deployment; the placed module
partitions/NAME.mlir     the steps of one partition, as a function of what goes in
modules/NAME.mlir        what the compiler read: a model's phases in one number format, weights outside
artifacts/NAME@TARGET/   module.vmfb, and model.json for the runtime (weft.runtime.engines.artifact)
launch/POOL.json .sh     how the pool's engine is started (.yaml: its own config file)
logs/NAME.log            of what failed
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import msgspec

from weft.compiler.codegen.cache import Cache, place
from weft.compiler.codegen.compilers import Compiler
from weft.compiler.codegen.hashing import hash_file, model_hash
from weft.compiler.codegen.jobs import MADE, Done, Failed, Job, Outcome, State, Watch, key_of, run_jobs
from weft.compiler.codegen.manifest import (
    MANIFEST_VERSION,
    ArtifactEntry,
    FailureEntry,
    Manifest,
    ModelEntry,
    PartitionEntry,
    encode_manifest,
    files_of,
)
from weft.compiler.codegen.partitions import write_partitions
from weft.compiler.codegen.staging import MANIFEST, check_place, staged
from weft.compiler.codegen.targets import OPTIMISE
from weft.compiler.codegen.torch_export import read_header
from weft.compiler.codegen.units import Model, Unit, check_served, engines_of, units_of
from weft.compiler.dialects.step import StepOp
from weft.compiler.launch.script import script
from weft.compiler.launch.serving import servings
from weft.compiler.launch.spec import LaunchSpec, launch_specs
from weft.compiler.parse import print_module
from weft.compiler.passes.lower import partition_of
from weft.compiler.placed_module import placed_module
from weft.core.deployment import Deployment
from weft.core.deployment_json import encode
from weft.core.errors import CompilerError, InputError
from weft.runtime.engines.artifact import write_artifact

VMFB = "module.vmfb"


@dataclass(frozen=True, slots=True)
class BundleRequest:
    """`name` is what errors call the plan. `targets`: for all models, in place of those of the plan's devices. `engine`
    in place of vLLM. `batches`: the batch sizes that code is generated for. Without `compiles`, `models` only say where
    the weights lie that engines are started with."""

    plan: Deployment
    name: str
    models: tuple[Model, ...]
    out: Path
    targets: tuple[str, ...] = ()
    engine: str | None = None
    batches: tuple[int, ...] = (1,)
    compiles: bool = True


@dataclass(frozen=True, slots=True)
class Tools:
    exporter: Compiler
    compiler: Compiler
    cache: Cache
    workers: int
    watch: Watch


@dataclass(frozen=True, slots=True)
class Built:
    """A unit with what was made for it."""

    unit: Unit
    module: Path
    made: Done


def build_bundle(request: BundleRequest, tools: Tools) -> Manifest:
    """Compiles, then writes the folder whole. What fails alone is told in `failures`, and the rest goes on."""
    check_place(request.out)
    plan = request.plan
    units = units_of(plan, request.models, request.targets) if request.compiles else ()
    engines = engines_of(plan, request.engine)
    check_served(plan, units, engines)
    module = placed_module(plan, request.name)
    built, failed = compile_units(units, request.batches, tools)
    folders = {name: str(m.checkpoint.folder.resolve()) for m in request.models if not m.stands_in for name in m.serves}
    launched = list(launch_specs(servings(plan), engines, folders))
    specs = [spec for spec in launched if isinstance(spec, LaunchSpec)]
    failures = [*failed, *((error, "") for error in launched if isinstance(error, InputError))]
    with staged(request.out) as folder:
        (folder / "plan.json").write_bytes(encode(plan))
        (folder / "agent.mlir").write_text(print_module(module))
        modules = write_partitions(folder, module)
        models = _write_models(folder, request.models, built, tools.watch)
        for spec in specs:
            write_spec(folder / "launch", spec)
        manifest = Manifest(
            version=MANIFEST_VERSION,
            weft=metadata.version("weft"),
            agent=plan.agent,
            tools={each.name: each.version for each in (tools.exporter, tools.compiler)} if units else {},
            models=models,
            partitions=tuple(_partitions(module.walk(), plan, built, specs, modules)),
            artifacts=tuple(_artifact(each) for each in built),
            failures=tuple(_write_failure(folder, error, log) for error, log in failures),
            fingerprints=plan.fingerprints,
            files=files_of(folder),
        )
        (folder / MANIFEST).write_bytes(encode_manifest(manifest))
    return manifest


Failure = tuple[CompilerError | InputError, str]
"""With the end of its log."""


def compile_units(units: Sequence[Unit], batches: Sequence[int], tools: Tools) -> tuple[list[Built], list[Failure]]:
    """Export, each module once, then compile it for its targets."""
    able = [unit for unit in units if unit.model.dtype in unit.target.dtypes]
    failures: list[Failure] = [(_unable(unit), "") for unit in units if unit not in able]
    first = {unit.module_name: unit for unit in able}
    exports = [_export(unit, batches) for unit in first.values()]
    modules = _done(run_jobs(exports, tools.exporter, tools.cache, tools.workers, tools.watch), failures)
    jobs: list[Job] = []
    for unit in able:
        if unit.module_name in modules:
            made = modules[unit.module_name].made
            jobs.append(Job(unit.name, made, hash_file(made), unit.target.flags))
    compiled = _done(_compiled(jobs, tools), failures)
    built = [Built(unit, modules[unit.module_name].made, compiled[unit.name]) for unit in able if unit.name in compiled]
    return built, failures


def _compiled(jobs: Sequence[Job], tools: Tools) -> tuple[Outcome, ...]:
    """With the target's flags; what IREE cannot optimise (3.13 gives up on some reductions of dynamic size) without.
    Where that was found out before, it is not tried again."""
    plain = {job.name: replace(job, flags=tuple(flag for flag in job.flags if flag != OPTIMISE)) for job in jobs}
    known = {name for name, job in plain.items() if tools.cache.find(key_of(tools.compiler, job), MADE)}
    wanted = [plain[job.name] if job.name in known else job for job in jobs]
    first = run_jobs(wanted, tools.compiler, tools.cache, tools.workers, tools.watch)
    again = [plain[each.job.name] for each in first if isinstance(each, Failed) and OPTIMISE in each.job.flags]
    redone = run_jobs(again, tools.compiler, tools.cache, tools.workers, tools.watch)
    second = {each.job.name: each for each in redone}
    return tuple(second.get(each.job.name, each) for each in first)


def write_spec(folder: Path, spec: LaunchSpec) -> None:
    folder.mkdir(exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(spec, order="deterministic"), indent=2)
    (folder / f"{spec.pool}.json").write_bytes(text + b"\n")
    (folder / f"{spec.pool}.sh").write_text(script(spec))
    (folder / f"{spec.pool}.sh").chmod(0o755)
    if spec.config is not None:
        (folder / f"{spec.pool}.yaml").write_text(spec.config)


def _export(unit: Unit, batches: Sequence[int]) -> Job:
    flags = (
        f"--phases={','.join(unit.phases)}",
        f"--batches={','.join(map(str, batches))}",
        f"--dtype={unit.model.dtype}",
    )
    return Job(unit.module_name, unit.model.checkpoint.folder, unit.model.checkpoint.identity, flags)


def _done(outcomes: Sequence[Outcome], failures: list[Failure]) -> Mapping[str, Done]:
    """Job name → what was made; the others go to `failures` under the name of their job."""
    for failed in (each for each in outcomes if isinstance(each, Failed)):
        error = failed.error
        named = CompilerError(subject=failed.job.name, problem=error.problem, way_out=error.way_out)
        failures.append((named, failed.log))
    return {each.job.name: each for each in outcomes if isinstance(each, Done)}


def _unable(unit: Unit) -> InputError:
    return InputError(
        subject=unit.name,
        problem=f"{unit.target.name} compiles {', '.join(unit.target.dtypes)}, the weights are {unit.model.dtype}",
        way_out="convert the checkpoint, or choose another --target",
    )


def _write_models(
    folder: Path, models: Sequence[Model], built: Sequence[Built], watch: Watch
) -> tuple[ModelEntry, ...]:
    """Modules, artifacts and what the runtime has to know of them."""
    entries: dict[str, ModelEntry] = {}
    for model in models:
        watch(f"{model.name} weights", State.RUNNING, "hashing")
        entries[model.name] = _entry(model)
        watch(f"{model.name} weights", State.DONE, f"{len(entries[model.name].weights)} files")
    for each in built:
        place(each.module, folder / _module(each.unit))
        place(each.made.made, folder / _vmfb(each.unit))
        header = read_header(each.module)
        if header is not None:
            weights = tuple(str(path.resolve()) for path in each.unit.model.checkpoint.files)
            known = msgspec.structs.replace(
                header, model_hash=entries[each.unit.model.name].model_hash, parameters=weights
            )
            write_artifact((folder / _vmfb(each.unit)).parent, known)
    return tuple(entries.values())


def _entry(model: Model) -> ModelEntry:
    config = hash_file(model.checkpoint.folder / "config.json")
    weights = model.checkpoint.fingerprints()
    return ModelEntry(
        name=model.name,
        config_sha256=config,
        weights=weights,
        model_hash=model_hash((config, *weights.values())),
        stands_in_for=model.serves if model.stands_in else (),
    )


def _artifact(built: Built) -> ArtifactEntry:
    unit = built.unit
    return ArtifactEntry(
        file=_vmfb(unit),
        module=_module(unit),
        model=unit.model.name,
        phases=unit.phases,
        dtype=unit.model.dtype,
        target=unit.target.name,
        flags=built.made.job.flags,
        key=built.made.key,
    )


def _partitions(
    operations: Iterator[object],
    plan: Deployment,
    built: Sequence[Built],
    specs: Sequence[LaunchSpec],
    modules: Mapping[str, str],
) -> Iterator[PartitionEntry]:
    """In the order of the program. `modules`: the file of each partition."""
    found: dict[str, PartitionEntry] = {}
    launched = {spec.pool for spec in specs}
    for step in (each for each in operations if isinstance(each, StepOp)):
        assert step.pool is not None
        name = partition_of(step)
        pool = plan.pool(step.pool.string_value())
        older = found.get(name, PartitionEntry(name, pool.name, pool.device, (), modules[name]))
        model_step = "model" in step.attributes
        files = tuple(_vmfb(each.unit) for each in built if model_step and pool.name in each.unit.pools)
        spec = f"launch/{pool.name}.json" if model_step and pool.name in launched else None
        found[name] = replace(
            older,
            steps=(*older.steps, step.step_name),
            artifacts=tuple(dict.fromkeys((*older.artifacts, *files))),
            launch=older.launch or spec,
        )
    yield from found.values()


def _write_failure(folder: Path, error: CompilerError | InputError, log: str) -> FailureEntry:
    file = f"logs/{error.subject}.log" if log else None
    if file:
        (folder / "logs").mkdir(exist_ok=True)
        (folder / file).write_text(log)
    return FailureEntry(error.subject, error.problem, error.way_out, file)


def _module(unit: Unit) -> str:
    return f"modules/{unit.module_name}.mlir"


def _vmfb(unit: Unit) -> str:
    return f"artifacts/{unit.name}/{VMFB}"
