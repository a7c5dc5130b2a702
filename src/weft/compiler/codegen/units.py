"""What a bundle has to hold: for each pool of a plan the code that is to be generated, and the engine that serves it.

Decisions on plain data; nothing is compiled or written here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weft import catalog
from weft.compiler.codegen.checkpoints import Checkpoint
from weft.compiler.codegen.devices import engine_for, way_of
from weft.compiler.codegen.targets import INT8, Target, target
from weft.core.deployment import Deployment, Pool
from weft.core.errors import BundleError
from weft.core.program import StepKind
from weft.core.units import Precision

PHASES = {StepKind.PREFILL: "prefill", StepKind.DECODE: "decode"}
STORED = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
HOST_TARGET = "host-cpu"


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint by the name under which the bundle knows it, and the models of the plan that it is or stands for."""

    name: str
    checkpoint: Checkpoint
    serves: tuple[str, ...]

    @property
    def stands_in(self) -> bool:
        return self.serves != (self.name,)

    @property
    def dtype(self) -> str:
        """As its weights are stored, because a runtime reads them as they are; of a config alone, what that says."""
        formats = {tensor.dtype for tensor in self.checkpoint.tensors.values()}
        if not formats:
            said = self.checkpoint.config.get("dtype") or self.checkpoint.config.get("torch_dtype") or "float32"
            return str(said)
        if len(formats) > 1 or not formats <= STORED.keys():
            raise BundleError(
                subject=str(self.checkpoint.folder),
                problem=f"stores its tensors as {', '.join(sorted(formats))}",
                way_out=f"code is generated for one of {', '.join(STORED)}: convert it, or serve it with an engine",
            )
        return STORED[formats.pop()]


@dataclass(frozen=True, slots=True)
class Unit:
    """One module and artifact: the phases of a model that run on one target, for these pools, with weights in the
    number format `weights`. `asked`: by `--target`, not by the plan's devices."""

    model: Model
    phases: tuple[str, ...]
    target: Target
    pools: tuple[str, ...]
    weights: str
    asked: bool = False

    @property
    def module_name(self) -> str:
        phase = f"-{self.phases[0]}" if len(self.phases) == 1 else ""
        return f"{self.model.name}{phase}-{self.weights}"

    @property
    def dtype(self) -> str:
        """Of what is computed, and of the KV."""
        return self.model.dtype if self.weights == INT8 else self.weights

    @property
    def name(self) -> str:
        return f"{self.module_name}@{self.target.name}"


def models_of(plan: Deployment, given: Mapping[str, Checkpoint], stand_in: Checkpoint | None) -> tuple[Model, ...]:
    """`given` by the names of users; `stand_in` takes the place of all models where none is given."""
    asked = sorted({pool.model for pool in plan.pools if pool.model})
    found = {_resolved(name, asked): checkpoint for name, checkpoint in given.items()}
    if not found and stand_in is not None and asked:
        return (Model(stand_in.folder.name, stand_in, tuple(asked)),)
    return tuple(Model(name, found[name], (name,)) for name in sorted(found))


def units_of(plan: Deployment, models: Sequence[Model], targets: Sequence[str]) -> tuple[Unit, ...]:
    """For `targets`, or where there are none, for the targets of the plan's own devices, as far as a replica is one
    device: generated code is. Units that would be the same are one. A stand-in is for trying out on this machine: it is
    compiled for its CPU."""
    wanted = [target(name) for name in targets]
    merged: dict[tuple[str, tuple[str, ...], str, str], Unit] = {}
    for model in models:
        for pool in plan.pools:
            if pool.model not in model.serves:
                continue
            for each in wanted or _targets_for(pool, model):
                phases = phases_of(plan, pool) if not (wanted or model.stands_in) else tuple(PHASES.values())
                weights = weights_for(pool, model, each)
                key = (model.name, phases, each.name, weights)
                older = merged[key].pools if key in merged else ()
                merged[key] = Unit(model, phases, each, (*older, pool.name), weights, bool(wanted))
    return tuple(merged.values())


