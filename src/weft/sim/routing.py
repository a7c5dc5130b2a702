"""The routers of `policy`, fed with replicas of the simulator: what a live gateway tells them, this tells them."""

from collections.abc import Callable, Mapping
from enum import StrEnum

from weft.policy.baseline_routers import LeastLoad, PrefixFirst, RoundRobin
from weft.policy.prefix_index import PrefixIndex, workers_held
from weft.policy.router import Router, Routing
from weft.policy.workers import Candidates, Prediction, Request, Worker, predict
from weft.sim.calls import LlmCall
from weft.sim.fleet import LlmPool
from weft.sim.replica import Replica
from weft.traces.draws import mixed


class RouterKind(StrEnum):
    """`weft` is ours; the others are there to compare with."""

    WEFT = "weft"
    ROUND_ROBIN = "round-robin"
    LEAST_LOAD = "least-load"
    PREFIX = "prefix"


class PoolRouter:
    """One pool's replicas under one router."""

    def __init__(self, kind: RouterKind, pool: LlmPool) -> None:
        self._pool = pool
        self._replicas: dict[int, Replica] = {}
        self._candidates = Candidates()
        self._router = _MAKERS[kind](self._candidates, pool.index, pool.terms.block_size)

    def add(self, replica: Replica) -> None:
        """A replica that is alive, with an empty cache."""
        self._replicas[replica.index] = replica
        self._candidates.add(worker_of(replica, self._pool))

    def remove(self, replica: Replica) -> None:
        self._candidates.remove(replica.index)
        self._pool.index.remove_worker(replica.index)

    @property
    def alive(self) -> bool:
        return bool(self._candidates.workers)

    def choose(self, call: LlmCall) -> Replica:
        """At least one is alive."""
        if call.hashes:
            self._pool.settle()
        session = call.run.request.session or None
        request = Request(call.isl + call.done, call.osl, call.hashes, session)
        draw = mixed(call.run.number) if self._router.draws else 0
        return self._replicas[self._router.choose(request, draw)]

    def predicted(self, call: LlmCall) -> Prediction:
        """Of the worker with the least TTFT; at least one is alive."""
        if call.hashes:
            self._pool.settle()
        held = workers_held(self._pool.index.match(call.hashes)) if call.hashes else {}
        request, size = Request(call.isl, call.osl, call.hashes, None), self._pool.terms.block_size
        found = (
            predict(request, worker, min(held.get(worker.number, 0) * size, call.isl - 1), 0.0)
            for worker in self._candidates.alive()
        )
        return min(found, key=lambda each: each.ttft_s)


def worker_of(replica: Replica, pool: LlmPool) -> Worker:
    """Its predictions are lines through the pace: at half a step's tokens, and at batch 1 and the batch limit."""
    pace, limit = pool.terms.pace, pool.pool.batch_limit
    tokens = max(1, pool.terms.step_tokens // 2)
    alone_s, full_s = pace.decode_at(1), pace.decode_at(limit)
    per_sequence_s = (full_s - alone_s) / max(1, limit - 1)
    return Worker(
        number=replica.index,
        name=replica.name,
        zone=pool.pool.zone,
        s_per_input_token=pace.prompt_at(tokens) / tokens,
        s_per_step=alone_s - per_sequence_s,
        s_per_sequence=per_sequence_s,
        usd_per_hour=pool.pool.usd_per_hour,
        places=limit,
        load=replica.batcher,
    )


_Maker = Callable[[Candidates, PrefixIndex, int], Routing]

_MAKERS: Mapping[RouterKind, _Maker] = {
    RouterKind.WEFT: Router,
    RouterKind.ROUND_ROBIN: lambda candidates, index, size: RoundRobin(candidates),
    RouterKind.LEAST_LOAD: lambda candidates, index, size: LeastLoad(candidates),
    RouterKind.PREFIX: PrefixFirst,
}
