"""Prefill and decode replicas chosen together: `policy.PairRouter`, fed with replicas and links of the simulator."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from weft.policy.pairs import PairRouter, Path
from weft.policy.workers import Candidates, Request
from weft.sim.calls import LlmCall
from weft.sim.fleet import Fleet, LlmPool
from weft.sim.kernel import Kernel, seconds
from weft.sim.replica import Replica
from weft.sim.routing import worker_of
from weft.sim.scripts import Script, StepScript
from weft.sim.wires import Wires

Zones = tuple[str, str]


class PairKind(StrEnum):
    """When the replica that decodes is chosen: once the prompt is done (of the pool that was chosen with the one that
    prefills, where there are several), or with the one that prefills."""

    LATE = "late"
    TOGETHER = "together"


@dataclass
class Pairing:
    """The pools that one model call may run in, and the links between their zones."""

    kernel: Kernel
    fleet: Fleet
    prefill: StepScript
    decode: StepScript
    kind: PairKind
    prefills: Candidates = field(default_factory=Candidates)
    decodes: Candidates = field(default_factory=Candidates)
    replicas: dict[int, tuple[LlmPool, Replica]] = field(default_factory=dict[int, tuple[LlmPool, Replica]])

    def __post_init__(self) -> None:
        self.wires: dict[Zones, Wires] = {}
        for pools, handoff in self.decode.handoffs.items():
            source, target = (self.fleet.llm[name].pool.zone for name in pools)
            self.wires[source, target] = self.fleet.wires[handoff.link]
        self.paths = {zones: Path(each.link.bytes_per_s, each.link.latency_s) for zones, each in self.wires.items()}
        named = [self.fleet.llm[name] for name in dict.fromkeys((*self.prefill.pools, *self.decode.pools))]
        indexes = [pool.index for pool in named]
        self.router = PairRouter(self.prefills, self.decodes, self.paths, indexes, named[0].terms.block_size)

    def add(self, pool: LlmPool, replica: Replica) -> None:
        for candidates, script in ((self.prefills, self.prefill), (self.decodes, self.decode)):
            if pool.name in script.pools:
                candidates.add(worker_of(replica, pool))
                self.replicas[replica.index] = pool, replica

    def remove(self, replica: Replica) -> None:
        for candidates in (self.prefills, self.decodes):
            if replica.index in candidates.by_number:
                candidates.remove(replica.index)

    def choose(self, call: LlmCall) -> Replica | None:
        """Sets where the call goes and where its cache will; None where one side has nobody alive."""
        if not (self.prefills.workers and self.decodes.workers):
            return None
        for (source, target), path in self.paths.items():
            if source != target:
                path.backlog_s = seconds(self.wires[source, target].backlog(source, target))
        if call.hashes:
            for pool, _ in self.replicas.values():
                pool.settle()
        asked = Request(call.isl, call.osl, call.hashes, kv_bytes_per_token=call.pool.terms.kv_bytes_per_token)
        pair = self.router.route(asked)
        call.pool, chosen = self.replicas[pair.prefill.number]
        call.decode_pool, goal = self.replicas[pair.decode.number]
        call.moves = goal is not chosen
        call.goal = goal if self.kind is PairKind.TOGETHER else None
        return chosen


def pairings(kernel: Kernel, fleet: Fleet, script: Script, kind: PairKind) -> Mapping[str, Pairing]:
    """By name of the model call, for those whose cache may move between pools that are to be chosen, or replicas."""
    found: dict[str, Pairing] = {}
    for name in script.calls:
        prefill, decode = script.steps[f"{name}.prefill"], script.steps[f"{name}.decode"]
        several = len(prefill.pools) > 1 or len(decode.pools) > 1
        if decode.handoffs and (several or kind is PairKind.TOGETHER):
            found[name] = Pairing(kernel, fleet, prefill, decode, kind)
    return found
