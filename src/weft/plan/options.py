"""The options of one task: device group × tensor parallelism × precision × batch, and why the others are none.

An LLM phase is tried on every group whose hardware runs the precision; memory and the step objectives (TTFT, TPOT)
decide. Prefill and decode are pools of their own here (`aggregated` joins them). CPU work runs one core each on a
socket that all CPU work shares.
A decode step is priced at the middle of the answer (isl + osl/2 tokens in the cache), its memory at the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from weft.core.deployment import Parallelism
from weft.core.errors import CatalogError, PlanError
from weft.core.hardware import DeviceGroup, DeviceKind
from weft.core.model import ModelSpec
from weft.core.units import Precision
from weft.core.workload import Slo
from weft.cost.collectives import scale_up_devices
from weft.cost.efficiency import DEFAULT_EFFICIENCY, Efficiency
from weft.cost.energy import power_w
from weft.cost.memory import largest_batch, replica_bytes, usable_bytes
from weft.cost.steps import Engine, StepEstimate, decode_step, prefill
from weft.cost.tco import usd_per_hour
from weft.plan.problem import Option, PoolSpec
from weft.plan.requests import LeafTask, PlanRequest, TaskKind

TENSOR_PARALLEL = (1, 2, 4, 8)
PREFILL_BATCHES = (1, 2, 4, 8)
DECODE_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Reason(StrEnum):
    """Why a configuration is no option, from the nearest miss to the farthest."""

    TIME = "time"
    MEMORY = "memory"
    PRICE = "price"
    FORMAT = "format"
    KIND = "kind"


@dataclass(frozen=True, slots=True)
class Rejection:
    """`value` is what it would take and `limit` what is allowed: seconds of a step, bytes of a replica, else 0."""

    where: str
    reason: Reason
    value: float
    limit: float
    message: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An option with all that the solver does not need to know. `step_s` is the TTFT of a prefill or the TPOT of a
    decode at this batch; `memory_bytes` is what one device holds (both 0 for CPU work)."""

    option: Option
    group: DeviceGroup
    parallelism: Parallelism
    precision: Precision | None
    batch: int
    step_s: float
    memory_bytes: float
    provenance: str
    model: ModelSpec | None = None


def device_class(group: DeviceGroup) -> str:
    """The key of the inventory."""
    return f"{group.device.id}@{group.zone}"


def verdicts(task: LeafTask, request: PlanRequest) -> Iterator[Candidate | Rejection]:
    """Every configuration of the task on the fleet, accepted or refused, in the order of the fleet."""
    for group in request.fleet.groups:
        name = device_class(group)
        if task.kind is TaskKind.CPU and not _cores(group):
            yield Rejection(name, Reason.KIND, 0.0, 0.0, f"{name} is no CPU with a known number of cores")
            continue
        offer = offer_of(group, request)
        if isinstance(offer, Rejection):
            yield offer
            continue
        yield from _cpu(task, offer) if task.kind is TaskKind.CPU else _llm(task, offer, request.slo_of(task))


@dataclass(frozen=True, slots=True)
class Offer:
    """A device group with what one of its devices costs an hour, draws at the meter while it works, and how well it
    reaches its datasheet rates."""

    group: DeviceGroup
    usd_per_hour: float
    watts: float
    efficiency: Efficiency


def offer_of(group: DeviceGroup, request: PlanRequest) -> Offer | Rejection:
    """Refused where the price is not known, or the power if energy matters."""
    try:
        price = usd_per_hour(group.device, request.finance)
        known = group.device.tdp_w is not None or request.needs_power
        watts = request.finance.pue * power_w(group.device) if known else 0.0
    except CatalogError as error:
        return Rejection(device_class(group), Reason.PRICE, 0.0, 0.0, str(error))
    efficiency = request.efficiencies.get(group.device.id, DEFAULT_EFFICIENCY)
    return Offer(group, price, watts, efficiency)


def _cores(group: DeviceGroup) -> int:
    """Cores for CPU work: none on an accelerator."""
    return group.device.cores or 0 if group.device.kind is DeviceKind.CPU else 0


def _cpu(task: LeafTask, offer: Offer) -> Iterator[Candidate]:
    group, cores = offer.group, _cores(offer.group)
    pool = PoolSpec(f"cpu.{group.device.id}.{group.zone}", device_class(group), 1, offer.usd_per_hour)
    busy_s = task.core_s / cores
    option = Option(pool.name, pool, task.core_s, busy_s, port=group.zone, joules_per_visit=offer.watts * busy_s)
    yield Candidate(option, group, Parallelism(), None, cores, 0.0, 0.0, "profile")


def _llm(task: LeafTask, offer: Offer, slo: Slo) -> Iterator[Candidate | Rejection]:
    phase = _phase(task, slo)
    for engine in engines(task, offer):
        if isinstance(engine, Rejection):
            yield engine
        else:
            yield from _batches(_Trial(task, offer, engine, phase))


def engines(task: LeafTask, offer: Offer) -> Iterator[Engine | Rejection]:
    """Every replica of the task's model that the group can be made into."""
    model, group = checked_model(task), offer.group
    for precision in task.precisions:
        if precision not in group.device.flops_per_s:
            runs = ", ".join(group.device.flops_per_s) or "no matrix format"
            message = f"{device_class(group)} does not run {precision} (it runs {runs})"
            yield Rejection(device_class(group), Reason.FORMAT, 0.0, 0.0, message)
            continue
        for size in _replica_sizes(model, group):
            yield Engine(model, group.device, Parallelism(tp=size), precision, efficiency=offer.efficiency)


