"""Routers to compare with: round robin, least load, and longest prefix unless the load is uneven."""

from dataclasses import dataclass

from weft.policy.prefix_index import PrefixIndex, blocks_held
from weft.policy.router import Decision
from weft.policy.workers import Candidates, Request, Worker, predict


class RoundRobin:
    draws = False

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates
        self._turn = -1

    def choose(self, request: Request, draw: int = 0) -> int:
        workers = self._candidates.alive()
        self._turn += 1
        return workers[self._turn % len(workers)].number

    def route(self, request: Request, draw: int = 0) -> Decision:
        return _decision(request, self._candidates.by_number[self.choose(request)], 0)


class LeastLoad:
    """Fewest sequences running and waiting; the lowest number where equal."""

    draws = False

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates

    def choose(self, request: Request, draw: int = 0) -> int:
        return _least_loaded(self._candidates.alive()).number

    def route(self, request: Request, draw: int = 0) -> Decision:
        return _decision(request, self._candidates.by_number[self.choose(request)], 0)


@dataclass(frozen=True, slots=True)
class PrefixFirstConfig:
    """The load is uneven when max − min > `gap` sequences and max > `ratio` · min. A prefix shorter than `share` of the
    prompt does not count. (These are the rules and defaults of a widely used cache-aware router.)"""

    gap: int = 64
    ratio: float = 1.5
    share: float = 0.3


class PrefixFirst:
    """The worker with the longest prefix; least load where the load is uneven or no prefix is long enough."""

    draws = False

    def __init__(
        self, candidates: Candidates, index: PrefixIndex, block_size: int, config: PrefixFirstConfig | None = None
    ) -> None:
        self._candidates = candidates
        self._index = index
        self._block_size = block_size
        self._config = config or PrefixFirstConfig()

    def choose(self, request: Request, draw: int = 0) -> int:
        return self.route(request).worker.number

    def route(self, request: Request, draw: int = 0) -> Decision:
        workers, config = self._candidates.alive(), self._config
        least, most = min(map(_sequences, workers)), max(map(_sequences, workers))
        levels = self._index.match(request.hashes)
        held = {worker.number: blocks_held(levels, worker.number) * self._block_size for worker in workers}
        uneven = most - least > config.gap and most > config.ratio * least
        if uneven or max(held.values()) < config.share * request.prompt:
            worker = _least_loaded(workers)
        else:
            worker = max(workers, key=lambda each: (held[each.number], -_sequences(each)))
        return _decision(request, worker, min(held[worker.number], request.prompt - 1))


def _sequences(worker: Worker) -> int:
    return worker.load.running + worker.load.waiting


def _least_loaded(workers: list[Worker]) -> Worker:
    """The first of those with the fewest sequences: what `min` by `_sequences` finds, at half its price."""
    best = workers[0]
    load = best.load
    fewest = load.running + load.waiting
    for worker in workers:
        load = worker.load
        sequences = load.running + load.waiting
        if sequences < fewest:
            best, fewest = worker, sequences
    return best


def _decision(request: Request, worker: Worker, hit_tokens: int) -> Decision:
    prediction = predict(request, worker, hit_tokens, 0.0)
    return Decision(worker, prediction, prediction.finish_s, None, False)
