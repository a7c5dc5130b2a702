"""Routers to compare with: round robin, least load, and longest prefix unless the load is uneven."""

from dataclasses import dataclass

from weft.policy.prefix_index import PrefixIndex, blocks_held
from weft.policy.router import Decision
from weft.policy.workers import Candidates, Request, Worker, predict


class RoundRobin:
    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates
        self._turn = -1

    def route(self, request: Request, draw: int = 0) -> Decision:
        workers = self._candidates.alive()
        self._turn += 1
        return _decision(request, workers[self._turn % len(workers)], 0)


class LeastLoad:
    """Fewest sequences running and waiting; the lowest number where equal."""

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates

    def route(self, request: Request, draw: int = 0) -> Decision:
        return _decision(request, min(self._candidates.alive(), key=_sequences), 0)


@dataclass(frozen=True, slots=True)
class PrefixFirstConfig:
    """The load is uneven when max − min > `gap` sequences and max > `ratio` · min. A prefix shorter than `share` of the
    prompt does not count. (These are the rules and defaults of a widely used cache-aware router.)"""

    gap: int = 64
    ratio: float = 1.5
    share: float = 0.3


class PrefixFirst:
    """The worker with the longest prefix; least load where the load is uneven or no prefix is long enough."""

    def __init__(
        self, candidates: Candidates, index: PrefixIndex, block_size: int, config: PrefixFirstConfig | None = None
    ) -> None:
        self._candidates = candidates
        self._index = index
        self._block_size = block_size
        self._config = config or PrefixFirstConfig()

    def route(self, request: Request, draw: int = 0) -> Decision:
        workers, config = self._candidates.alive(), self._config
        least, most = min(map(_sequences, workers)), max(map(_sequences, workers))
        levels = self._index.match(request.hashes)
        held = {worker.number: blocks_held(levels, worker.number) * self._block_size for worker in workers}
        uneven = most - least > config.gap and most > config.ratio * least
        if uneven or max(held.values()) < config.share * request.prompt:
            worker = min(workers, key=_sequences)
        else:
            worker = max(workers, key=lambda each: (held[each.number], -_sequences(each)))
        return _decision(request, worker, min(held[worker.number], request.prompt - 1))


def _sequences(worker: Worker) -> int:
    return worker.load.running + worker.load.waiting


def _decision(request: Request, worker: Worker, hit_tokens: int) -> Decision:
    prediction = predict(request, worker, hit_tokens, 0.0)
    return Decision(worker, prediction, prediction.finish_s, None, False)