def weights_for(pool: Pool, model: Model, target: Target) -> str:
    """The plan's precision, where code for the target has it; else as they are stored. A stand-in is not what was
    planned."""
    if model.stands_in or pool.precision is None:
        return model.dtype
    planned = _format(pool.precision, model.dtype)
    return planned if planned in target.dtypes else model.dtype


def departures(plan: Deployment, unit: Unit) -> Iterator[tuple[str, str]]:
    """The pools whose planned precision the unit does not have, and the number format that it would be."""
    for name in unit.pools:
        precision = plan.pool(name).precision
        if precision is not None and not unit.model.stands_in:
            planned = _format(precision, unit.model.dtype)
            if planned != unit.weights:
                yield f"{name} was planned in {precision}", planned


def _format(precision: Precision, stored: str) -> str:
    """A plan knows 16 bits, not which: those that are stored."""
    sixteen = stored if stored != "float32" else "float16"
    return {Precision.FP32: "float32", Precision.FP16: sixteen, Precision.INT8: INT8}.get(precision, precision)


def engines_of(plan: Deployment, wanted: str | None) -> Mapping[str, str]:
    """Pool → engine, for the pools of language models whose device has one."""
    served = {pool.name: engine_for(pool.device, wanted) for pool in plan.pools if pool.model}
    return {name: engine for name, engine in served.items() if engine}


def check_served(plan: Deployment, units: Sequence[Unit], engines: Mapping[str, str]) -> None:
    """Every pool of a language model gets an artifact or a launch spec, or the way out is told."""
    covered = {pool for unit in units if not unit.model.stands_in for pool in unit.pools} | set(engines)
    for pool in plan.pools:
        if pool.model and pool.name not in covered:
            way = way_of(pool.device)
            if way.target and pool.parallelism.devices > 1:
                raise _too_wide(pool)
            where = f"--checkpoint {pool.model}=FOLDER" if way.target else "--target, or another device in the plan"
            raise BundleError(
                subject=f"pool {pool.name!r} ({pool.model} on {pool.device})",
                problem=f"has no engine to launch ({way.why}), and nothing to compile from",
                way_out=f"give {where}; a folder with config.json alone is enough to compile",
            )


def phases_of(plan: Deployment, pool: Pool) -> tuple[str, ...]:
    """What the pool's steps do with its model, prefill before decode."""
    routed = {route.step for route in plan.routes if route.pool == pool.name}
    routed |= {share.step for share in plan.shares if share.pool == pool.name}
    kinds = {step.kind for step in plan.program.steps if step.name in routed}
    return tuple(phase for kind, phase in PHASES.items() if kind in kinds)


def given_checkpoints(words: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """`MODEL=PATH`, as the command line gives them."""
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise BundleError(
                subject=f"--checkpoint {word}", problem="is not MODEL=PATH", way_out="write llama-3-8b=/data/llama-3-8b"
            )
        yield name, Path(path)


def _targets_for(pool: Pool, model: Model) -> tuple[Target, ...]:
    if model.stands_in:
        return (target(HOST_TARGET),)
    name = way_of(pool.device).target
    return (target(name),) if name and pool.parallelism.devices == 1 else ()


def _too_wide(pool: Pool) -> BundleError:
    return BundleError(
        subject=f"pool {pool.name!r} ({pool.model} on {pool.device})",
        problem=f"has no engine to launch, and a replica is {pool.parallelism}: code is generated for one device",
        way_out="plan with a model or precision that one such device holds, or with other devices",
    )


def _resolved(name: str, asked: Sequence[str]) -> str:
    found = catalog.model(name).id
    if found not in asked:
        raise BundleError(
            subject=f"--checkpoint {name}", problem="is no model of this plan", way_out=f"it has {', '.join(asked)}"
        )
    return found