def checked_model(task: LeafTask) -> ModelSpec:
    """The model of an LLM phase, whose context must hold prompt and answer."""
    if task.model is None:
        raise PlanError(subject=task.name, problem=f"is a {task.kind} without a model", way_out="name its model")
    if task.isl + task.osl > task.model.context:
        raise PlanError(
            subject=task.name,
            problem=f"{task.isl} + {task.osl} tokens do not fit the {task.model.context} of {task.model.id}",
            way_out="shorten the prompt or the answer, or choose a model with a longer context",
        )
    return task.model


def _replica_sizes(model: ModelSpec, group: DeviceGroup) -> tuple[int, ...]:
    """Tensor-parallel sizes inside one scale-up domain that the group can fill and the heads can be cut into."""
    most = min(scale_up_devices(group.device), group.count)
    return tuple(size for size in TENSOR_PARALLEL if size <= most and model.heads % size == 0)


@dataclass(frozen=True, slots=True)
class _Phase:
    """What prefill and decode differ in: `limit_s` bounds one step, `steps` of which make a visit; each sequence holds
    `cached` tokens and has `rows` of them in flight."""

    objective: str
    limit_s: float | None
    batches: tuple[int, ...]
    steps: int
    cached: int
    rows: int


def _phase(task: LeafTask, slo: Slo) -> _Phase:
    if task.kind is TaskKind.PREFILL:
        return _Phase("TTFT", slo.ttft_s, PREFILL_BATCHES, 1, task.isl, task.isl)
    return _Phase("TPOT", slo.tpot_s, DECODE_BATCHES, task.osl, task.isl + task.osl, 1)


@dataclass(frozen=True, slots=True)
class _Trial:
    """One replica for one task, before a batch is chosen."""

    task: LeafTask
    offer: Offer
    engine: Engine
    phase: _Phase

    @property
    def where(self) -> str:
        return where(self.offer.group, self.engine)

    def needs_bytes(self, batch: int) -> float:
        """On one device."""
        engine, phase = self.engine, self.phase
        rows = batch * phase.rows
        return replica_bytes(engine.model, engine.precision, engine.parallelism, batch, phase.cached, rows)

    def estimate(self, batches: list[int]) -> StepEstimate:
        sizes = np.array(batches)
        if self.task.kind is TaskKind.PREFILL:
            return prefill(self.engine, self.task.isl, sizes)
        return decode_step(self.engine, self.task.isl + self.task.osl // 2, sizes)


def where(group: DeviceGroup, engine: Engine) -> str:
    return f"{device_class(group)} {engine.parallelism} {engine.precision}"


def _batches(trial: _Trial) -> Iterator[Candidate | Rejection]:
    engine, phase = trial.engine, trial.phase
    most = largest_batch(engine.model, engine.device, engine.precision, engine.parallelism, phase.cached, phase.rows)
    fitting = [batch for batch in phase.batches if batch <= most]
    if not fitting:
        yield _too_large(trial)
        return
    estimate = trial.estimate(fitting)
    seconds = [float(value) for value in estimate.seconds]
    limit_s = float("inf") if phase.limit_s is None else phase.limit_s
    for batch, step_s in zip(fitting, seconds, strict=True):
        if step_s <= limit_s:
            yield _candidate(trial, batch, step_s, estimate.provenance)
    if min(seconds) > limit_s:
        yield _too_slow(trial, min(seconds), limit_s)


def _candidate(trial: _Trial, batch: int, step_s: float, provenance: str) -> Candidate:
    engine, group = trial.engine, trial.offer.group
    pool = pool_of(trial.offer, engine, trial.task.kind, batch)
    latency_s = trial.phase.steps * step_s
    option = Option(
        name=pool.name,
        pool=pool,
        latency_s=latency_s,
        busy_s=latency_s / batch,
        port=f"{group.zone}.{engine.precision}",
        joules_per_visit=latency_s / batch * trial.offer.watts * pool.devices_per_replica,
    )
    memory_bytes = trial.needs_bytes(batch)
    return Candidate(option, group, engine.parallelism, engine.precision, batch, step_s, memory_bytes, provenance)


def pool_of(offer: Offer, engine: Engine, work: str, batch: int) -> PoolSpec:
    """Replicas of one engine that do one kind of work at one batch limit."""
    group, split, devices = offer.group, engine.parallelism, engine.parallelism.devices
    place = f"{group.device.id}.{group.zone}.tp{split.tp}.{engine.precision}.b{batch}"
    name = f"{engine.model.id}.{work}.{place}"
    return PoolSpec(name, device_class(group), devices, offer.usd_per_hour * devices, family=group.device.id)


def _too_large(trial: _Trial) -> Rejection:
    return too_large(trial.offer.group, trial.engine, trial.needs_bytes(1))


def too_large(group: DeviceGroup, engine: Engine, device_bytes: float) -> Rejection:
    """`device_bytes` is what one device would have to hold."""
    devices = engine.parallelism.devices
    needs, has = device_bytes * devices, usable_bytes(group.device) * devices
    place = where(group, engine)
    model = f"{engine.model.id} {engine.precision}"
    message = f"{model} needs {needs / 1e9:.0f} GB, {place} has {has / 1e9:.0f} GB to use"
    return Rejection(place, Reason.MEMORY, needs, has, message)


def _too_slow(trial: _Trial, best_s: float, limit_s: float) -> Rejection:
    message = f"{trial.phase.objective} {limit_s:.3f} s asked, best is {best_s:.3f} s on {trial.where}"
    return Rejection(trial.where, Reason.TIME, best_s, limit_s, message)
