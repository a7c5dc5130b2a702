"""How long work waits for a free place in a pool, in the mean, when it arrives at random (Poisson) instants.

A pool of n replicas that hold b sequences each has c = n · b places, each taken for the time S of a visit. Sakasegawa's
(1977) form of the Allen-Cunneen approximation, ρ the share of time that a place is taken and V the squared coefficient
of variation of S:

    W = (1 + V) / 2 · ρ^(√(2 (c + 1)) - 1) / (c (1 - ρ)) · S

It is exact for one place (Pollaczek-Khinchine) and within a few per cent of Erlang's formula for more. The planner's
sizes are fixed numbers, so V is 0 there. Prompts of one prefill batch share its time: the time S of a full batch, which
few batches take, makes up for a prompt that has to see the running batch end (the tests simulate it).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weft.plan.problem import ROUNDING
from weft.plan.requests import LeafTask, PlanRequest, TaskKind
from weft.plan.served import Sizes


def wait_s(
    places: ArrayLike, utilisation: ArrayLike, visit_s: ArrayLike, variability: float = 0.0
) -> NDArray[np.float64]:
    """Infinite where places are never free."""
    count, busy, seconds = (np.asarray(each, dtype=np.float64) for each in (places, utilisation, visit_s))
    with np.errstate(divide="ignore", invalid="ignore"):
        waiting = (1 + variability) / 2 * busy ** (np.sqrt(2 * (count + 1)) - 1) / (count * (1 - busy)) * seconds
    return np.where((busy < 1) | (seconds == 0), np.where(seconds == 0, 0.0, waiting), np.inf)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What comes to the pool of a task. Where other tasks may come too, or traffic is split, its load is not known
    before the plan is: then it is as busy as any pool may be. `longest` of all visits there is what one waits for."""

    visits_per_s: float
    max_utilisation: float
    alone: bool
    replicas_known: bool
    longest: Sizes
    longest_core_s: float

    def wait_s(self, places: ArrayLike, busy_s: ArrayLike, visit_s: ArrayLike) -> NDArray[np.float64]:
        """`places` of one replica, which a visit keeps busy for `busy_s`: the replicas are those that the load needs;
        more of them, for the load of others, only shorten the wait."""
        load = self.visits_per_s * np.asarray(busy_s, dtype=np.float64)
        needed = np.maximum(1.0, np.ceil(load / self.max_utilisation - ROUNDING))
        replicas = needed if self.replicas_known else np.ones_like(needed)
        utilisation = load / needed if self.alone else np.full_like(load, self.max_utilisation)
        return wait_s(replicas * places, utilisation, visit_s)


def traffic_of(task: LeafTask, request: PlanRequest) -> Traffic:
    peers = [each for each in request.tasks if each.kind is task.kind and each.model == task.model]
    longest = max(peers, key=lambda each: each.isl - each.cached if task.kind is TaskKind.PREFILL else each.osl)
    return Traffic(
        visits_per_s=request.rate_per_s * task.visits,
        max_utilisation=request.max_utilisation,
        alone=len(peers) == 1 and not request.split,
        replicas_known=not request.split,
        longest=Sizes(longest.isl, longest.osl, longest.cached),
        longest_core_s=max(each.core_s for each in peers),
    )
