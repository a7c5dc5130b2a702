"""A Deployment's pools as things that work: replicas under a router, cores, wires."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from weft.core.deployment import Deployment, Pool
from weft.core.errors import DeploymentError
from weft.core.pace import EngineTerms
from weft.policy.batcher import Batcher, Limits
from weft.policy.kv_blocks import BlockPool
from weft.policy.prefix_index import PrefixIndex
from weft.sim.calls import LlmCall
from weft.sim.kernel import Kernel
from weft.sim.pace import PaceTicks
from weft.sim.replica import Replica, Span
from weft.sim.station import Station
from weft.sim.wires import Wires


class LlmPool:
    """Equal replicas, and the index of the prefixes that they hold. `parked` calls wait for one to be
    alive; `room` is what one replica's memory holds, in tokens."""

    def __init__(self, pool: Pool, terms: EngineTerms, kernel: Kernel, on_busy: Span, exact: bool) -> None:
        self.pool = pool
        self.terms = terms
        self.replicas: list[Replica] = []
        self.parked: list[LlmCall] = []
        self.index = PrefixIndex()
        self.room = terms.kv_tokens // terms.block_size * terms.block_size
        self.starts = terms.start_s > 0 or terms.start_share > 0
        self._unslowed = self.pace()
        self._kernel = kernel
        self._on_busy = on_busy
        self._exact = exact

    @property
    def name(self) -> str:
        return self.pool.name

    def add_replica(self, index: int) -> Replica:
        name = f"{self.pool.name}#{len(self.replicas)}"
        pace = self.pace()
        replica = Replica(self._kernel, name, index, self.new_batcher(index), pace, self._on_busy, self._exact)
        self.replicas.append(replica)
        return replica

    def pace(self, slow: float = 1.0) -> PaceTicks:
        return PaceTicks(self.terms, self.pool.batch_limit, slow)

    def start(self, tokens: int, hashes: Sequence[int]) -> int:
        """Ticks that a call of so many prompt tokens spends in the server first, if a replica with the longest known
        part of the prompt takes it."""
        if hashes:
            self.settle()
        levels = self.index.match(hashes) if hashes else ()
        cached = min(levels[0][0] * self.terms.block_size, tokens - 1) if levels else 0
        return self._unslowed.start(tokens, cached)

    def settle(self) -> None:
        """The index is what it would be with an event for every step. To be called before it is read."""
        for replica in self.replicas:
            replica.settle()

    def new_batcher(self, index: int) -> Batcher:
        """With an empty cache; what it publishes and throws out is known under `index`."""
        blocks = max(1, self.terms.kv_tokens // self.terms.block_size)
        limits = Limits(sequences=self.pool.batch_limit, tokens=max(self.terms.step_tokens, self.pool.batch_limit))
        heard = partial(self.index.add, index), partial(self.index.remove, index)
        return Batcher(limits, BlockPool(blocks, self.terms.block_size, *heard))


@dataclass
class Fleet:
    """By pool name, and links by id."""

    llm: Mapping[str, LlmPool]
    cpu: Mapping[str, Station]
    wires: Mapping[str, Wires]
    replicas: list[Replica] = field(default_factory=list[Replica])


def build_fleet(deployment: Deployment, kernel: Kernel, on_busy: Span, exact: bool) -> Fleet:
    llm: dict[str, LlmPool] = {}
    cpu: dict[str, Station] = {}
    for pool in deployment.pools:
        if pool.model is None:
            cpu[pool.name] = Station(kernel, pool.name, pool.replicas * pool.batch_limit)
        else:
            llm[pool.name] = LlmPool(pool, _terms(pool), kernel, on_busy, exact)
    fleet = Fleet(llm, cpu, {link.id: Wires(kernel, link) for link in deployment.links})
    for pool in llm.values():
        for _ in range(pool.pool.replicas):
            add_replica(fleet, pool)
    return fleet


def add_replica(fleet: Fleet, pool: LlmPool) -> Replica:
    """Its rank in the kernel is one that no other replica has."""
    replica = pool.add_replica(len(fleet.replicas) + 1)
    fleet.replicas.append(replica)
    return replica


def _terms(pool: Pool) -> EngineTerms:
    if pool.engine is None:
        raise DeploymentError(
            subject=f"pool {pool.name!r}",
            problem="carries no pace, so its steps take nobody knows how long",
            way_out="make the plan again with this Weft: `weft plan … --json PATH`",
        )
    return pool.engine
