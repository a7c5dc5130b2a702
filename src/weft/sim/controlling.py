"""The control loop in virtual time: `policy.scaling`, shown the simulated fleet, and its actions done to it."""

from dataclasses import dataclass, field

from weft.core.deployment import Deployment
from weft.plan.staffing import restaff
from weft.policy.calibration import Calibration
from weft.policy.scaling import Action, Change, Decision, PoolSeen, Scaling, Snapshot
from weft.sim.fleet import Fleet, LlmPool, add_replica
from weft.sim.kernel import Kernel, seconds, ticks
from weft.sim.metering import Meter
from weft.sim.replica import Replica
from weft.sim.walk import Walk


@dataclass(frozen=True, slots=True)
class Moment:
    """A look at which something was done."""

    at_s: float
    decision: Decision


@dataclass
class Controller:
    """Looks every `every_s`; a replica that is started takes work `start_s` later. Only pools of language models are
    scaled. `replica_s`: by pool, seconds that were paid for, starting and draining included."""

    deployment: Deployment
    kernel: Kernel
    fleet: Fleet
    walk: Walk
    scaling: Scaling
    meter: Meter
    start_s: float
    every_s: float = 1.0
    moments: list[Moment] = field(default_factory=list[Moment])
    replica_s: dict[str, float] = field(default_factory=dict[str, float])
    calibration: Calibration = field(init=False)
    _starting: dict[str, int] = field(default_factory=dict[str, int])
    _looked: int = -1

    def __post_init__(self) -> None:
        self.calibration = Calibration(self.deployment.measured)

    def look(self, _: None) -> None:
        """Stops looking when the simulation has nothing left to do but this."""
        self._account()
        if self.calibration.look(self.meter.news()):
            restaff(self.scaling, self.deployment, self.calibration.factors)
        decision = self.scaling.decide(self.snapshot())
        for action in decision.actions:
            self._do(action, self.fleet.llm[action.pool])
        if decision.actions:
            self.moments.append(Moment(seconds(self.kernel.now), decision))
        if self.walk.expecting or self.walk.in_system:
            self.kernel.at(self.kernel.now + ticks(self.every_s), 0, self.look)

    def snapshot(self) -> Snapshot:
        pools = tuple(self._seen(pool) for pool in self.fleet.llm.values())
        return Snapshot(seconds(self.kernel.now), self.walk.started, pools)

    def _seen(self, pool: LlmPool) -> PoolSeen:
        ready = self._ready(pool)
        waiting = sum(replica.batcher.waiting for replica in ready) + len(pool.parked)
        return PoolSeen(pool.name, len(ready), self._starting.get(pool.name, 0), len(self._leaving(pool)), waiting)

    def _ready(self, pool: LlmPool) -> list[Replica]:
        return [each for each in pool.replicas if each.alive and not each.draining]

    def _leaving(self, pool: LlmPool) -> list[Replica]:
        return [each for each in pool.replicas if each.draining and not each.gone]

    def _do(self, action: Action, pool: LlmPool) -> None:
        if action.change is Change.START:
            self._starting[pool.name] = self._starting.get(pool.name, 0) + action.count
            for _ in range(action.count):
                self.kernel.at(self.kernel.now + ticks(self.start_s), 0, self._started, pool)
            return
        idlest = sorted(self._ready(pool), key=lambda each: each.batcher.running + each.batcher.waiting)
        for replica in idlest[: action.count]:
            self.walk.drain(pool, replica)

    def _started(self, pool: LlmPool) -> None:
        self._starting[pool.name] -= 1
        self.walk.adopt(pool, add_replica(self.fleet, pool))

    def _account(self) -> None:
        """Who was here since the last look is paid for; drained replicas that are empty go."""
        now, before = self.kernel.now, self._looked
        self._looked = now
        for pool in self.fleet.llm.values():
            leaving = self._leaving(pool)
            if before >= 0:
                here = len(self._ready(pool)) + len(leaving) + self._starting.get(pool.name, 0)
                self.replica_s[pool.name] = self.replica_s.get(pool.name, 0.0) + here * seconds(now - before)
            for replica in leaving:
                replica.gone = not replica.alive or not replica.batcher.running + replica.batcher.waiting
