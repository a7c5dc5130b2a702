"""A disaggregated point becomes two pools: what it tells of them, and the nearest seen deployment for what it does not.

A point is disaggregated where it describes a pool, where its software says so ("(disagg)", "dynamo-…"), or where its
tensor parallelism counts the devices of a whole rack, as some public exports do with disaggregated runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from weft import catalog
from weft.core.deployment import Parallelism
from weft.core.errors import PlanError
from weft.core.hardware import Device
from weft.core.model import ModelSpec
from weft.core.units import Precision
from weft.cost.disagg import PrefillPool, joined
from weft.cost.efficiency import Efficiency
from weft.cost.formats import Formats
from weft.cost.memory import stored_bytes, usable_bytes
from weft.cost.points import Point, PoolAsk
from weft.cost.serving import Case
from weft.cost.sharding import check_parallelism
from weft.estimate.deployments import SeenDeployment, Wanted, cut, group_of
from weft.estimate.read import engine_of, read_precision, smallest_tp, twin

RACK_DEVICES, WIDEST_TP = 72, 16
"""A scale-up network of a rack; no engine cuts one replica's tensors further than this."""

ALIKE = 2.5
"""Factor in total parameters within which models are deployed alike."""


def is_disaggregated(point: Point, device: Device) -> bool:
    told = point.prefill is not None or point.decode is not None
    software = any(word in point.engine.lower() for word in ("disagg", "dynamo"))
    return told or software or _rack(point, device) is not None


def tells_replicas(point: Point) -> bool:
    return all(pool is not None and pool.replicas is not None for pool in (point.prefill, point.decode))


def pools_of(
    point: Point,
    what: tuple[ModelSpec, Device, Precision],
    family: str,
    efficiencies: Mapping[str, Efficiency],
    seen: Sequence[SeenDeployment],
) -> tuple[PrefillPool, Case]:
    """The pool that prefills, and the replicas that decode."""
    model, device, precision = what
    prefill_device = _device_of(point.prefill, device)
    decode_device = _device_of(point.decode, device)
    _, formats = read_precision(point, model, decode_device)
    _, prefill_formats = read_precision(point, model, prefill_device)
    smallest = (
        Parallelism(tp=smallest_tp(model, prefill_device, prefill_formats, 8)),
        Parallelism(tp=smallest_tp(model, decode_device, formats, 8)),
    )
    wanted = _wanted(point, model, decode_device, precision, family)
    wanted = replace(
        wanted,
        prefill=_credible(wanted.prefill, model, prefill_device, prefill_formats),
        decode=_credible(wanted.decode, model, decode_device, formats),
    )
    alike = [each for each in seen if _alike(catalog.model(each.model), model)]
    found = cut(alike, wanted, smallest)
    for split in (found.prefill, found.decode):
        check_parallelism(model, split)
    prefill = engine_of(model, prefill_device, precision, prefill_formats, found.prefill, efficiencies)
    decode = engine_of(model, decode_device, precision, formats, found.decode, efficiencies)
    assert point.isl is not None and point.osl is not None
    case = Case(decode, found.decode_replicas, point.isl, point.osl)
    within = not point.link and joined(prefill, found.prefill_replicas, case)
    link = None if within else catalog.link(point.link or "roce-400g")
    return PrefillPool(prefill, found.prefill_replicas, link), case


def _alike(one: ModelSpec, other: ModelSpec) -> bool:
    """Whether deployments of one model tell anything of the other's."""
    return 1 / ALIKE < one.params_total / other.params_total < ALIKE


def _device_of(pool: PoolAsk | None, device: Device) -> Device:
    return catalog.device(pool.device) if pool is not None and pool.device else device


def _wanted(point: Point, model: ModelSpec, device: Device, precision: Precision, family: str) -> Wanted:
    if point.kind != "server" or not point.concurrency or not point.isl or not point.osl:
        raise PlanError(
            subject=f"point {point.id}",
            problem=f"is disaggregated and of kind {point.kind}",
            way_out="price a disaggregated deployment as a server, with its concurrency",
        )
    rack = _rack(point, device)
    prefill, decode = point.prefill or PoolAsk(), point.decode or PoolAsk()
    told = point.prefill is not None or point.decode is not None
    return Wanted(
        model=twin(model),
        device=device.id,
        engine=family,
        precision=f"{precision}",
        isl=point.isl,
        osl=point.osl,
        concurrency=point.concurrency,
        prefill=prefill if rack is None else PoolAsk(),
        decode=decode if rack is None else PoolAsk(),
        group=None if told or rack else _group(point),
        devices=rack or point.gpus,
    )


def _rack(point: Point, device: Device) -> int | None:
    """Devices of the whole deployment where an export wrote them as the tensor parallelism of a replica."""
    sizes = {pool.tp for pool in (point.prefill, point.decode) if pool is not None and pool.replicas is None}
    tp = point.tp if not sizes else next(iter(sizes)) if len(sizes) == 1 else None
    return tp if _reaches(device, RACK_DEVICES) and (tp or 1) > WIDEST_TP and (point.ep or 1) == 1 else None


def _reaches(device: Device, devices: int) -> bool:
    return device.scale_up is not None and device.scale_up.max_devices >= devices


def _credible(pool: PoolAsk, model: ModelSpec, device: Device, formats: Formats) -> PoolAsk:
    """A group that does not hold the weights is an export's blank, unless its replicas are told too."""
    group = group_of(pool)
    if group is None or pool.replicas is not None or stored_bytes(model, formats) <= group * usable_bytes(device):
        return pool
    return PoolAsk(pool.device)


def _group(point: Point) -> int | None:
    """What the columns of one replica say of some pool; one device says nothing."""
    group = group_of(PoolAsk(tp=point.tp, ep=point.ep))
    return None if group == 1 else group
