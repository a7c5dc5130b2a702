"""What goes wrong, and when: replicas that fail and come back, that slow down, that are added late."""

import re
from dataclasses import dataclass

from weft.core.errors import InputError
from weft.sim.fleet import Fleet, LlmPool, add_replica
from weft.sim.kernel import Kernel, ticks
from weft.sim.walk import Walk

_FAIL = re.compile(r"(?P<where>[^:@]+)(?::(?P<count>\d+))?@(?P<at>[\d.]+)s?(?:\+(?P<down>[\d.]+)s?)?$")
_SLOW = re.compile(r"(?P<where>[^:@]+)(?::(?P<count>\d+))?@(?P<at>[\d.]+)s?x(?P<factor>[\d.]+)$")


@dataclass(frozen=True, slots=True)
class Failure:
    """`count` replicas of the pool or device `where` fail at `at_s`; after `down_s` they are back, empty."""

    where: str
    count: int
    at_s: float
    down_s: float | None = None


@dataclass(frozen=True, slots=True)
class Slowdown:
    """From `at_s` on, every step of `count` replicas takes `factor` times as long."""

    where: str
    count: int
    at_s: float
    factor: float


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """A pool gets one more replica, up to `most`, `delay_s` after more than `queue` sequences a replica wait; looked at
    every `every_s`, one start at a time."""

    where: str
    most: int
    queue: float = 4.0
    delay_s: float = 60.0
    every_s: float = 5.0


Trouble = Failure | Slowdown | Autoscaling


def parse_failure(text: str) -> Failure:
    """`h100:1@60s` or `decode-h100:2@60s+30s`."""
    found = _FAIL.match(text)
    if not found:
        raise _unreadable("--fail", text, "POOL:REPLICAS@SECONDSs, with +SECONDSs if they come back (h100:1@60s+30s)")
    down = found["down"]
    return Failure(found["where"], int(found["count"] or 1), float(found["at"]), float(down) if down else None)


def parse_slowdown(text: str) -> Slowdown:
    """`h100:1@60sx2.5`."""
    found = _SLOW.match(text)
    if not found or float(found["factor"]) <= 0:
        raise _unreadable("--slow", text, "POOL:REPLICAS@SECONDSsxFACTOR (h100:1@60sx2.5)")
    return Slowdown(found["where"], int(found["count"] or 1), float(found["at"]), float(found["factor"]))


def parse_autoscaling(text: str) -> Autoscaling:
    """`h100:8` or `h100:8,queue=4,delay=60`."""
    where, _, rest = text.partition(":")
    most, *options = rest.split(",")
    known = {"queue": 4.0, "delay": 60.0}
    try:
        for option in options:
            name, _, value = option.partition("=")
            known[name] = float(value) if name in known else float("nan")
        if not where or any(value != value or value < 0 for value in known.values()):
            raise ValueError
        return Autoscaling(where, int(most), known["queue"], known["delay"])
    except ValueError as error:
        raise _unreadable(
            "--autoscale", text, "POOL:MOST[,queue=N][,delay=SECONDS] (h100:8,queue=4,delay=60)"
        ) from error


def schedule(troubles: tuple[Trouble, ...], kernel: Kernel, fleet: Fleet, walk: Walk) -> None:
    """Refuses a pool that is not there, and more replicas than it has."""
    for trouble in troubles:
        pool = _pool(fleet, trouble.where)
        match trouble:
            case Failure():
                _check_count(pool, trouble.count)
                kernel.at(ticks(trouble.at_s), 0, _Fail(trouble, pool, kernel, walk).begin)
            case Slowdown():
                _check_count(pool, trouble.count)
                kernel.at(ticks(trouble.at_s), 0, _slow_down, (trouble, pool))
            case Autoscaling():
                _Scale(trouble, pool, kernel, fleet, walk).look(None)


@dataclass(frozen=True, slots=True)
class _Fail:
    """The first replicas that are there at that moment. One that was leaving does not come back."""

    failure: Failure
    pool: LlmPool
    kernel: Kernel
    walk: Walk

    def begin(self, _: None) -> None:
        there = [replica for replica in self.pool.replicas if replica.alive and not replica.gone]
        victims = there[: self.failure.count]
        for replica in victims:
            self.walk.fail(self.pool, replica)
            if self.failure.down_s is not None and not replica.draining:
                self.kernel.at(self.kernel.now + ticks(self.failure.down_s), 0, self._back, replica.index)

    def _back(self, index: int) -> None:
        replica = next(each for each in self.pool.replicas if each.index == index)
        replica.revive(self.pool.new_batcher(index))
        self.walk.adopt(self.pool, replica)


def _slow_down(job: tuple[Slowdown, LlmPool]) -> None:
    slowdown, pool = job
    for replica in [each for each in pool.replicas if each.alive][: slowdown.count]:
        replica.set_pace(pool.pace(slowdown.factor))


@dataclass
class _Scale:
    scaling: Autoscaling
    pool: LlmPool
    kernel: Kernel
    fleet: Fleet
    walk: Walk
    starting: int = 0

    def look(self, _: None) -> None:
        """Stops looking when the simulation has nothing left to do but this."""
        waiting = sum(replica.batcher.waiting for replica in self.pool.replicas if replica.alive)
        have = sum(replica.alive for replica in self.pool.replicas) + self.starting
        if not self.starting and have < self.scaling.most and waiting > self.scaling.queue * max(1, have):
            self.starting = 1
            self.kernel.at(self.kernel.now + ticks(self.scaling.delay_s), 0, self._started)
        if self.walk.expecting or self.walk.in_system:
            self.kernel.at(self.kernel.now + ticks(self.scaling.every_s), 0, self.look)

    def _started(self, _: None) -> None:
        self.starting = 0
        self.walk.adopt(self.pool, add_replica(self.fleet, self.pool))


def _pool(fleet: Fleet, where: str) -> LlmPool:
    """By its name, or by how its device's name starts, if that means one pool only."""
    pools = list(fleet.llm.values())
    found = [pool for pool in pools if pool.name == where] or [
        pool for pool in pools if pool.pool.device.startswith(where)
    ]
    if len(found) == 1:
        return found[0]
    raise InputError(
        subject=f"pool {where!r}",
        problem="means no pool of this plan" if not found else f"means {', '.join(pool.name for pool in found)}",
        way_out=f"name one of {', '.join(fleet.llm)}",
    )


def _check_count(pool: LlmPool, count: int) -> None:
    if not 1 <= count <= len(pool.replicas):
        raise InputError(
            subject=f"pool {pool.name!r}",
            problem=f"{count} replicas named, it has {len(pool.replicas)}",
            way_out=f"name 1 to {len(pool.replicas)}",
        )


def _unreadable(option: str, text: str, form: str) -> InputError:
    return InputError(subject=f"{option} {text!r}", problem="cannot be read", way_out=f"write {form}")
