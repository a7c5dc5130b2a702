"""A plan → a bundle on disk: placed MLIR, a module and an artifact per unit, launch specs, and a manifest of it all.

manifest.json            what runs where, from what each file was made, the hash of every file (manifest.py)
plan.json  agent.mlir    the Deployment; the placed module
partitions/NAME.mlir     the steps of one partition, as a function of what goes in
modules/NAME.mlir        what the compiler read: a model's phases in one number format, weights outside
artifacts/NAME@TARGET/   module.vmfb, .pt2 or .zip; model.json for the runtime (weft.runtime.engines.artifact)
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
from weft.compiler.codegen.hashing import hash_file, hash_parts, model_hash
from weft.compiler.codegen.jobs import MADE, Done, Failed, Job, Outcome, State, Watch, key_of, machine_of, run_jobs
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
from weft.compiler.codegen.targets import INT8, OPTIMISE, with_format
from weft.compiler.codegen.torch_export import read_header
from weft.compiler.codegen.units import Model, Unit, check_served, departures, engines_of, units_of
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
from weft.runtime.engines.artifact import MODULES, write_artifact


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
    """`direct`: compilers that make an artifact of a checkpoint in one go, by the runtime that runs it."""

    exporter: Compiler
    compiler: Compiler
    direct: Mapping[str, Compiler]
    cache: Cache
    workers: int
    watch: Watch


@dataclass(frozen=True, slots=True)
class Built:
    """A unit with what was made for it, and the module it was made from if there is one."""

    unit: Unit
    module: Path | None
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
    failed, left = _told_apart(failed, units, engines)
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
            tools={each.name: each.version for each in _used(units, tools)},
            models=models,
            partitions=tuple(_partitions(module.walk(), plan, built, specs, modules)),
            artifacts=tuple(_artifact(each) for each in built),
            failures=tuple(_write_failure(folder, error, log) for error, log in failures),
            notes=(*(_entry_of(error) for error, _ in left), *_departures(plan, built)),
            fingerprints=plan.fingerprints,
            files=files_of(folder),
        )
        (folder / MANIFEST).write_bytes(encode_manifest(manifest))
    return manifest


Failure = tuple[CompilerError | InputError, str]
"""With the end of its log."""


def compile_units(units: Sequence[Unit], batches: Sequence[int], tools: Tools) -> tuple[list[Built], list[Failure]]:
    able = [unit for unit in units if unit.weights in unit.target.dtypes]
    failures: list[Failure] = [(_unable(unit), "") for unit in units if unit not in able]
    modular = [unit for unit in able if not unit.target.direct]
    built = _build_modular(modular, batches, tools, failures)
    for runtime, compiler in tools.direct.items():
        wanted = [unit for unit in able if unit.target.runtime == runtime]
        jobs = [_direct(unit, batches) for unit in wanted]
        made = _done(run_jobs(jobs, compiler, tools.cache, tools.workers, tools.watch), failures)
        built |= {unit.name: Built(unit, None, made[unit.name]) for unit in wanted if unit.name in made}
    return [built[unit.name] for unit in able if unit.name in built], failures


def _build_modular(
    units: Sequence[Unit], batches: Sequence[int], tools: Tools, failures: list[Failure]
) -> dict[str, Built]:
    """Export, each module once, then compile it for its targets."""
    first = {unit.module_name: unit for unit in units}
    exports = [_export(unit, batches) for unit in first.values()]
    modules = _done(run_jobs(exports, tools.exporter, tools.cache, tools.workers, tools.watch), failures)
    jobs: list[Job] = []
    for unit in units:
        if unit.module_name in modules:
            made = modules[unit.module_name].made
            jobs.append(Job(unit.name, made, hash_file(made), unit.target.flags))
    compiled = _done(_compiled(jobs, tools), failures)
    return {
        unit.name: Built(unit, modules[unit.module_name].made, compiled[unit.name])
        for unit in units
        if unit.name in compiled
    }


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
    return Job(unit.module_name, unit.model.checkpoint.folder, unit.model.checkpoint.identity, _asked(unit, batches))


def _direct(unit: Unit, batches: Sequence[int]) -> Job:
    int8 = ("--int8",) if unit.weights == INT8 else ()
    flags = (*unit.target.flags, *_asked(unit, batches), *int8)
    return Job(unit.name, unit.model.checkpoint.folder, unit.model.checkpoint.identity, flags)


def _asked(unit: Unit, batches: Sequence[int]) -> tuple[str, ...]:
    return (f"--phases={','.join(unit.phases)}", f"--batches={','.join(map(str, batches))}", f"--dtype={unit.dtype}")


def _used(units: Sequence[Unit], tools: Tools) -> Iterator[Compiler]:
    if any(not unit.target.direct for unit in units):
        yield from (tools.exporter, tools.compiler)
    runtimes = {unit.target.runtime for unit in units}
    yield from (compiler for runtime, compiler in tools.direct.items() if runtime in runtimes)


def _told_apart(
    failed: Sequence[Failure], units: Sequence[Unit], engines: Mapping[str, str]
) -> tuple[list[Failure], list[Failure]]:
    """Failures, and what an engine serves instead: code that only a machine with the GPU can make, and nobody asked
    for by name."""
    spare = {
        unit.name
        for unit in units
        if unit.target.driver == "cuda" and unit.target.direct and not unit.asked and set(unit.pools) <= set(engines)
    }
    kept = [each for each in failed if each[0].subject not in spare]
    return kept, [each for each in failed if each[0].subject in spare]


def _departures(plan: Deployment, built: Sequence[Built]) -> Iterator[FailureEntry]:
    for unit in (each.unit for each in built):
        for departure, planned in departures(plan, unit):
            able = ", ".join(with_format(planned))
            yield FailureEntry(
                unit.name,
                f"{departure}, its weights are {unit.weights}, as they are stored",
                f"choose a target that has it: {able}"
                if able
                else "serve it with an engine, or plan fp32, fp16 or int8",
            )


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
        problem=f"{unit.target.name} compiles {', '.join(unit.target.dtypes)}, the weights are {unit.weights}",
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
        if each.module is not None:
            place(each.module, folder / _module(each.unit))
        place(each.made.made, folder / _made(each.unit))
        header = read_header(each.module or each.made.made)
        if header is not None:
            weights = tuple(str(path.resolve()) for path in each.unit.model.checkpoint.files)
            known = msgspec.structs.replace(
                header,
                model_hash=entries[each.unit.model.name].model_hash,
                parameters=weights,
                driver=each.unit.target.driver,
            )
            write_artifact((folder / _made(each.unit)).parent, known)
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
    machine = machine_of(built.made.job.flags)
    return ArtifactEntry(
        file=_made(unit),
        module=_module(unit) if built.module is not None else None,
        model=unit.model.name,
        phases=unit.phases,
        dtype=unit.dtype,
        weights=unit.weights,
        runtime=unit.target.runtime,
        target=unit.target.name,
        flags=built.made.job.flags,
        key=built.made.key,
        machine=hash_parts((machine,)) if machine else "",
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
        files = tuple(_made(each.unit) for each in built if model_step and pool.name in each.unit.pools)
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
    return _entry_of(error, file)


def _entry_of(error: CompilerError | InputError, log: str | None = None) -> FailureEntry:
    return FailureEntry(error.subject, error.problem, error.way_out, log)


def _module(unit: Unit) -> str:
    return f"modules/{unit.module_name}.mlir"


def _made(unit: Unit) -> str:
    return f"artifacts/{unit.name}/{MODULES[unit.target.runtime]}"
