"""Queues in closed form: the wait before one server, and how full a station is whose speed depends on how full it is.

Arrivals are independent; `arrival_cv` is the variation coefficient of the gaps between them (1: Poisson, 0: clockwork).
"""

from dataclasses import dataclass

import numpy as np

from weft.cost.arrays import Floats


def mean_wait_s(rate_per_s: float, mean_s: float, cv: float, arrival_cv: float = 1.0) -> float:
    """Mean wait before one server that takes `mean_s` (coefficient of variation `cv`) each: Pollaczek-Khinchine, and
    beyond Poisson arrivals Kingman's approximation. Infinite where it cannot keep up."""
    busy = rate_per_s * mean_s
    if busy >= 1:
        return np.inf
    return busy * mean_s / (1 - busy) * spread(cv, arrival_cv)


def spread(cv: float, arrival_cv: float = 1.0) -> float:
    """What variability does to a wait: 1 for exponential service and Poisson arrivals, 1/2 for equal services."""
    return (arrival_cv**2 + cv**2) / 2


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How many are inside a station of `slots` places: `share` of time with 0 … slots, shape (slots + 1,). An arrival
    finds all taken with the last share, and then waits `wait_s` on average."""

    share: Floats
    wait_s: float

    @property
    def mean(self) -> float:
        return float(self.share @ np.arange(self.share.size))


def occupancy(rate_per_s: float, done_per_s: Floats, cv: float = 1.0, arrival_cv: float = 1.0) -> Occupancy:
    """`done_per_s`: requests finished per second with 1 … slots inside, shape (slots,).

    While there is room the station shares its speed among all inside, whose number then depends on nothing but the mean
    size (a symmetric queue): share(n) ∝ Π rate / done(k). Those beyond the last place wait in line; their number falls
    geometrically, and their wait is that of exponential sizes times `spread` (Lee and Longton).
    """
    full = rate_per_s / float(done_per_s[-1])
    if full >= 1:
        raise ValueError(f"{rate_per_s:g} requests/s reach a station that finishes {done_per_s[-1]:g}")
    if rate_per_s == 0:
        return Occupancy(np.eye(1, done_per_s.size + 1)[0], 0.0)
    logs = np.concatenate(([0.0], np.cumsum(np.log(rate_per_s / done_per_s))))
    weights = np.exp(logs - logs.max())
    weights[-1] /= 1 - full
    wait_s = spread(cv, arrival_cv) / (float(done_per_s[-1]) * (1 - full))
    return Occupancy(weights / weights.sum(), wait_s)
