"""The most that a deployment carries within an objective: requests in flight, and requests per second."""

from collections.abc import Callable
from dataclasses import dataclass

from weft.core.errors import PlanError
from weft.core.units import pretty_seconds
from weft.core.workload import Slo
from weft.estimate.coefficients import Coefficients
from weft.estimate.tails import RANKS, Deployment, Percentiles, at_rate, highest_rate, in_flight

_NEAR = 1e-3
"""Rates are found to a thousandth of the highest."""


@dataclass(frozen=True, slots=True)
class Within:
    """`binds`: what one more request would break."""

    slo: Slo
    rank: str
    concurrency: int
    concurrency_binds: str
    in_flight: Percentiles
    rate_per_s: float
    rate_binds: str
    at_rate: Percentiles


def most_within(asked: Deployment, slo: Slo, rank: str, using: Coefficients, arrival_cv: float = 1.0) -> Within:
    """The largest closed loop and the highest rate whose TTFT and TPOT, at `rank`, are within the objective."""
    if rank not in RANKS:
        raise PlanError(subject=f"rank {rank!r}", problem="is unknown", way_out=f"use {', '.join(RANKS)}")

    def closed(count: int) -> Percentiles:
        return in_flight(asked, float(count), using)

    highest = highest_rate(asked).value
    steps = round(1 / _NEAR)

    def opened(step: int) -> Percentiles:
        return at_rate(asked, highest * step * _NEAR, arrival_cv)

    idle = closed(1)
    if broken := _broken(idle, slo, rank):
        raise PlanError(
            subject=asked.name,
            problem=f"one request at a time already has {_told(idle, broken, rank)}, {_asked(slo, broken)} asked",
            way_out="use a larger replica (--tp), a faster device or a narrower format, or relax the objective",
        )
    count, count_binds = _last(closed, asked.middle.step_s.size * asked.replicas, slo, rank)
    step, rate_binds = _last(opened, steps - 1, slo, rank)
    return Within(slo, rank, count, count_binds, closed(count), highest * step * _NEAR, rate_binds, opened(step))


def _last(seen: Callable[[int], Percentiles], most: int, slo: Slo, rank: str) -> tuple[int, str]:
    """The largest of 1 … `most` within the objective (all below it are), and what the next one breaks."""
    low, high, binds = 1, most + 1, "memory"
    while high - low > 1:
        middle = (low + high) // 2
        broken = _broken(seen(middle), slo, rank)
        low, high, binds = (low, middle, f"{broken} {rank}") if broken else (middle, high, binds)
    return low, binds


def _broken(seen: Percentiles, slo: Slo, rank: str) -> str:
    limits = (("TTFT", seen.ttft_s, slo.ttft_s), ("TPOT", seen.tpot_s, slo.tpot_s))
    return next(
        (name for name, tail, limit in limits if tail and limit is not None and getattr(tail, rank).value > limit), ""
    )


def _told(seen: Percentiles, name: str, rank: str) -> str:
    tail = seen.ttft_s if name == "TTFT" else seen.tpot_s
    return f"{name} {rank} {pretty_seconds(getattr(tail, rank).value)}"


def _asked(slo: Slo, name: str) -> str:
    return pretty_seconds((slo.ttft_s if name == "TTFT" else slo.tpot_s) or 0.0)
