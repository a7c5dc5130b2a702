"""How long the passes of simulated replicas take beside what the plan's cost model has for them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from weft.core.deployment import Deployment
from weft.core.pace import DECODE, PREFILL, pace_key
from weft.plan.measured import modelled
from weft.policy.calibration import Seen
from weft.policy.sequence import Iteration
from weft.sim.kernel import seconds
from weft.sim.pace import PaceTicks
from weft.sim.replica import Iterations, Replica


class Meter:
    def __init__(self, deployment: Deployment) -> None:
        self._paces: dict[str, PaceTicks] = {}
        self._keys: dict[str, tuple[str, str]] = {}
        for pool in deployment.pools:
            model = modelled(deployment, pool)
            if model is not None and pool.engine is not None and pool.model is not None:
                self._paces[pool.name] = PaceTicks(replace(pool.engine, pace=model), pool.batch_limit)
                decode, prefill = (pace_key(pool.model, pool.device, phase) for phase in (DECODE, PREFILL))
                self._keys[pool.name] = decode, prefill
        self._sums: dict[tuple[str, str], tuple[int, int, int]] = {}

    def iterations(self, replica: Replica, iteration: Iteration, begins: int, ends: int, steps: int) -> None:
        pool, prompts = replica.name.partition("#")[0], bool(iteration.chunks)
        pace, place = self._paces[pool], (self._keys[pool][prompts], replica.name)
        model = pace.iteration(iteration) if prompts else pace.run(iteration.decodes, iteration.context_tokens, steps)
        had, took, count = self._sums.get(place, (0, 0, 0))
        self._sums[place] = had + model, took + ends - begins, count + steps

    def news(self) -> Iterator[Seen]:
        """Since it was last asked."""
        sums, self._sums = self._sums, {}
        for (key, replica), (model, took, count) in sums.items():
            yield Seen(key, replica, seconds(model), seconds(took), count)


def all_of(listeners: Sequence[Iterations]) -> Iterations | None:
    if len(listeners) < 2:
        return listeners[0] if listeners else None

    def heard(replica: Replica, iteration: Iteration, begins: int, ends: int, steps: int) -> None:
        for listener in listeners:
            listener(replica, iteration, begins, ends, steps)

    return heard
