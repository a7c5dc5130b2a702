"""What a single question must not ask, and the nearest setting that can be answered.

Public tables of runs are read leniently (resolve.py: devices counted twice, expert parallelism of dense models); a
person who asks for such a thing has mistyped, and is told so.
"""

import math
from collections.abc import Iterable

from weft import catalog
from weft.core.errors import PlanError
from weft.core.model import ModelSpec
from weft.cost.nearest import divisors
from weft.cost.points import Point
from weft.estimate.price import Priced

STATIC = ("e2e", "prefill", "decode")
"""Kinds whose batch is what was asked, all of it at once."""


def check_point(point: Point) -> None:
    """Refuses sizes that contradict each other; names are checked where they are resolved."""
    model = catalog.model(point.model)
    _check_experts(model, point)
    _check_devices(point)


def check_batch(point: Point, priced: Priced) -> None:
    """A static batch is not queued: it fits or it is refused."""
    replica = (point.tp or priced.devices) * (point.pp or 1)
    most = priced.fits * max(priced.devices // replica, 1)
    if point.kind in STATIC and point.concurrency is not None and point.concurrency > most:
        raise PlanError(
            subject=f"--concurrency {point.concurrency:g}",
            problem=f"{most:.0f} sequences of {(point.isl or 0) + (point.osl or 0):.0f} tokens fit the memory",
            way_out=f"give {most:.0f} at most, more devices (--gpus), or --kind server, where the others wait",
        )


def _check_experts(model: ModelSpec, point: Point) -> None:
    ways = point.ep or 1
    if ways == 1:
        return
    if model.experts is None:
        raise PlanError(subject=f"--ep {ways}", problem=f"{model.id} has no experts to spread", way_out="leave it out")
    if point.tp is None:
        return  # the replica is not known yet, and resolve.py keeps ep within it
    devices = point.gpus or point.tp * (point.pp or 1)
    allowed = divisors(model.experts.count, devices)
    if ways not in allowed:
        raise PlanError(
            subject=f"--ep {ways}",
            problem=f"does not spread the {model.experts.count} experts of {model.id} evenly over {devices} devices",
            way_out=f"use {_either(_near(ways, allowed))}",
        )


def _check_devices(point: Point) -> None:
    if point.gpus is None or point.tp is None:
        return
    replica = point.tp * (point.pp or 1)
    if point.gpus % replica:
        below, above = point.gpus // replica * replica, (point.gpus // replica + 1) * replica
        raise PlanError(
            subject=f"--gpus {point.gpus}",
            problem=f"is no whole number of replicas of {replica} devices",
            way_out=f"use {_either([each for each in (below, above) if each])}, or a smaller replica",
        )


def _near(value: int, allowed: Iterable[int]) -> list[int]:
    """The nearest below and above."""
    known = sorted(allowed)
    below = max((each for each in known if each < value), default=None)
    above = min((each for each in known if each > value), default=None)
    return [each for each in (below, above) if each is not None]


def _either(values: Iterable[float]) -> str:
    return " or ".join(f"{math.floor(each)}" for each in values)
