"""Which worker gets a request: predicted finish, price, what it costs the others, and where its session was.

    score = finish_s + first_token_weight · ttft_s + usd · s_per_usd
          + others_weight · prefill_s · sequences there  −  (affinity_s if the session was there last)

(terms: see `workers`). The smallest score wins; equal scores go round, by a counter. In fleets of more than `scan`
workers only some are scored: `choices` drawn at random, `choices` of those that hold most of the prefix, and the
session's last one. Mitzenmacher (2001): two random choices already bring the longest queue from log n to log log n.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

from weft.policy.prefix_index import Levels, PrefixIndex, blocks_held
from weft.policy.workers import Candidates, Distances, Prediction, Request, Worker, predict

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class RouterConfig:
    first_token_weight: float = 1.0
    s_per_usd: float = 0.0
    others_weight: float = 1.0
    affinity_s: float = 0.05
    scan: int = 32
    choices: int = 4
    sessions: int = 100_000


_DEFAULT, _NEAR = RouterConfig(), Distances()


class Decision(NamedTuple):
    """The worker, what is predicted of it, and the best of the others (None where there was no other)."""

    worker: Worker
    prediction: Prediction
    score: float
    runner_up: tuple[Worker, Prediction, float] | None
    stayed: bool

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why, in words: the terms that count, then what the runner-up lacked."""
        said = [_said(self.worker, self.prediction, self.score)]
        if self.stayed:
            said.append("its session was there")
        if self.runner_up is not None:
            said.append("next " + _said(*self.runner_up))
        return tuple(said)


def _said(worker: Worker, of: Prediction, score: float) -> str:
    return (
        f"{worker.name}: score {score:.3f}: {of.hit_tokens} tokens cached, queue {of.queue_s:.3f} s, prefill "
        f"{of.prefill_s:.3f} s, distance {of.distance_s:.4f} s, finish {of.finish_s:.3f} s, ${of.usd:.2g}"
    )


class Routing(Protocol):
    """What a simulator or a gateway asks of any router. `draw` is 64 random bits."""

    def route(self, request: Request, draw: int = 0) -> Decision: ...


class Router:
    def __init__(
        self,
        candidates: Candidates,
        index: PrefixIndex,
        block_size: int,
        config: RouterConfig = _DEFAULT,
        distances: Distances = _NEAR,
    ) -> None:
        self._candidates = candidates
        self._index = index
        self._block_size = block_size
        self._config = config
        self._distances = distances
        self._sessions: OrderedDict[Hashable, int] = OrderedDict()
        self._turn = 0

    def route(self, request: Request, draw: int = 0) -> Decision:
        """Chooses among the workers that are alive now, and remembers it for the session."""
        workers = self._candidates.alive()
        levels = self._index.match(request.hashes) if request.hashes else []
        home = self._sessions.get(request.session) if request.session is not None else None
        if len(workers) > self._config.scan:
            workers = self._some(workers, levels, home, draw)
        decision = self._best(request, workers, levels, home)
        if request.session is not None:
            self._remember(request.session, decision.worker.number)
        return decision

    def _best(self, request: Request, workers: Sequence[Worker], levels: Levels, home: int | None) -> Decision:
        count = len(workers)
        first = self._turn % count
        self._turn += 1
        best: tuple[float, Worker, Prediction] | None = None
        second: tuple[float, Worker, Prediction] | None = None
        for position in range(first, first + count):
            worker = workers[position % count]
            prediction = self._predict(request, worker, levels)
            score = self._score(prediction, worker, worker.number == home)
            if best is None or score < best[0]:
                best, second = (score, worker, prediction), best
            elif second is None or score < second[0]:
                second = (score, worker, prediction)
        assert best is not None
        return Decision(best[1], best[2], best[0], second and (second[1], second[2], second[0]), best[1].number == home)

    def _predict(self, request: Request, worker: Worker, levels: Levels) -> Prediction:
        hits = min(blocks_held(levels, worker.number) * self._block_size, request.prompt - 1) if levels else 0
        return predict(request, worker, hits, self._distances.between(request.zone, worker.zone))

    def _score(self, prediction: Prediction, worker: Worker, at_home: bool) -> float:
        config, load = self._config, worker.load
        return (
            prediction.finish_s
            + config.first_token_weight * prediction.ttft_s
            + config.s_per_usd * prediction.usd
            + config.others_weight * prediction.prefill_s * (load.running + load.waiting)
            - (config.affinity_s if at_home else 0.0)
        )

    def _some(self, workers: Sequence[Worker], levels: Levels, home: int | None, draw: int) -> list[Worker]:
        chosen: dict[int, Worker] = {}
        for place in range(self._config.choices):
            draw = (draw * 6364136223846793005 + 1442695040888963407 + place) & _MASK
            worker = workers[draw * len(workers) >> 64]
            chosen[worker.number] = worker
        numbers = [] if home is None else [home]
        numbers += islice(_bits(levels[0][1], draw), self._config.choices) if levels else []
        alive = self._candidates.by_number
        chosen.update((number, alive[number]) for number in numbers if number in alive)
        return list(chosen.values())

    def _remember(self, session: Hashable, number: int) -> None:
        self._sessions[session] = number
        self._sessions.move_to_end(session)
        if len(self._sessions) > self._config.sessions:
            self._sessions.popitem(last=False)


def _bits(mask: int, draw: int) -> Iterator[int]:
    """The bits that are set, from a random place on and then round."""
    low = draw % mask.bit_length()
    for part in (mask >> low << low, mask & (1 << low) - 1):
        while part:
            bit = part & -part
            yield bit.bit_length() - 1
            part ^= bit
