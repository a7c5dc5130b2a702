"""How disaggregated deployments are cut, where a point does not say: as the nearest one that was seen.

Public exports name the software and the load of a disaggregated run but often neither its replicas nor whether a group
shares attention. Operators cut by load, model and sizes, so the nearest deployment in these tells more than a rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log

from weft.core.deployment import Parallelism
from weft.cost.points import PoolAsk

_FAR = 3.0
"""Weight of a told group size or device count against the load's (1 per factor of e)."""


@dataclass(frozen=True, slots=True)
class SeenDeployment:
    """One disaggregated deployment under the load that it was run with."""

    model: str
    device: str
    engine: str
    precision: str
    isl: float
    osl: float
    concurrency: float
    prefill: Parallelism
    prefill_replicas: int
    decode: Parallelism
    decode_replicas: int

    @property
    def devices(self) -> int:
        return self.prefill.devices * self.prefill_replicas + self.decode.devices * self.decode_replicas


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a point tells of the deployment it wants. `group`: devices of some group, of which pool is not told."""

    model: str
    device: str
    engine: str
    precision: str
    isl: float
    osl: float
    concurrency: float
    prefill: PoolAsk
    decode: PoolAsk
    group: int | None
    devices: int | None


def nearest(seen: Sequence[SeenDeployment], wanted: Wanted) -> SeenDeployment | None:
    """The seen deployment nearest to what is wanted; the first of equals."""
    return min(seen, key=lambda each: _distance(each, wanted), default=None)


def cut(seen: Sequence[SeenDeployment], wanted: Wanted, smallest: tuple[Parallelism, Parallelism]) -> SeenDeployment:
    """What is wanted, filled from the nearest deployment; `smallest`: groups that hold
    the model in the two pools."""
    found = nearest(seen, wanted)
    if found is None:
        found = _plain(wanted, smallest)
    prefill, prefill_replicas = _filled(wanted.prefill, found.prefill, found.prefill_replicas)
    decode, decode_replicas = _filled(wanted.decode, found.decode, found.decode_replicas)
    if wanted.devices and wanted.prefill.replicas is None:
        left = wanted.devices - decode.devices * decode_replicas
        prefill_replicas = max(1, round(left / prefill.devices))
    return replace(
        found,
        prefill=prefill,
        prefill_replicas=prefill_replicas,
        decode=decode,
        decode_replicas=decode_replicas,
        concurrency=wanted.concurrency,
    )


def group_of(pool: PoolAsk) -> int | None:
    """Devices of one replica, as far as told: exports write tp=8 ep=8 of eight devices, with or without dp=8."""
    told = [size for size in (pool.tp, pool.ep) if size]
    if not told:
        return None
    return max((pool.tp or 1) * (pool.dp or 1), pool.ep or 1)


def _plain(wanted: Wanted, smallest: tuple[Parallelism, Parallelism]) -> SeenDeployment:
    """Nothing was seen: one replica for each phase."""
    given = (wanted.model, wanted.device, wanted.engine, wanted.precision, wanted.isl, wanted.osl, wanted.concurrency)
    return SeenDeployment(*given, smallest[0], 1, smallest[1], 1)


def _filled(pool: PoolAsk, seen: Parallelism, replicas: int) -> tuple[Parallelism, int]:
    group = group_of(pool)
    if pool.tp and pool.dp and (pool.replicas or pool.dp > 1):
        split = Parallelism(tp=pool.tp, dp=pool.dp, ep=min(pool.ep or 1, pool.tp * pool.dp))
        split = replace(split, ep=split.devices) if split.dp > 1 and split.ep == 1 else split
    elif group is None or group == seen.devices:
        split = seen
    elif seen.dp > 1:
        split = Parallelism(dp=group, ep=group)
    else:
        split = Parallelism(tp=group, ep=min(pool.ep or 1, group))
    return split, pool.replicas or max(1, replicas)


def _distance(seen: SeenDeployment, wanted: Wanted) -> float:
    far = abs(log(seen.concurrency / wanted.concurrency))
    far += 0.3 * abs(log(seen.isl / wanted.isl)) + 0.3 * abs(log(seen.osl / wanted.osl))
    far += 0.5 * (seen.engine != wanted.engine) + 0.5 * (seen.precision != wanted.precision)
    far += 1.0 * (seen.model != wanted.model) + 0.5 * (seen.device != wanted.device)
    for pool, split, replicas in (
        (wanted.prefill, seen.prefill, seen.prefill_replicas),
        (wanted.decode, seen.decode, seen.decode_replicas),
    ):
        far += _FAR * _apart(group_of(pool), split.devices) + _FAR * _apart(pool.replicas, replicas)
    if wanted.group:
        far += _FAR * min(_apart(wanted.group, seen.prefill.devices), _apart(wanted.group, seen.decode.devices))
    return far + _FAR * _apart(wanted.devices, seen.devices)


def _apart(told: int | None, seen: int) -> float:
    return abs(log(told / seen)) if told else 0.0
