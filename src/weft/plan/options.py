"""The options of one task: device group × tensor parallelism × precision × batch, and why the others are none.

An LLM phase is tried on every group whose hardware runs the precision; memory and the step objectives (TTFT, TPOT)
decide. Prefill and decode are pools of their own here (`aggregated` joins them). CPU work runs one core each on a
socket that all CPU work shares. What a visit takes is what `served` says of the replica at its batch, plus the wait for
a free place (`queueing`) at the load that the pool has at the planned rate.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from weft.core.deployment import Parallelism
from weft.core.errors import CatalogError, PlanError
from weft.core.hardware import DeviceGroup, DeviceKind
from weft.core.model import ModelSpec
from weft.core.units import Precision
from weft.cost.arrays import Floats
from weft.cost.collectives import scale_up_devices
from weft.cost.efficiency import DEFAULT_EFFICIENCY, Efficiency
from weft.cost.energy import power_w
from weft.cost.memory import largest_batch, replica_bytes, usable_bytes
from weft.cost.steps import Engine
from weft.cost.tco import usd_per_hour
from weft.plan.problem import Option, PoolSpec
from weft.plan.queueing import Traffic, traffic_of
from weft.plan.requests import LeafTask, PlanRequest, TaskKind
from weft.plan.served import DECODE, PREFILL, Asking, Band, Replica, Served, Sizes

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
    PIN = "pin"


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
    decode at this batch, without waiting; `objective_s` is what the step's objective bounds: TTFT with the wait, or
    TPOT. Of the option's latency `wait_s` is spent waiting; the rest lies between `low_s` and `high_s`. `memory_bytes`
    is what one device holds. CPU work has no step and no objective (0)."""

    option: Option
    group: DeviceGroup
    parallelism: Parallelism
    precision: Precision | None
    batch: int
    step_s: float
    objective_s: float
    wait_s: float
    low_s: float
    high_s: float
    memory_bytes: float
    provenance: str
    model: ModelSpec | None = None


def device_class(group: DeviceGroup) -> str:
    """The key of the inventory."""
    return f"{group.device.id}@{group.zone}"


def allowed(task: LeafTask, group: DeviceGroup) -> bool:
    """By what the task is pinned to."""
    device, _, zone = task.pinned.partition("@")
    return device in ("", group.device.id) and zone in ("", group.zone)


Verdict = tuple[str, Candidate | Rejection]
"""With the name of the task that it is about."""


def verdicts(task: LeafTask, request: PlanRequest) -> Asking[list[Verdict]]:
    """Every configuration of the task on the fleet, accepted or refused, in the order of the fleet."""
    found = list(_tries(task, request))
    visits = iter((yield from _visits(task, [each for each in found if isinstance(each, _Trial)], request)))
    judged = (_judged(each, next(visits)) if isinstance(each, _Trial) else (each,) for each in found)
    return [(task.name, verdict) for each in judged for verdict in each]


def _tries(task: LeafTask, request: PlanRequest) -> Iterator["Candidate | Rejection | _Trial"]:
    """CPU work is settled at once; replicas of an engine are still to be priced."""
    for group in request.fleet.groups:
        name = device_class(group)
        if not allowed(task, group):
            yield Rejection(name, Reason.PIN, 0.0, 0.0, f"it is pinned to {task.pinned}, not to {name}")
            continue
        if task.kind is TaskKind.CPU and not _cores(group):
            yield Rejection(name, Reason.KIND, 0.0, 0.0, f"{name} is no CPU with a known number of cores")
            continue
        offer = offer_of(group, request)
        if isinstance(offer, Rejection):
            yield offer
        elif task.kind is TaskKind.CPU:
            yield _cpu(task, offer, traffic_of(task, request))
        else:
            yield from _replicas(task, offer, request)


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


def _cpu(task: LeafTask, offer: Offer, traffic: Traffic) -> Candidate:
    group, cores = offer.group, _cores(offer.group)
    pool = PoolSpec(f"cpu.{group.device.id}.{group.zone}", device_class(group), 1, offer.usd_per_hour)
    busy_s, own_s = task.core_s / cores, task.core_s
    wait_s = float(traffic.wait_s(cores, busy_s, traffic.longest_core_s))
    joules = offer.watts * busy_s
    option = Option(pool.name, pool, own_s + wait_s, busy_s, port=group.zone, joules_per_visit=joules)
    return Candidate(option, group, Parallelism(), None, cores, 0.0, 0.0, wait_s, own_s, own_s, 0.0, "profile")


def _replicas(task: LeafTask, offer: Offer, request: PlanRequest) -> Iterator["_Trial | Rejection"]:
    phase = _phase(task, request)
    for engine in engines(task, offer):
        if isinstance(engine, Rejection):
            yield engine
            continue
        replica = (engine.model, engine.device, engine.precision, engine.parallelism)
        most = largest_batch(*replica, phase.cached, phase.rows)
        batches = tuple(batch for batch in phase.batches if batch <= most)
        trial = _Trial(task, offer, engine, phase, batches)
        yield trial if batches else _too_large(trial)


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
    limit_s: float
    batches: tuple[int, ...]
    steps: int
    cached: int
    rows: int


def _phase(task: LeafTask, request: PlanRequest) -> _Phase:
    """The first token of an answer is the prefill's."""
    slo = request.slo_of(task)
    if task.kind is TaskKind.PREFILL:
        return _Phase("TTFT", limit_of(slo.ttft_s), PREFILL_BATCHES, 1, task.isl, task.isl - task.cached)
    return _Phase("TPOT", limit_of(slo.tpot_s), DECODE_BATCHES, max(task.osl - 1, 0), task.isl + task.osl, 1)


