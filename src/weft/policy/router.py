"""Which worker gets a request: predicted finish, price, what it costs the others, and where its session was.

    score = finish_s + first_token_weight · ttft_s + usd · s_per_usd
          + others_weight · prefill_s · sequences there  −  (affinity_s if the session was there last)

(terms: see `workers`). The smallest score wins; equal scores go round, by a counter. In fleets of more than `scan`
workers only some are scored: `choices` drawn at random, `choices` of those that hold most of the prefix, and the
session's last one. Mitzenmacher (2001): two random choices already bring the longest queue from log n to log log n.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import NamedTuple, Protocol

from weft.core.errors import CapacityError
from weft.policy.prefix_index import Levels, PrefixIndex, blocks_held, workers_held
from weft.policy.workers import Candidates, Distances, Lane, Prediction, Request, Worker, predict

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

    def __post_init__(self) -> None:
        if self.choices < 1 or self.sessions < 1:
            raise CapacityError(
                subject="router",
                problem=f"choices {self.choices}, sessions {self.sessions}",
                way_out="give at least 1 of each",
            )


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
    """What a simulator or a gateway asks of any router. `choose` gives a worker's number, `route` says why as well: the
    choice is the same. `draw` is 64 random bits; while not `draws` it need not be random."""

    @property
    def draws(self) -> bool: ...
    def choose(self, request: Request, draw: int = 0) -> int: ...
    def route(self, request: Request, draw: int = 0) -> Decision: ...


_TwoBest = tuple[int, float, int, float]
"""Number and score of the best worker, then of the second (-1: there is none)."""


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

    @property
    def draws(self) -> bool:
        return len(self._candidates.workers) > self._config.scan

    def choose(self, request: Request, draw: int = 0) -> int:
        """Among the workers that are alive now; remembers it for the session."""
        return self._choose(request, draw)[0][0]

    def route(self, request: Request, draw: int = 0) -> Decision:
        (best, score, second, next_score), hits, home = self._choose(request, draw)
        runner_up = None if second < 0 else (*self._predicted(request, second, hits), next_score)
        return Decision(*self._predicted(request, best, hits), score, runner_up, best == home)

    def _choose(self, request: Request, draw: int) -> tuple[_TwoBest, Mapping[int, int], int]:
        """The two best, blocks held by worker, and where the session was."""
        few = len(self._candidates.alive()) <= self._config.scan
        levels = self._index.match(request.hashes) if request.hashes else []
        home = self._sessions.get(request.session, -1) if request.session is not None else -1
        lanes = self._candidates.all if few else self._some(levels, home, draw)
        first = self._turn % len(lanes)
        self._turn += 1
        hits: Mapping[int, int] = {}
        if levels:
            hits = workers_held(levels) if few else {lane[0]: blocks_held(levels, lane[0]) for lane in lanes}
        found = self._two_best(request, lanes[first:] + lanes[:first], hits, home)
        if request.session is not None:
            self._remember(request.session, found[0])
        return found, hits, home

    def _two_best(self, request: Request, lanes: Sequence[Lane], hits: Mapping[int, int], home: int) -> _TwoBest:
        """The two workers with the smallest scores: what `predict` says, written out for speed (a test compares)."""
        config, size, zone, distances = self._config, self._block_size, request.zone, self._distances
        prompt, output, far = request.prompt, request.output, bool(distances.seconds or distances.unknown_s)
        first_weight, usd_weight, others_weight = 1 + config.first_token_weight, config.s_per_usd, config.others_weight
        best, second, least, next_least = -1, -1, inf, inf
        for number, there, load, s_per_token, s_per_step, s_per_sequence, places, usd_per_s in lanes:
            others = load.running + load.waiting
            queue_s = load.queued_tokens * s_per_token
            if others < places:
                batch = others + 1
                step_s = s_per_step + s_per_sequence * batch
            else:
                batch = places
                step_s = s_per_step + s_per_sequence * batch
                queue_s += (others + 1 - places) / places * output * step_s
            fresh = prompt - min(hits[number] * size, prompt - 1) if number in hits else prompt
            prefill_s = fresh * s_per_token
            ttft_s = queue_s + prefill_s + (distances.between(zone, there) if far else 0.0)
            score = first_weight * ttft_s + (output - 1) * step_s + others_weight * prefill_s * others
            if usd_weight:
                score += usd_weight * usd_per_s * (prefill_s + output * step_s / batch)
            if number == home:
                score -= config.affinity_s
            if score < least:
                second, next_least, best, least = best, least, number, score
            elif score < next_least:
                second, next_least = number, score
        return best, least, second, next_least

    def _predicted(self, request: Request, number: int, hits: Mapping[int, int]) -> tuple[Worker, Prediction]:
        worker = self._candidates.by_number[number]
        tokens = min(hits.get(number, 0) * self._block_size, request.prompt - 1)
        return worker, predict(request, worker, tokens, self._distances.between(request.zone, worker.zone))

    def _some(self, levels: Levels, home: int, draw: int) -> list[Lane]:
        """Some of a large fleet: drawn, holders of the longest prefix, the session's last."""
        workers, lanes, choices = self._candidates.workers, self._candidates.lanes, self._config.choices
        numbers: dict[int, None] = {}
        for place in range(choices):
            draw = (draw * 6364136223846793005 + 1442695040888963407 + place) & _MASK
            numbers[workers[draw * len(workers) >> 64].number] = None
        numbers[home] = None
        if levels:
            numbers.update(dict.fromkeys(islice(_bits(levels[0][1], draw), choices)))
        return [lanes[number] for number in numbers if number in lanes]

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