def limit_of(seconds: float | None) -> float:
    return float("inf") if seconds is None else seconds


@dataclass(frozen=True, slots=True)
class _Trial:
    """One replica for one task at the batches that fit."""

    task: LeafTask
    offer: Offer
    engine: Engine
    phase: _Phase
    batches: tuple[int, ...]

    def needs_bytes(self, batch: int) -> float:
        """On one device."""
        engine, phase = self.engine, self.phase
        rows = batch * phase.rows
        return replica_bytes(engine.model, engine.precision, engine.parallelism, batch, phase.cached, rows)

    def replica(self, sizes: Sizes) -> Replica:
        kind = PREFILL if self.task.kind is TaskKind.PREFILL else DECODE
        return Replica(self.engine, kind, sizes, self.batches, sizes)


@dataclass(frozen=True, slots=True)
class _Visits:
    """Seconds at each batch of a trial: one step, and the wait before the first."""

    step_s: Floats
    wait_s: Floats
    band: Band
    provenance: str


def _visits(task: LeafTask, trials: Sequence[_Trial], request: PlanRequest) -> Asking[list[_Visits]]:
    """A visit waits for others of the same pool, the longest of them at worst."""
    traffic = traffic_of(task, request)
    own = sizes_of(task)
    mine = [trial.replica(own) for trial in trials]
    longest = [trial.replica(traffic.longest) for trial in trials] if traffic.longest != own else []
    priced = yield [*mine, *longest]
    others = priced[len(trials) :] or priced
    return [
        _visit(trial, own, other, traffic, request) for trial, own, other in zip(trials, priced, others, strict=False)
    ]


def _visit(trial: _Trial, own: Served, longest: Served, traffic: Traffic, request: PlanRequest) -> _Visits:
    step_s, band = _step(trial, own, robust=request.robust)
    longest_s, _ = _step(trial, longest, robust=request.robust)
    visit_s = longest_s * (1 if trial.task.kind is TaskKind.PREFILL else max(traffic.longest.osl - 1, 0))
    batches = np.array(trial.batches)
    wait_s = traffic.wait_s(batches, step_s * trial.phase.steps / batches, visit_s)
    return _Visits(step_s, wait_s, band, str(own.known))


def _step(trial: _Trial, found: Served, *, robust: bool) -> tuple[Floats, Band]:
    """With the band as factors of what is assumed."""
    first = trial.task.kind is TaskKind.PREFILL
    return assumed(*((found.ttft_s, found.ttft) if first else (found.tpot_s, found.tpot)), robust=robust)


def assumed(seconds: Floats, band: Band, *, robust: bool) -> tuple[Floats, Band]:
    """What a plan counts on: the value, or the high end of its band."""
    return (seconds * band.high, Band(band.low / band.high, 1.0)) if robust else (seconds, band)


def sizes_of(task: LeafTask) -> Sizes:
    return Sizes(task.isl, task.osl, task.cached)


def where(group: DeviceGroup, engine: Engine) -> str:
    return f"{device_class(group)} {engine.parallelism} {engine.precision}"


def _judged(trial: _Trial, visits: _Visits) -> Iterator[Candidate | Rejection]:
    first = trial.task.kind is TaskKind.PREFILL
    objective_s = visits.step_s + visits.wait_s if first else visits.step_s
    for at in np.flatnonzero(objective_s <= trial.phase.limit_s):
        yield _candidate(trial, visits, int(at), float(objective_s[at]))
    best = int(np.argmin(objective_s))
    if objective_s[best] > trial.phase.limit_s:
        yield _too_slow(trial, float(objective_s[best]), float(visits.wait_s[best]) if first else 0.0)


def _candidate(trial: _Trial, visits: _Visits, at: int, objective_s: float) -> Candidate:
    engine, group, batch = trial.engine, trial.offer.group, trial.batches[at]
    pool = pool_of(trial.offer, engine, trial.task.kind, batch)
    step_s, wait_s = float(visits.step_s[at]), float(visits.wait_s[at])
    own_s = trial.phase.steps * step_s
    option = Option(
        name=pool.name,
        pool=pool,
        latency_s=own_s + wait_s,
        busy_s=own_s / batch,
        port=f"{group.zone}.{engine.precision}",
        joules_per_visit=own_s / batch * trial.offer.watts * pool.devices_per_replica,
    )
    return Candidate(
        option,
        group,
        engine.parallelism,
        engine.precision,
        batch,
        step_s,
        objective_s,
        wait_s,
        own_s * visits.band.low,
        own_s * visits.band.high,
        trial.needs_bytes(batch),
        visits.provenance,
    )


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


def _too_slow(trial: _Trial, best_s: float, wait_s: float) -> Rejection:
    place, limit_s = where(trial.offer.group, trial.engine), trial.phase.limit_s
    message = f"{trial.phase.objective} {limit_s:.3f} s asked, best is {best_s:.3f} s{waiting(wait_s)} on {place}"
    return Rejection(place, Reason.TIME, best_s, limit_s, message)


def waiting(wait_s: float) -> str:
    """Told where it can be seen."""
    return f" ({wait_s:.3f} s of it waiting)" if wait_s >= 5e-4 else ""
